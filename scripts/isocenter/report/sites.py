"""A site's page: its verdict, phantom, calibration, maps, motion and what was left out."""

import re
from typing import Any

import pandas as pd

from isocenter.calibration.scale import scale_of
from isocenter.calibration.scanners import list_curves
from isocenter.figures.palette import site_styles, state_of
from isocenter.figures.phantom import draw_vial_bias, shown_bias
from isocenter.report.control import form_table, list_control_figures
from isocenter.report.field_maps import shim_table
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metric_figures import is_used
from isocenter.report.metric_tables import linearity
from isocenter.report.metrics import ROOT, times
from isocenter.report.overview import list_needs
from isocenter.report.phantom_limits import find_limit
from isocenter.report.plausibility import list_doubts, order_table
from isocenter.report.pulses import list_pulses
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of, verdict_cell
from isocenter.report.verdicts import describe_verdict
from isocenter.report.wording import VERDICT_WORDS, format_number, is_missing, say_reason, shorten, shown_unit

#: the bias that a vial may have when the trial's checks name none [%]
DEFAULT_TOLERANCE = 5.0


def site_context(
    trial: Trial,
    site: str,
    mosaics: list[Figure],
    pictures: list[Figure],
    pages: list[tuple[str, str]],
    distortions: list[Figure],
    alignments: list[Figure],
) -> dict[str, Any]:
    """What ``sites/<site>.html`` shows; the figures and `pages` are written beside it already."""
    verdict = trial.verdicts.get(site, {})
    word = str(verdict.get("verdict", ""))
    title = trial.settings.get("sites", {}).get(site, site)
    checks = list(trial.rows("checks", site=site).iterrows())
    history = [describe_verdict(entry) for entry in trial.histories.get(site, [])]
    scanners = [_scanner(s) for s in verdict.get("scanners", []) if isinstance(s, dict)]
    return {
        "site": site,
        "hospital": shorten(title if isinstance(title, str) else site),
        "verdict": word,
        "state": state_of(word),
        "word": VERDICT_WORDS.get(word, word or "no verdict yet"),
        "scanners": scanners,
        "date": history[-1]["date"] if history else "",
        "history": history,
        "to_change": _change_table(verdict),
        "counts": {k: int(v) for k, v in (verdict.get("counts") or {}).items()},
        "checks": _check_table("checks", checks),
        "vials": [f for name in _calibrated(trial, site) for f in _vial_figures(trial, site, name)],
        "vial_tables": [(name, _vial_table(trial, site, name)) for name in _calibrated(trial, site)],
        "pictures": pictures,
        "pages": pages,
        "pulses": list_pulses(trial, site),
        "control": list_control_figures(trial, site),
        "forms": [(name, form_table(trial, site, name)) for name in _calibrated(trial, site)],
        "calibrations": _calibration_table(trial, site),
        "linearity": [(name, linearity(trial, name, site=site)) for name in _calibrated(trial, site)],
        "mosaics": mosaics,
        "motion": _motion_table(trial, site),
        "order": order_table(trial, site, ROOT),
        "doubts": [shorten(doubt, 400) for doubt in list_doubts(trial, site)],
        "shim": shim_table(trial, site),
        "distortions": distortions,
        "alignments": alignments,
        "needs": _needs_of_site(trial, site),
    }


def _calibrated(trial: Trial, site: str) -> list[str]:
    names = [name for name, block in trial.biomarkers.items() if block.get("calibration") == "phantom"]
    return names or sorted(set(trial.rows("vials", site=site).get("biomarker", [])))


def _scanner(scanner: dict[str, Any]) -> str:
    """``scanner1: Siemens Skyra, 3 T, serial 12345``."""
    words = " ".join(str(scanner[key]) for key in ("manufacturer", "model") if scanner.get(key))
    field = f", {scanner['field_strength']:g} T" if isinstance(scanner.get("field_strength"), (int, float)) else ""
    serial = f", serial {scanner['serial']}" if scanner.get("serial") else ""
    return shorten(f"{scanner.get('id', '')}: {words}{field}{serial}", 90)


