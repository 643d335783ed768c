"""A phantom's vials measured by one method: voxel by voxel and by the mean signal of each vial, with its curve."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isocenter import models
from isocenter.fitting import fit
from isocenter.fitting.maps import FIT_OPTIONS, fit_series
from isocenter.phantom.library import Geometry, VialReference
from isocenter.phantom.locate import VialLocations
from isocenter.phantom.measure import OFF_SLICE, VialMeasurement, measure_vials
from isocenter.phantom.recovery import judge_recovery
from isocenter.phantom.regions import find_voxels, list_regions, mean_signals
from isocenter.phantom.shared_inversion import share_inversion
from isocenter.volume import ParameterMap, Series

#: Samples of a curve that is drawn.
CURVE_POINTS = 80
#: Magnitudes of single voxels do not tell more fat from less, their mean over a vial does.
AVERAGED = ("pdff_magnitude",)


@dataclass(frozen=True)
class Method:
    """One way to measure a quantity.

    key : names its rows and its calibration; axis : the sidecar key that varies over the series
    is_primary : whether it is the one that calibrates; others stand beside it for comparison
    needs_phase : whether it is fitted to complex images
    """

    key: str
    title: str
    quantity: str
    unit: str
    model: str
    axis: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_primary: bool = True
    needs_phase: bool = False


@dataclass
class MethodResult:
    """What one method found in one run.

    measurements : one a vial, the value that counts
    voxels, means : (v, 2) arrays, value and standard error by the median over voxels and by the mean signal [unit]
    axis : (n,) array, the times [s], angles [deg] or b-values [s/mm²] of the samples
    signals : (v, n) array [a.u.], of complex images the magnitude of the mean
    clipped, left_out : (v, n) booleans, samples that are clipped, that no fit used
    curve_axis, curves : (m,) and (v, m) arrays, the fitted curve
    extra : per-vial arrays by name (B1, inversion efficiency); quality : the scanner's figures, name to
        (value, standard error, unit, what it is)
    notes : what a reader must know of how it was made; record : options to be kept with scanner and protocol
    """

    method: Method
    run: int
    measurements: list[VialMeasurement]
    voxels: np.ndarray
    means: np.ndarray
    axis: np.ndarray
    signals: np.ndarray
    clipped: np.ndarray
    left_out: np.ndarray
    curve_axis: np.ndarray
    curves: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    quality: dict[str, tuple[float, float, str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)


def measure_method(
    method: Method,
    series: Series,
    geometry: Geometry,
    locations: VialLocations,
    reference: list[VialReference],
    *,
    run: int = 1,
    threads: int = 1,
) -> MethodResult:
    """Fit one model to every voxel of the vials and to their mean signals; the voxels' median is what counts."""
    series = prepare_series(method, series)
    locations = replace(locations, voxels=find_voxels(locations.centers, series.affine))
    regions = list_regions(series, locations.centers, geometry)
    _, found = fit_series(series, method.model, method.options, threads, mask=np.any(regions, axis=0))
    parameter = method.quantity
    fitted = ParameterMap(found.value[parameter], found.stderr[parameter], found.flag, series.affine, method.unit)
    return measure_mapped(method, series, fitted, geometry, locations, reference, run=run)


def measure_mapped(
    method: Method,
    series: Series,
    fitted: ParameterMap,
    geometry: Geometry,
    locations: VialLocations,
    reference: list[VialReference],
    *,
    run: int = 1,
) -> MethodResult:
    """The vials in a map that was fitted before, and their mean signals with their curves.

    fitted : of the method's quantity, on the grid of the series, which is as the model's ``prepare`` leaves it
    """
    parameter = method.quantity
    measured, notes = measure_vials(series, fitted, geometry, locations, reference), []
    regions = list_regions(series, locations.centers, geometry)
    signals, clipped = mean_signals(series, regions)
    chosen = {key: value for key, value in method.options.items() if key not in FIT_OPTIONS}
    bound = models.get(method.model).bind(series.acquisition, **chosen)
    mean = fit(bound, np.where(clipped, np.nan, signals))
    if method.model in AVERAGED:
        measured = _take_means(measured, mean.value[parameter], mean.stderr[parameter], mean.residual)
        notes.append(
            "The mean signal of each vial counts: magnitudes of single voxels do not tell more fat from less where "
            "noise is of the size of what tells them apart."
        )
    measured, is_foreign = judge_recovery(method.model, method.options, series, regions, measured, reference)
    extra = {name: mean.value[name] for name in mean.parameters if name not in (parameter, "M0", "S0")}
    if is_foreign.any():  # nor do such vials tell the pulse that all of them share
        extra["inversion_efficiency"] = np.where(is_foreign, np.nan, extra["inversion_efficiency"])
    return MethodResult(
        method,
        run,
        measured,
        np.array([[m.measured, m.stderr] for m in measured]),
        np.column_stack([mean.value[parameter], mean.stderr[parameter]]),
        np.asarray(series.acquisition[method.axis], dtype=float),
        np.abs(signals) if np.iscomplexobj(signals) else signals,
        clipped,
        clipped | ~_seen(method, series, mean.value[parameter]),
        *_trace(method, series, {name: mean.value[name] for name in mean.parameters}),
        extra=extra,
        notes=notes,
    )


