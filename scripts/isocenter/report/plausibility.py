"""Whether tissues are in their order, scan by scan: what a page shows of ``plausibility.tsv``."""

from typing import Any

from isocenter.regions.order import HOLDS, VIOLATED, describe_violation
from isocenter.report.gather import Trial
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of
from isocenter.report.wording import format_number, format_plus_minus, name_roi, plural, shown_unit

#: the state that colors an order
STATES = {VIOLATED: "fail", HOLDS: "pass"}


def list_doubts(trial: Trial, site: str | None = None) -> list[str]:
    """One sentence a violated order, of a site or of all."""
    rows = trial.rows("plausibility", order=VIOLATED, **({} if site is None else {"site": site}))
    return [describe_violation(row) for row in rows.to_dict("records")]


def order_table(trial: Trial, site: str, root: str) -> Table:
    """The pairs of a site whose order does not hold beyond doubt: violated ones first."""
    found = trial.rows("plausibility", site=site)
    n = len(found)
    empty = (
        f"All {plural(n, 'pair')} of values are in their order." if n else "No two values of a scan can be compared."
    )
    return order_rows(found[found["order"] != HOLDS] if n else found, root, empty)


def order_rows(found: Any, root: str, empty: str = "No two values of a scan can be compared.") -> Table:
    """Pairs of values with their order, violated ones first."""
    rows = []
    for index, row in sorted(found.iterrows(), key=lambda pair: (pair[1]["order"] != VIOLATED, pair[0])):
        who = f"sub-{row['participant_id']} ses-{row['session']} run-{row['run']}"
        rows.append(
            [
                Cell(row["order"], state=STATES.get(row["order"], "warn"), href=row_link("plausibility", index, root)),
                Cell(who, is_kept=True),
                Cell(name_roi(row["rule"])),
                *(_value_cell(row, end) for end in ("lower", "upper")),
                number_cell(format_number(row["z"], 1), row["z"]),
            ]
        )
    columns = ["Order", "Scan", "Rule", "Should be lower", "Should be higher", "Difference over its SE"]
    return table_of("plausibility", columns, rows, source="plausibility.tsv", empty=empty)


def _value_cell(row: Any, end: str) -> Cell:
    unit, factor = shown_unit(row["unit"])
    value, stderr = factor * row[end], factor * row[f"{end}_stderr"]
    what = f"{row[f'{end}_biomarker']} {name_roi(row[f'{end}_roi'])}"
    return number_cell(f"{what}: {format_plus_minus(value, stderr)} {unit}", value)
