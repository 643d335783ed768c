"""Fit a signal model to a series and write one parameter as a map.

Reads a series (one 4D file, or one file per value, each with its sidecar), leaves out air and clipped samples, fits
every voxel, and writes the parameter with its standard error and flag, and all parameters with the residual as one
4D image. A series that cannot be fitted gives maps of one masked voxel whose sidecar says why.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from isocenter import fitting, models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, explain
from isocenter.fitting.foreground import find_foreground
from isocenter.io.nifti import read_series, read_sidecar, write_image, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.step import Ins, Out, run_step
from isocenter.volume import ParameterMap, Series

log = logging.getLogger("isocenter")

#: Sidecar values that travel from the series to its map when they are the same for the whole series.
CARRIED = (
    "Manufacturer",
    "ManufacturersModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "MagneticFieldStrength",
    "RepetitionTime",
    "EchoTime",
    "FlipAngle",
)
#: The options of a biomarker that go to the fit; all others go to the model.
FIT_OPTIONS = ("robust", "noise")


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
            acquired = read_series(series)
            bound, found = fit_series(acquired, model, options, threads)
            fitted = select_parameter(bound, found, acquired, parameter, unit, plausible_range)
            sidecar = describe(bound, acquired, series, options)
            log.info("%s: %d voxels with a value, %d without", model, fitted.ok.sum(), (~fitted.ok).sum())
            write_map(map, fitted, stderr, flag, sidecar)
            write_fit(fit, bound, found, acquired, sidecar)
            return
    except Exception as error:
        exclusion = Exclusion.from_error("fit", error)
    write_excluded_map(map, stderr, flag, exclusion, unit)
    write_image(fit, np.full((1, 1, 1, 1), np.nan, np.float32), np.eye(4), read_sidecar(map))


def fit_series(acquired: Series, model: str, options: dict, threads: int) -> tuple[models.Bound, fitting.Fit]:
    """Bind the model and fit the foreground of a series."""
    chosen = {key: value for key, value in options.items() if key not in FIT_OPTIONS}
    bound = models.get(model).bind(acquired.acquisition, **chosen)
    found = fitting.fit(
        bound,
        acquired.data,
        mask=find_foreground(acquired.data),
        saturation=acquired.saturation,
        threads=threads,
        **{key: options[key] for key in FIT_OPTIONS if key in options},
    )
    if not found.ok.any():
        flags, counts = np.unique(found.flag, return_counts=True)
        raise FitError(
            explain(
                f"No voxel could be fitted with {model}",
                expected="at least one voxel with a value",
                found=", ".join(
                    f"{count} {Flag(number).name.lower()}" for number, count in zip(flags, counts, strict=True)
                ),
                remedy="look at the images of this series",
            )
        )
    return bound, found


def select_parameter(
    bound: models.Bound, found: fitting.Fit, acquired: Series, parameter: str, unit: str, plausible_range: list
) -> ParameterMap:
    """One parameter as a map; a value that nobody should believe becomes NaN, flagged out of range."""
    if parameter not in found.parameters or found.units[found.parameters.index(parameter)] != unit:
        raise ConfigError(
            explain(
                f"The model {bound.model.name} does not give {parameter} in {unit}",
                expected=", ".join(f"{name} [{u}]" for name, u in zip(found.parameters, found.units, strict=True)),
                remedy="mend the biomarker's block in config/biomarkers.yaml",
            )
        )
    low, high = plausible_range
    value, error, flags = found.value[parameter].copy(), found.stderr[parameter].copy(), found.flag.copy()
    flags[found.ok & ((value < low) | (value > high))] = Flag.OUT_OF_RANGE
    value[flags != Flag.OK] = np.nan
    error[flags != Flag.OK] = np.nan
    return ParameterMap(value, error, flags, acquired.affine, unit)


def describe(bound: models.Bound, acquired: Series, series: list[Path], options: dict) -> dict[str, Any]:
    """The sidecar of a map: how it was made and from what."""
    carried = {key: acquired.acquisition[key] for key in CARRIED if key in acquired.acquisition}
    return {
        "EstimationAlgorithm": bound.model.algorithm,
        "EstimationReference": bound.model.reference,
        "Model": bound.model.name,
        "Options": {**bound.options, **options},
        "Sources": [path.name for path in series],
        **carried,
        **bound.acquisition,
    }


def write_fit(path: Path, bound: models.Bound, found: fitting.Fit, acquired: Series, sidecar: dict) -> None:
    """All parameters, then the root-mean-square residual and the outlier fraction, as one 4D image."""
    layers = [found.value[name] for name in found.parameters]
    outliers = np.where(np.isfinite(found.residual), found.outliers, np.nan)
    data = np.stack([*layers, found.residual, outliers], axis=-1).astype(np.float32)
    units = [*found.units, "arbitrary", "1"]
    names = [*found.parameters, "residual", "outliers"]
    write_image(path, data, acquired.affine, {**sidecar, "Parameters": names, "ParameterUnits": units})


if __name__ == "__main__":
    run_step(fit_map, globals())
