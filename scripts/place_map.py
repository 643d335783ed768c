"""Find where the scan of a lent map lies on the series that the map corrects: a person may have moved in between.

Reads   the series and the magnitude images of the map's scan, of the same run
Writes  the rigid transform from a point of the series to the same point of the person in the map's scan (JSON)
"""

import logging

import numpy as np

from isocenter.dicom.suffixes import is_phase
from isocenter.io.nifti import read_series, read_sidecar, write_json
from isocenter.io.outcome import read_exclusion
from isocenter.registration import place_by_scanner, place_scan
from isocenter.step import Ins, Out, run_step
from isocenter.trouble import raise_trouble
from isocenter.volume import Volume

log = logging.getLogger("isocenter")


def place_map(series: Ins, scan: Ins, *, placement: Out, seed: int) -> None:
    """Place one scan on another; where that fails, they lie where the scanner put them, and the file says why."""
    try:
        lost = next(filter(None, (read_exclusion(read_sidecar(path)) for path in series)), None)
        if lost is not None:
            found = place_by_scanner(f"the series was left out: {lost.reason}")
        else:
            images = read_series([path for path in series if not is_phase(path.name)])
            lent = read_series(scan)
            found = place_scan(_mean(images.data), images.affine, Volume(_mean(lent.data), lent.affine), seed=seed)
    except Exception as error:  # without a placement the map is still where the scanner put it
        raise_trouble(error)
        log.exception("the scans could not be placed")
        found = place_by_scanner(f"the scans could not be placed: {type(error).__name__}: {error}")
    log.info("%s: %s", found.how, found.why)
    write_json(placement, found.describe())


def _mean(data: np.ndarray) -> np.ndarray:
    """The mean of the volumes (x, y, z, n), of those that hold a value."""
    return np.nan_to_num(data).mean(axis=-1)


if __name__ == "__main__":
    run_step(place_map, globals())
