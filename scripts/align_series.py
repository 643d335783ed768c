"""Align the volumes of one series to its reference volume.

Reads   the files of a series in the order of their acquisition values, each with its sidecar
Writes  one 4D image whose sidecar lists those values, and a motion table with a row a volume
"""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from isocenter.errors import ConfigError, explain
from isocenter.io.nifti import read_series
from isocenter.io.outcome import Exclusion
from isocenter.io.series import name_sources, write_excluded_series, write_series
from isocenter.io.tables import write_table
from isocenter.motion import describe_motion, resample_series
from isocenter.registration import Alignment, align_volumes
from isocenter.step import Ins, Out, run_step
from isocenter.volume import Series

METHODS = ("rigid", "none")
#: What may vary over a series, as named in sidecars; those that do stand in the motion table.
AXES = ("InversionTime", "EchoTime", "FlipAngle", "RepetitionTime", "RepetitionTimeExcitation")
log = logging.getLogger("isocenter")


def align_series(series: Ins, *, aligned: Out, motion: Out, model: str, method: str, seed: int) -> None:
    """Align one series by `method` (``rigid``, or ``none``); `model` is the signal model that it will be fitted by."""
    if method not in METHODS:
        raise ConfigError(
            explain("Unknown alignment method", expected=" or ".join(METHODS), found=method, remedy="set `align`")
        )
    try:
        moved = read_series(series)
        alignment = _find_motion(moved, method, seed)
        still = replace(moved, data=resample_series(moved.data, moved.saturation, alignment.matrices, moved.affine))
        table = describe_motion(alignment.matrices, alignment.used, alignment.center)
    except Exception as error:  # one bad series must not stop the others
        write_excluded_series(aligned, Exclusion.from_error("align", error))
        write_table(motion, pd.DataFrame(describe_motion([], [], np.zeros(3))))
        return
    varying = {key: moved.acquisition[key] for key in AXES if np.shape(moved.acquisition.get(key)) == (moved.n,)}
    log.info("%s for %s: %s", method, model, "; ".join(alignment.used))
    write_table(motion, pd.DataFrame({"volume": table.pop("volume"), **varying, **table}))
    write_series(
        aligned,
        still,
        {"Sources": name_sources(series), "Alignment": method, "ReferenceVolume": alignment.reference},
    )


def _find_motion(series: Series, method: str, seed: int) -> Alignment:
    if method == "none":
        return Alignment([np.eye(4)] * series.n, ["not aligned"] * series.n, 0, np.zeros(3))
    inversion_time = series.acquisition.get("InversionTime")
    return align_volumes(series.data, series.affine, inversion_time=inversion_time, seed=seed)


if __name__ == "__main__":
    run_step(align_series, globals())
