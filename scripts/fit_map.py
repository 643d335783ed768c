"""Fit a signal model to a series and write one parameter as a map.

Reads a series (one 4D file, or one file per value, each with its sidecar), leaves out air and clipped samples, fits
every voxel, and writes the parameter with its standard error and flag, and all parameters with the residual as one
4D image. A series that cannot be fitted gives maps of one masked voxel whose sidecar says why.
"""

import logging

import numpy as np

from isocenter.fitting.maps import describe_fit, fit_series, select_parameter, stack_layers
from isocenter.io.nifti import read_sidecar, write_image, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.io.series import read_parts
from isocenter.step import Ins, Out, run_step

log = logging.getLogger("isocenter")


def fit_map(
    series: Ins,
    *,
    map: Out,
    stderr: Out,
    flag: Out,
    fit: Out,
    model: str,
    parameter: str,
    unit: str,
    options: dict,
    plausible_range: list,
    threads: int = 1,
) -> None:
    """Fit `model` to a series and write `parameter` [unit]; values outside `plausible_range` are flagged."""
    try:
        exclusion = next(filter(None, (read_exclusion(read_sidecar(path)) for path in series)), None)
        if exclusion is None:
            acquired = read_parts(series)
            bound, found = fit_series(acquired, model, options, threads)
            fitted = select_parameter(bound, found, acquired, parameter, unit, plausible_range)
            sidecar = describe_fit(bound, acquired, series, options)
            log.info("%s: %d voxels with a value, %d without", model, fitted.ok.sum(), (~fitted.ok).sum())
            write_map(map, fitted, stderr, flag, sidecar)
            layers, names = stack_layers(found)
            write_image(fit, layers, acquired.affine, {**sidecar, **names})
            return
    except Exception as error:
        exclusion = Exclusion.from_error("fit", error)
    write_excluded_map(map, stderr, flag, exclusion, unit)
    write_image(fit, np.full((1, 1, 1, 1), np.nan, np.float32), np.eye(4), read_sidecar(map))


if __name__ == "__main__":
    run_step(fit_map, globals())