def _change_table(verdict: dict[str, Any]) -> Table:
    """What the site must change: one row a finding, worst first."""
    rows = [
        [
            verdict_cell(change["verdict"], text=str(change["verdict"])),
            Cell(shorten(change.get("parameter") or change["id"].replace("_", " "), 60)),
            Cell(shorten(change.get("console_found") or change["found"], 300), title=str(change["found"])),
            Cell(_expected(change), title=str(change["expected"])),
            Cell(shorten(change["remedy"], 300)),
            Cell(_where(change), title="; ".join(map(str, change.get("scopes", [])))),
        ]
        for change in verdict.get("changes", [])
    ]
    columns = ["Verdict", "Parameter", "Found", "Expected", "How to fix", "Where"]
    empty = "Nothing to change: no check failed or warned." if verdict else "No check has run."
    return table_of("to_change", columns, rows, source="checks.tsv", empty=empty)


def _where(change: dict[str, Any]) -> str:
    scopes = [str(scope) for scope in change.get("scopes", [])]
    more = f" and {len(scopes) - 2} more" if len(scopes) > 2 else ""
    return ", ".join(shorten(scope, 40) for scope in scopes[:2]) + more


def _expected(check: Any) -> str:
    if not is_missing(check.get("console_expected")):
        return shorten(check["console_expected"], 120)
    text = shorten(check["expected"], 80)
    if not is_missing(check.get("tolerance")):
        text += f" ± {shorten(check['tolerance'])}"
    unit = check.get("unit")
    return text if is_missing(unit) or str(unit) in text.split() else f"{text} {shorten(unit)}"


def _check_table(name: str, checks: list[tuple[Any, Any]]) -> Table:
    rows = [
        [
            verdict_cell(c["verdict"], text=str(c["verdict"])),
            Cell(shorten(c["group"])),
            Cell(shorten(c["id"]).replace("_", " "), href=row_link("checks", index, ROOT)),
            Cell(shorten(c["scope"], 48), title=str(c["scope"])),
            Cell(shorten(c["found"], 160), title=str(c["found"])),
            Cell(_expected(c), title=str(c["expected"])),
        ]
        for index, c in checks
    ]
    columns = ["Verdict", "Group", "Check", "Where", "Found", "Expected"]
    return table_of(name, columns, rows, source="checks.tsv", empty="No check has run.")


def _tolerance(trial: Trial, biomarker: str) -> float:
    block = trial.biomarkers.get(biomarker, {})
    allowed = find_limit(trial.settings.get("phantom_rules", []), "max_abs_percent_bias", biomarker)
    if not is_missing(allowed):
        return allowed
    value = block.get("bias_tolerance", trial.settings.get("bias_tolerance", DEFAULT_TOLERANCE))
    return float(value) if isinstance(value, (int, float)) else DEFAULT_TOLERANCE


def _vial_figures(trial: Trial, site: str, biomarker: str) -> list[Figure]:
    """One figure a scanner: each has its own curve."""
    curves = list_curves(trial.calibrations.get((site, biomarker), {}))
    rows = trial.rows("vials", site=site, biomarker=biomarker)
    return [
        _vial_figure(trial, site, biomarker, rows[rows["scanner"] == scanner] if scanner else rows, curve, scanner)
        for scanner, curve in curves.items()
    ]


