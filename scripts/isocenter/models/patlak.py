"""Ktrans and vp of the Patlak model, dynamic contrast-enhanced series.

equation     Ct(t) = vp Cp(t) + Ktrans * integral of Cp(s) ds
assumptions  nothing flows back within the series (kep t << 1); plasma follows the input at once; Cp known
needs        FrameTimesStart [s], ArterialInputFunction [mM, plasma]; uses ArterialInputTimes [s]. The signal to fit
             is tissue concentration [mM]
options      as of the model tofts
parameters   Ktrans [1/min], vp [1], option delay "fit": delay [s]. Both are linear and may fall below 0 by noise: a
             region's mean stays unbiased. Only a significant contradiction is flagged
known bias   backflux lowers Ktrans (by a fifth at kep T = 0.5); a wrong delay goes into vp
reference    Patlak, Blasberg and Fenstermacher 1983, doi 10.1038/jcbfm.1983.1
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable
from isocenter.models.compiled import evaluation, reporting
from isocenter.models.dynamic_series import prepare_dynamic
from isocenter.models.tracer_uptake import OPTIONS, USES, bind_input, example_input, fill_uptake
from isocenter.volume import Series

_OK = int(Flag.OK)
_AT_BOUND = int(Flag.AT_BOUND)
#: Standard errors that a contradiction must reach.
_SIGNIFICANCE = 3.0
#: This much (1/min or 1) below zero is what the sampling of the input does, no contradiction.
_SLACK = 0.01


@evaluation
def evaluate_patlak(theta, design, constants, basis, slope):
    """Basis (integral of the input, input) and, where the delay is fitted, its slope."""
    fill_uptake(0.0, -1, theta, design[0], constants, basis, slope)


@reporting
def report_patlak(theta, amplitudes, constants, covariance, values, errors):
    """Ktrans, vp [, delay]."""
    p = theta.size
    flag = _OK
    for k in range(2):
        values[k] = amplitudes[k]
        errors[k] = np.sqrt(covariance[p + k, p + k])
        if values[k] + _SIGNIFICANCE * errors[k] < -_SLACK:
            flag = _AT_BOUND
    if values[1] - _SIGNIFICANCE * errors[1] > 1.0 + _SLACK:
        flag = _AT_BOUND
    if p == 1:
        values[2] = theta[0]
        errors[2] = np.sqrt(covariance[0, 0])
    return flag


@register
class Patlak:
    """Ktrans and vp by the Patlak model; see the card at the top of this file."""

    name = "patlak"
    title = "Ktrans and vp by the Patlak model"
    parameters = (
        Parameter("Ktrans", "1/min", -np.inf, np.inf, "volume transfer constant from plasma to tissue"),
        Parameter("vp", "1", -np.inf, 1.0, "volume fraction of plasma"),
    )
    needs = ("FrameTimesStart", "ArterialInputFunction")
    uses = USES
    options: dict[str, Any] = OPTIONS
    example: dict[str, Any] = example_input()
    typical: dict[str, float] = {"Ktrans": 0.01, "vp": 0.05}  # noqa: RUF012
    algorithm = "Patlak model, linear least squares, exact integral of the input"
    reference = "https://doi.org/10.1038/jcbfm.1983.1"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to FrameTimesStart (n,) [s] and ArterialInputFunction (m,) [mM]."""
        given = bind_input(self, acquisition, options)
        limits = np.array([given.options["delay_limits"]] if given.is_delay_fitted else []).reshape(-1, 2)
        nodes = given.delay_nodes[:, np.newaxis] if given.is_delay_fitted else np.zeros((1, 0))

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            delay = p["delay"] if given.is_delay_fitted else np.full(p["Ktrans"].shape, given.options["delay"])
            uptake, arrived = given.predict(np.zeros(delay.shape), delay)
            return p["Ktrans"][..., np.newaxis] * uptake + p["vp"][..., np.newaxis] * arrived

        return Bound(
            model=self,
            parameters=self.parameters + given.delay_parameters,
            n=given.times.size,
            acquisition=given.acquisition,
            options=given.options,
            forward=forward,
            separable=Separable(
                evaluate=evaluate_patlak,
                report=report_patlak,
                design=given.times[np.newaxis] / 60.0,
                constants=given.constants,
                lower=np.ascontiguousarray(limits[:, 0]),
                upper=np.ascontiguousarray(limits[:, 1]),
                is_hard=np.ones((len(limits), 2), dtype=bool),
                visible=limits,
                grid=nodes,
                order=given.order,
                amplitudes=2,
            ),
        )

    def prepare(self, acquired: Series, options: Mapping[str, Any]) -> Series:
        """A series of signal turned into concentration: see `isocenter.models.dynamic_series`."""
        return prepare_dynamic(self, acquired, options)
