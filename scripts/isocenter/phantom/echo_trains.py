"""T2 of a phantom's vials through the slice profile of pulses that the phantom itself chooses."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import IsocenterError
from isocenter.phantom.library import Geometry, Phantom, VialReference
from isocenter.phantom.locate import VialLocations
from isocenter.phantom.measure import OFF_SLICE, VialMeasurement, tell_cut, tell_undetermined
from isocenter.phantom.places import Place
from isocenter.phantom.pulse_choice import MODEL, PulseChoice, choose_pulses, fit_trains
from isocenter.phantom.pulse_options import describe_pulses
from isocenter.phantom.regions import list_regions, mean_signals
from isocenter.phantom.slice_cut import is_cut
from isocenter.phantom.vial_fits import Method, MethodResult
from isocenter.volume import Series

#: T2, B1, amplitude and background are fitted: with one more echo above the background there is something to check.
LEAST_ECHOES = 5
#: Sidecar keys that the model needs of an echo train.
KEYS = ("EchoTime", "EchoNumber", "RefocusingFlipAngle")


def known_t1(
    phantom: Phantom, serial: str, field_strength: float, temperature: float, place: Place
) -> np.ndarray | None:
    """(v,) array [s]: T1 of the vials of a place, where the phantom's table gives it."""
    try:
        rows = phantom.reference("T1", serial, field_strength, temperature, array=place.geometry.array)
    except (IsocenterError, KeyError):
        return None
    return np.array([row.value for row in rows if row.vial in place.locations.vials])


