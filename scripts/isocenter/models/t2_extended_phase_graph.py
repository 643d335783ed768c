"""T2 from a spin-echo train with imperfect refocusing, through the slice profile of its pulses.

equation     S(k) = S0 sum_z e(z, B1) EPG_k(T2, T1, angle(z, B1)) [+ offset], k = TE / echo spacing
             without a profile: S0 sin(B1 90 deg) EPG_k(T2, T1, B1 * refocusing angle)
assumptions  a CPMG train of equal spacing with the first echo at one spacing; excitation and refocusing scale with
             the same B1; ideal crushers; equal pulses along the train; one T1, which hardly matters
needs        EchoTime [s]; uses RefocusingFlipAngle [deg] (180 when absent), EchoNumber (n,), which tells the spacing
             where echoes are missing, and B1, where it is known: a number or one per voxel, 0.5 to 1.3 (voxels beyond
             get no value). B1 is then no parameter
options      profile: none, sinc (Hann-windowed), slr or gaussian; time_bandwidth: (excitation, refocusing) or one for
             both; thickness_ratio: refocused slab over excited slice; slices: positions across half the profile;
             pulse_duration [s] of the refocusing pulse, default 0; b1_bounds: range of the search;
             b1_from: neighborhood (volumes with a profile: `isocenter.fields`) or voxel;
             t1 [s, default 1.0, or an array, voxel by voxel]; echo_spacing [s, default by EchoNumber, else the smallest
             step];
             offset: true adds a constant, quadrature a background of random phase: sqrt(signal^2 + floor^2)
parameters   T2 [s, 0.0005-20], B1 [1], S0 [arbitrary], option offset: offset [arbitrary] or floor [arbitrary]
known bias   pulses last: with pulse_duration 0 T2 reads high by about 5 % of its share of the echo spacing;
             without a profile up to +15 % where the refocused slab is no thicker than the excited slice; with a wrong
             profile a few percent, so choose it by the residual of a phantom (`isocenter.phantom.pulse_choice`)
reference    Lebel and Wilman 2010, doi 10.1002/mrm.22487; Weigel 2015, doi 10.1002/jmri.24619

Without a profile an angle above 180 degrees gives the same train as its mirror image below, so B1 is restricted to
the side on which the angle is at most 180 degrees. The search then runs over w = cos^2(angle/2), in which the edge at
180 degrees is an ordinary end of an interval: meeting it is a result, not a failure. Across a profile the angles
differ, no two B1 give quite the same train, and the search runs over B1 itself. A weak mirror image stays: at SNR 100
single voxels land on either side of B1 = 1 where B1 is near 1, which costs 1 to 2 % of T2; standard errors hold both
sides (docs/decisions/0041). In a volume the neighborhood decides (docs/decisions/0024); otherwise `b1_bounds` chooses a
side where it is known, and a map of B1 does away with both.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_constant, read_options
from isocenter.models.compiled import evaluation, kernel, reporting
from isocenter.models.echo_train import (
    predict_slices,
    predict_trains,
    read_profile,
    trace_echoes,
    trace_slice,
)
from isocenter.models.exponential_decay import OFFSET
from isocenter.models.slice_profile import SHAPES, TERMS, make_profile
from isocenter.models.train_grid import PROFILE, tabulate_trains

_OK = int(Flag.OK)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_LOWEST_B1, _HIGHEST_B1 = 0.5, 1.3
_B1_STEP = 0.035
#: Between values of B1 that are weighed against each other.
_HELD_STEP = 0.02
#: Among the constants: the number of a known B1, and where the description of the profile starts, whose first number is
#: 0 where there is none.
_B1, _PROFILE = 5, PROFILE
#: Range of the floor as a share of the signal at echo time zero.
_FLOORS = (1e-3, 0.3)
_FLOOR = Parameter("floor", "arbitrary", 0.0, np.inf, "magnitude of a background of random phase")


@kernel
def trace_train(log_t2, side, design, constants, echo, slope_t2, slope_side):
    """Write the echoes of `design` and their slopes with respect to log T2 and the side, all (n,).

    side : w = cos^2(angle/2); with a profile, B1
    """
    spacing, t1, m = constants[0], constants[1], int(constants[3])
    # For a share of each spacing the pulse holds the magnetization upright, where T1 acts instead of T2.
    decay = (1.0 - constants[4]) * np.exp(-log_t2)
    t2 = 1.0 / (decay + constants[4] / t1)
    share = decay * t2
    echoes = np.empty((3, m))
    positions = int(constants[_PROFILE])
    if positions == 0:
        trace_echoes(side, spacing, t1, t2, np.empty((9, 2 * m + 2)), echoes[0], echoes[1], echoes[2])
    else:
        local = np.empty((4, positions))
        read_profile(constants[_PROFILE:], side, local)
        state = np.empty((9, 2 * m + 2, positions))
        trace_slice(local[0], local[1], local[2], local[3], spacing, t1, t2, state, echoes[0], echoes[1], echoes[2])
    for i in range(design.shape[1]):
        k = int(design[0, i]) - 1
        echo[i] = echoes[0, k]
        slope_t2[i] = share * echoes[1, k]
        slope_side[i] = echoes[2, k]


@kernel
def add_background(floor, basis, slope):
    """Add exp(floor) in quadrature to the basis (the slope with respect to it is the last), or a constant function."""
    p = slope.shape[0]
    for i in range(basis.shape[1]):
        if np.isfinite(floor):
            squared = np.exp(2.0 * floor)
            root = np.sqrt(basis[0, i] ** 2 + squared)
            for j in range(p - 1):
                slope[j, 0, i] *= basis[0, i] / root
            slope[p - 1, 0, i] = squared / root
            basis[0, i] = root
        if basis.shape[0] == 2:
            basis[1, i] = 1.0
            for j in range(p):
                slope[j, 1, i] = 0.0


@evaluation
def evaluate_echo_train(theta, design, constants, basis, slope):
    """Basis EPG(T2, w) [, 1] and its slopes with respect to log T2 and w; with a profile, B1 instead of w.

    With a floor the basis is sqrt(EPG^2 + exp(theta[2])^2).
    """
    trace_train(theta[0], theta[1], design, constants, basis[0], slope[0, 0], slope[1, 0])
    add_background(theta[2] if theta.size == 3 else -np.inf, basis, slope)


@evaluation
def evaluate_known_b1(theta, design, constants, basis, slope):
    """As `evaluate_echo_train` with the B1 of the constants: theta is log T2 [, log floor]."""
    side = constants[_B1]
    if constants[_PROFILE] == 0.0:
        side = np.cos(0.5 * side * constants[2]) ** 2
    trace_train(theta[0], side, design, constants, basis[0], slope[0, 0], np.empty(design.shape[1]))
    add_background(theta[1] if theta.size == 2 else -np.inf, basis, slope)


@reporting
def report_known_b1(theta, amplitudes, constants, covariance, values, errors):
    """T2, S0 [, offset or floor] from log T2 [, log floor] and the amplitude."""
    p = theta.size
    values[0] = np.exp(theta[0])
    errors[0] = values[0] * np.sqrt(covariance[0, 0])
    # Without a profile the basis is that of a perfect excitation.
    excited = 1.0 if constants[_PROFILE] > 0.0 else np.sin(0.5 * np.pi * constants[_B1])
    values[1] = amplitudes[0] / excited
    errors[1] = np.sqrt(covariance[p, p]) / excited
    if amplitudes.size == 2:
        values[2] = amplitudes[1]
        errors[2] = np.sqrt(covariance[2, 2])
    elif p == 2:
        c = amplitudes[0]
        values[2] = c * np.exp(theta[1])
        errors[2] = values[2] * np.sqrt(covariance[1, 1] + 2.0 * covariance[1, 2] / c + covariance[2, 2] / c**2)
    if not amplitudes[0] > 0.0:
        return _NO_SIGNAL
    return _OK


@reporting
def report_echo_train(theta, amplitudes, constants, covariance, values, errors):
    """T2, B1, S0 [, offset] from log T2, w (with a profile B1) and the amplitude."""
    values[0] = np.exp(theta[0])
    errors[0] = values[0] * np.sqrt(covariance[0, 0])
    p = theta.size
    if constants[_PROFILE] > 0.0:
        values[1] = theta[1]
        errors[1] = np.sqrt(covariance[1, 1])
        values[2] = amplitudes[0]
        errors[2] = np.sqrt(covariance[p, p])
    else:
        angle = constants[2]
        # Never quite 0: at 180 degrees the slope of B1 is infinite, while the one of the excitation stays finite.
        w = max(theta[1], 1e-12)
        b1 = 2.0 * np.arccos(np.sqrt(w)) / angle
        excited = np.sin(0.5 * np.pi * b1)
        slope = np.cos(0.5 * np.pi * b1) / excited * 0.5 * np.pi / angle / np.sqrt(w * (1.0 - w))
        values[1] = b1
        # A finite step of one standard error of w instead of that infinite slope.
        w_far = min(w + np.sqrt(covariance[1, 1]), 1.0)
        errors[1] = b1 - 2.0 * np.arccos(np.sqrt(w_far)) / angle
        values[2] = amplitudes[0] / excited
        s0 = values[2]
        variance = covariance[p, p] / excited**2 + 2.0 * slope * s0 * covariance[1, p] / excited
        errors[2] = np.sqrt(variance + (slope * s0) ** 2 * covariance[1, 1])
    if amplitudes.size == 2:
        values[3] = amplitudes[1]
        errors[3] = np.sqrt(covariance[3, 3])
    elif p == 3:
        c = amplitudes[0]
        values[3] = c * np.exp(theta[2])
        errors[3] = values[3] * np.sqrt(covariance[2, 2] + 2.0 * covariance[2, 3] / c + covariance[3, 3] / c**2)
    if not amplitudes[0] > 0.0:
        return _NO_SIGNAL
    return _OK


def _are_numbers_of(te: np.ndarray, told: Any) -> bool:
    """Whether numbers of echoes suit their times, as in a train of equal spacing; some headers count otherwise."""
    number = np.asarray(np.nan if told is None else told, dtype=float)
    if number.shape != te.shape or not np.all(number >= 1) or np.unique(number).size < te.size:
        return False
    spacing = float(np.median(te / number))
    return bool(np.all(np.abs(te - number * spacing) <= 0.02 * spacing))


@register
class T2ExtendedPhaseGraph:
    """T2 and B1 by extended phase graphs; see the card at the top of this file."""

    name = "t2_extended_phase_graph"
    title = "T2 by extended phase graphs"
    parameters = (
        Parameter("T2", "s", 0.0005, 20.0, "transverse relaxation time"),
        Parameter("B1", "1", _LOWEST_B1, _HIGHEST_B1, "achieved over nominal amplitude of the pulses"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "signal at echo time zero after a perfect excitation"),
    )
    needs = ("EchoTime",)
    uses = ("RefocusingFlipAngle", "EchoNumber", "B1")
    options: dict[str, Any] = {  # noqa: RUF012
        "profile": "none",
        "time_bandwidth": 3.0,
        "thickness_ratio": 1.0,
        "slices": 12,
        "pulse_duration": 0.0,
        "b1_bounds": (_LOWEST_B1, _HIGHEST_B1),
        "t1": 1.0,
        "b1_from": "neighborhood",
        "offset": False,
        "echo_spacing": None,
    }
    example: dict[str, Any] = {"EchoTime": [0.01 * k for k in range(1, 17)]}  # noqa: RUF012
    typical: dict[str, float] = {"T2": 0.08, "B1": 0.9, "S0": 1000.0}  # noqa: RUF012
    algorithm = "Extended phase graph, nonlinear least squares over T2 and B1 (variable projection)"
    reference = "https://doi.org/10.1002/mrm.22487"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to EchoTime (n,) [s] and, where given, EchoNumber (n,) and RefocusingFlipAngle [deg]."""
        options = read_options(self, options)
        te = read_axis(self, acquisition, "EchoTime")
        nominal = read_constant(self, acquisition, "RefocusingFlipAngle", 180.0, unit="deg")
        angle = np.deg2rad(nominal)
        spacing, number = self._read_train(te, options["echo_spacing"], acquisition.get("EchoNumber"))
        m = int(number.max())
        t1 = np.asarray(options["t1"], dtype=float)
        offset = options["offset"]
        if offset not in (True, False, None, "quadrature"):
            raise ConfigError(
                explain(f"Unknown option offset of {self.name}", expected="true, false or quadrature", found=offset)
            )
        has_floor = offset == "quadrature"
        has_offset = bool(offset) and not has_floor
        options, profile, hold = self._read_profile(options, angle)
        has_profile = profile[0] > 0
        share = hold * float(options["pulse_duration"]) / spacing
        low_b1, high_b1 = self._read_bounds(options["b1_bounds"])
        bounds = np.log([self.parameters[0].lower, self.parameters[0].upper])
        if has_profile:
            lowest, highest = low_b1, high_b1
        else:
            # In w: from the lowest B1 to the angle of 180 degrees, or as near to it as the highest B1 comes.
            highest = np.cos(min(low_b1 * angle, 0.5 * np.pi) / 2) ** 2
            lowest = max(np.cos(min(high_b1 * angle, np.pi) / 2) ** 2, 0.0)
            if lowest < 1e-12:
                lowest = 0.0
        # Across a profile echo k turns with B1 as cos(k angle): nodes further apart would step over a whole optimum.
        steps = max(5, int(np.ceil((high_b1 - low_b1) / _B1_STEP)) + 1) if has_profile else 6
        nodes = [
            np.linspace(np.log(spacing / 5), np.log(te.max() * 40), 30 if has_profile else 36),
            np.linspace(lowest, highest, steps),
        ]
        lower, upper = [bounds[0], lowest], [bounds[1], highest]
        # See exponential_decay: one visible sample on the short side, 2 % of decay on the long side.
        visible = [[np.log(te.min() / 4), np.log((te.max() - te.min()) * 50)], [-np.inf, np.inf]]
        # A bound that was asked for is knowledge: meeting it is a result. The edges of the whole range are failures.
        asked = (low_b1 > _LOWEST_B1, high_b1 < _HIGHEST_B1)
        is_hard = [[True, True], [not asked[0], not asked[1]] if has_profile else [False, True]]
        b1 = self._read_b1(acquisition)
        is_known = b1 is not None
        typical_b1 = float(np.nanmedian(b1)) if is_known else np.nan
        if options["b1_from"] not in ("neighborhood", "voxel"):
            raise ConfigError(
                explain(
                    f"Unknown option b1_from of {self.name}",
                    expected="neighborhood or voxel",
                    found=options["b1_from"],
                )
            )
        # Without a profile B1 and its mirror image are one and the same: there is nothing for neighbors to decide.
        source = options["b1_from"] if has_profile and not is_known else "voxel"
        # Not to be chosen, but to be read beside every value.
        word = {"b1": "map" if b1.ndim else float(b1)} if is_known else {}
        if is_known:
            nodes, lower, upper, visible, is_hard = (each[:1] for each in (nodes, lower, upper, visible, is_hard))
        if has_floor:
            nodes.append(np.log([0.004, 0.03]))
            lower.append(np.log(_FLOORS[0]))
            upper.append(np.log(_FLOORS[1]))
            visible.append([-np.inf, np.inf])
            is_hard.append([False, True])

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            shape = p["T2"].shape
            flat = {name: np.ascontiguousarray(value.reshape(-1)) for name, value in p.items()}
            out = np.empty((flat["T2"].size, m))
            t2 = 1.0 / ((1.0 - share) / flat["T2"] + share / flat["T1"])
            if has_profile:
                predict_slices(flat["B1"], flat["T1"], t2, spacing, m, profile, out)
                amplitude = flat["S0"]
            else:
                predict_trains(np.cos(flat["B1"] * angle / 2) ** 2, flat["T1"], t2, spacing, m, out)
                amplitude = flat["S0"] * np.sin(0.5 * np.pi * flat["B1"])
            signal = amplitude[:, np.newaxis] * out[:, number - 1]
            if has_offset:
                signal = signal + flat["offset"][:, np.newaxis]
            if has_floor:
                signal = np.hypot(signal, flat["floor"][:, np.newaxis])
            return signal.reshape(*shape, te.size)

        return Bound(
            model=self,
            parameters=tuple(each for each in self.parameters if not (is_known and each.name == "B1"))
            + (OFFSET,) * has_offset
            + (_FLOOR,) * has_floor,
            n=te.size,
            acquisition={"EchoTime": te, "RefocusingFlipAngle": nominal},
            options={**options, "echo_spacing": spacing, "b1_from": source, **word},
            forward=forward,
            defaults={"T1": t1 if t1.ndim else float(t1), **({"B1": b1 if b1.ndim else float(b1)} if is_known else {})},
            separable=Separable(
                evaluate=evaluate_known_b1 if is_known else evaluate_echo_train,
                report=report_known_b1 if is_known else report_echo_train,
                design=number[np.newaxis].astype(float),
                constants=np.concatenate(
                    [[spacing, float(np.median(t1)), angle, float(m), share, typical_b1], profile]
                ),
                lower=np.array(lower),
                upper=np.array(upper),
                is_hard=np.array(is_hard),
                visible=np.array(visible),
                sides=1 if len(lower) == 2 and not is_known else -1,
                side_step=_HELD_STEP if has_profile and len(lower) == 2 and not is_known else 0.0,
                grid=np.column_stack([axis.ravel() for axis in np.meshgrid(*nodes)]),
                order=np.arange(te.size),
                amplitudes=2 if has_offset else 1,
                tabulate=None if is_known else tabulate_trains,
                varying=((1, t1),) * (t1.ndim > 0) + ((_B1, b1),) * (is_known and b1.ndim > 0),
            ),
        )

    def _read_profile(self, options: dict[str, Any], angle: float) -> tuple[dict[str, Any], np.ndarray, float]:
        """The options with both time-bandwidth products, the profile as `read_profile` takes it, and its `hold`.

        Without a profile these are [0] and 0.
        """
        shape = options["profile"]
        if shape in (None, "none"):
            return {**options, "profile": "none"}, np.zeros(1), 0.0
        pulses = tuple(np.broadcast_to(np.asarray(options["time_bandwidth"], dtype=float), (2,)).tolist())
        ratio, slices = float(options["thickness_ratio"]), int(options["slices"])
        is_known = shape in SHAPES and 1.0 <= min(pulses) <= max(pulses) <= 20.0 and 0.3 <= ratio <= 10.0
        if not is_known or slices < 4 or not 0.0 <= float(options["pulse_duration"]) < 0.1:
            keys = ("profile", "time_bandwidth", "thickness_ratio", "slices", "pulse_duration")
            raise ConfigError(
                explain(
                    f"The model {self.name} cannot simulate this slice profile",
                    expected=f"profile none, {', '.join(SHAPES)}; time_bandwidth 1 to 20, one or (excitation, "
                    "refocusing); thickness_ratio 0.3 to 10; at least 4 slices; pulse_duration in seconds",
                    found={key: options[key] for key in keys},
                    remedy="mend `options` of the biomarker in config/biomarkers.yaml",
                )
            )
        found = make_profile(shape, pulses, ratio, slices, float(angle), _LOWEST_B1, _HIGHEST_B1)
        head = [slices, TERMS, found.lowest, found.highest]
        flat = np.concatenate([head, found.transmission.ravel(), found.excitation.ravel()])
        return {**options, "time_bandwidth": list(pulses)}, flat, found.hold

    def _read_bounds(self, given: Any) -> tuple[float, float]:
        """Lowest and highest B1 of the search."""
        bounds = np.asarray(given, dtype=float)
        if bounds.shape != (2,) or not _LOWEST_B1 <= bounds[0] < bounds[1] <= _HIGHEST_B1:
            raise ConfigError(
                explain(
                    f"The option b1_bounds of {self.name} is no range of B1",
                    expected=f"two rising numbers from {_LOWEST_B1} to {_HIGHEST_B1}",
                    found=given,
                )
            )
        return float(bounds[0]), float(bounds[1])

    def _read_b1(self, acquisition: Mapping[str, Any]) -> np.ndarray | None:
        """A known B1, a number or an array (...), NaN where the model cannot simulate it; None where it is fitted."""
        value = acquisition.get("B1")
        if value is None:
            return None
        try:
            b1 = np.array(value, dtype=float)
        except (TypeError, ValueError):
            b1 = np.array(np.nan)
        with np.errstate(invalid="ignore"):
            b1[~((b1 >= _LOWEST_B1) & (b1 <= _HIGHEST_B1))] = np.nan
        if not np.isfinite(b1).any():
            raise SidecarError(
                explain(
                    f"B1 is unusable for the model {self.name}",
                    expected=f"actual over nominal flip angle, {_LOWEST_B1} to {_HIGHEST_B1}",
                    found=value if np.ndim(value) == 0 else "no such value in the map",
                    remedy="divide percent by 100 where the map is made; leave B1 out to have it fitted",
                )
            )
        return b1

    def _read_train(self, te: np.ndarray, given: float | None, told: Any = None) -> tuple[float, np.ndarray]:
        """The echo spacing [s] and the number (n,) of each echo in the train, counted from 1.

        given : the spacing as an option says it; told : numbers of the echoes as the header counts them, which hold
        where they suit the times: the smallest step is twice the spacing where every second echo is missing
        """
        spacing = float(np.diff(np.sort(te)).min()) if given is None else float(given)
        if given is None and _are_numbers_of(te, told):
            spacing = float(np.median(te / np.asarray(told, dtype=float)))
        number = np.rint(te / spacing) if spacing > 0 else np.zeros(te.size)
        # Headers round echo times to 0.01 ms; a tenth of a spacing would be another train.
        if spacing <= 0 or np.any(number < 1) or np.any(np.abs(te - number * spacing) > 0.02 * spacing):
            raise SidecarError(
                explain(
                    f"EchoTime is no train of equal spacing, which the model {self.name} needs",
                    expected="whole multiples of one echo spacing",
                    found=np.array2string(te, precision=5, threshold=40),
                    remedy="give the option echo_spacing [s], or use t2_multi_echo",
                )
            )
        spacing = float(np.sum(te * number) / np.sum(number * number))
        return spacing, number.astype(np.int64)
