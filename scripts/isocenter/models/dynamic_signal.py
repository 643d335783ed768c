"""From the images of a dynamic series to what the DCE models fit: tissue concentration, and an arterial input.

A DCE model fits concentration. Where its options state a relaxivity, the series is signal, and is turned into
concentration first (see `concentration`); where they state an input, it becomes the ArterialInputFunction.

options  relaxivity [1/s/mM]: r1 of the contrast agent; none: the series holds concentration [mM] already
         t1 [s]: T1 before contrast, the same for all voxels; a T1 map of the same scan goes before it
         baseline [s]: frames that begin earlier than this after the first are before contrast; none: the arrival
         arrival [s after the first frame]: when the bolus reaches the artery, the zero of an input's own times
         input: a population average (`constants`, `hematocrit`: a name of config/arterial_input.yaml stands for them)
         or a table (`times` [s after the first frame], `concentration` [mM])
         hematocrit [1]: of an input in whole blood; a population average brings one of its own
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models.arterial_input import predict_population
from isocenter.models.base import Model, read_axis, read_constant, read_options
from isocenter.models.concentration import concentration_from_signal
from isocenter.volume import Series

#: Options that the DCE models have for their signal and their input.
SIGNAL_OPTIONS: dict[str, Any] = {"relaxivity": None, "t1": None, "baseline": None, "arrival": 0.0, "input": None}
#: A population's bolus is narrow: it is sampled this densely [s], whatever the frames.
_INPUT_STEP = 0.5
_LONGEST_TR = 0.5


def prepare_dynamic(model: Model, acquired: Series, options: Mapping[str, Any]) -> Series:
    """The series as the model fits it: concentration [mM], with the input that the options state.

    Parameters
    ----------
    model : Model
        A DCE model.
    acquired : Series
        Signal [a.u.] or concentration [mM] over FrameTimesStart [s]; maps of T1 [s] and B1 [1] among its acquisition
        are taken where they are given.
    options : mapping
        The model's options.

    Returns
    -------
    Series
        NaN where no concentration explains the sample, or where the sample is clipped.

    Raises
    ------
    ConfigError
        When signal comes without a T1 or a baseline, or an input is neither population nor table.
    SidecarError
        When the times, TR or flip angle are missing.
    """
    options = read_options(model, options)
    times = read_axis(model, acquired.acquisition, "FrameTimesStart", positive=False)
    acquisition = {**acquired.acquisition}
    if options["input"] is not None:
        acquisition |= _read_input(model, options, times)
    if options["relaxivity"] is None:
        return Series(acquired.data, acquired.affine, acquisition, acquired.saturation)
    data = np.full(acquired.data.shape, np.nan, np.float32)
    t1, b1 = _read_t1(model, acquisition, options), acquisition.get("B1", 1.0)
    sequence = {
        "baseline": _find_baseline(model, options, times),
        "relaxivity": options["relaxivity"],
        "repetition_time": _read_repetition(model, acquisition),
        "flip_angle": read_constant(model, acquisition, "FlipAngle", np.nan, unit="deg"),
    }
    clipped = np.broadcast_to(acquired.saturation, (acquired.n,))
    for k in range(data.shape[2]):  # slice by slice, to spare memory
        signal = acquired.data[:, :, k]
        data[:, :, k] = concentration_from_signal(
            np.where(signal < clipped, signal, np.nan), t1=_at(t1, k), b1=_at(b1, k), **sequence
        )
    return Series(data, acquired.affine, {**acquisition, "Units": "mM"})


def _at(value: Any, k: int) -> Any:
    return value[:, :, k] if np.ndim(value) == 3 else value


def _read_t1(model: Model, acquisition: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """A map (x, y, z) [s], or the number [s] of the options."""
    t1 = acquisition.get("T1", options["t1"])
    if t1 is None or not np.any(np.asarray(t1, dtype=float) > 0):
        raise ConfigError(
            explain(
                f"The model {model.name} needs T1 before contrast to turn signal into concentration",
                expected="a T1 map of the same run (uses_maps), or the option t1 [s]",
                found="neither" if t1 is None else t1,
                remedy="name the biomarker of T1 in uses_maps, or state t1 in the options",
            )
        )
    return t1


def _read_repetition(model: Model, acquisition: Mapping[str, Any]) -> float:
    """The interval between excitations [s]."""
    key = "RepetitionTimeExcitation" if acquisition.get("RepetitionTimeExcitation") is not None else "RepetitionTime"
    found = read_constant(model, acquisition, key, np.nan, unit="s")
    if not found <= _LONGEST_TR:
        raise SidecarError(
            explain(
                "RepetitionTimeExcitation is unusable to turn signal into concentration",
                expected=f"the time between excitations [s], at most {_LONGEST_TR:g}",
                found="nothing" if np.isnan(found) else found,
                remedy="check the DICOM header of the series; the value is never guessed",
            )
        )
    return found


def _find_baseline(model: Model, options: Mapping[str, Any], times: np.ndarray) -> np.ndarray:
    """(n,) booleans: the frames before contrast."""
    end = options["arrival"] if options["baseline"] is None else options["baseline"]
    frames = times - times.min() < end
    if not frames.any():
        raise ConfigError(
            explain(
                f"The model {model.name} does not know which frames come before contrast",
                expected="the option baseline (or arrival) [s after the first frame], above 0",
                found=end,
            )
        )
    return frames


def _read_input(model: Model, options: Mapping[str, Any], times: np.ndarray) -> dict[str, Any]:
    """ArterialInputTimes [s] and ArterialInputFunction [mM], whole blood, on the clock of the frames."""
    given = options["input"]
    if isinstance(given, Mapping) and "constants" in given:
        axis = np.arange(times.min(), times.max() + _INPUT_STEP, _INPUT_STEP)
        arrival = times.min() + options["arrival"]
        blood = predict_population(axis, given["constants"], hematocrit=0.0, arrival=arrival)
        return {"ArterialInputTimes": axis, "ArterialInputFunction": blood}
    if isinstance(given, Mapping) and {"times", "concentration"} <= set(given):
        axis = np.asarray(given["times"], dtype=float) + times.min()
        if axis[-1] < times.max():
            raise ConfigError(
                explain(
                    "The table of the arterial input ends before the series",
                    where=f"model {model.name}, option input",
                    expected=f"times until {times.max() - times.min():g} s after the first frame",
                    found=f"{axis[-1] - times.min():g} s",
                )
            )
        return {"ArterialInputTimes": axis, "ArterialInputFunction": np.asarray(given["concentration"], dtype=float)}
    raise ConfigError(
        explain(
            f"The option input of the model {model.name} is unusable",
            expected="a name of config/arterial_input.yaml in a biomarker's block, or a table of times [s] and "
            "concentration [mM]",
            found=given,
        )
    )


def hematocrit_of(options: Mapping[str, Any]) -> float | None:
    """The hematocrit that is stated, else the one that a population average brings; None: the input is plasma."""
    given = options.get("input")
    own = given.get("hematocrit") if isinstance(given, Mapping) and "constants" in given else None
    return own if options["hematocrit"] is None else options["hematocrit"]
