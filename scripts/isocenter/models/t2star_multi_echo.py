"""T2* from a multi-echo gradient echo, magnitude images.

equation     S(TE) = S0 exp(-TE/T2star) [+ offset]; R2star = 1/T2star
assumptions  one water pool, a field that is uniform within the voxel
needs        EchoTime [s]
options      offset [default false]: a constant that does not decay is fitted too, for late echoes that sit on a floor;
             where that is thermal noise, the fit's option `noise: rician` describes it better and costs no parameter
parameters   T2star [s, 0.0002-20], R2star [1/s], S0 [arbitrary], option offset: offset [arbitrary]
known bias   background gradients shorten T2*; fat makes the decay oscillate; the noise floor lengthens short T2*
reference    Hernando et al. 2014, doi 10.1002/jmri.24526
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isocenter.models import register
from isocenter.models.base import Bound, Parameter
from isocenter.models.compiled import reporting
from isocenter.models.exponential_decay import bind_decay, judge_decay


@reporting
def report_star(theta, amplitudes, constants, covariance, values, errors):
    """T2star, its inverse, S0 [, offset]; time and rate have the same relative error."""
    relative = np.sqrt(covariance[0, 0])
    values[0] = np.exp(theta[0])
    values[1] = np.exp(-theta[0])
    errors[0] = values[0] * relative
    errors[1] = values[1] * relative
    for k in range(amplitudes.size):
        values[2 + k] = amplitudes[k]
        errors[2 + k] = np.sqrt(covariance[1 + k, 1 + k])
    return judge_decay(values[1], amplitudes[0], constants[1], covariance[0, 0])


@register
class T2StarMultiEcho:
    """T2* by one exponential; see the card at the top of this file."""

    name = "t2star_multi_echo"
    title = "T2* by one exponential"
    parameters = (
        Parameter("T2star", "s", 0.0002, 20.0, "effective transverse relaxation time"),
        Parameter("R2star", "1/s", 1 / 20.0, 1 / 0.0002, "effective transverse relaxation rate, 1/T2star"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "signal at echo time zero"),
    )
    needs = ("EchoTime",)
    uses: tuple[str, ...] = ()
    options: dict[str, Any] = {"offset": False}  # noqa: RUF012
    example: dict[str, Any] = {"EchoTime": [0.004 * k for k in range(1, 13)]}  # noqa: RUF012
    typical: dict[str, float] = {"T2star": 0.03, "S0": 1000.0}  # noqa: RUF012
    algorithm = "Nonlinear least squares (variable projection)"
    reference = "https://doi.org/10.1002/jmri.24526"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to EchoTime (n,) [s]."""
        bound = bind_decay(self, acquisition, options, key="EchoTime")
        separable = replace(bound.separable, report=report_star)
        # The rate follows from the time: nobody needs to give it to predict a signal.
        return replace(bound, separable=separable, defaults={**bound.defaults, "R2star": np.nan})
