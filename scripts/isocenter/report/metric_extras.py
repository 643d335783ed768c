"""More of a metric's page: before and after, drift of the phantoms, other analyses, every value with its way back."""

import datetime
from typing import Any

import numpy as np

from isocenter.figures.alternatives import draw_alternatives
from isocenter.figures.drift import draw_drift
from isocenter.figures.palette import site_styles, state_of
from isocenter.figures.phantom import shown_bias
from isocenter.figures.profiles import draw_profiles
from isocenter.report.derive import COLUMNS
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metric_figures import MAX_POINTS, legend_of, persons
from isocenter.report.metrics import ROOT, Metric, is_log, sd_unit, show_coefficient, times
from isocenter.report.phantom_limits import find_limit
from isocenter.report.places import value_link
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of
from isocenter.report.wording import (
    VERDICT_WORDS,
    format_number,
    format_plus_minus,
    plural,
    shorten,
    shown_unit,
)
from isocenter.statistics.verdict import MINIMUM_DF

#: more people than this in one drawing of lines cannot be told apart
MAX_PEOPLE = 40


def profiles(trial: Trial, metric: Metric) -> Figure:
    """Means of each person at each site, before and after calibration."""
    rows = persons(trial, metric)
    unit, factor = shown_unit(rows.iloc[0]["unit"]) if len(rows) else ("", 1.0)
    sites = sorted(set(rows["site"])) if len(rows) else []
    people: dict[str, dict] = {}
    counts = rows.groupby("participant_id")["site"].nunique() if len(rows) else {}
    chosen = sorted(person for person, n in dict(counts).items() if n >= 2)
    for person in chosen[:MAX_PEOPLE]:
        own = rows[rows["participant_id"] == person]
        people[person] = {stage: _means(own, column, stage, factor, unit) for stage, column in COLUMNS.items()}
    spreads = {stage: _spread(people, stage) for stage in COLUMNS}
    said = f"{format_number(spreads['raw'])} % before and {format_number(spreads['calibrated'])} % after calibration"
    alt = f"Means of {plural(len(people), 'participant')} at {plural(len(sites), 'site')}: they span {said}"
    more = f" The first {MAX_PEOPLE} of {len(chosen)} are drawn." if len(chosen) > MAX_PEOPLE else ""
    return Figure(
        f"The same people at every site, before and after: {metric.title}",
        alt,
        f"One line per participant seen at two sites or more (n = {len(people)}): the mean over the visits at each "
        f"site, in {unit}. One person's site means span {said}, in the mean over participants.{more}",
        "Means of value and raw_value over sessions and runs, from measurements.tsv; span: largest less smallest mean "
        "of a person, over their average.",
        "On the right the lines are level and keep their distance: sites agree, people stay different.",
        "Whether the level is true: lines may be level and all wrong. The phantom shows that.",
        svg=draw_profiles(people, sites, unit, site_styles(list(people)), alt) if people else "",
        sources=[("measurements.tsv", f"{ROOT}tables/measurements.html")],
        empty="" if people else "No participant was seen at two sites.",
        legend=legend_of(list(people)) if len(people) <= 8 else [],
        is_wide=True,
    )


def _means(own: Any, column: str, stage: str, factor: float, unit: str) -> dict[str, dict]:
    found = {}
    for site, group in own[np.isfinite(own[column].to_numpy(float))].groupby("site"):
        value = float(group[column].mean()) * factor
        title = f"sub-{group.iloc[0]['participant_id']} at {site}, {stage}: {format_number(value)} {unit}, mean of "
        title += plural(len(group), "value")
        found[str(site)] = {"value": value, "title": title, "href": value_link(group.iloc[0], ROOT)}
    return found


def _spread(people: dict[str, dict], stage: str) -> float:
    spans = []
    for stages in people.values():
        values = [p["value"] for p in stages[stage].values()]
        if len(values) >= 2 and np.mean(values):
            spans.append(100 * (max(values) - min(values)) / abs(float(np.mean(values))))
    return float(np.mean(spans)) if spans else float("nan")


