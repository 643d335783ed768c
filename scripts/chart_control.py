"""Chart a site's phantom sessions over time: limits, averages, and what is out of control.

Reads   the site's vials.tsv and the events of its site.yaml
Writes  control.tsv, one row a scanner, biomarker, quantity and session
"""

import logging

from isocenter.documents import read_document
from isocenter.io.tables import read_table, write_table
from isocenter.phantom.control import chart_sessions
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.step import In, Out, run_step

log = logging.getLogger("isocenter")


def chart_control(vials: In, site: In, *, control: Out, scanners: dict) -> None:
    """Chart every scanner and biomarker; `scanners` says by which scanner each phantom session was made."""
    measured = read_table(vials, required=VIAL_COLUMNS, text=VIAL_TEXT)
    events = read_document(site, "site").get("events", [])
    table = chart_sessions(measured, events, scanners)
    log.info("%d sessions charted, %d out of control", len(table), (table["state"] == "out").sum())
    write_table(control, table)


if __name__ == "__main__":
    run_step(chart_control, globals())
