"""Figures of a metric's page beside the main ones: precision along the measurand, and changes of participants."""

import re
from typing import Any

from isocenter.figures.changes import CALLS, draw_changes
from isocenter.figures.palette import STAGES
from isocenter.figures.precision import draw_precision_profile
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, Metric, times
from isocenter.report.places import visit_page
from isocenter.report.tabulate import row_link
from isocenter.report.wording import format_interval, format_number, plural, shorten, shown_unit

#: more changes than this are no picture: the largest are drawn, all stand in the table
MOST_CHANGES = 40
#: ``SD^2 = 0.0009^2 + (0.002 mean)^2``, as the table's method has it
_CURVE = re.compile(r"SD\^2 = (\S+)\^2 \+ \((\S+) mean\)\^2")


def precision_profile(trial: Trial, metric: Metric) -> Figure:
    """How the SD of repeats runs with their level, before and after calibration."""
    rows = metric.rows(trial, "precision_profile")
    unit, factor = shown_unit(rows.iloc[0]["unit"]) if len(rows) else ("", 1.0)
    bins, curves, groups = [], {}, 0
    for index, row in rows.iterrows():
        stage = str(row.get("stage") or "calibrated")
        wsd, low, high, mean = (times(row.get(name), factor) for name in ("wsd", "wsd_low", "wsd_high", "mean"))
        said = f"{stage}, level {format_number(mean)} {unit}: SD {format_interval(wsd, low, high)} {unit}"
        title = f"{said}, {plural(int(row['df']), 'degree')} of freedom"
        bins.append({"stage": stage, "mean": mean, "wsd": wsd, "low": low, "high": high, "title": title,
                     "href": row_link("precision_profile", index, ROOT)})  # fmt: skip
        groups += int(row["n_groups"]) if stage == bins[0]["stage"] else 0
        if curve := _read_curve(row.get("method"), factor):
            curves[stage] = curve
    said = "; ".join(f"{stage} {_describe_curve(*curve, unit)}" for stage, curve in curves.items())
    alt = f"Precision profile of {metric.title}: {said}"
    return Figure(
        f"Precision along the measurand: {metric.title}",
        alt,
        f"Within-subject SD of repeats in bins of about equally many groups of repeats ({groups} in all), with 95 % "
        f"intervals, in {unit}; lines: the curve through all of them ({said}). Hollow squares and dashes: raw.",
        "SD² = a² + (b · level)², weighted as variances are; bins and curve from precision_profile.tsv.",
        "A level line: one SD, and one absolute limit, serves all participants. A line through the origin asks for "
        "percent.",
        "Levels that no participant had; and with few repeats a bin the marks wander: their intervals say how far.",
        svg=draw_precision_profile(bins, curves, unit, alt) if bins else "",
        sources=[("precision_profile.tsv", f"{ROOT}tables/precision_profile.html")],
        empty="" if bins else "Fewer than eight groups of repeats: no profile can be drawn.",
        legend=[(s, STAGES[s], "square" if s == "raw" else "circle") for s in curves if s in STAGES],
    )  # fmt: skip


def _read_curve(method: Any, factor: float) -> tuple[float, float] | None:
    found = _CURVE.match(str(method))
    return (times(found[1], factor), times(found[2], 1.0)) if found else None


def describe_curve(method: Any, unit: str, factor: float) -> str:
    """The curve of a precision profile in the unit that a page shows; another method as it stands."""
    curve = _read_curve(method, factor)
    return f"SD {_describe_curve(*curve, unit)}" if curve else str(method)


def _describe_curve(constant: float, proportional: float, unit: str) -> str:
    parts = []
    if constant > 0 or not proportional > 0:
        parts.append(f"constant {format_number(constant)} {unit}")
    if proportional > 0:
        parts.append(f"{format_number(100 * proportional)} % of the level")
    return " and ".join(parts)


def changes(trial: Trial, metric: Metric) -> Figure:
    """Each participant's change since the first session, against what measurements alone would vary by."""
    rows = metric.rows(trial, "longitudinal", stage="calibrated")
    percent = bool(len(rows)) and str(rows.iloc[0].get("limit_unit")) in ("percent", "%")
    unit, factor = ("%", 1.0) if percent else shown_unit(rows.iloc[0]["unit"]) if len(rows) else ("", 1.0)
    drawn = [_change(index, row, percent, unit, factor) for index, row in rows.iterrows()]
    counts = {call: sum(d["call"] == call for d in drawn) for call in CALLS}
    shown = sorted(drawn, key=lambda d: -abs(d["change"]) if d["change"] == d["change"] else 0.0)[:MOST_CHANGES]
    said = ", ".join(f"{n} {call.replace('_', ' ')}" for call, n in counts.items() if n)
    more = f" The {MOST_CHANGES} largest of {len(drawn)} are drawn." if len(drawn) > MOST_CHANGES else ""
    alt = f"Changes of {plural(len(drawn), 'visit')} of patients in {metric.title}: {said or 'none'}"
    return Figure(
        f"Which single changes are real? {metric.title}",
        alt,
        f"One row per visit of a patient, against the first (n = {len(drawn)}: {said}), in {unit}. Dark: the limit "
        "that measurement variation alone exceeds in 5 % of cases; light: the same by the upper 95 % bound of that "
        f"variation. A diamond beyond the light band is real, a hollow one possible.{more}",
        "Means of sessions, and limits by the components that changed between them, from longitudinal.tsv.",
        "Nothing is good or bad here: a real change is larger than the measurement's own variation.",
        "Why someone changed. Of many people who did not, one in twenty lies beyond the dark band.",
        svg=draw_changes(shown, f"change since the first session [{unit}]", alt) if shown else "",
        sources=[("longitudinal.tsv", f"{ROOT}tables/longitudinal.html")],
        empty=""
        if shown
        else "No patient was measured twice: travelers and volunteers are not judged by their changes.",
        is_wide=True,
    )


def _change(index: int, row: Any, percent: bool, unit: str, factor: float) -> dict[str, Any]:
    change = times(row.get("change_percent" if percent else "change"), factor)
    limit, upper = (times(row.get(name), factor) for name in ("limit", "limit_upper95"))
    # A limit of ratios reaches less far down than up.
    down = [-100 * v / (100 + v) if percent else -v for v in (limit, upper)]
    person = shorten(str(row["participant_id"]), 12)
    where = f"ses-{row['session_from']} to ses-{row['session_to']}"
    return {
        "label": f"sub-{person} {row['session_to']}",
        "change": change, "low": down[0], "high": limit, "low95": down[1], "high95": upper, "call": str(row["call"]),
        "href": ROOT + visit_page(row["site_to"], row["participant_id"], row["session_to"]),
        "title": f"sub-{person}, {where}: {format_number(change)} {unit}; {str(row['call']).replace('_', ' ')}",
    }  # fmt: skip
