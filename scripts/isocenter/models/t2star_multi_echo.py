"""T2* from a multi-echo gradient echo, magnitude images.

equation     S(TE) = S0 exp(-TE/T2star) [+ offset]
assumptions  one water pool, a field that is uniform within the voxel
needs        EchoTime [s]
parameters   T2star [s, 0.0002-20], S0 [arbitrary], option offset: offset [arbitrary]
known bias   background gradients shorten T2*; fat makes the decay oscillate; the noise floor lengthens short T2*
reference    Hernando et al. 2014, doi 10.1002/jmri.24526
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.models import register
from isocenter.models.base import Bound, Parameter
from isocenter.models.exponential_decay import bind_decay


@register
class T2StarMultiEcho:
    """T2* by one exponential; see the card at the top of this file."""

    name = "t2star_multi_echo"
    title = "T2* by one exponential"
    parameters = (
        Parameter("T2star", "s", 0.0002, 20.0, "effective transverse relaxation time"),
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
        return bind_decay(self, acquisition, options, key="EchoTime")
