"""T1 from spoiled gradient echoes with several flip angles.

equation     S(a) = M0 sin(B1 a) (1 - E) / (1 - E cos(B1 a)), E = exp(-TR/T1)
assumptions  steady state; transverse magnetization is spoiled before each pulse; TE << T2*; one B1 for all angles
needs        FlipAngle [deg]; RepetitionTimeExcitation [s], one for all or one per image. Where only RepetitionTime is
             present it is taken instead, for that is where headers keep the interval between excitations; above 0.5 s
             it would be the time of a whole volume and is refused
uses         B1, actual over nominal flip angle (1 is nominal): a number, or one per voxel. A median outside of 0.2-5 is
             refused: percent or degrees are never rescaled by a guess. Voxels without a B1 above 0 get no value
parameters   T1 [s, 0.001-20], M0 [arbitrary] (includes the decay until TE)
known bias   without a B1 map +-20 %: T1 goes with B1 squared, and B1 is off by 10 % and more at 3 T; the maps then say
             `b1: none`. Incomplete spoiling (a few percent, by scheme and T2); inflow; magnetization transfer (T1 low
             in white matter); the slice profile of 2D acquisitions
reference    Deoni et al. 2003, doi 10.1002/mrm.10407; Fram et al. 1987, doi 10.1016/0730-725X(87)90021-X

All samples weigh the same, unlike in the straight line through S/sin and S/tan, whose unweighted fit is biased by
noise. T1 is searched on its logarithm. The amplitude is the signal at the middle angle, which the data determine
even where T1 and M0 trade off.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_options
from isocenter.models.compiled import evaluation, lean_kernel, reporting

_NO_SIGNAL = int(Flag.NO_SIGNAL)
_OK = int(Flag.OK)
#: Fraction of the signal by which the curve must differ from its limits for T1 << and >> what the angles see.
_DEPARTURE = 0.05
#: No spoiled gradient echo waits longer between excitations [s].
_LONGEST_TR = 0.5
_B1_RANGE = (0.2, 5.0)


@lean_kernel
def steady_state(x, versine):
    """(1 - E) / (1 - E cos a) and the slope of its logarithm by log T1; x = TR/T1, versine = 1 - cos a."""
    rest = -np.expm1(-x)
    e = 1.0 - rest
    below = rest + e * versine
    return rest / below, -versine * e * x / (below * rest)


@lean_kernel
def reference_state(rate, constants):
    """The steady state at the reference angle, as signal over M0, and the slope of its logarithm by log T1."""
    sine, versine = constants[3], constants[4]
    if constants[2] != 0.0:
        sine = np.sin(constants[2] * constants[1])
        versine = 2.0 * np.sin(0.5 * constants[2] * constants[1]) ** 2
    state, slope = steady_state(constants[0] * rate, versine)
    return sine * state, slope


@evaluation
def evaluate_spoiled(theta, design, constants, basis, slope):
    """The signal over the one at the reference angle, and its slope with respect to log T1.

    design : TR, nominal angle [rad], sine and versine (with the B1 of all voxels)
    constants : TR and angle of the reference, the voxel's B1 (0: all sines and versines hold), sine and versine of
        the reference
    """
    rate = np.exp(-theta[0])
    b1 = constants[2]
    middle, middle_slope = reference_state(rate, constants)
    for i in range(design.shape[1]):
        if b1 != 0.0:
            sine = np.sin(b1 * design[1, i])
            versine = 2.0 * np.sin(0.5 * b1 * design[1, i]) ** 2
        else:
            sine = design[2, i]
            versine = design[3, i]
        state, state_slope = steady_state(design[0, i] * rate, versine)
        basis[0, i] = sine * state / middle
        slope[0, 0, i] = basis[0, i] * (state_slope - middle_slope)


@reporting
def report_spoiled(theta, amplitudes, constants, covariance, values, errors):
    """T1 and M0 from log T1 and the signal at the reference angle."""
    t1 = np.exp(theta[0])
    middle, slope = reference_state(1.0 / t1, constants)
    m0 = amplitudes[0] / middle
    values[0] = t1
    values[1] = m0
    errors[0] = t1 * np.sqrt(covariance[0, 0])
    variance = covariance[1, 1] / middle**2 - 2.0 * m0 * slope * covariance[0, 1] / middle
    errors[1] = np.sqrt(variance + (m0 * slope) ** 2 * covariance[0, 0])
    if not m0 > 0.0:
        return _NO_SIGNAL
    return _OK


@register
class T1VariableFlipAngle:
    """T1 by variable flip angle; see the card at the top of this file."""

    name = "t1_variable_flip_angle"
    title = "T1 by variable flip angle"
    parameters = (
        Parameter("T1", "s", 0.001, 20.0, "longitudinal relaxation time"),
        Parameter("M0", "arbitrary", 0.0, np.inf, "signal of the fully relaxed magnetization, all of it in the plane"),
    )
    needs = ("FlipAngle", "RepetitionTimeExcitation")
    uses = ("B1", "RepetitionTime")
    options: dict[str, Any] = {}  # noqa: RUF012
    example: dict[str, Any] = {  # noqa: RUF012
        "FlipAngle": [2.0, 4.0, 7.0, 11.0, 16.0, 25.0],
        "RepetitionTimeExcitation": 0.015,
    }
    typical: dict[str, float] = {"T1": 1.0, "M0": 1000.0}  # noqa: RUF012
    algorithm = "Nonlinear least squares on the spoiled steady state (variable projection)"
    reference = "https://doi.org/10.1002/mrm.10407"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to FlipAngle (n,) [deg], RepetitionTimeExcitation [s] and, where given, B1."""
        options = read_options(self, options)
        degrees = read_axis(self, acquisition, "FlipAngle")
        if degrees.max() >= 180.0:
            raise SidecarError(
                explain(
                    f"FlipAngle is unusable for the model {self.name}", expected="angles below 180 deg", found=degrees
                )
            )
        nominal = np.deg2rad(degrees)
        tr = self._read_repetition(acquisition, nominal.size)
        b1, word = self._read_b1(acquisition)
        is_map = b1.ndim > 0
        typical = float(np.nanmedian(b1))
        angle = nominal if is_map else nominal * typical
        shortest, longest = self._visible(np.median(tr), nominal * typical)
        low, high = self.parameters[0].lower, self.parameters[0].upper
        middle = np.sort(angle)[angle.size // 2]
        nodes = np.linspace(np.log(max(low, shortest / 2)), np.log(min(high, longest * 2)), 64)

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            t1, m0, scale = (p[name][..., np.newaxis] for name in ("T1", "M0", "B1"))
            e = np.exp(-tr / t1)
            return m0 * np.sin(scale * nominal) * (1 - e) / (1 - e * np.cos(scale * nominal))

        return Bound(
            model=self,
            parameters=self.parameters,
            n=nominal.size,
            acquisition={
                "FlipAngle": degrees,
                "RepetitionTimeExcitation": float(tr[0]) if np.ptp(tr) == 0 else tr,
            },
            # Not to be chosen, but to be read beside every value.
            options={**options, "b1": word},
            forward=forward,
            defaults={"B1": b1 if is_map else typical},
            separable=Separable(
                evaluate=evaluate_spoiled,
                report=report_spoiled,
                design=np.stack([tr, angle, np.sin(angle), 2 * np.sin(angle / 2) ** 2]),
                constants=np.array(
                    [np.median(tr), middle, typical if is_map else 0.0, np.sin(middle), 2 * np.sin(middle / 2) ** 2]
                ),
                lower=np.log([low]),
                upper=np.log([high]),
                is_hard=np.array([[True, True]]),
                visible=np.log([[shortest, longest]]),
                grid=nodes[:, np.newaxis],
                order=np.arange(nominal.size),
                amplitudes=1,
                varying=((2, b1),) if is_map else (),
            ),
        )

    def _visible(self, tr: float, angle: np.ndarray) -> tuple[float, float]:
        """The T1 [s] between which the curve differs by `_DEPARTURE` from its limits.

        A very short T1 leaves M0 sin(a) at every angle, from which the largest angle departs first; a very long one
        M0 TR/T1 / tan(a/2), in which T1 and M0 are one number, and the smallest angle departs first.
        """
        large, small = np.cos(angle.max()), np.cos(angle.min())
        short = _DEPARTURE / (1 - large + _DEPARTURE * large)
        long = (1 - (1 - small) / (1 - _DEPARTURE)) / small if small > _DEPARTURE else 0.0
        low, high = self.parameters[0].lower, self.parameters[0].upper
        shortest = -tr / np.log(short) if short < 1 else high
        longest = -tr / np.log(long) if long > 0 else low
        return float(np.clip(shortest, low, high)), float(np.clip(longest, low, high))

    def _read_repetition(self, acquisition: Mapping[str, Any], n: int) -> np.ndarray:
        """(n,) array: the interval between excitations [s]."""
        key = "RepetitionTimeExcitation"
        if acquisition.get(key) is None and acquisition.get("RepetitionTime") is not None:
            key = "RepetitionTime"
        value = acquisition.get(key)
        try:
            tr = np.asarray(np.nan if value is None else value, dtype=float)
        except (TypeError, ValueError):
            tr = np.array(np.nan)
        limit = _LONGEST_TR if key == "RepetitionTime" else np.inf
        if tr.shape not in ((), (1,), (n,)) or not np.all((tr > 0) & (tr <= limit) & np.isfinite(tr)):
            wanted = f"one positive number [s] for all, or one for each of the {n} images"
            raise SidecarError(
                explain(
                    f"The model {self.name} needs RepetitionTimeExcitation; {key} is unusable",
                    expected=wanted + (f", at most {limit:g} s between excitations" if np.isfinite(limit) else ""),
                    found="nothing" if value is None else value,
                    remedy="check the DICOM header of the series; the value is never guessed",
                )
            )
        return np.broadcast_to(tr, (n,)).copy()

    def _read_b1(self, acquisition: Mapping[str, Any]) -> tuple[np.ndarray, Any]:
        """B1 as a number or an array (...), and the word that stands in the sidecar."""
        value = acquisition.get("B1")
        if value is None:
            return np.array(1.0), "none"
        try:
            b1 = np.array(value, dtype=float)
        except (TypeError, ValueError):
            b1 = np.array(np.nan)
        b1[~(b1 > 0)] = np.nan
        inside = b1[np.isfinite(b1)]
        middle = float(np.median(inside)) if inside.size else np.nan
        if not _B1_RANGE[0] <= middle <= _B1_RANGE[1]:
            raise SidecarError(
                explain(
                    f"B1 is unusable for the model {self.name}"
                    + (": it looks like percent or degrees" if middle > _B1_RANGE[1] else ""),
                    expected=f"actual over nominal flip angle, typically 1 (median {_B1_RANGE[0]} to {_B1_RANGE[1]})",
                    found=f"a median of {middle:g}" if inside.size else "no value above 0",
                    remedy="divide percent by 100 where the map is made; it is never rescaled by a guess",
                )
            )
        return b1, "map" if b1.ndim else float(b1)
