"""Bring a fitted map onto the reference scale of the phantom; the raw map stays beside it.

Reads   a map with its standard error and flag, and the calibration of its scanner and biomarker
Writes  the calibrated map with standard error and flag; the sidecar says which calibration was used
"""

import json
import logging

import numpy as np

from isocenter.calibration import Calibration
from isocenter.calibration.scanners import choose_curve
from isocenter.entities import Flag
from isocenter.errors import CalibrationError, explain
from isocenter.io.nifti import read_map, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.io.series import name_sources
from isocenter.step import In, Out, run_step
from isocenter.volume import ParameterMap

log = logging.getLogger("isocenter")


def calibrate_map(
    map: In,
    stderr: In,
    flag: In,
    calibration: In,
    *,
    calibrated: Out,
    calibrated_stderr: Out,
    calibrated_flag: Out,
    day: float | None = None,
    day_stderr: float = 0.0,
    scanner: str = "",
) -> None:
    """Calibrate one map; a refused calibration leaves its values as they are, and the sidecar says so.

    `scanner` made it: at a site with several only its own curve will do.

    `day` is the scan's, in days since the site's first phantom session, which only a calibration by date needs.
    """
    outputs = (calibrated, calibrated_stderr, calibrated_flag)
    raw, sidecar = read_map(map, stderr, flag)
    excluded = read_exclusion(sidecar)
    if excluded is not None:
        write_excluded_map(*outputs, excluded, raw.unit)
        return
    try:
        curve = choose_curve(json.loads(calibration.read_text(encoding="utf-8")), scanner)
        if curve.unit != raw.unit:
            raise CalibrationError(
                explain("Map and calibration differ in unit", expected=curve.unit, found=raw.unit, where=str(map))
            )
        curve = curve.at(day, day_stderr)
        result, beyond = apply_calibration(curve, raw)
    except Exception as error:  # one bad map must not stop the others
        write_excluded_map(*outputs, Exclusion.from_error("calibrate", error), raw.unit)
        return
    share = float(beyond[result.ok].mean()) if result.ok.any() else 0.0
    log.info("%s: %s, %.1f %% of voxels beyond the vials", curve.biomarker, curve.form, 100 * share)
    used = {
        key: curve.to_dict()[key]
        for key in ("form", "coefficients", "valid_range", "dates", "refused", "reason", "rule")
    }
    extra = {"Calibration": used, "BeyondCalibration": share, "Sources": name_sources([map, calibration])}
    write_map(calibrated, result, calibrated_stderr, calibrated_flag, {**sidecar, **extra})


def apply_calibration(curve: Calibration, raw: ParameterMap) -> tuple[ParameterMap, np.ndarray]:
    """The calibrated map, and (x, y, z) booleans where the raw value lies beyond the vials."""
    value, error, beyond = curve.apply(raw.value, raw.stderr)
    lost = raw.ok & ~(value > 0)
    flag = np.where(lost, np.uint8(Flag.OUT_OF_RANGE), raw.flag)
    value, error = (np.where(lost, np.nan, a).astype(np.float32) for a in (value, error))
    return ParameterMap(value, error, flag, raw.affine, raw.unit), beyond & raw.ok


if __name__ == "__main__":
    run_step(calibrate_map, globals())
