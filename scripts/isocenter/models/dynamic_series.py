"""A dynamic series as the DCE models need it: tissue concentration [mM], and an arterial input.

A series of signal becomes one of concentration through T1 before the contrast agent and the relaxivity (see
`concentration`). Whether a series is signal or concentration is said, never guessed: the option `relaxivity`, or
"Units": "mM" in the sidecar; a series that has a flip angle and says neither is refused. The input comes from the
sidecar, a table, a population, or from a region over an artery, whose concentration is averaged.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models.arterial_input import average_region
from isocenter.models.base import Model, read_constant, read_options
from isocenter.models.concentration import concentration_from_signal
from isocenter.models.tracer_uptake import CONCENTRATION_UNITS, check_options
from isocenter.volume import Series

#: The key under which a region over an artery (x, y, z) comes with a series.
REGION = "ArterialInputRegion"
#: No spoiled gradient echo waits longer between excitations [s]; RepetitionTime above it is that of a volume.
_LONGEST_TR = 0.5


def prepare_dynamic(model: Model, acquired: Series, options: Mapping[str, Any]) -> Series:
    """A series of concentrations [mM] whose acquisition holds the arterial input.

    acquired : Series
        Signal [a.u.] or concentration [mM]. Its acquisition may hold T1 (x, y, z) [s], B1 (a map or a number),
        FlipAngle [deg], RepetitionTimeExcitation [s] (or a RepetitionTime of at most 0.5 s), and `REGION`.
    options : mapping
        Those of the model.

    Raises
    ------
    ConfigError, SidecarError
        When it is not said what the series holds, or something is missing that the conversion needs.
    """
    options = check_options(model, read_options(model, options))
    acquisition = dict(acquired.acquisition)
    region = acquisition.pop(REGION, None)
    relaxivity = options["relaxivity"]
    is_concentration = acquisition.get("Units") in CONCENTRATION_UNITS
    if is_concentration and relaxivity is not None:
        raise ConfigError(
            explain(
                "The series is concentration already",
                where=f"model {model.name}",
                found=f"Units {acquisition['Units']} in the sidecar, and the option relaxivity",
                remedy="leave out relaxivity",
            )
        )
    if not is_concentration and relaxivity is None and acquisition.get("FlipAngle") is not None:
        raise SidecarError(
            explain(
                f"It is not said whether the series is signal or concentration, for the model {model.name}",
                expected='the option relaxivity [1/s/mM] for signal, "Units": "mM" in the sidecar for concentration',
                found=f"Units {acquisition.get('Units', 'absent')}, and a FlipAngle",
                remedy="give --option relaxivity=..., baseline=... and t1=... (or a T1 map)",
            )
        )
    data, t1 = acquired.data, None
    if relaxivity is not None:
        convert = _read_conversion(model, acquisition, options, acquired.n)
        t1 = acquisition.get("T1", options["t1"])
        if t1 is None:
            raise SidecarError(
                explain(
                    "T1 before the contrast agent is not known",
                    where=f"model {model.name}",
                    expected="a map of T1 [s], or the option t1 [s]",
                    remedy="acquire variable flip angles; a T1 that is assumed makes Ktrans wrong in proportion",
                )
            )
        data = _convert(acquired, convert, t1)
    if region is not None:
        acquisition["ArterialInputFunction"] = _measure_input(model, acquired, data, region, options, acquisition)
    for key in ("T1", "B1") if relaxivity is not None else ():
        acquisition.pop(key, None)
    if relaxivity is None and region is None:
        return acquired
    return Series(data, acquired.affine, {**acquisition, "Units": "mM"})


def _read_conversion(
    model: Model, acquisition: Mapping[str, Any], options: Mapping[str, Any], n: int
) -> dict[str, Any]:
    """The keywords of `concentration_from_signal`, but for T1."""
    key = "RepetitionTimeExcitation" if acquisition.get("RepetitionTimeExcitation") is not None else "RepetitionTime"
    tr = read_constant(model, acquisition, key, np.nan, unit="s")
    angle = read_constant(model, acquisition, "FlipAngle", np.nan, unit="deg")
    if not tr <= _LONGEST_TR or not np.isfinite(angle):
        raise SidecarError(
            explain(
                f"{'FlipAngle' if tr <= _LONGEST_TR else 'RepetitionTimeExcitation'} is missing or unusable",
                where=f"model {model.name}",
                expected=f"FlipAngle [deg] and RepetitionTimeExcitation [s], at most {_LONGEST_TR:g} s",
                found=f"FlipAngle {acquisition.get('FlipAngle', 'absent')}, {key} {acquisition.get(key, 'absent')}",
                remedy="check the DICOM header of the series; the value is never guessed",
            )
        )
    given = options["baseline"]
    pair = [0, given] if isinstance(given, int) and not isinstance(given, bool) else given
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(value) is int for value in pair)
    if not is_pair or not 0 <= pair[0] < pair[1] < n:
        raise ConfigError(
            explain(
                "The frames before the contrast agent are not known",
                where=f"model {model.name}, option baseline",
                expected=f"their number, or [first, one after the last], within {n} frames counted from 0",
                found="nothing" if given is None else given,
            )
        )
    b1 = acquisition.get("B1", 1.0)
    return {
        "baseline": slice(*pair),
        "relaxivity": float(options["relaxivity"]),
        "repetition_time": tr,
        "flip_angle": angle,
        "b1": np.asarray(b1, dtype=float),
    }


def _convert(acquired: Series, convert: Mapping[str, Any], t1: Any) -> np.ndarray:
    """(x, y, z, n) float32 array [mM], slice by slice; NaN for clipped samples and where there is no concentration."""
    shape = acquired.data.shape
    t1, b1 = (np.broadcast_to(np.asarray(value, dtype=float), shape[:3]) for value in (t1, convert["b1"]))
    found = np.empty(shape, np.float32)
    for k in range(shape[2]):
        signal = np.where(acquired.data[:, :, k] < acquired.saturation, acquired.data[:, :, k], np.nan)
        found[:, :, k] = concentration_from_signal(signal, t1=t1[:, :, k], **{**convert, "b1": b1[:, :, k]})
    return found


def _measure_input(
    model: Model,
    acquired: Series,
    data: np.ndarray,
    region: np.ndarray,
    options: Mapping[str, Any],
    acquisition: Mapping[str, Any],
) -> np.ndarray:
    """(n,) array [mM], whole blood: the mean concentration over a region of an artery."""
    if options["hematocrit"] is None:
        raise ConfigError(
            explain(
                "An artery holds whole blood, and the hematocrit is not stated",
                where=f"model {model.name}",
                expected="the option hematocrit, a fraction (0.42 in adults where it was not measured)",
            )
        )
    if acquisition.get("ArterialInputFunction") is not None or options["arterial_input"] is not None:
        raise ConfigError(
            explain(
                "There are two arterial inputs", expected="one", found="a region, and another", remedy="leave one out"
            )
        )
    inside = np.asarray(region, dtype=bool)
    if options["relaxivity"] is None:
        blood = data[inside]
    else:
        t1 = options["t1_blood"]
        if t1 is None and acquisition.get("T1") is None:
            raise ConfigError(
                explain(
                    "T1 of blood is not known",
                    where=f"model {model.name}",
                    expected="the option t1_blood [s] (about 1.4 at 1.5 T, 1.6 at 3 T), or a map of T1",
                )
            )
        convert = _read_conversion(model, acquisition, options, acquired.n)
        every = {"b1": convert["b1"], "t1": acquisition.get("T1") if t1 is None else t1}
        local = {key: np.broadcast_to(np.asarray(v, dtype=float), inside.shape)[inside] for key, v in every.items()}
        signal = np.where(acquired.data[inside] < acquired.saturation, acquired.data[inside], np.nan)
        blood = concentration_from_signal(signal, **{**convert, **local})
    mean, _ = average_region(blood, np.ones(len(blood), bool), hematocrit=0.0)
    return mean
