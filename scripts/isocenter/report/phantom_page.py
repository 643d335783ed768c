"""The page of one phantom session: one file, no network, readable without scripts and in print."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration
from isocenter.calibration.scale import scale_of
from isocenter.figures.palette import Style
from isocenter.figures.phantom import draw_vial_bias, shown_bias
from isocenter.figures.vial_curves import draw_comparison, draw_residuals, draw_vial_curve
from isocenter.io.nifti import write_bytes
from isocenter.phantom.measure import FLAGS
from isocenter.phantom.vial_fits import MethodResult
from isocenter.quality.phantom_session import shown_points, tolerance_of
from isocenter.report.figure import Figure
from isocenter.report.tabulate import Cell, number_cell, table_of, verdict_cell
from isocenter.report.wording import format_number, say_reason, shorten, shown_unit

_AXES = {"InversionTime": ("inversion time [ms]", 1e3), "EchoTime": ("echo time [ms]", 1e3),
         "FlipAngle": ("flip angle [deg]", 1.0), "DiffusionBValue": ("b-value [s/mm²]", 1.0)}  # fmt: skip
_STYLES = (("#0072b2", "circle"), ("#d55e00", "square"), ("#009e73", "triangle"), ("#6a3d9a", "diamond"))
_FORMULA = {True: "100 · (measured − reference) / reference", False: "measured − reference, both in percent"}
_NOTHING_TO_COMPARE = "The phantom has no reference for this quantity: there is nothing to hold it against."
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_WORDS = {"pass": "pass", "warn": "pass with warnings", "fail": "fail", "none": "for comparison"}


@dataclass
class PageContent:
    """What the page shows. table : rows of ``vials.tsv``; pictures : (title, PNG, how the place was found)"""

    title: str
    subtitle: str
    verdict: str
    sentence: str
    checks: list[dict[str, Any]]
    facts: list[tuple[str, str]]
    results: list[MethodResult]
    table: pd.DataFrame
    calibrations: dict[str, Calibration]
    pictures: list[tuple[str, bytes, str]] = field(default_factory=list)
    scans: list[dict[str, Any]] = field(default_factory=list)
    scanner_maps: list[dict[str, Any]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    made: str = ""


def write_phantom_page(path: Path, content: PageContent) -> None:
    """Write the page."""
    from isocenter.report.render import TEMPLATES, render_page

    context = {
        "title": content.title,
        "subtitle": content.subtitle,
        "state": content.verdict,
        "word": _WORDS[content.verdict].capitalize() + ".",
        "sentence": content.sentence,
        "checks": _check_table(content.checks),
        "facts": table_of(
            "conditions",
            ["What", "Value"],
            [[Cell(what), Cell(value)] for what, value in content.facts],
            is_simple=True,
        ),
        "pictures": [_vial_picture(*p) for p in content.pictures],
        "comparisons": _comparisons(content),
        "methods": [_method(content, r) for r in content.results],
        "quality": _quality_table(content.results),
        "scanner_maps": _scanner_table(content.scanner_maps),
        "scans": _scan_table(content.scans),
        "problems": [(shorten(what, 100), shorten(why, 400)) for what, why in content.problems],
        "made": content.made,
        "style": (TEMPLATES / "style.css").read_text(encoding="utf-8"),
        "script": (TEMPLATES / "tables.js").read_text(encoding="utf-8"),
    }
    write_bytes(path, render_page("phantom.html", context))


def _check_table(checks: list[dict[str, Any]]):
    rows = [
        [*(Cell(shorten(c[key], 300)) for key in ("scope", "parameter", "expected", "found")),
         verdict_cell(c["verdict"]), Cell(c["remedy"] if c["verdict"] != "pass" else "")]
        for c in checks
    ]  # fmt: skip
    columns = ["What", "Asked", "Expected", "Found", "Verdict", "What to do"]
    return table_of("checks", columns, rows, is_simple=True, empty="Nothing could be judged.")


def _vial_picture(title: str, png: bytes, how: str) -> Figure:
    return Figure(
        title, f"The slice in which the vials were measured, with circles and numbers: {title}",
        f"The mean image of the series in the slice through the vials, found {how}.",
        "Circles have the diameter that is measured; solid ones take part in the calibration, dashed ones do not.",
        "Every circle lies inside its vial, and the numbers run as on the phantom.",
        "Whether a vial still holds its solution: its bias shows that.",
        is_wide=True, src="data:image/png;base64," + base64.b64encode(png).decode("ascii"),
    )  # fmt: skip


def _rows(content: PageContent, result: MethodResult) -> pd.DataFrame:
    table = content.table
    return table[(table["method"] == result.method.key) & (table["run"] == result.run)]


def _error(row) -> float:
    """The 95 % half-width of the bias [%, of shares in points]: of the measurement and the reference together."""
    scale = scale_of(str(row["unit"]))
    if not scale.is_relative:
        return float(1.96 * 100 * np.hypot(row["stderr"], row["reference_stderr"]) / scale.whole)
    own = row["stderr"] / row["measured"]
    other = row["reference_stderr"] / row["reference"]
    return float(1.96 * 100 * (row["measured"] / row["reference"]) * np.hypot(own, other))


def _method(content: PageContent, result: MethodResult) -> dict[str, Any]:
    method, rows = result.method, _rows(content, result)
    unit, factor = shown_unit(method.unit)
    calibration = content.calibrations.get(method.key)
    tolerance, word = tolerance_of(method.unit), shown_points(method.unit)
    label = (
        f"{method.title}, run {result.run}"
        if sum(r.method.key == method.key for r in content.results) > 1
        else method.title
    )
    short = method.key.replace("_", " ") + (f" {result.run}" if result.run > 1 else "")
    state = next((c["verdict"] for c in content.checks if c["id"] == f"accuracy_{method.key}"), "none")
    used = rows[rows["used"].astype(bool)]
    rms = float(np.sqrt((used["bias_percent"].astype(float) ** 2).mean())) if len(used) else float("nan")
    return {
        "anchor": f"{method.key}-{result.run}", "short": short,
        "title": label, "state": state, "word": _WORDS[state], "notes": result.notes,
        "caption": f"{len(used)} of {len(rows)} vials used; rms bias of those {format_number(rms, 2)} {word}. ± is one "
        "standard uncertainty.",
        "table": _vial_table(rows, unit, factor),
        "bias": _bias_figure(rows, calibration, tolerance, unit, factor, label),
        "residuals": _residual_figure(rows, calibration, tolerance, unit, factor, label),
        "calibration": _calibration_sentence(calibration, unit, factor),
        "forms": _form_table(calibration, unit, factor),
        "curves": _curves(result, rows, unit, factor), "is_open": True,
        "curve_note": "Mean signal of each vial and the fitted curve. Crosses are samples that the fit left out: "
        "clipped, or so late that they say nothing of this vial. A good fit passes through every circle; a curve that "
        "misses them in one direction means that the model does not hold.",
    }  # fmt: skip


def _vial_table(rows: pd.DataFrame, unit: str, factor: float):
    out = []
    for _, r in rows.iterrows():
        digits = _digits(factor * r["reference"], factor * r["reference_stderr"])
        finite = np.isfinite(r["measured"])
        own = _digits(factor * r["measured"], factor * r["stderr"]) if finite and np.isfinite(r["stderr"]) else digits
        meaning = FLAGS.get(r["flag"], r["flag"])
        out.append(
            [
                number_cell(str(r["vial"]), r["vial"]),
                _pair(factor * r["reference"], factor * r["reference_stderr"], digits),
                _pair(factor * r["measured"], factor * r["stderr"], own),
                number_cell(f"{format_number(r['bias_percent'], 1)} ± {format_number(_error(r), 1)}"
                            if np.isfinite(r["bias_percent"]) else "–", r["bias_percent"]),
                _pair(factor * r["voxel_measured"], factor * r["voxel_stderr"], own),
                _pair(factor * r["mean_measured"], factor * r["mean_stderr"], own),
                Cell(str(r["flag"]).replace("_", " "), state="pass" if r["used"] else "warn"),
                Cell("; ".join(filter(None, (meaning, say_reason(r["reason"], 220)))) if not r["used"] else "used"),
            ]
        )  # fmt: skip
    bias = "Bias ± 95 % [points]" if unit == "%" else "Bias ± 95 % [%]"
    columns = ["Vial", f"Reference ± u [{unit}]", f"Measured ± u [{unit}]", bias,
               f"By voxels ± u [{unit}]", f"By mean signal ± u [{unit}]", "Flag", "What it means"]  # fmt: skip
    return table_of("vials", columns, out, empty="No vial was measured.")


def _digits(value: float, error: float) -> int:
    """Decimals that show two digits of the uncertainty."""
    if not (np.isfinite(value) and np.isfinite(error)) or error <= 0:
        return 3
    return int(max(0, min(6, 1 - np.floor(np.log10(error)))))


def _pair(value: float, error: float, digits: int) -> Cell:
    if not np.isfinite(value):
        return number_cell("–", None)
    own = f" ± {format_number(error, digits)}" if np.isfinite(error) else ""
    return number_cell(f"{format_number(value, digits)}{own}", value)


def _bias_figure(
    rows, calibration: Calibration | None, tolerance: float, unit: str, factor: float, label: str
) -> Figure:
    vials = [
        {
            "reference": factor * r["reference"], "bias": r["bias_percent"], "error": _error(r), "session": "1",
            "used": bool(r["used"]), "label": str(r["vial"]),
            "title": f"vial {r['vial']}: {factor * r['measured']:.4g} {unit} for {factor * r['reference']:.4g} {unit}",
        }
        for _, r in rows.iterrows() if np.isfinite(r["bias_percent"])
    ]  # fmt: skip
    scale, word = scale_of(str(rows["unit"].iloc[0])), "Percent bias" if unit != "%" else "Bias in points"
    curve = []
    if calibration is not None and calibration.form != "none" and calibration.valid_range:
        for m in (np.geomspace if scale.is_relative else np.linspace)(*calibration.valid_range, 40):
            c = float(calibration.apply(np.array(m), np.array(0.0))[0])
            curve.append((factor * c, 100 * scale.error(m, c)))
    used = [abs(v["bias"]) for v in vials if v["used"]]
    largest = f"largest {max(used, default=float('nan')):.1f} {shown_bias(unit)}"
    alt = f"Bias per vial of {label}: {len(used)} vials used, {largest}"
    return Figure(
        f"Bias against the reference: {label}", alt,
        f"{word} of every vial (n = {len(used)} used of {len(rows)}) with 95 % intervals of measurement and "
        f"reference; the band is ± {tolerance:g} {shown_bias(unit)}, the dashed line is what the calibration takes "
        "away.",
        f"{_FORMULA[scale.is_relative]}, the reference at the phantom's temperature.",
        "Intervals that reach the band, and no slope from short to long values.",
        "Errors that phantom and scanner share, such as a temperature that was not measured.",
        svg=draw_vial_bias(vials, curve, tolerance, unit, {"1": Style("#0072b2", "circle")}, alt) if vials else "",
        empty=_NOTHING_TO_COMPARE if rows["measured"].notna().any() else "No vial was measured.",
    )  # fmt: skip


def _residual_figure(
    rows, calibration: Calibration | None, tolerance: float, unit: str, factor: float, label: str
) -> Figure:
    points, scale = [], scale_of(str(rows["unit"].iloc[0]))
    if calibration is None:
        title = f"What calibration leaves: {label}"
        return Figure(title, title, "", "", "", "", svg="", empty=_NOTHING_TO_COMPARE)
    for _, r in rows.iterrows():
        if not np.isfinite(r["bias_percent"]):
            continue
        value, error, _ = calibration.apply(np.array(r["measured"]), np.array(r["stderr"]))
        size = float(scale.size(r["reference"]))
        total = 1.96 * 100 * np.hypot(float(error) / size, r["reference_stderr"] / size)
        residual = 100 * float(scale.error(float(value), r["reference"]))
        points.append({"reference": factor * r["reference"], "residual": residual,
                       "error": float(total), "vial": int(r["vial"]), "used": bool(r["used"])})  # fmt: skip
    loo = calibration.checks.get("loo_rms_percent", float("nan"))
    after = (
        "as measured (no calibration)" if calibration.form == "none" else f"after the {calibration.form} calibration"
    )
    alt = f"Residuals of the calibration of {label}: leave-one-out error {loo:.2f} {shown_bias(unit)}"
    return Figure(
        f"What calibration leaves: {label}", alt,
        f"{'Percent residual' if scale.is_relative else 'Residual in points'} of every vial {after} "
        f"(n = {sum(p['used'] for p in points)} used of {len(points)}), with 95 % intervals of measurement, "
        "calibration and reference.",
        f"Errors in both variables, weighted; each vial predicted from the others gives {format_number(loo, 2)} "
        f"{shown_bias(unit)} rms.",
        "Residuals inside their intervals, without a pattern from short to long values.",
        "How the scanner reads values beyond the vials.",
        svg=draw_residuals(points, tolerance, unit, alt) if points else "", empty="No vial was measured.",
    )  # fmt: skip


def _calibration_sentence(c: Calibration | None, unit: str, factor: float) -> str:
    if c is None:
        return "None: the phantom has no reference for this quantity. Values are what the scanner read."
    if c.refused:
        return f"Refused: {shorten(c.reason, 300)}. Values stay as measured."
    if c.form == "none":
        return f"None: values stay as measured. {shorten(c.reason, 300)}"
    errors = [float(np.sqrt(max(c.covariance[i][i], 0.0))) for i in range(len(c.coefficients))]
    low, high = (factor * v for v in c.valid_range)
    left = f"{format_number(c.checks.get('loo_rms_percent'), 2)} {shown_bias(unit)} rms"
    curve = f"reference = {_polynomial(c.coefficients, errors, unit, factor)}, from {c.n_vials} vials"
    return f"{c.form.capitalize()}: {curve}, valid from {low:.4g} to {high:.4g} {unit}; leave-one-out error {left}."


def _polynomial(coefficients, errors, unit: str, factor: float) -> str:
    """The terms that were fitted, each to two digits of its standard error, which stand in brackets with it."""
    terms = ((factor, f" {unit}"), (1.0, " · measured"), (1.0 / factor, f" /{unit} · measured²"))
    parts = []
    for value, error, (s, term) in zip(coefficients, errors, terms, strict=False):
        value, error = value * s, error * s
        if error > 0:
            power = int(np.floor(np.log10(error)))
            # Small numbers by the power of ten of what is certain of them.
            ten = power + 1 if power < -4 else 0
            digits = max(0, 1 - power + ten)
            number = f"{value / 10.0**ten:.{digits}f} ± {error / 10.0**ten:.{digits}f}".replace("-", "−")
            parts.append(f"({number}){f' · 10{str(ten).translate(_RAISED)}' if ten else ''}{term}")
    return " + ".join(parts)


def _form_table(c: Calibration | None, unit: str, factor: float):
    rows = []
    for form, tried in ((c.checks.get("forms") if c else None) or {}).items():
        numbers = _polynomial(tried.get("coefficients", []), tried.get("stderr", []), unit, factor)
        if not numbers and form == "none" and "coefficients" in tried:
            numbers = "measured"
        loo = tried.get("loo_rms_percent")
        rows.append([form, Cell(numbers), number_cell(format_number(loo, 2), loo), tried.get("verdict", "")])
    left = f"Leave-one-out rms [{shown_bias(unit)}]"
    columns = ["Form", "Reference = (coefficient ± standard error) …", left, "Taken or not"]
    return table_of("forms", columns, rows, is_simple=True, empty="No form was tried.")


def _curves(result: MethodResult, rows: pd.DataFrame, unit: str, factor: float) -> list[str]:
    label, scale = _AXES.get(result.method.axis, (result.method.axis, 1.0))
    is_log = result.method.axis in ("EchoTime", "DiffusionBValue") and result.method.quantity != "PDFF"
    drawn = []
    for i, (_, r) in enumerate(rows.iterrows()):
        value = factor * r["measured"]
        words = f"{value:.4g} {unit}" if np.isfinite(value) else "no value"
        heading = f"Vial {r['vial']}: {words}" + ("" if r["used"] else " ✕")
        drawn.append(
            draw_vial_curve(
                scale * result.axis, result.signals[i], result.left_out[i], scale * result.curve_axis, result.curves[i],
                heading=heading, label=label, alt=f"Samples and fitted curve of vial {r['vial']}, {words}",
                log_signal=is_log,
            )
        )  # fmt: skip
    return drawn


def _comparisons(content: PageContent) -> list[dict[str, Any]]:
    """Where a quantity was measured in several ways or several times: all of them beside one another."""
    out = []
    for quantity in dict.fromkeys(r.method.quantity for r in content.results):
        group = [r for r in content.results if r.method.quantity == quantity]
        if len(group) < 2 or not any(_rows(content, r)["reference"].notna().any() for r in group):
            continue
        word = shown_points(group[0].method.unit)
        unit, factor = shown_unit(group[0].method.unit)
        series, rows = [], []
        for r, (color, shape) in zip(group, _STYLES * 4, strict=False):
            own = _rows(content, r)
            title = r.method.title + (f", run {r.run}" if r.run > 1 else "")
            points = list(zip(factor * own["reference"], own["bias_percent"], own["used"].astype(bool), strict=True))
            series.append({"title": title, "color": color, "shape": shape, "points": points})
            used = own[own["used"].astype(bool)]["bias_percent"].astype(float)
            figures = (
                (float(used.mean()), float(np.sqrt((used**2).mean())), float(used.abs().max()))
                if len(used)
                else (np.nan,) * 3
            )
            rows.append([title, r.method.model, number_cell(str(len(used)), len(used)),
                         *(number_cell(format_number(f, 2), f) for f in figures)])  # fmt: skip
        alt = f"Bias of {quantity} per vial by {len(group)} methods"
        figures = (f"{name} [{word}]" for name in ("Mean bias", "Rms bias", "Largest"))
        columns = ["Method", "Model", "Vials used", *figures]
        figure = Figure(
            f"{quantity} by {len(group)} ways", alt,
            f"{'Percent bias' if word == '%' else 'Bias in points'} of every vial by each way to measure {quantity}; "
            f"hollow marks are left out of the calibration, and what lies beyond 40 {word} stands at the edge.",
            f"{_FORMULA[word == '%']}, before any calibration.",
            "The method that calibrates lies in the band over the whole range.",
            "Which method suits tissue, where more than one compartment decays.",
            svg=draw_comparison(series, tolerance_of(group[0].method.unit), unit, alt), is_wide=True,
        )  # fmt: skip
        out.append({"heading": f"{quantity}: methods compared", "figure": figure, "caption": f"{quantity} by method",
                    "table": table_of("methods", columns, rows, is_simple=True)})  # fmt: skip
    return out


def _quality_table(results: list[MethodResult]):
    rows = []
    for r in results:
        for name, (value, error, own_unit, meaning) in r.quality.items():
            unit, factor = shown_unit(own_unit)
            digits = _digits(factor * value, factor * error)
            rows.append(
                [
                    name,
                    _pair(factor * value, factor * error, digits),
                    "" if unit == "1" else unit,
                    r.method.title,
                    meaning,
                ]
            )
    columns = ["Figure", "Value ± u", "Unit", "From", "What it is"]
    return table_of(
        "scanner", columns, rows, is_simple=True, empty="No fit of this session tells anything of the scanner."
    )


def _scanner_table(maps: list[dict[str, Any]]):
    rows = []
    for m in maps:
        unit, factor = shown_unit(m["unit"])
        cells = [number_cell(format_number(factor * m[k], 4), m[k]) for k in ("reference", "measured", "scanner")]
        off = m["difference_percent"]
        where = (number_cell(str(m[key]), m[key]) for key in ("run", "vial"))
        rows.append([m["quantity"], *where, *cells, number_cell(format_number(off, 2), off), unit])
    columns = ["Quantity", "Run", "Vial", "Reference", "This fit", "Scanner's map", "Scanner − fit [%]", "Unit"]
    return table_of("scanner_maps", columns, rows)


def _scan_table(scans: list[dict[str, Any]]):
    rows = [
        [s["time"], s["suffix"] or "–", verdict_cell(s["disposition"]), Cell(say_reason(s["reason"], 200)),
         number_cell(str(s["n_files"]), s["n_files"]), shorten(s["series_uid"], 24)]
        for s in scans
    ]  # fmt: skip
    return table_of("series", ["Time", "Kind", "Used", "What it is, or why not", "Files", "Series UID"], rows)
