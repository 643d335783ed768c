"""The vials of a phantom that a trial's workflow fitted: read from its map, or as `isocenter phantom` reads them.

A map is fitted voxel by voxel, as a person's is. What the vials of one session share tells more: one inversion pulse
for all of them, and the pulses of an echo train with the background below its late echoes (decision 0034).
"""

import numpy as np

from isocenter.errors import IsocenterError
from isocenter.phantom.echo_trains import measure_echo_trains
from isocenter.phantom.library import VialReference
from isocenter.phantom.measure import measure_vials
from isocenter.phantom.places import Place
from isocenter.phantom.pulse_choice import PulseChoice
from isocenter.phantom.recovery import judge_recovery
from isocenter.phantom.regions import list_regions, mean_signals
from isocenter.phantom.vial_fits import Method, MethodResult, apply_shared_inversion, measure_mapped, prepare_series
from isocenter.volume import ParameterMap, Series

#: What may vary over a series, by sidecar key.
AXES = ("InversionTime", "EchoTime", "FlipAngle", "DiffusionBValue", "RepetitionTimeExcitation", "FrameTimesStart")


def find_axis(series: Series) -> str:
    """The sidecar key that varies over a series; "" where none of :data:`AXES` does."""
    several = (key for key in AXES if np.size(series.acquisition.get(key, 0.0)) == series.n > 1)
    return next((key for key in several if np.ptp(np.asarray(series.acquisition[key], dtype=float)) > 0), "")


def measure_mapped_vials(
    method: Method,
    series: Series,
    fitted: ParameterMap,
    place: Place,
    reference: list[VialReference],
    *,
    run: int = 1,
    choice: PulseChoice | None = None,
    shares_inversion: bool = False,
    with_curves: bool = True,
) -> MethodResult:
    """Measure every vial of a place.

    Parameters
    ----------
    method : Method
        How the map was fitted.
    series, fitted : Series, ParameterMap
        What it was fitted to, and the map.
    place, reference
        Where the vials lie, and what they should read, in the same order.
    run : int
        Of the scan.
    choice : PulseChoice, optional
        Of these very vials; then their mean signals count, fitted with the chosen pulses.
    shares_inversion : bool
        One inversion pulse for all vials, where the model fits its efficiency.
    with_curves : bool
        Fit the mean signals, to show how well the model describes each vial.
    """
    if choice is not None:
        t1 = np.asarray(choice.options["t1"], dtype=float)
        return measure_echo_trains(
            method, series, place.geometry, place.locations, reference, t1, run=run, choice=choice
        )
    if with_curves:
        try:
            prepared = prepare_series(method, series)
            result = measure_mapped(method, prepared, fitted, place.geometry, place.locations, reference, run=run)
        except IsocenterError as error:
            result = _measure_without_curves(method, series, fitted, place, reference, run)
            result.notes.append(f"The mean signals could not be fitted: {error}")
        else:
            if shares_inversion and "inversion_efficiency" in result.extra:
                apply_shared_inversion(result, prepared)
        return result
    return _measure_without_curves(method, series, fitted, place, reference, run)


def _measure_without_curves(method, series, fitted, place: Place, reference, run: int) -> MethodResult:
    """The map's values, with the mean signals but no curve through them."""
    measured = measure_vials(series, fitted, place.geometry, place.locations, reference)
    regions = list_regions(series, place.locations.centers, place.geometry)
    signals, clipped = mean_signals(series, regions)
    measured, _ = judge_recovery(method.model, method.options, series, regions, measured, reference)
    axis = np.asarray(series.acquisition.get(method.axis, np.arange(series.n)), dtype=float)
    nothing = np.full((len(measured), 2), np.nan)
    return MethodResult(
        method, run, measured, np.array([[m.measured, m.stderr] for m in measured]), nothing.copy(), axis, signals,
        clipped, clipped, np.array([axis.min(), axis.max()]), nothing,
    )  # fmt: skip
