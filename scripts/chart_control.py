"""Chart a site's phantom sessions over time: limits, averages, and what is out of control.

Reads   the site's vials.tsv, the scanners in its scans.tsv and the events of its site.yaml
Writes  control.tsv, one row a scanner, biomarker, quantity and session
"""

import logging

import pandas as pd

from isocenter.documents import read_document
from isocenter.entities import Disposition, Kind
from isocenter.io.tables import read_table, write_table
from isocenter.phantom.control import chart_sessions
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.step import In, Out, run_step

log = logging.getLogger("isocenter")

#: Columns of ``scans.tsv`` that stay text: "01" is not 1.
SCAN_TEXT = ("kind", "session", "disposition", "scanner")


def chart_control(vials: In, scans: In, site: In, *, control: Out) -> None:
    """Chart every scanner and biomarker."""
    measured = read_table(vials, required=VIAL_COLUMNS, text=VIAL_TEXT)
    scanners = find_scanners(read_table(scans, text=SCAN_TEXT))
    table = chart_sessions(measured, read_document(site, "site").get("events", []), scanners)
    log.info("%d sessions charted, %d out of control", len(table), (table["state"] == "out").sum())
    write_table(control, table)


def find_scanners(scans: pd.DataFrame) -> dict[str, str]:
    """The scanner of each phantom session; where there were several their names are joined by a plus sign."""
    used = scans[(scans["kind"] == Kind.PHANTOM) & (scans["disposition"] == Disposition.USED)]
    return {session: "+".join(sorted(set(names))) for session, names in used.groupby("session")["scanner"]}


if __name__ == "__main__":
    run_step(chart_control, globals())
