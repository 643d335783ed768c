"""The phantom's result: bias before calibration, what calibration leaves, vials used, the scanner over time."""

import math
import statistics
from typing import Any

from isocenter.calibration.scale import scale_of
from isocenter.calibration.scanners import list_curves
from isocenter.quality.check import Check, make_check
from isocenter.quality.values import as_number, as_text, format_value

Row = dict[str, Any]

#: Statistics that are medians over the vials used, of the column of the same name.
MEDIANS = ("inversion_efficiency", "b1", "snr")
_NO_UNIT = ("n_used", "slope", *MEDIANS)


def check_phantom(vials: list[Row], calibrations: list[dict[str, Any]], rules: list[dict[str, Any]]) -> list[Check]:
    """The phantom's result per session and biomarker, and whether each calibration could be made."""
    checks = []
    by_scanner = {
        (as_text(calibration.get("biomarker")), scanner): curve
        for calibration in calibrations
        for scanner, curve in list_curves(calibration).items()
    }
    for (biomarker, scanner), calibration in by_scanner.items():
        checks.append(
            make_check(
                not calibration.get("refused"),
                severity="fail" if rules else "warn",
                id="calibration",
                group="phantom",
                scope=" ".join(filter(None, (biomarker, scanner))),
                parameter=f"calibration of {biomarker}",
                expected="made from the site's phantom",
                found=_describe(calibration),
                remedy="Scan the trial's phantom with the trial's protocol and note its temperature in site.yaml",
            )
        )
    sessions: dict[tuple[str, ...], list[Row]] = {}
    for row in vials:
        key = tuple(as_text(row.get(name)) for name in ("phantom", "serial", "session", "biomarker"))
        sessions.setdefault(key, []).append(row)
    for (phantom, serial, session, biomarker), rows in sorted(sessions.items()):
        own = by_scanner.get((biomarker, as_text(rows[0].get("scanner"))), by_scanner.get((biomarker, ""), {}))
        found = compute_phantom_statistics(rows, own)
        for rule in rules:
            if biomarker not in rule.get("biomarkers", [biomarker]):
                continue
            unit = "" if rule["statistic"] in _NO_UNIT else "percent"
            value = found[rule["statistic"]]
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


def check_control(control: list[Row]) -> list[Check]:
    """Whether each scanner stayed in control: one check a scanner, biomarker and quantity of ``control.tsv``.

    Sessions that are out of control and that no later event explains warn. Too few sessions for limits pass, and say
    so: nothing is known against the scanner.
    """
    charts: dict[tuple[str, ...], list[Row]] = {}
    for row in control:
        key = tuple(as_text(row.get(name)) for name in ("scanner", "biomarker", "quantity"))
        charts.setdefault(key, []).append(row)
    checks = []
    for (scanner, biomarker, quantity), rows in sorted(charts.items()):
        out = [row for row in rows if as_text(row.get("state")) == "out"]
        explained = sum(as_text(row.get("state")) == "explained" for row in rows)
        if out:
            listed = ", ".join(f"ses-{as_text(r.get('session'))} ({as_text(r.get('signal'))})" for r in out[:3])
            found = f"out of control: {listed}" + (f" and {len(out) - 3} more" if len(out) > 3 else "")
        elif as_text(rows[-1].get("state")) == "too few sessions":
            found = f"too few sessions for limits ({_count_segment(rows)})"
        else:
            found = f"in control ({len(rows)} sessions" + (f", {explained} out but explained)" if explained else ")")
        checks.append(
            make_check(
                not out,
                severity="warn",
                id="in_control",
                group="phantom",
                scope=" ".join(filter(None, (scanner, biomarker))),
                parameter=f"{quantity.replace('_', ' ')} over time",
                expected="in control: inside the limits of the sessions before",
                found=found,
                remedy="Scan the phantom again. If it repeats, find what changed (service, software, coil, another "
                "phantom or thermometer) and note it under events in site.yaml, with rebase: true where the level has "
                "changed for good",
            )
        )
    return checks


def _count_segment(rows: list[Row]) -> int:
    return sum(as_text(row.get("segment")) == as_text(rows[-1].get("segment")) for row in rows)


def _describe(calibration: dict[str, Any]) -> str:
    """A calibration in words: its form, how well it predicts, the drift between its sessions, or why there is none."""
    reason = as_text(calibration.get("reason"))
    if calibration.get("refused"):
        return f"refused: {reason or 'no reason given'}"
    checks = calibration.get("checks") or {}
    words = [f"form {as_text(calibration.get('form'))}" + (f" ({reason})" if reason else "")]
    error = as_number(checks.get("loo_rms_percent"))
    if math.isfinite(error):
        words.append(f"leave-one-out error {error:.2g} %")
    if "drift_percent_per_year" in checks:
        words.append(f"drift {as_text(checks.get('drift_note'))}")
    return "; ".join(words)


def compute_phantom_statistics(rows: list[Row], calibration: dict[str, Any]) -> dict[str, float]:
    """The statistics that a phantom check may name, of the vials used in one session; NaN where none can be given.

    Bias is before calibration, ``rms_percent_residual`` after it, both in percent of the reference; of shares, which
    may be 0, in points.
    """
    used = [row for row in rows if _is_used(row)]
    whole = scale_of(as_text(used[0].get("unit")) if used else "").whole
    pairs = [(as_number(row.get("measured")), as_number(row.get("reference"))) for row in used]
    pairs = [(m, r) for m, r in pairs if math.isfinite(m) and math.isfinite(r) and (r != 0 or whole)]
    bias = [100 * (measured - reference) / (whole or reference) for measured, reference in pairs]
    coefficients, factor = _coefficients_of(calibration, as_text(rows[0].get("session")) if rows else "")
    residual = [
        100 * (sum(c * (factor * measured) ** k for k, c in enumerate(coefficients)) - reference) / (whole or reference)
        for measured, reference in pairs
        if coefficients
    ]
    medians = {name: [v for row in used if math.isfinite(v := as_number(row.get(name)))] for name in MEDIANS}
    return {
        "n_used": float(len(pairs)),
        "max_abs_percent_bias": max(map(abs, bias), default=math.nan),
        "mean_percent_bias": sum(bias) / len(bias) if bias else math.nan,
        "rms_percent_residual": math.sqrt(sum(r * r for r in residual) / len(residual)) if residual else math.nan,
        "loo_rms_percent": as_number((calibration.get("checks") or {}).get("loo_rms_percent")),
        "slope": coefficients[1] if coefficients else math.nan,
        **{name: statistics.median(values) if values else math.nan for name, values in medians.items()},
    }


def _coefficients_of(calibration: dict[str, Any], session: str) -> tuple[list[float], float]:
    """The coefficients that serve a session, and what its measured values are multiplied by before."""
    of_session = next((s for s in calibration.get("sessions") or [] if as_text(s.get("session")) == session), {})
    factor, source = 1.0, calibration
    if calibration.get("rule") == "nearest" and not (of_session.get("curve") or {"refused": True}).get("refused"):
        source = of_session["curve"]
    drift = calibration.get("drift") or {}
    if calibration.get("rule") == "drift" and drift and of_session.get("day") is not None:
        factor = math.exp(-drift["per_day"] * (of_session["day"] - drift["day"]))
    coefficients = [as_number(value) for value in source.get("coefficients") or []]
    return (coefficients if len(coefficients) in (2, 3) else []), factor


def _is_used(row: Row) -> bool:
    if "used" in row:
        return as_text(row["used"]).casefold() in ("true", "1", "1.0", "yes")
    return as_text(row.get("flag")) == "ok"
