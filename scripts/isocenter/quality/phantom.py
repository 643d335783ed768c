"""The phantom's result against the protocol: bias, linearity, what calibration leaves, the scanner over time."""

import math
from collections.abc import Mapping
from typing import Any

from isocenter.calibration.scanners import list_curves
from isocenter.quality.check import Check, make_check
from isocenter.quality.consoles import Console, choose_remedy
from isocenter.quality.phantom_statistics import OVER_SESSIONS, compare_sessions, compute_phantom_statistics
from isocenter.quality.values import as_number, as_text, format_value

Row = dict[str, Any]

#: By the name of a statistic: its words on the certificate.
WORDS = {
    "max_abs_percent_bias": "largest bias of a vial",
    "mean_percent_bias": "mean bias of the vials",
    "rms_percent_residual": "error that calibration leaves",
    "loo_rms_percent": "error of vials that calibration has not seen",
    "n_used": "vials used",
    "slope": "slope of the calibration",
    "r_squared": "linearity (R² of measured on reference)",
    "nonlinearity_percent": "largest distance of a vial from the straight line",
    "repeatability_percent": "repeatability between sessions",
    "drift_percent": "largest shift between sessions",
    "inversion_efficiency": "inversion efficiency",
    "b1": "B1 (achieved over nominal angle)",
    "snr": "signal to noise",
}
#: Statistics that are pure numbers; the others are in percent.
_NO_UNIT = ("n_used", "slope", "r_squared", "inversion_efficiency", "b1", "snr")


def check_phantom(
    vials: list[Row],
    calibrations: list[dict[str, Any]],
    rules: list[dict[str, Any]],
    consoles: Mapping[str, Console] | None = None,
) -> list[Check]:
    """The phantom's result per session and biomarker, over sessions, and whether each calibration could be made.

    consoles : by the id of a scanner; "" for any other
    """
    consoles = consoles or {}
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
        scope = " ".join(filter(None, (phantom or "phantom", serial, f"ses-{session}", biomarker)))
        checks += [
            _judge(rule, found[rule["statistic"]], scope, _console_of(rows, consoles))
            for rule in rules
            if rule["statistic"] not in OVER_SESSIONS and biomarker in rule.get("biomarkers", [biomarker])
        ]
    return checks + _check_sessions(vials, rules, consoles)


def _check_sessions(vials: list[Row], rules: list[dict[str, Any]], consoles: Mapping[str, Console]) -> list[Check]:
    """What only several sessions of one phantom on one scanner show: repeatability and drift."""
    series: dict[tuple[str, ...], list[Row]] = {}
    for row in vials:
        key = tuple(as_text(row.get(name)) for name in ("scanner", "phantom", "serial", "biomarker"))
        series.setdefault(key, []).append(row)
    checks = []
    for (scanner, phantom, serial, biomarker), rows in sorted(series.items()):
        found = compare_sessions(rows)
        for rule in rules:
            wanted = biomarker in rule.get("biomarkers", [biomarker])
            # One session says nothing of this, and nothing against the scanner.
            if wanted and rule["statistic"] in OVER_SESSIONS and found["n_sessions"] > 1:
                scope = " ".join(filter(None, (scanner, phantom, serial, biomarker)))
                checks.append(_judge(rule, found[rule["statistic"]], scope, _console_of(rows, consoles)))
    return checks


def _console_of(rows: list[Row], consoles: Mapping[str, Console]) -> Console:
    return consoles.get(as_text(rows[0].get("scanner")), consoles.get("", Console()))


def _judge(rule: dict[str, Any], value: float, scope: str, console: Console) -> Check:
    unit = "" if rule["statistic"] in _NO_UNIT else "percent"
    low, high = rule.get("minimum", -math.inf), rule.get("maximum", math.inf)
    bounds = [f"at least {format_value(low, unit)}"] if "minimum" in rule else []
    bounds += [f"at most {format_value(high, unit)}"] if "maximum" in rule else []
    return make_check(
        low <= value <= high,
        severity=rule["severity"],
        id=rule["id"],
        group="phantom",
        scope=scope,
        parameter=WORDS[rule["statistic"]],
        expected=" and ".join(bounds),
        found=format_value(value, unit),
        remedy=console.word(choose_remedy(rule, console)),
        unit=unit or "1",
    )


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
