"""How tissue takes up a tracer: the arterial input convolved with one exponential, for the DCE models.

    uptake(t) = integral of Cp(s) exp(-kep (t - delay - s)) ds  up to t - delay   [mM min]

The input is a polynomial between its samples (straight lines, or monotone cubics where the delay is fitted), for
which the convolution is exact and runs forward from sample to sample: one exponential a step, none where the steps are
equal. The slopes with respect to log kep and to the delay come in the same pass. Times are minutes in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models.arterial_input import predict_population
from isocenter.models.base import Model, Parameter, read_axis, read_options
from isocenter.models.compiled import kernel

#: Options that all uptake models share; their meaning is in the card of each.
OPTIONS: dict[str, Any] = {
    "delay": 0.0,
    "delay_limits": (-10.0, 30.0),
    "hematocrit": None,
    "interpolation": None,
    "arterial_input": None,
    "arrival": None,
    "relaxivity": None,
    "t1": None,
    "t1_blood": None,
    "baseline": None,
}
#: Acquisition keys that the models take where they are given.
USES = ("ArterialInputTimes", "T1", "B1", "FlipAngle", "RepetitionTimeExcitation")
_SECONDS = 60.0
#: Spacing [s] at which a population's input is laid out.
_FINE = 0.5
#: What the sidecar of a series of concentrations says under Units.
CONCENTRATION_UNITS = ("mM", "mmol/L", "mmol/l")
#: Numbers in front of the knots in `constants`: how many knots, whether the delay is fitted, the fixed delay [min].
_HEAD = 3
#: A fitted delay needs to see the input rise from (nearly) nothing.
_LARGEST_START = 0.05


@dataclass(frozen=True)
class Input:
    """An arterial input bound to the times of the tissue samples.

    times : (n,) array [s], ascending; order : (n,) integers, from the caller's samples to those
    concentration : (m,) array [mM], plasma; input_times : (m,) array [s]
    constants : (k,) array for the kernels; is_delay_fitted : whether the delay is one of the searched coordinates
    delay_parameters : the reported delay, or nothing; options : what is in force
    """

    times: np.ndarray
    order: np.ndarray
    concentration: np.ndarray
    input_times: np.ndarray
    constants: np.ndarray
    is_delay_fitted: bool
    delay_parameters: tuple[Parameter, ...]
    options: dict[str, Any]

    @property
    def acquisition(self) -> dict[str, Any]:
        """What the model used, in the caller's order of samples."""
        times = np.empty(self.times.size)
        times[self.order] = self.times
        return {
            "FrameTimesStart": times,
            "ArterialInputTimes": self.input_times,
            "ArterialInputFunction": self.concentration,
        }

    @property
    def delay_nodes(self) -> np.ndarray:
        """Starting values [s] of a fitted delay: the first pass of a bolus lasts about ten seconds."""
        low, high = self.options["delay_limits"]
        return np.linspace(low, high, max(int(np.ceil((high - low) / 2.0)), 2) + 1)

    def predict(self, rate: np.ndarray, delay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Uptake [mM min] and input [mM], (..., n) each in the caller's order, for rates [1/min] and delays [s]."""
        rate, delay = np.broadcast_arrays(np.asarray(rate, dtype=float), np.asarray(delay, dtype=float))
        found = np.empty((2, rate.size, self.times.size))
        flat_rate, flat_delay = np.ascontiguousarray(rate.reshape(-1)), np.ascontiguousarray(delay.reshape(-1))
        predict_uptakes(flat_rate, flat_delay / _SECONDS, self.times / _SECONDS, self.constants, found)
        back = np.empty_like(found)
        back[..., self.order] = found
        uptake, arrived = back.reshape(2, *rate.shape, self.times.size)
        return uptake, arrived


@kernel
def integrate_powers(x, powers):
    """Write the integrals of (1 - s)^r exp(-x s) over s from 0 to 1, for r = 0, 1, ..."""
    last = powers.size - 1
    if x < 1.0:
        # The closed form cancels: a series for the highest power, then downward, which is stable.
        term = 1.0 / (last + 1)
        total = term
        for i in range(1, 18):
            term *= -x / (last + 1 + i)
            total += term
        powers[last] = total
        for r in range(last, 0, -1):
            powers[r - 1] = (1.0 - x * powers[r]) / r
    else:
        powers[0] = -np.expm1(-x) / x
        for r in range(1, last + 1):
            powers[r] = (1.0 - r * powers[r - 1]) / x


@kernel
def _advance(uptake, slope, rate, step, decay, powers, polynomial, j):
    """Uptake and its slope with respect to log(rate), `step` minutes after knot j."""
    x = rate * step
    gain = 0.0
    bend = 0.0
    scale = step
    for r in range(4):
        a = polynomial[r, j] * scale
        gain += a * powers[r]
        bend += a * (powers[r] - powers[r + 1])
        scale *= step
    return decay * uptake + gain, decay * (slope - x * uptake) - x * bend


@kernel
def trace_uptake(rate, delay, times, constants, uptake, slope, arrived, rise):
    """Follow the uptake of one tissue through the knots of the input.

    rate : [1/min]; delay : [min]; times : (n,) ascending [min]; constants : see `bind_input`
    uptake : (n,) [mM min], slope : its slope with respect to log(rate), arrived : (n,) input at the tissue [mM], rise :
    its slope in time [mM/min]; all written
    """
    m = int(constants[0])
    knots = constants[_HEAD : _HEAD + m]
    polynomial = constants[_HEAD + m : _HEAD + 5 * m].reshape(4, m)
    whole = np.empty(5)
    part = np.empty(5)
    whole_step = -1.0
    part_step = -1.0
    whole_decay = 1.0
    part_decay = 1.0
    b = 0.0
    db = 0.0
    j = 0
    for i in range(times.size):
        u = times[i] - delay
        if not u >= knots[0]:
            uptake[i] = slope[i] = arrived[i] = rise[i] = 0.0
            continue
        while j + 1 < m and knots[j + 1] <= u:
            step = knots[j + 1] - knots[j]
            # Equal steps but for their last bits share their integrals.
            if abs(step - whole_step) > 1e-11 * step:
                integrate_powers(rate * step, whole)
                whole_decay = np.exp(-rate * step)
                whole_step = step
            b, db = _advance(b, db, rate, step, whole_decay, whole, polynomial, j)
            j += 1
        step = u - knots[j]
        uptake[i] = b
        slope[i] = db
        if step > 0.0:
            if abs(step - part_step) > 1e-11 * step:
                integrate_powers(rate * step, part)
                part_decay = np.exp(-rate * step)
                part_step = step
            uptake[i], slope[i] = _advance(b, db, rate, step, part_decay, part, polynomial, j)
        arrived[i] = polynomial[0, j] + step * (polynomial[1, j] + step * (polynomial[2, j] + step * polynomial[3, j]))
        rise[i] = polynomial[1, j] + step * (2.0 * polynomial[2, j] + step * 3.0 * polynomial[3, j])


@kernel
def fill_uptake(rate, rate_index, theta, times, constants, basis, slope):
    """Write the basis (uptake [, input]) and its slopes.

    rate : [1/min]; rate_index : the place of log(rate) in theta, -1 where the rate is fixed; the delay [s] comes last
    """
    q, n = basis.shape
    rise = np.empty(n)
    by_rate = np.empty(n)
    arrived = np.empty(n)
    has_delay = constants[1] > 0.0
    delay = constants[2]
    if has_delay:
        delay = theta[theta.size - 1] / _SECONDS
    trace_uptake(rate, delay, times, constants, basis[0], by_rate, arrived, rise)
    for i in range(n):
        if q == 2:
            basis[1, i] = arrived[i]
        if rate_index >= 0:
            slope[rate_index, 0, i] = by_rate[i]
            if q == 2:
                slope[rate_index, 1, i] = 0.0
        if has_delay:
            last = theta.size - 1
            slope[last, 0, i] = (rate * basis[0, i] - arrived[i]) / _SECONDS
            if q == 2:
                slope[last, 1, i] = -rise[i] / _SECONDS


@kernel
def predict_uptakes(rate, delay, times, constants, out):
    """Uptake and input (2, v, n) of v tissues with their rates (v,) [1/min] and delays (v,) [min]."""
    slope = np.empty(times.size)
    rise = np.empty(times.size)
    for v in range(rate.size):
        if np.isfinite(rate[v]) and np.isfinite(delay[v]):
            trace_uptake(rate[v], delay[v], times, constants, out[0, v], slope, out[1, v], rise)
        else:
            out[:, v] = np.nan


def bind_input(model: Model, acquisition: Mapping[str, Any], options: Mapping[str, Any]) -> Input:
    """Read times, arterial input and options of an uptake model.

    acquisition : FrameTimesStart (n,) [s]; ArterialInputFunction (m,) [mM]; ArterialInputTimes (m,) [s], without which
        m = n and the input was sampled with the tissue

    Raises
    ------
    SidecarError
        When a key is missing, lengths differ, a time stands twice, or a fitted delay cannot see the input rise.
    ConfigError
        When an option is unknown or unusable.
    """
    options = check_options(model, read_options(model, options))
    times = read_axis(model, acquisition, "FrameTimesStart", positive=False)
    if options["relaxivity"] is not None and acquisition.get("Units") not in CONCENTRATION_UNITS:
        raise ConfigError(
            explain(
                f"The model {model.name} is bound to concentrations, and relaxivity says that the series is signal",
                expected='signal turned into concentration first, and "Units": "mM"',
                found=f"Units {acquisition.get('Units', 'absent')}",
                remedy="use isocenter.models.concentration.concentration_from_signal, or fit the series",
            )
        )
    if options["arterial_input"] is not None:
        acquisition, options = _take_population(model, acquisition, options, times)
    concentration = read_axis(model, acquisition, "ArterialInputFunction", positive=False)
    given = acquisition.get("ArterialInputTimes")
    input_times = times if given is None else read_axis(model, acquisition, "ArterialInputTimes", positive=False)
    if concentration.size != input_times.size:
        raise SidecarError(
            explain(
                f"The arterial input does not match its times, for the model {model.name}",
                expected=f"{input_times.size} concentrations",
                found=concentration.size,
                remedy="sample the input with the tissue, or give ArterialInputTimes [s]",
            )
        )
    for key, axis in (("FrameTimesStart", times), ("ArterialInputTimes", input_times)):
        if np.unique(axis).size != axis.size:
            raise SidecarError(explain(f"{key} names a time twice", expected="a time of its own for each sample"))
    if options["hematocrit"] is not None:
        concentration = concentration / (1.0 - options["hematocrit"])
    rank = np.argsort(input_times, kind="stable")
    order = np.argsort(times, kind="stable")
    is_fitted = options["delay"] == "fit"
    fixed = 0.0 if is_fitted else options["delay"]
    if is_fitted and abs(concentration[rank[0]]) > _LARGEST_START * np.abs(concentration).max():
        raise SidecarError(
            explain(
                f"The arterial input starts in the midst of the bolus, so the model {model.name} cannot fit a delay",
                expected=f"a first sample below {_LARGEST_START:.0%} of the peak",
                found=f"{concentration[rank[0]]:.3g} of {np.abs(concentration).max():.3g} mM",
                remedy="begin the input before the bolus arrives, or fix the option delay [s]",
            )
        )
    knots, polynomial = _interpolate(
        input_times[rank] / _SECONDS,
        concentration[rank],
        is_smooth=options["interpolation"] == "cubic",
        has_ramp=is_fitted or fixed != 0.0,
    )
    low, high = options["delay_limits"]
    head = [knots.size, float(is_fitted), fixed / _SECONDS]
    meaning = "how much later the bolus reaches the tissue than the place of the arterial input"
    return Input(
        times=times[order],
        order=order,
        concentration=concentration,
        input_times=input_times,
        constants=np.concatenate([head, knots, polynomial.reshape(-1)]),
        is_delay_fitted=is_fitted,
        delay_parameters=(Parameter("delay", "s", low, high, meaning),) if is_fitted else (),
        options=options,
    )


def _take_population(
    model: Model, acquisition: Mapping[str, Any], options: dict[str, Any], times: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The acquisition with a population's whole blood as its input, and the options with the hematocrit in force."""
    block = options["arterial_input"]
    if not isinstance(block, Mapping) or not {"constants", "hematocrit"} <= set(block):
        raise ConfigError(
            explain(
                f"The option arterial_input of the model {model.name} is unusable",
                expected="a block of config/arterial_input.yaml: constants and hematocrit",
                found=block,
            )
        )
    if options["arrival"] is None:
        raise ConfigError(
            explain(
                "A population's arterial input needs the time at which the bolus arrives",
                where=f"model {model.name}",
                expected="the option arrival [s], on the axis of FrameTimesStart",
                remedy="read it off the enhancement of an artery; the option delay: fit takes up what is left",
            )
        )
    if acquisition.get("ArterialInputFunction") is not None:
        raise ConfigError(
            explain(
                "There are two arterial inputs",
                expected="the option arterial_input, or a measured one",
                found="both",
                remedy="leave one out",
            )
        )
    # Bolus and recirculation last seconds: much finer than frames, and from before the bolus on.
    fine = np.arange(min(times.min(), options["arrival"]) - 1.0, times.max() + 1.0, _FINE)
    blood = predict_population(fine, block["constants"], hematocrit=0.0, arrival=options["arrival"])
    hematocrit = block["hematocrit"] if options["hematocrit"] is None else options["hematocrit"]
    given = {"ArterialInputTimes": fine, "ArterialInputFunction": blood}
    return {**acquisition, **given}, {**options, "hematocrit": hematocrit}


def _interpolate(
    knots: np.ndarray, values: np.ndarray, *, is_smooth: bool, has_ramp: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Knots (m,) and the polynomial (4, m) after each: lowest power first, constant after the last knot.

    Before the first knot the input is zero. Where samples may look there (a delay), a straight rise over one step
    avoids a jump.
    """
    if has_ramp and values[0] != 0.0:
        knots = np.concatenate([[2 * knots[0] - knots[1]], knots])
        values = np.concatenate([[0.0], values])
    polynomial = np.zeros((4, knots.size))
    polynomial[0] = values
    if is_smooth:
        from scipy.interpolate import PchipInterpolator  # a third of a second, which only these models need

        polynomial[:, :-1] = PchipInterpolator(knots, values).c[::-1]
    else:
        polynomial[1, :-1] = np.diff(values) / np.diff(knots)
    return knots, polynomial


def check_options(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """The options with numbers as numbers and the interpolation decided; ConfigError when one is unusable."""

    def refuse(name: str, expected: str) -> ConfigError:
        return ConfigError(
            explain(f"The option {name} of the model {model.name} is unusable", expected=expected, found=options[name])
        )

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))

    if options["delay"] != "fit" and not is_number(options["delay"]):
        raise refuse("delay", 'a number of seconds, or "fit"')
    limits = options["delay_limits"]
    is_pair = isinstance(limits, list | tuple) and len(limits) == 2 and all(is_number(value) for value in limits)
    if not is_pair or not limits[0] < limits[1]:
        raise refuse("delay_limits", "two numbers of seconds, ascending")
    hematocrit = options["hematocrit"]
    if hematocrit is not None and not (is_number(hematocrit) and 0.0 <= hematocrit < 1.0):
        raise refuse("hematocrit", "a fraction from 0 to below 1, or none for an input that is plasma already")
    for name, unit in (("relaxivity", "1/s/mM"), ("t1", "s"), ("t1_blood", "s")):
        if options[name] is not None and not (is_number(options[name]) and options[name] > 0.0):
            raise refuse(name, f"a positive number [{unit}], or none")
    if options["arrival"] is not None and not is_number(options["arrival"]):
        raise refuse("arrival", "a number of seconds, or none")
    if options["interpolation"] not in (None, "linear", "cubic"):
        raise refuse("interpolation", "linear or cubic")
    is_fitted = options["delay"] == "fit"
    return {
        **options,
        "delay": "fit" if is_fitted else float(options["delay"]),
        "delay_limits": (float(limits[0]), float(limits[1])),
        # A straight line has kinks, over which a fitted delay would stumble.
        "interpolation": options["interpolation"] or ("cubic" if is_fitted else "linear"),
    }


def example_input() -> dict[str, Any]:
    """An acquisition to try a model on: 150 frames of 4 s, a bolus at 24 s and its slow washout."""
    times = 4.0 * np.arange(150)
    after = np.maximum(times - 24.0, 0.0)
    bolus = 6.0 * (after / 9.0) * np.exp(1.0 - after / 9.0)
    washout = 1.1 * (1.0 - np.exp(-after / 12.0)) * np.exp(-after / 500.0)
    return {"FrameTimesStart": times.tolist(), "ArterialInputFunction": np.round(bolus + washout, 4).tolist()}
