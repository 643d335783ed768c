"""B0 from the phase of two or more echoes.

equation     S(TE) = S0(TE) exp(i phase) exp(i 2 pi B0 TE): B0 is the slope of the phase
assumptions  one resonance in a voxel (fat and water: echoes in phase, or `pdff_complex`); monopolar readouts
needs        EchoTime [s], two or more, with complex images or phases [rad]; or EchoTime1 and EchoTime2 [s] with one
             image of the phase difference
parameters   B0 [Hz]
known bias   on its own each voxel is right up to whole periods of 1/(shortest echo spacing):
             `isocenter.fields.fit_volume` takes them out over the neighborhood; flow; more than one resonance
reference    Jezzard and Balaban 1995, doi 10.1002/mrm.1910340111

Samples count by their squared magnitude, which is the inverse variance of a phase. The standard error follows from the
noise of one channel (`sigma` of `fit`; for phases without magnitude the noise of the phase [rad]), else from what three
or more echoes leave; of two echoes without a noise it is NaN.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, read_axis, read_options

#: Below this many standard deviations of noise a phase is uniform over the circle.
_LEAST_SIGNIFICANCE = 3.0
#: Spacings that differ by less than this share count as one.
_SAME_SPACING = 0.01


@register
class B0DualEcho:
    """B0 by the phase of echoes; see the card at the top of this file."""

    name = "b0_dual_echo"
    title = "B0 by the phase of echoes"
    parameters = (Parameter("B0", "Hz", -np.inf, np.inf, "field offset"),)
    needs = ("EchoTime",)
    uses = ("EchoTime1", "EchoTime2")
    options: dict[str, Any] = {}  # noqa: RUF012
    example: dict[str, Any] = {"EchoTime": [0.00519, 0.00765]}  # noqa: RUF012
    typical: dict[str, float] = {"B0": 35.0}  # noqa: RUF012
    algorithm = "Weighted slope of the phase over echo time, unwrapped over echoes and space"
    reference = "https://doi.org/10.1002/mrm.1910340111"
    #: How `isocenter.fields.fit_volume` uses the neighborhood of a voxel.
    field_map = "phase"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to EchoTime (n,) [s], or to EchoTime1 and EchoTime2 [s] of one image of the phase difference."""
        options = read_options(self, options)
        pair = ("EchoTime1", "EchoTime2")
        acquisition = acquisition or {}
        is_difference = acquisition.get("EchoTime") is None and all(acquisition.get(key) is not None for key in pair)
        if is_difference:
            ends = {key: np.unique(np.asarray(acquisition[key], dtype=float)) for key in pair}
            te = read_axis(self, {"EchoTime": np.concatenate(list(ends.values()))}, "EchoTime")
            known: dict[str, Any] = {key: float(value[0]) for key, value in ends.items()}
            times = te[1:2] - te[0]
        else:
            te = read_axis(self, acquisition, "EchoTime")
            known, times = {"EchoTime": te}, te

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            turn = 2 * np.pi * p["B0"][..., np.newaxis] * times
            if not is_difference:
                turn = turn + np.deg2rad(p["phase"][..., np.newaxis])
            return p["S0"][..., np.newaxis] * np.exp(1j * turn)

        return Bound(
            model=self,
            parameters=self.parameters,
            n=times.size,
            acquisition=known,
            options=options,
            separable=None,
            forward=forward,
            defaults={"S0": 1.0, "phase": 0.0},
            closed_form=lambda signal, sigma: solve_field(signal, sigma, times),
        )


def shortest_spacing(times: np.ndarray) -> float:
    """The shortest time [s] that phase evolves between two of the samples (n,); of a difference image its own."""
    return float(abs(times[0])) if times.size == 1 else float(np.diff(np.unique(times)).min())


def solve_field(signal: np.ndarray, sigma: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B0 of each voxel by itself, within half a period of the shortest spacing around zero.

    Parameters
    ----------
    signal : (v, n) array
        Complex samples [a.u.], or phases [rad].
    sigma : (v,) array or number
        Noise of one channel [a.u.] (of phases [rad]), NaN where unknown.
    times : (n,) array [s]
        Echo times; of n = 1, a phase difference, the time between its echoes.

    Returns
    -------
    values, errors : (v, 1) arrays [Hz]
    flag : (v,) array
        Numbers of `Flag`.
    """
    samples = signal if np.iscomplexobj(signal) else np.exp(1j * signal.astype(float))
    samples = np.where(np.isfinite(samples), samples, 0)
    weight = np.abs(samples) ** 2
    total = weight.sum(axis=1)
    if times.size == 1:
        field = np.angle(samples[:, 0]) / (2 * np.pi * times[0])
        information = weight[:, 0] * times[0] ** 2
        variance = np.broadcast_to(np.square(sigma), total.shape)
    else:
        field, information, variance = _fit_slope(samples, weight, total, np.asarray(sigma, dtype=float), times)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.sqrt(variance / information) / (2 * np.pi)
        is_faint = total < _LEAST_SIGNIFICANCE**2 * np.square(sigma)
        flag = np.where(information > 0, np.where(is_faint, Flag.NO_SIGNAL, Flag.OK), Flag.SINGULAR)
    return field[:, np.newaxis], errors[:, np.newaxis], flag


def _fit_slope(
    samples: np.ndarray, weight: np.ndarray, total: np.ndarray, sigma: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope of the phase over 2 pi [Hz], its information (sum of weighted squares of time) and the noise's variance."""
    order = np.argsort(times)
    samples, weight, times = samples[:, order], weight[:, order], times[order]
    steps = np.diff(times)
    shortest = steps[steps > 0].min()
    near = np.flatnonzero((steps > 0) & (steps < shortest * (1 + _SAME_SPACING)))
    turns = (samples[:, near + 1] * np.conj(samples[:, near])).sum(axis=1)
    rough = np.angle(turns) / (2 * np.pi * steps[near].mean())
    # What is left of the phase turns slowly, so a straight line through it needs no unwrapping.
    left = samples * np.exp(-2j * np.pi * rough[:, np.newaxis] * times)
    with np.errstate(invalid="ignore", divide="ignore"):
        phase = np.angle(left * np.conj(left.sum(axis=1, keepdims=True)))
        center = (weight @ times) / total
        apart = times - center[:, np.newaxis]
        information = (weight * apart**2).sum(axis=1)
        mean = (weight * phase).sum(axis=1) / total
        slope = (weight * apart * phase).sum(axis=1) / information
        line = mean[:, np.newaxis] + slope[:, np.newaxis] * apart
        freedom = np.maximum((weight > 0).sum(axis=1) - 2, 0)
        measured = (weight * (phase - line) ** 2).sum(axis=1) / np.where(freedom > 0, freedom, np.nan)
        variance = np.where(np.isfinite(sigma), np.square(sigma), measured)
    return rough + slope / (2 * np.pi), information, variance