def _vial_figure(
    trial: Trial, site: str, biomarker: str, rows: pd.DataFrame, calibration: dict[str, Any], scanner: str
) -> Figure:
    vials, unit = [], ""
    where = f"{site}, {scanner}" if scanner else site
    for index, v in rows.iterrows():
        unit, factor = shown_unit(v.get("unit"))
        reference, measured = times(v["reference"], factor), times(v["measured"], factor)
        bias = times(v["bias_percent"], 1)
        whole = scale_of(str(v.get("unit"))).whole or reference
        error = 100 * 1.96 * times(v["stderr"], factor) / whole if whole else float("nan")
        used = is_used(v)
        why = "" if used else f"; left out: {shorten(v.get('reason') or v['flag'], 80)}"
        vials.append(
            {
                "reference": reference,
                "bias": bias,
                "error": error,
                "session": str(v["session"]),
                "used": used,
                "label": str(v["vial"]),
                "href": row_link("vials", index, ROOT),
                "title": f"vial {v['vial']}, session {v['session']}: {measured:.4g} {unit} measured, {reference:.4g} "
                f"{unit} reference, bias {bias:+.1f} {shown_bias(unit)}{why}",
            }
        )
    tolerance = _tolerance(trial, biomarker)
    n_used = sum(v["used"] for v in vials)
    references = sorted(v["reference"] for v in vials if v["reference"] == v["reference"])
    curve = _taken_away(calibration, references, unit)
    biases = [abs(v["bias"]) for v in vials if v["used"] and v["bias"] == v["bias"]]
    worst = format_number(max(biases), 1) if biases else "–"
    word = shown_bias(unit)
    kind, axis = ("Percent bias", " on a log axis") if word == "%" else ("Bias in points", "")
    alt = f"{kind} of {biomarker} per vial at {where}: {n_used} vials used, largest bias {worst} {word}"
    return Figure(
        f"{biomarker} of the phantom against its reference" + (f", {scanner}" if scanner else ""),
        alt,
        f"{kind} of each vial before calibration (n = {n_used} used of {len(vials)}), over all "
        f"phantom sessions, reference in {unit}{axis}; bars: ±1.96 standard errors "
        f"of the measurement; band: ±{tolerance:g} {word}; dashed: the bias that "
        "the site's calibration takes away. Crosses: vials left out.",
        f"{'100 · (measured − reference) / reference' if word == '%' else 'Measured − reference'}, reference at the "
        "phantom's temperature and serial, from vials.tsv.",
        "All marks on the dashed line: one smooth error, which calibration removes; and inside the band, which is what "
        "a vial may be off.",
        "Errors that a phantom does not have: motion, tissue with several compartments, B1 of a head.",
        svg=draw_vial_bias(vials, curve, tolerance, unit, site_styles(sorted({v["session"] for v in vials})), alt)
        if vials
        else "",
        sources=[("vials.tsv", f"{ROOT}tables/vials.html"), ("calibrations.tsv", f"{ROOT}tables/calibrations.html")],
        empty="" if vials else "No phantom scan of this site could be measured.",
    )


def _taken_away(calibration: dict[str, Any], references: list[float], unit: str) -> list[tuple[float, float]]:
    """Percent bias that the calibration implies at each reference [shown unit]."""
    coefficients = list(calibration.get("coefficients") or [])
    if calibration.get("refused") or len(coefficients) not in (2, 3) or not coefficients[1] or not references:
        return []
    factor = shown_unit(calibration.get("unit"))[1]
    c0, c1, c2 = coefficients[0] * factor, coefficients[1], (coefficients[2] / factor if coefficients[2:] else 0.0)
    low, high = references[0], references[-1]
    grid = [low * (high / low) ** (i / 40) for i in range(41)] if low > 0 else references
    # The measured value that the curve turns into r, on its rising branch.
    squares = [(r, c1 * c1 + 4 * c2 * (r - c0)) for r in grid]
    whole = scale_of(str(calibration.get("unit"))).whole
    return [(r, 100 * (2 * (r - c0) / (c1 + d**0.5) - r) / (whole or r)) for r, d in squares if d >= 0]


def _vial_table(trial: Trial, site: str, biomarker: str) -> Table:
    rows, unit = [], ""
    for index, v in trial.rows("vials", site=site, biomarker=biomarker).iterrows():
        unit, factor = shown_unit(v.get("unit"))
        href = row_link("vials", index, ROOT)
        reference, u, measured, se = (
            times(v[c], factor) for c in ("reference", "reference_stderr", "measured", "stderr")
        )
        bias = times(v["bias_percent"], 1)
        reason = "" if is_missing(v.get("reason")) else say_reason(v["reason"], 120)
        rows.append(
            [
                str(v["session"]),
                str(v["vial"]),
                number_cell(f"{format_number(reference)} ± {format_number(u)}", reference, href),
                number_cell(f"{format_number(measured)} ± {format_number(se)}", measured, href),
                number_cell(format_number(bias, 1), bias, href),
                Cell("used" if is_used(v) else "left out", state="pass" if is_used(v) else "fail"),
                Cell(str(v["flag"]).replace("_", " ") + (f": {reason}" if reason else "")),
            ]
        )
    columns = [
        "Session",
        "Vial",
        f"Reference ± SE [{unit}]",
        f"Measured ± SE [{unit}]",
        "Bias [%]",
        "Calibration",
        "Flag",
    ]
    return table_of(f"vials_{biomarker}", columns, rows, source="vials.tsv", empty="No vial was measured.")


