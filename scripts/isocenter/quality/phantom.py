"""The phantom's result: bias before calibration, what calibration leaves, vials used."""

import math
from typing import Any

from isocenter.quality.check import Check, make_check
from isocenter.quality.values import as_number, as_text, format_value

Row = dict[str, Any]


def check_phantom(vials: list[Row], calibrations: list[dict[str, Any]], rules: list[dict[str, Any]]) -> list[Check]:
    """The phantom's result per session and biomarker, and whether each calibration could be made."""
    checks = []
    by_biomarker = {as_text(calibration.get("biomarker")): calibration for calibration in calibrations}
    for biomarker, calibration in by_biomarker.items():
        refused = bool(calibration.get("refused"))
        checks.append(
            make_check(
                not refused,
                severity="fail" if rules else "warn",
                id="calibration",
                group="phantom",
                scope=biomarker,
                parameter=f"calibration of {biomarker}",
                expected="made from the site's phantom",
                found=f"refused: {as_text(calibration.get('reason')) or 'no reason given'}"
                if refused
                else f"form {as_text(calibration.get('form'))}",
                remedy="Scan the trial's phantom with the trial's protocol and note its temperature in site.yaml",
            )
        )
    sessions: dict[tuple[str, ...], list[Row]] = {}
    for row in vials:
        key = tuple(as_text(row.get(name)) for name in ("phantom", "serial", "session", "biomarker"))
        sessions.setdefault(key, []).append(row)
    for (phantom, serial, session, biomarker), rows in sorted(sessions.items()):
        statistics = compute_phantom_statistics(rows, by_biomarker.get(biomarker, {}))
        for rule in rules:
            if biomarker not in rule.get("biomarkers", [biomarker]):
                continue
            unit = "" if rule["statistic"] in ("n_used", "slope") else "percent"
            value = statistics[rule["statistic"]]
            low, high = rule.get("minimum", -math.inf), rule.get("maximum", math.inf)
            bounds = [f"at least {format_value(low, unit)}"] if "minimum" in rule else []
            bounds += [f"at most {format_value(high, unit)}"] if "maximum" in rule else []
            checks.append(
                make_check(
                    low <= value <= high,
                    severity=rule["severity"],
                    id=rule["id"],
                    group="phantom",
                    scope=" ".join(filter(None, (phantom or "phantom", serial, f"ses-{session}", biomarker))),
                    parameter=rule["statistic"].replace("_", " "),
                    expected=" and ".join(bounds),
                    found=format_value(value, unit),
                    remedy=rule["remedy"],
                    unit=unit or "1",
                )
            )
    return checks


def compute_phantom_statistics(rows: list[Row], calibration: dict[str, Any]) -> dict[str, float]:
    """The statistics that a phantom check may name, of the vials used in one session; NaN where none can be given.

    Bias is before calibration, ``rms_percent_residual`` after it, both in percent of the reference.
    """
    used = [row for row in rows if _is_used(row)]
    pairs = [(as_number(row.get("measured")), as_number(row.get("reference"))) for row in used]
    pairs = [(m, r) for m, r in pairs if math.isfinite(m) and math.isfinite(r) and r != 0]
    bias = [100 * (measured - reference) / reference for measured, reference in pairs]
    coefficients = [as_number(value) for value in calibration.get("coefficients") or []]
    intercept, slope = coefficients if len(coefficients) == 2 else (math.nan, math.nan)
    residual = [100 * (intercept + slope * measured - reference) / reference for measured, reference in pairs]
    return {
        "n_used": float(len(pairs)),
        "max_abs_percent_bias": max(map(abs, bias), default=math.nan),
        "mean_percent_bias": sum(bias) / len(bias) if bias else math.nan,
        "rms_percent_residual": math.sqrt(sum(r * r for r in residual) / len(residual)) if residual else math.nan,
        "slope": slope,
    }


def _is_used(row: Row) -> bool:
    if "used" in row:
        return as_text(row["used"]).casefold() in ("true", "1", "1.0", "yes")
    return as_text(row.get("flag")) == "ok"
