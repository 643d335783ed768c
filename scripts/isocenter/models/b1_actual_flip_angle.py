"""B1 from actual flip angle imaging: one spoiled steady state with two repetition times in turn.

equation     r = S2/S1, n = TR2/TR1: cos(B1 a) = (r n - 1) / (n - r)
assumptions  TR1 < TR2 << T1 (first order in TR/T1); transverse magnetization is spoiled before each pulse
needs        FlipAngle [deg], RepetitionTimeExcitation [s], one value for each of the two images
parameters   B1 [1, 0-3] actual over nominal flip angle, S0 [arbitrary] M0 TR1/T1
known bias   second order in TR/T1 (60 degrees and TR 20/100 ms: -0.2 % for a T1 of 1 s, -1.1 % for 0.25 s);
             incomplete spoiling
reference    Yarnykh 2007, doi 10.1002/mrm.21120

`predict` takes a T1 [s] besides: with it the signals are the exact steady state, without it the first-order form that
is inverted. Standard errors follow from the noise (`sigma` of `fit`) by the delta method; without it they are NaN.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, read_axis, read_constant, read_options


@register
class B1ActualFlipAngle:
    """B1 by actual flip angle imaging; see the card at the top of this file."""

    name = "b1_actual_flip_angle"
    title = "B1 by actual flip angle imaging"
    parameters = (
        Parameter("B1", "1", 0.0, 3.0, "actual over nominal flip angle"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "M0 TR1/T1"),
    )
    needs = ("FlipAngle", "RepetitionTimeExcitation")
    uses = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    example: dict[str, Any] = {"FlipAngle": 60.0, "RepetitionTimeExcitation": [0.02, 0.1]}  # noqa: RUF012
    typical: dict[str, float] = {"B1": 0.92, "S0": 20.0}  # noqa: RUF012
    algorithm = "Actual flip angle imaging in closed form, standard errors by the delta method"
    reference = "https://doi.org/10.1002/mrm.21120"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to FlipAngle [deg] and RepetitionTimeExcitation (2,) [s]."""
        options = read_options(self, options)
        times = read_axis(self, acquisition, "RepetitionTimeExcitation")
        angle = read_constant(self, acquisition, "FlipAngle", np.nan, unit="deg")
        if times.size != 2 or not np.isfinite(angle):
            key = "RepetitionTimeExcitation" if times.size != 2 else "FlipAngle"
            raise SidecarError(
                explain(
                    f"{key} is unusable for the model {self.name}",
                    expected="two repetition times [s] and one flip angle [deg]",
                    found=acquisition.get(key),
                )
            )
        order = np.argsort(times)
        nominal = np.deg2rad(angle)

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            return _predict(p, times[order], nominal)[..., np.argsort(order)]

        def solve(signal: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return solve_actual_flip_angle(signal[:, order], sigma, times[order[1]] / times[order[0]], nominal)

        return Bound(
            model=self,
            parameters=self.parameters,
            n=2,
            acquisition={"FlipAngle": angle, "RepetitionTimeExcitation": times},
            options=options,
            separable=None,
            forward=forward,
            defaults={"T1": np.inf},
            closed_form=solve,
        )


def _predict(p: dict[str, np.ndarray], times: np.ndarray, nominal: float) -> np.ndarray:
    """Both signals (..., 2) after the short and the long repetition time."""
    s0, t1 = p["S0"], p["T1"]
    cosine, sine = np.cos(p["B1"] * nominal), np.sin(p["B1"] * nominal)
    ratio = times[1] / times[0]
    with np.errstate(invalid="ignore"):
        # Recovery over each repetition time, in units of that over TR1 to first order.
        gain1 = np.where(np.isinf(t1), 1.0, -np.expm1(-times[0] / t1) * t1 / times[0])
        gain2 = np.where(np.isinf(t1), ratio, -np.expm1(-times[1] / t1) * t1 / times[0])
        e1, e2 = np.exp(-times[0] / t1), np.exp(-times[1] / t1)
        share = np.where(np.isinf(t1), sine**2, 1 - e1 * e2 * cosine**2)
    first = gain2 + gain1 * e2 * cosine
    second = gain1 + gain2 * e1 * cosine
    return (s0 * sine / share)[..., np.newaxis] * np.stack([first, second], axis=-1)


def solve_actual_flip_angle(
    signal: np.ndarray, sigma: np.ndarray, n: float, nominal: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B1 and S0 of the signals after the short and the long repetition time.

    Parameters
    ----------
    signal : (v, 2) array [a.u.]
        The image that follows the short TR's pulse first (S1, the larger one); magnitudes or complex.
    sigma : (v,) array or number [a.u.]
        Noise of one channel, NaN where unknown.
    n : float
        TR2/TR1.
    nominal : float [rad]
        The flip angle.

    Returns
    -------
    values, errors : (v, 2) arrays
        B1 [1] and S0 [a.u.], and their standard errors.
    flag : (v,) array
        Numbers of `Flag`: no_signal where the first image has none, out_of_range where no angle has this ratio.
    """
    first = np.abs(signal[:, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        # The second image's part that is in phase with the first's: negative where the angle is far above 90 degrees.
        ratio = np.real(signal[:, 1] * np.conj(signal[:, 0])) / first**2
        cosine = (ratio * n - 1) / (n - ratio)
        sine = np.sqrt(1 - cosine**2)
        angle = np.arccos(cosine)
        slope = (n**2 - 1) / (n - ratio) ** 2  # d cosine / d ratio
        by_second = -slope / (sine * first)
        by_first = slope * ratio / (sine * first)
        s0 = first * sine / (n + cosine)
        # S0 by the cosine at a fixed first sample, then by the samples.
        s0_by_cosine = -first * (cosine / (sine * (n + cosine)) + sine / (n + cosine) ** 2)
        s0_by_second = s0_by_cosine * slope / first
        s0_by_first = s0 / first - s0_by_cosine * slope * ratio / first
        errors = sigma * np.stack([np.hypot(by_second, by_first) / nominal, np.hypot(s0_by_second, s0_by_first)])
    # A ratio of TR2/TR1 and beyond would wrap through the pole into the range of cosines.
    flag = np.where((np.abs(cosine) < 1) & (ratio < n), Flag.OK, Flag.OUT_OF_RANGE)
    flag = np.where(first > 0, flag, Flag.NO_SIGNAL)
    return np.stack([angle / nominal, s0], axis=1), errors.T, flag
