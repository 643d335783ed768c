"""Tables of the statistics that have no section of their own: shown by name, with what they are, in shown units."""

from typing import Any

import pandas as pd

from isocenter.report.dictionary import COLUMNS, TABLES
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, Metric, declared, is_log, times
from isocenter.report.places import visit_page
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of, verdict_cell
from isocenter.report.wording import explain_flags, format_number, is_missing, list_flags, shorten, shown_unit

#: tables that the pages show in sections of their own, or that are about no single quantity
_PLACED = {
    "measurements", "exclusions", "plausibility", "flow", "accounting", "descriptives", "repeatability", "bland_altman",
    "variance_components", "reproducibility", "agreement", "linearity", "harmonization", "power", "qualification",
    "sensitivity", "vials", "calibrations", "control", "checks", "motion", "shim", "scans",
}  # fmt: skip
#: what stands in the page's title already
_LEADING = ("biomarker", "roi", "unit", "scale", "field_strength", "flags")


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
    cells = [
        [_cell(row, column, row_link(name, index, ROOT)) for column in columns] + [_flags(row)]
        for index, row in rows.iterrows()
    ]
    headings = [_heading(column, rows.iloc[0]) for column in columns]
    return table_of(name, [*headings, "Flags"], cells, source=f"{name}.tsv")


def _unit(row: Any, column: str) -> tuple[str, float]:
    """The unit and factor of a column, as the data dictionary has it; "" where it is a word or not known."""
    unit = COLUMNS.get(column, ("", ""))[0]
    if unit == "as limit_unit":
        own = str(row.get("limit_unit", ""))
        return ("%", 1.0) if own in ("percent", "%") else shown_unit(own)
    if unit.startswith("as ") and "squared" not in unit:
        return ("log", 1.0) if is_log(row) else shown_unit(row.get("unit"))
    return unit, 1.0


def _heading(column: str, row: Any) -> str:
    unit = _unit(row, column)[0]
    words = column.replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}" + (f" [{unit}]" if unit else "")


def _cell(row: Any, column: str, href: str) -> Cell:
    value = row[column]
    if column == "verdict":
        return verdict_cell(value, href=href)
    if column == "call":
        return Cell(str(value).replace("_", " "), str(value), href, _CALLS.get(str(value), "none"))
    if column == "participant_id" and "session_to" in row:
        return Cell(str(value), href=ROOT + visit_page(row["site_to"], value, row["session_to"]))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        whole = not is_missing(value) and float(value).is_integer() and column.startswith(("n_", "k", "df"))
        shown = times(value, _unit(row, column)[1])
        return number_cell(format_number(shown, 0 if whole else None), shown, href)
    text = "" if is_missing(value) else str(value)
    return Cell(shorten(text.replace("_", " "), 200))


def _flags(row: Any) -> Cell:
    names = list_flags(row.get("flags"))
    words = ", ".join(shorten(name, 40).replace("_", " ") for name in names)
    return Cell(words, title="; ".join(explain_flags(row.get("flags"), with_remarks=True)))