def drift(trial: Trial, metric: Metric) -> Figure:
    """Mean bias of every phantom session of the trial over time, a line a scanner."""
    table = trial.rows("control", biomarker=metric.biomarker, quantity="bias")
    unit = shown_bias(shown_unit(trial.biomarkers.get(metric.biomarker, {}).get("unit", ""))[0])
    dates = {index: day for index, text in table.get("date", {}).items() if (day := _date(text)) is not None}
    start = min(dates.values()) if dates else None
    points = []
    for index, row in list(table.iterrows())[:MAX_POINTS]:
        if index not in dates:
            continue
        value = times(row["value"], 1)
        name = f"{row['site']} {row['scanner']}" if row["scanner"] != row["site"] else str(row["site"])
        points.append(
            {
                "day": float((dates[index] - start).days), "value": value, "error": 1.96 * times(row["stderr"], 1),
                "scanner": name, "state": str(row["state"]), "href": row_link("control", index, ROOT),
                "title": shorten(f"{name}, session {row['session']}, {row['date']}: {format_number(value)} {unit}; "
                                 f"{row['state']}", 140),
            }
        )  # fmt: skip
    names = sorted({p["scanner"] for p in points})
    rules = trial.settings.get("phantom_rules", [])
    band, moved = (find_limit(rules, name, metric.biomarker) for name in ("max_abs_percent_bias", "drift_percent"))
    allowed = f" Band: ±{band:g} {unit}, which the protocol allows any vial." if np.isfinite(band) else ""
    if np.isfinite(moved):
        allowed += f" Sessions of one scanner may differ by {moved:g} %."
    n_out = sum(p["state"] == "out" for p in points)
    label = f"mean bias of the vials [{unit}]"
    n_judged = sum(p["state"] != "too few sessions" for p in points)
    state = f"{plural(n_out, 'session')} out of control" if n_out else "none out of control"
    state = state if n_judged else "too few sessions for limits"
    alt = f"Mean phantom bias of {metric.biomarker} over time, {plural(len(names), 'scanner')}, {state}"
    return Figure(
        f"Phantom over time: {metric.biomarker}",
        alt,
        f"Mean bias of the vials in each phantom session (n = {len(points)}), before calibration, one line per "
        f"scanner; bars ±1.96 standard errors; hollow: out of control ({state}).{allowed}",
        "Mean over the vials of measured less reference, from control.tsv; limits and events are on the sites' pages.",
        "Level lines. A constant distance from zero is what calibration removes; a slope or a jump is what it cannot.",
        "What happened between two sessions, and errors that a phantom does not have.",
        svg=draw_drift(points, label, band, site_styles(names), alt) if points else "",
        sources=[("control.tsv", f"{ROOT}tables/control.html")],
        empty="" if points else "No phantom session of this biomarker has a date and a bias.",
        legend=legend_of(names) if len(names) <= 8 else [],
    )


def _date(text: object) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(str(text))
    except ValueError:
        return None


def alternatives(trial: Trial, metric: Metric) -> Figure:
    """The decision under every analysis that shares its unit."""
    found = metric.rows(trial, "sensitivity")
    decided = metric.rows(trial, "qualification")
    log = len(decided) and str(decided.iloc[0].get("scale")) == "log"
    rows, unit = [], ""
    for _, r in found.iterrows():
        if bool(log) != is_log(r):  # another scale has another unit: it stands in the table
            continue
        unit = sd_unit(r)[0]
        estimate, upper = (show_coefficient(r, c) for c in ("estimate", "upper95"))
        word = VERDICT_WORDS.get(str(r["verdict"]), str(r["verdict"]) or "none")
        label = str(r["analysis"]).replace("_", " ")
        title = f"{label}: {format_number(estimate)} {unit}, upper bound {format_number(upper)} {unit}; {word}"
        state = state_of(r["verdict"])
        row = {"label": label, "estimate": estimate, "upper": upper, "state": state, "word": word, "title": title}
        rows.append(row)
    delta = float("nan")
    if len(decided):
        delta = times(decided.iloc[0].get("delta"), shown_unit(decided.iloc[0].get("unit"))[1])
    alt = "The decision under other analyses: " + "; ".join(r["title"] for r in rows)
    return Figure(
        f"The decision under other analyses: {metric.title}",
        alt,
        f"Estimate (ring) and one-sided upper 95 % bound (end of the bar) of the deciding coefficient, one row "
        f"per analysis (n = {len(rows)}); the line is the change that matters. A bar left of it may still be "
        f"indeterminate: with fewer than {MINIMUM_DF} degrees of freedom no verdict is given. Other scales stand in "
        "the table below.",
        "The same engine with one thing changed, from sensitivity.tsv.",
        "All bars end on one side of the line, and the words at the right agree: no single site or choice carries the "
        "verdict.",
        "Choices that no analysis here has varied.",
        svg=draw_alternatives(rows, delta, unit, alt) if rows else "",
        sources=[("sensitivity.tsv", f"{ROOT}tables/sensitivity.html")],
        empty="" if rows else "No other analysis was run.",
        is_wide=True,
    )


def value_table(trial: Trial, metric: Metric) -> Table:
    """Every value of the metric, each leading to where it comes from."""
    rows, unit = [], ""
    found = persons(trial, metric)
    for index, r in found.head(MAX_POINTS).iterrows():
        unit, factor = shown_unit(r.get("unit"))
        href = value_link(r, ROOT)
        rows.append(
            [
                str(r["site"]), str(r.get("scanner", "")), str(r["participant_id"]), str(r["session"]), str(r["run"]),
                *(_plus_minus(r, value, error, factor, href)
                  for value, error in (("value", "stderr"), ("raw_value", "raw_stderr"))),
                Cell(shorten(r.get("calibration", ""), 40)),
                Cell("row", href=row_link("measurements", index, ROOT)),
            ]
        )  # fmt: skip
    columns = [
        "Site", "Scanner", "Participant", "Session", "Run", f"Value ± SE [{unit}]", f"Before calibration ± SE [{unit}]",
        "Calibration", "In the file",
    ]  # fmt: skip
    table = table_of("values", columns, rows, source="measurements.tsv", empty="Nothing was measured.")
    table.n_total = len(found)
    return table


def _plus_minus(row: Any, value: str, error: str, factor: float, href: str) -> Cell:
    shown, se = times(row.get(value), factor), times(row.get(error), factor)
    return number_cell(format_plus_minus(shown, se), shown, href)
