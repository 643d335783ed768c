"""All sessions in one table: what was measured in each, what was left out, and what to look at."""

from typing import Any

from isocenter.regions.order import VIOLATED
from isocenter.report.places import VISITS, visit_page
from isocenter.report.tabulate import Cell, Table, number_cell, table_of
from isocenter.report.visit_index import Visit, VisitIndex
from isocenter.report.wording import format_number, is_missing


def list_context(index: VisitIndex) -> dict[str, Any]:
    """What ``visits/index.html`` shows."""
    return {"listing": visit_table(index), "sites_counted": index.counts()}


def visit_table(index: VisitIndex) -> Table:
    """A row a session."""
    columns = [
        "Site", "Participant", "Session", "Scanner", "Runs", "Values", "Values with a flag", "Left out",
        "Largest motion [mm]", "Orders violated",
    ]  # fmt: skip
    rows = [_row(index, visit) for visit in index.visits]
    return table_of(
        "sessions", columns, rows, source="measurements.tsv", empty="No session of a participant was measured."
    )


def _row(index: VisitIndex, visit: Visit) -> list[Any]:
    values = index.of("measurements", visit)
    runs = set(values.get("run", [])) | {run for found in index.runs.get(visit, {}).values() for run in found}
    flagged = sum(
        any(not is_missing(row.get(column)) for column in ("flags", "calibrated_flag")) for _, row in values.iterrows()
    )
    order = index.of("plausibility", visit)
    violated = int((order["order"] == VIOLATED).sum()) if len(order) else 0
    moved = [float(t["displacement_mm"].abs().max()) for t in index.motions[visit].values() if "displacement_mm" in t]
    largest = max(moved, default=float("nan"))
    page = visit_page(*visit).removeprefix(f"{VISITS}/")
    scanners = ", ".join(sorted({str(s) for s in values.get("scanner", []) if not is_missing(s)}))
    return [
        Cell(visit[0], href=f"../sites/{visit[0]}.html"),
        Cell(f"sub-{visit[1]}", href=page),
        Cell(f"ses-{visit[2]}", href=page),
        Cell(scanners),
        _count(len(runs)),
        _count(len(values), "fail" if not len(values) else ""),
        _count(flagged, "warn" if flagged else ""),
        _count(len(index.of("exclusions", visit)), "warn" if len(index.of("exclusions", visit)) else ""),
        number_cell(format_number(largest, 2), largest),
        _count(violated, "fail" if violated else ""),
    ]


def _count(n: int, state: str = "") -> Cell:
    return Cell(str(n), str(n), state=state, is_number=True)