def _take_means(
    measured: list[VialMeasurement], value: np.ndarray, stderr: np.ndarray, residual: np.ndarray
) -> list[VialMeasurement]:
    """The vials by the fits of their mean signals, (v,) arrays, where these have a value.

    All means are as noisy: a residual of few echoes that is small by chance makes no standard error smaller.
    """
    typical = float(np.sqrt(np.nanmean(residual**2))) if np.isfinite(residual).any() else np.nan
    error = stderr * np.maximum(1.0, typical / np.maximum(residual, 1e-12))
    taken = []
    for one, own, u in zip(measured, value, error, strict=True):
        if one.flag == "not_found" or not (np.isfinite(own) and u > 0):
            taken.append(one)
            continue
        flag, reason = ("ok", "") if one.flag == "no_value" else (one.flag, one.reason)
        taken.append(replace(one, measured=float(own), stderr=float(u), flag=flag, reason=reason))
    return taken


def apply_shared_inversion(result: MethodResult, series: Series) -> None:
    """One inversion pulse for all vials: their T1 becomes what counts, the pulse a figure of the scanner's quality."""
    acquisition = {k: series.acquisition[k] for k in ("InversionTime", "RepetitionTime") if k in series.acquisition}
    clean = np.where(result.clipped, np.nan, result.signals)
    # A vial that the slice misses shows fluid too, which no pulse explains.
    is_whole = np.array([one.flag != OFF_SLICE for one in result.measurements])
    alone = np.where(is_whole, result.extra["inversion_efficiency"], np.nan)
    shared = share_inversion(acquisition, clean, *result.means.T, alone)
    if shared is None:
        return
    for v, old in enumerate(result.measurements):
        if np.isfinite(shared.t1[v]) and np.isfinite(old.measured):
            result.measurements[v] = replace(
                old, measured=float(shared.t1[v]), stderr=float(max(shared.t1_stderr[v], old.stderr))
            )
    bound = models.get(result.method.model).bind({**acquisition, "InversionTime": result.curve_axis})
    result.curves = bound.predict({"T1": shared.t1, "M0": shared.m0, "inversion_efficiency": shared.own_efficiency})
    result.quality["inversion efficiency"] = (
        shared.efficiency, shared.efficiency_stderr, "1",
        "share of the magnetization that the pulse inverts; 1 is perfect",
    )  # fmt: skip
    result.quality["inversion delay"] = (
        shared.delay, shared.delay_stderr, "s", "how much later than the header's inversion time the recovery starts"
    )  # fmt: skip
    result.notes.append(
        "One pulse inverts all vials: its efficiency and delay come from all of them, T1 and an amplitude from each "
        "vial's mean signal. What each vial says alone, by its voxels and by its mean, stands beside it."
    )


def prepare_series(method: Method, series: Series) -> Series:
    """The series as the model takes it: the average over diffusion directions, or concentrations."""
    model = models.get(method.model)
    return model.prepare(series, dict(method.options)) if hasattr(model, "prepare") else series


def _seen(method: Method, series: Series, value: np.ndarray) -> np.ndarray:
    """(v, n) booleans: samples within the window that the model's second fit keeps."""
    axis = np.asarray(series.acquisition[method.axis], dtype=float)
    seen = np.ones((len(value), axis.size), bool)
    window = models.get(method.model).options.get("window")
    if window:
        for v, t1 in enumerate(value):
            inside = axis <= window * t1
            if np.isfinite(t1) and inside.sum() >= 5:
                seen[v] = inside
    return seen


def _trace(method: Method, series: Series, values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The curve through the samples' axis of every vial; NaN where nothing was fitted."""
    axis = np.asarray(series.acquisition[method.axis], dtype=float)
    dense = np.linspace(axis.min(), axis.max(), CURVE_POINTS)
    options = {k: v for k, v in method.options.items() if k not in ("robust", "noise")}
    acquisition = {k: v for k, v in series.acquisition.items() if np.ndim(v) == 0 or k == method.axis}
    bound = models.get(method.model).bind({**acquisition, method.axis: dense}, **options)
    curves = bound.predict(values)
    return dense, np.abs(curves) if np.iscomplexobj(curves) else curves
