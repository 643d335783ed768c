"""Align the volumes of one series to its reference volume.

Reads   the files of a series in the order of their acquisition values, each with its sidecar
Writes  one 4D image whose sidecar lists those values, a motion table with a row a volume, and a picture of the fit's
        residuals before and after
"""

import logging

import numpy as np
import pandas as pd

from isocenter.errors import ConfigError, explain
from isocenter.figures.alignment import draw_alignment, draw_nothing
from isocenter.io.nifti import read_series, write_bytes
from isocenter.io.outcome import Exclusion
from isocenter.io.series import name_sources, write_excluded_series, write_series
from isocenter.io.tables import write_table
from isocenter.motion import describe_motion, varying_values
from isocenter.registration import METHODS, align_judged
from isocenter.step import Ins, Out, run_step

log = logging.getLogger("isocenter")


def align_series(
    series: Ins,
    *,
    aligned: Out,
    motion: Out,
    figure: Out,
    model: str,
    options: dict,
    method: str,
    limit: float,
    seed: int,
) -> None:
    """Align one series by `method`; by the residual of `model` with its `options` the alignment is judged.

    A volume that moved more than `limit` [mm] is left out.
    """
    if method not in METHODS:
        raise ConfigError(
            explain("Unknown alignment method", expected=" or ".join(METHODS), found=method, remedy="set `align`")
        )
    try:
        moved = read_series(series)
        found = align_judged(moved, method, model=model, options=options, limit=limit, seed=seed)
        picture = draw_alignment(f"{method} alignment for {model}", found)
    except Exception as error:  # one bad series must not stop the others
        write_excluded_series(aligned, Exclusion.from_error("align", error))
        write_table(motion, pd.DataFrame(describe_motion([], [], np.zeros(3))))
        write_bytes(figure, draw_nothing("This series could not be aligned"))
        return
    log.info("%s for %s: %s; %s", method, model, "; ".join(found.alignment.used), found.note)
    table = dict(found.table)
    before, after = found.medians
    # Of the whole series, so that the table of motion says by itself what the alignment did.
    table |= {"residual_before": before, "residual_after": after}
    write_table(
        motion, pd.DataFrame({"volume": table.pop("volume"), **varying_values(moved.acquisition, moved.n), **table})
    )
    write_bytes(figure, picture)
    sidecar = {
        "Sources": name_sources(series),
        "Alignment": method,
        "AlignmentNote": found.note,
        "ResidualBefore": before,
        "ResidualAfter": after,
        "ReferenceVolume": found.alignment.reference,
    }
    if found.alignment.moved is None:  # a later step may interpolate from the scanner's samples itself
        sidecar["Motions"] = found.alignment.matrices
    write_series(aligned, found.series, sidecar)


if __name__ == "__main__":
    run_step(align_series, globals())
