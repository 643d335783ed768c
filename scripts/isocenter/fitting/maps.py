"""From a series to a parameter map and the words that go with it."""

from pathlib import Path
from typing import Any

import numpy as np

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, explain
from isocenter.fitting import Fit, fit
from isocenter.fitting.foreground import find_foreground
from isocenter.models import Bound
from isocenter.volume import ParameterMap, Series

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


def fit_series(acquired: Series, model: str, options: dict, threads: int) -> tuple[Bound, Fit]:
    """Bind the model and fit the foreground of a series."""
    chosen = {key: value for key, value in options.items() if key not in FIT_OPTIONS}
    bound = models.get(model).bind(acquired.acquisition, **chosen)
    found = fit(
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
    bound: Bound, found: Fit, acquired: Series, parameter: str, unit: str, plausible_range: list
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


def describe_fit(bound: Bound, acquired: Series, series: list[Path], options: dict) -> dict[str, Any]:
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


def stack_layers(found: Fit) -> tuple[np.ndarray, dict[str, Any]]:
    """All of a fit as one (x, y, z, k) float32 array, and the names and units of its layers.

    The parameters in the model's order, then the root-mean-square residual and the outlier fraction.
    """
    outliers = np.where(np.isfinite(found.residual), found.outliers, np.nan)
    layers = [*(found.value[name] for name in found.parameters), found.residual, outliers]
    names = [*found.parameters, "residual", "outliers"]
    units = [*found.units, "arbitrary", "1"]
    return np.stack(layers, axis=-1).astype(np.float32), {"Parameters": names, "ParameterUnits": units}