def read_trains(
    series: Series, geometry: Geometry, locations: VialLocations
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """What pulses are chosen by: the acquisition, (v, n) mean signals [a.u.] of vials and where they do not count."""
    signals, clipped = mean_signals(series, list_regions(series, locations.centers, geometry))
    # What a slice that misses a vial's middle shows is no train of its solution: no pulses are chosen by it.
    left_out = clipped | is_cut(locations)[:, None]
    return {key: series.acquisition[key] for key in KEYS if key in series.acquisition}, signals, left_out


def measure_echo_trains(
    method: Method,
    series: Series,
    geometry: Geometry,
    locations: VialLocations,
    reference: list[VialReference],
    t1: np.ndarray | None,
    *,
    run: int = 1,
    threads: int = 1,
    choice: PulseChoice | None = None,
) -> MethodResult:
    """Choose the pulses by the residual over all vials, and fit every vial with them; the mean signal is what counts.

    t1 : (v,) array [s] of the vials, None where it is not known; it moves T2 by a few percent at most
    choice : of these very vials, where it was made before
    """
    regions = list_regions(series, locations.centers, geometry)
    acquisition, signals, clipped = read_trains(series, geometry, locations)
    clean = np.where(clipped, np.nan, signals)
    if choice is None:
        options = {} if t1 is None else {"t1": np.asarray(t1, dtype=float)}
        choice = choose_pulses(acquisition, clean, options=options, threads=threads)
    voxels, counts = _fit_voxels(acquisition, series, regions, choice, threads)
    measured = [
        VialMeasurement(reference[v].vial, np.nan, np.nan, OFF_SLICE, 0, cut)
        if (cut := tell_cut(locations, v))
        else _judge(v, choice, clean[v], acquisition, reference[v], counts[v])
        for v in range(len(regions))
    ]
    te = np.asarray(series.acquisition["EchoTime"], dtype=float)
    result = MethodResult(
        method, run, measured, voxels, np.column_stack([choice.t2, choice.t2_stderr]), te, signals, clipped, clipped,
        np.sort(te), _trace(acquisition, choice), extra={"B1": choice.chosen.b1, "background": choice.chosen.floor},
    )  # fmt: skip
    b1 = choice.chosen.b1[np.isfinite(choice.chosen.b1)]
    if b1.size:
        spread = float(np.std(b1, ddof=1) / np.sqrt(b1.size)) if b1.size > 1 else float("nan")
        result.quality["B1 of the refocusing"] = (
            float(np.median(b1)), spread, "1", "actual over nominal flip angle, median of the vials; 1 is nominal"
        )  # fmt: skip
    kept = choice.recorded
    best = choice.table[0]["residual"]
    plain = fit_trains(acquisition, clean, {**choice.options, "profile": "none"})
    result.record = {"model": MODEL, "options": kept, "residual": best, "candidates": len(choice.table)}
    left = float(np.sqrt(np.nanmean(plain.residual**2)))
    result.notes = [
        f"Pulses chosen by the residual over the vials, without their reference T2: {describe_pulses(kept)} "
        f"(residual {best:.1f}, with ideal pulses {left:.1f} of the image's units).",
        "The standard error holds the noise, the spread over pulses that explain the phantom about as well, and the "
        "difference that another kind of background below the late echoes makes.",
    ]
    if t1 is not None:
        result.notes.append("T1 of the vials is taken from the phantom's table as a constant of the model.")
    return result


def _fit_voxels(acquisition, series: Series, regions, choice: PulseChoice, threads: int):
    """(v, 2) median T2 and its standard error [s] over the voxels of each vial, and (v,) their numbers."""
    values, counts = np.full((len(regions), 2), np.nan), np.zeros(len(regions), int)
    t1 = np.asarray(choice.options["t1"], dtype=float)

    def fit_vial(v: int) -> None:
        region, b1 = regions[v], choice.chosen.b1[v]
        if not np.isfinite(b1):
            return
        own = {**choice.options, "t1": np.full(int(region.sum()), t1[v]), "b1_bounds": (b1 - 0.05, b1 + 0.05)}
        found = fit_trains(acquisition, series.data[region], own, saturation=series.saturation, is_single=True)
        good = found.flag == Flag.OK
        counts[v] = int(good.sum())
        if counts[v] > 2:
            t2 = found.t2[good]
            scatter = 1.4826 * np.median(np.abs(t2 - np.median(t2)))
            # 1.2533: the median's standard error over the mean's, for normal errors.
            values[v] = np.median(t2), 1.2533 * scatter / np.sqrt(counts[v])

    # Kernels release the interpreter; every vial is by itself.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(fit_vial, range(len(regions))))
    return values, counts


def _judge(v: int, choice: PulseChoice, clean, acquisition, reference: VialReference, n: int) -> VialMeasurement:
    """The vial's value and whether it may calibrate."""
    fits = choice.chosen
    value, stderr = float(choice.t2[v]), float(choice.t2_stderr[v])
    flag, reason = "ok", ""
    n_clipped = int((~np.isfinite(clean)).sum())
    if not np.isfinite(value):
        flag, reason = "no_value", "no train could be fitted"
        if n_clipped > clean.size / 2:
            flag, reason = "clipped", f"{n_clipped} of its {clean.size} echoes are clipped"
    elif fits.has_offset[v]:
        te = np.asarray(acquisition["EchoTime"], dtype=float)
        own = {key: item for key, item in choice.options.items() if key not in ("t1", "offset")}
        bound = models.get(MODEL).bind(acquisition, **own)
        train = bound.predict({"T2": value, "B1": fits.b1[v], "S0": fits.s0[v]})
        n_seen = int(((train > fits.floor[v]) & np.isfinite(clean)).sum())
        if n_seen < LEAST_ECHOES:
            flag = "out_of_range"
            reason = (
                f"{n_seen} echoes stand above the background, from {1e3 * te.min():.0f} ms on: {LEAST_ECHOES} are "
                "needed to tell T2 from it"
            )
    if flag == "ok" and (why := tell_undetermined(value, stderr, "s")):
        flag, reason = "no_value", why
    if flag == "ok" and reference.flag != "ok":
        flag, reason = reference.flag, reference.reason
    return VialMeasurement(reference.vial, value, stderr, flag, n, reason)


def _trace(acquisition, choice: PulseChoice) -> np.ndarray:
    """(v, n) array: the fitted train of every vial at the sorted echo times [a.u.]."""
    fits, t1 = choice.chosen, np.asarray(choice.options["t1"], dtype=float)
    options = {key: value for key, value in choice.options.items() if key not in ("t1", "offset")}
    order = np.argsort(acquisition["EchoTime"], kind="stable")
    in_order = {key: acquisition[key][order] for key in ("EchoTime", "EchoNumber") if np.ndim(acquisition.get(key))}
    bound = models.get(MODEL).bind({**acquisition, **in_order}, **options)
    curves = np.full((len(t1), bound.n), np.nan)
    for v in np.flatnonzero(np.isfinite(fits.t2)):
        train = bound.predict({"T2": fits.t2[v], "B1": fits.b1[v], "S0": fits.s0[v], "T1": t1[v]})
        curves[v] = np.hypot(train, fits.floor[v])
    return curves
