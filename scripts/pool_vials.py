"""Put the vials of all phantom sessions of a site into one table.

Reads   the vials of each session and biomarker (none: the site has no phantom)
Writes  the site's vials.tsv, sorted by biomarker, session and vial
"""

import pandas as pd

from isocenter.io.tables import read_table, write_table
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.step import Ins, Out, run_step


def pool_vials(vials: Ins, *, table: Out) -> None:
    """Pool the vials of one site."""
    columns = list(VIAL_COLUMNS)
    rows = [row for path in vials for row in _read_records(path)]
    pooled = pd.DataFrame(rows, columns=columns)
    write_table(table, pooled.sort_values(["biomarker", "session", "serial", "vial"], kind="stable"))


def _read_records(path) -> list[dict]:
    return read_table(path, required=VIAL_COLUMNS, text=VIAL_TEXT).to_dict("records")


if __name__ == "__main__":
    run_step(pool_vials, globals())
