"""B1 from two scans, one with twice the flip angle of the other.

equation     S(a) = S0 sin(B1 a), so B1 = acos(S(2a) / (2 S(a))) / a
assumptions  longitudinal magnetization is back at equilibrium before each excitation: TR of at least five T1, or a
             reset pulse; a thin-slice profile that does not change with the angle
needs        FlipAngle [deg], two values, the second twice the first (in any order)
parameters   B1 [1, 0-3] actual over nominal flip angle, S0 [arbitrary] signal of a 90 degree pulse
known bias   short TR reads the angle too high, slice profiles of 2D scans bend the ratio; magnitudes lose the sign of
             S(2a), so an actual angle above 90 degrees reads as its mirror image: complex images keep the sign
reference    Stollberger and Wach 1996, doi 10.1002/mrm.1910350217

Standard errors follow from the noise (`sigma` of `fit`) by the delta method; without it they are NaN: two samples
that determine two parameters leave nothing to estimate the noise from.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, read_axis, read_options

#: Nominal angles are written in whole or half degrees; a pair further from 1:2 than this was not meant as one.
_RATIO_TOLERANCE = 0.01


@register
class B1DoubleAngle:
    """B1 by the double-angle method; see the card at the top of this file."""

    name = "b1_double_angle"
    title = "B1 by two flip angles"
    parameters = (
        Parameter("B1", "1", 0.0, 3.0, "actual over nominal flip angle"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "signal of a 90 degree pulse"),
    )
    needs = ("FlipAngle",)
    uses = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    example: dict[str, Any] = {"FlipAngle": [60.0, 120.0]}  # noqa: RUF012
    typical: dict[str, float] = {"B1": 0.92, "S0": 1000.0}  # noqa: RUF012
    algorithm = "Double-angle method in closed form, standard errors by the delta method"
    reference = "https://doi.org/10.1002/mrm.1910350217"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to FlipAngle (2,) [deg]."""
        options = read_options(self, options)
        angles = read_axis(self, acquisition, "FlipAngle")
        order = np.argsort(angles)
        if angles.size != 2 or abs(angles[order[1]] / angles[order[0]] - 2.0) > _RATIO_TOLERANCE:
            raise SidecarError(
                explain(
                    f"FlipAngle is unusable for the model {self.name}",
                    expected="two angles [deg], one twice the other",
                    found=angles.tolist(),
                )
            )
        nominal = np.deg2rad(angles)

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            return p["S0"][..., np.newaxis] * np.sin(p["B1"][..., np.newaxis] * nominal)

        def solve(signal: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return solve_double_angle(signal[:, order], sigma, float(nominal[order[0]]))

        return Bound(
            model=self,
            parameters=self.parameters,
            n=2,
            acquisition={"FlipAngle": angles},
            options=options,
            separable=None,
            forward=forward,
            closed_form=solve,
        )


def solve_double_angle(
    signal: np.ndarray, sigma: np.ndarray, nominal: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B1 and S0 of signals at the single and the double angle.

    Parameters
    ----------
    signal : (v, 2) array [a.u.]
        Single angle first; magnitudes, or complex images, whose relative sign is then kept.
    sigma : (v,) array or number [a.u.]
        Noise of one channel, NaN where unknown.
    nominal : float [rad]
        The single angle.

    Returns
    -------
    values, errors : (v, 2) arrays
        B1 [1] and S0 [a.u.], and their standard errors.
    flag : (v,) array
        Numbers of `Flag`: no_signal where the single angle gives none, out_of_range where no angle has this ratio.
    """
    single = np.abs(signal[:, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        # The double angle's part that is in phase with the single angle's: the sign stays, and noise has no bias there.
        double = np.real(signal[:, 1] * np.conj(signal[:, 0])) / single
        ratio = double / (2 * single)
        angle = np.arccos(ratio)
        sine = np.sqrt(1 - ratio**2)
        strength = single / sine
        # d angle = -d ratio / sine; ratio depends on the two samples, whose noise is independent.
        by_double = -1 / (2 * single * sine)
        by_single = ratio / (single * sine)
        # S0 = single / sine, and d sine = -ratio / sine d ratio.
        s0_by_double = ratio / (2 * sine**3)
        s0_by_single = 1 / sine - ratio**2 / sine**3
        errors = sigma * np.stack([np.hypot(by_double, by_single) / nominal, np.hypot(s0_by_double, s0_by_single)])
    flag = np.where(np.abs(ratio) < 1, Flag.OK, Flag.OUT_OF_RANGE)
    flag = np.where(single > 0, flag, Flag.NO_SIGNAL)
    return np.stack([angle / nominal, strength], axis=1), errors.T, flag