def _calibration_table(trial: Trial, site: str) -> Table:
    rows = []
    found = trial.rows("calibrations", site=site)
    # The table is as wide as its page: a column that no curve needs would push the reasons out of it.
    is_bent = any(not is_missing(value) for value in found.get("curvature", []))
    has_reasons = any(not is_missing(value) and str(value).strip() for value in found.get("reason", []))
    for index, c in found.iterrows():
        unit, factor = shown_unit(c["unit"])
        href = row_link("calibrations", index, ROOT)
        refused = bool(c["refused"])
        intercept, slope = (_pm(c[n], c[f"{n}_stderr"], f) for n, f in (("intercept", factor), ("slope", 1.0)))
        low, high = (times(c[n], factor) for n in ("valid_low", "valid_high"))
        rows.append(
            [
                Cell(" ".join(filter(None, (str(c["biomarker"]), str(c["scanner"]))))),
                Cell("refused" if refused else "applied", state="fail" if refused else "pass"),
                Cell(str(c["form"])),
                number_cell(f"{intercept} {unit}", c["intercept"], href),
                number_cell(slope, c["slope"], href),
                *(
                    [number_cell(_pm(c["curvature"], c["curvature_stderr"], 1.0 / factor), c["curvature"], href)]
                    * is_bent
                ),
                number_cell(f"{format_number(low)} … {format_number(high)} {unit}", c["valid_low"], href),
                number_cell(format_number(c["n_vials"], 0), c["n_vials"], href),
                number_cell(format_number(c["loo_rms_percent"], 2), c["loo_rms_percent"], href),
                Cell(str(c["rule"]), title=str(c["drift"])),
                Cell(re.sub(r"(?<![\w.])-(?=\d)", "−", shorten(c["drift"], 120))),
                *([Cell(shorten(c["reason"], 160))] * has_reasons),
            ]
        )
    columns = [
        "Biomarker",
        "State",
        "Form",
        "Intercept ± SE",
        "Slope ± SE",
        *(["Bend ± SE"] if is_bent else []),
        "Valid for measured values",
        "Vials",
        "Leave-one-out rms [%]",
        "Dates",
        "Drift",
        *(["Reason"] if has_reasons else []),
    ]
    return table_of(
        "calibrations",
        columns,
        rows,
        source="calibrations.tsv",
        empty="No calibration: no biomarker of this site is calibrated.",
    )


def _pm(value: Any, error: Any, factor: float) -> str:
    value, error = times(value, factor), times(error, factor)
    if is_missing(value):
        return "–"
    if is_missing(error) or error <= 0:
        return format_number(value)
    return f"{format_number(value, max(2 if abs(value) < 10 else 0, _decimals(error)))} ± {format_number(error)}"


def _decimals(error: float) -> int:
    from isocenter.report.wording import decimals_for

    return max(0, decimals_for(error) - 1)


def _motion_table(trial: Trial, site: str) -> Table:
    found = trial.rows("motion", site=site).dropna(axis="columns", how="all")
    ids = ["participant_id", "session", "run", "series", "n_volumes"]
    measures = [c for c in found.columns if c not in ("site", *ids)]
    rows = []
    for index, m in found.iterrows():
        href = row_link("motion", index, ROOT)
        rows.append(
            [str(m[c]) for c in ids[:-1]]
            + [
                number_cell(format_number(m[c], 0 if c.startswith("n_") else None), m[c], href)
                for c in ("n_volumes", *measures)
            ]
        )
    columns = ["Participant", "Session", "Run", "Series", "Volumes", *(_motion_word(c) for c in measures)]
    return table_of("motion", columns, rows, source="motion.tsv", empty="No series of this site was registered.")


def _motion_word(column: str) -> str:
    words = column.replace("max_", "largest ").replace("n_left_", "volumes left ").replace("_", " ")
    words = words.replace("residual before", "residual before [a.u.]").replace("residual after", "after [a.u.]")
    return words.replace(" mm", " [mm]").capitalize()


def _needs_of_site(trial: Trial, site: str) -> Table:
    table = list_needs(trial)
    chosen = [row for row in [*table.rows, *list_needs(trial, is_open=False).rows] if row[0].text == site]
    rows = []
    for row in chosen:
        scan, stage, *rest = row[1:]
        rows.append([scan, Cell(stage.text, href=ROOT + stage.href if stage.href else ""), *rest])
    return Table("needs", table.columns[1:], rows, [], table.source, "Nothing of this site is left out.", len(rows))
