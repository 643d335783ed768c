"""From a series to a parameter map and the words that go with it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isocenter import models
from isocenter.entities import Flag, name_several
from isocenter.errors import ConfigError, FitError, SidecarError, explain
from isocenter.fields import fit_volume, is_whole
from isocenter.fitting import Fit
from isocenter.fitting.foreground import find_foreground
from isocenter.fitting.lending import lend_maps
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
#: Samples per slab of slices: what is in the works at once stays at a few hundred megabytes for any volume.
_SLAB_SAMPLES = 16_000_000


def fit_series(
    acquired: Series,
    model: str,
    options: Mapping[str, Any],
    threads: int,
    *,
    mask: np.ndarray | None = None,
    sigma: float | None = None,
    lent: Mapping[str, ParameterMap] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Bound, Fit]:
    """Bind the model and fit a series, slab by slab of slices.

    Parameters
    ----------
    acquired : Series
        A model that has a ``prepare`` gets it first: the average over diffusion directions, or concentrations.
    model, options
        The model's name; its options together with those of the fit (`FIT_OPTIONS`).
    threads : int
        Threads to use.
    mask : (x, y, z) booleans, optional
        Voxels to fit; without it the foreground.
    sigma : float [a.u.], optional
        Known noise of one channel.
    lent : mapping, optional
        Maps of B1 or T1 that the model makes use of, by that name; a voxel that one of them lacks is masked.
    on_progress : callable, optional
        Called with the slices that are done and their number.

    Returns
    -------
    Bound, Fit
        Numbers are float32: the precision of the images that they are written to.

    Raises
    ------
    FitError
        When not one voxel can be fitted.
    """
    chosen = {key: value for key, value in options.items() if key not in FIT_OPTIONS}
    how = {key: options[key] for key in FIT_OPTIONS if key in options}
    known = models.get(model)
    acquired, chosen, has_all = lend_maps(known, acquired, chosen, lent or {})
    images = acquired
    if hasattr(known, "prepare"):
        prepared = known.prepare(acquired, chosen)
        if prepared is not acquired and how.get("noise") == "rician":
            raise FitError(
                explain(
                    "A Rician likelihood is for images as they are, not for their averages or for concentrations",
                    where=f"model {model}",
                    remedy="set the option average to false (ADC), or leave out the Rician noise",
                )
            )
        acquired = prepared
    bound = known.bind(acquired.acquisition, **chosen)
    if bound.n != acquired.n:
        raise SidecarError(
            explain(
                "The sidecar does not match the images",
                where=f"model {model}",
                expected=f"{acquired.n} values of {', '.join(known.needs)}, one per volume",
                found=f"{bound.n} values",
                remedy="mend the sidecar, or give the files that belong to it",
            )
        )
    mask = (find_foreground(_brightest(images.data)) if mask is None else mask) & has_all
    found = _fit_slabs(bound, acquired, mask, how, sigma, threads, on_progress)
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


def _brightest(data: np.ndarray) -> np.ndarray:
    """(x, y, z, 1) array: the largest magnitude over the series, slice by slice to spare memory."""
    out = np.zeros((*data.shape[:3], 1), np.float32)
    for k in range(data.shape[2]):
        magnitude = np.abs(data[:, :, k]) if np.iscomplexobj(data) else data[:, :, k]
        out[:, :, k, 0] = np.max(np.where(np.isfinite(magnitude), magnitude, -np.inf), axis=-1)
    return out


def _fit_slabs(
    bound: Bound,
    acquired: Series,
    mask: np.ndarray,
    how: Mapping[str, Any],
    sigma: float | None,
    threads: int,
    on_progress: Callable[[int, int], None] | None,
) -> Fit:
    shape, slices = acquired.data.shape[:3], acquired.data.shape[2]
    # A robust scale and an unknown Rician noise are shared by all voxels of a call, a field by neighbors: one slab.
    is_pooled = (how.get("robust") is not None or how.get("noise") == "rician") and sigma is None
    depth = slices if is_pooled or is_whole(bound) else max(1, _SLAB_SAMPLES // max(1, shape[0] * shape[1] * bound.n))
    fitted, saturation = _leave_out(bound, np.broadcast_to(acquired.saturation, (bound.n,)))
    whole = None
    for first in range(0, slices, depth):
        slab = slice(first, min(first + depth, slices))
        signal = acquired.data[:, :, slab]
        found = fit_volume(
            _cut(fitted, shape, slab),
            signal if fitted is bound else signal[..., bound.separable.order],
            mask=mask[:, :, slab],
            saturation=saturation,
            sigma=sigma,
            threads=threads,
            spacing=np.linalg.norm(acquired.affine[:3, :3], axis=0),
            **how,
        )
        if whole is None:
            whole = _make_whole(found, shape)
        _paste(whole, found, slab)
        if on_progress is not None:
            on_progress(slab.stop, slices)
    return whole


def _leave_out(bound: Bound, saturation: np.ndarray) -> tuple[Bound, np.ndarray]:
    """The bound model of the samples that it fits, and their saturation: a b-range leaves some out."""
    if bound.separable is None or bound.separable.order.size == bound.n:
        return bound, saturation
    order = bound.separable.order
    separable = replace(bound.separable, order=np.arange(order.size))
    return replace(bound, n=order.size, separable=separable), saturation[order]


def _cut(bound: Bound, shape: tuple[int, ...], slab: slice) -> Bound:
    """The bound model for a slab: constants that vary over the voxels are cut with it."""
    if bound.separable is None or not any(np.ndim(value) for _, value in bound.separable.varying):
        return bound
    varying = tuple(
        (index, np.broadcast_to(value, shape)[:, :, slab] if np.ndim(value) else value)
        for index, value in bound.separable.varying
    )
    return replace(bound, separable=replace(bound.separable, varying=varying))


def _make_whole(found: Fit, shape: tuple[int, ...]) -> Fit:
    empty = {name: np.full(shape, np.nan, np.float32) for name in ("residual", "outliers")}
    return replace(
        found,
        value={name: np.full(shape, np.nan, np.float32) for name in found.parameters},
        stderr={name: np.full(shape, np.nan, np.float32) for name in found.parameters},
        flag=np.full(shape, Flag.MASKED, np.uint8),
        freedom=np.zeros(shape, found.freedom.dtype),
        **empty,
    )


def _paste(whole: Fit, found: Fit, slab: slice) -> None:
    for name in found.parameters:
        whole.value[name][:, :, slab] = found.value[name]
        whole.stderr[name][:, :, slab] = found.stderr[name]
    for name in ("flag", "residual", "outliers", "freedom"):
        getattr(whole, name)[:, :, slab] = getattr(found, name)


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


def describe_fit(bound: Bound, acquired: Series, series: list[Path], options: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar of a map: how it was made and from what."""
    carried = {key: acquired.acquisition[key] for key in CARRIED if key in acquired.acquisition}
    return {
        "EstimationAlgorithm": bound.model.algorithm,
        "EstimationReference": bound.model.reference,
        "Model": bound.model.name,
        "Options": {**bound.options, **options},
        "Sources": [path.name for path in series],
        **carried,
        **name_several(bound.acquisition),
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
