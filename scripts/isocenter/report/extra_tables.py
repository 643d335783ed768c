"""Tables of the statistics that have no section of their own: shown by name, with what they are, in shown units."""

from typing import Any

import pandas as pd

from isocenter.report.course_figures import describe_curve
from isocenter.report.dictionary import COLUMNS, TABLES
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, Metric, declared, is_log, root_of, sd_unit, times
from isocenter.report.places import visit_page
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of, verdict_cell
from isocenter.report.wording import (
    ABSENT,
    explain_flags,
    format_interval,
    format_number,
    is_missing,
    list_flags,
    shorten,
    shown_unit,
)

#: tables that the pages show in sections of their own, or that are about no single quantity
_PLACED = {
    "measurements", "exclusions", "plausibility", "flow", "accounting", "descriptives", "repeatability", "bland_altman",
    "variance_components", "reproducibility", "agreement", "linearity", "harmonization", "power", "qualification",
    "sensitivity", "vials", "calibrations", "control", "checks", "motion", "shim", "scans",
}  # fmt: skip
#: what stands in the page's title already
_LEADING = ("biomarker", "roi", "unit", "scale", "field_strength", "flags")


#: what a column is called, where its name is not what a reader would say
_HEADINGS = {
    "n": "n", "df": "df", "ccc": "CCC", "tdi": "TDI", "tdi_upper95": "TDI, one-sided upper 95 %", "wsd": "wSD",
    "wcv": "wCV", "fitted_wsd": "wSD of the curve", "n_groups": "Groups of repeats", "n_subjects": "Subjects",
    "n_sites": "Sites", "variance": "SD",
    "error_variance": "SD that errors explain", "share": "Share of the variance", "probability": "Share within",
    "limit_upper95": "Limit, one-sided upper 95 %", "z": "z", "p": "p",
}  # fmt: skip
#: variances are shown as the SDs that the page speaks of elsewhere
_VARIANCES = ("variance", "error_variance")
_WHOLE = ("n_", "k", "df", "bin")
#: what colors the call of a single change: none of them is good or bad
_CALLS = {"real": "warn", "possible": "none", "within_variation": "pass"}


def list_extra_tables(trial: Trial, metric: Metric) -> list[tuple[str, str, Table]]:
    """(title, what it is, the table) of every further table that has rows about the metric."""
    found = []
    for name, table in trial.tables.items():
        if name in _PLACED or not {"biomarker", "roi"} <= set(table.columns):
            continue
        rows = declared(trial, metric, name)
        if len(rows):
            title = name.replace("_", " ").capitalize()
            found.append((title, TABLES.get(name, ""), _table(name, rows)))
    return found


def _table(name: str, rows: pd.DataFrame) -> Table:
    columns = [c for c in rows.columns if c not in _LEADING and not rows[c].map(is_missing).all()]
    # An estimate and the ends of its interval are one column.
    ends = {f"{c}_{end}" for c in columns for end in ("low", "high") if {f"{c}_low", f"{c}_high"} <= set(columns)}
    columns = [c for c in columns if c not in ends]
    cells = [
        [_cell(row, column, row_link(name, index, ROOT)) for column in columns] + [_flags(row)]
        for index, row in rows.iterrows()
    ]
    headings = [_heading(column, rows.iloc[0]) for column in columns]
    return table_of(name, [*headings, "Flags"], cells, source=f"{name}.tsv")


def _unit(row: Any, column: str) -> tuple[str, float]:
    """The unit and factor of a column, as the data dictionary has it; "" where it is a word or not known."""
    if column in _VARIANCES:
        return sd_unit(row)
    if column == "wcv":
        return "%", 100.0
    unit = COLUMNS.get(column, ("", ""))[0]
    if unit == "as limit_unit":
        own = str(row.get("limit_unit", ""))
        return ("%", 1.0) if own in ("percent", "%") else shown_unit(own)
    if unit.startswith("as ") and "squared" not in unit:
        return ("log", 1.0) if is_log(row) else shown_unit(row.get("unit"))
    return unit, 1.0


def _heading(column: str, row: Any) -> str:
    unit = _unit(row, column)[0]
    words = _HEADINGS.get(column, column.replace("_", " "))
    unit = "" if unit == "count" else unit
    interval = ", 95 % CI" if f"{column}_low" in row and f"{column}_high" in row else ""
    return f"{words[:1].upper() if column not in _HEADINGS else words[:1]}{words[1:]}" + (
        f" [{unit}]" if unit else ""
    ) + interval  # fmt: skip


def _cell(row: Any, column: str, href: str) -> Cell:
    value = row[column]
    if column == "verdict":
        return verdict_cell(value, href=href)
    if column == "call":
        return Cell(str(value).replace("_", " "), str(value), href, _CALLS.get(str(value), "none"))
    if column == "participant_id" and "session_to" in row:
        return Cell(str(value), href=ROOT + visit_page(row["site_to"], value, row["session_to"]))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if is_missing(value):
            return Cell(ABSENT, is_number=True)
        unit, factor = _unit(row, column)
        if column in _VARIANCES:
            shown = root_of(value) * factor
            return number_cell(format_number(shown), shown, href)
        shown, low, high = (times(row.get(name), factor) for name in (column, f"{column}_low", f"{column}_high"))
        if not is_missing(low) and not is_missing(high):
            return number_cell(format_interval(shown, low, high), shown, href)
        whole = float(value).is_integer() and (unit == "count" or column.startswith(_WHOLE))
        return number_cell(format_number(shown, 0 if whole else None), shown, href)
    text = "" if is_missing(value) else str(value)
    if column == "method":
        text = describe_curve(text, *shown_unit(row.get("unit")))
    if column == "contrast":
        text = text.replace(" - ", " − ")
    return Cell(shorten(text.replace("_", " "), 200))


def _flags(row: Any) -> Cell:
    names = list_flags(row.get("flags"))
    words = ", ".join(shorten(name, 40).replace("_", " ") for name in names)
    return Cell(words, title="; ".join(explain_flags(row.get("flags"), with_remarks=True)))
