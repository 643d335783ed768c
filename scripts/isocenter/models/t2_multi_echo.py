"""T2 from a spin-echo train, one exponential.

equation     S(TE) = S0 exp(-TE/T2) [+ offset]
assumptions  perfect refocusing (no stimulated echoes), one water pool
needs        EchoTime [s]
options      offset: a constant is fitted too; skip_first: the first echo, which no stimulated echo feeds, is left out;
             even_echoes: only the second, fourth, ... are used
parameters   T2 [s, 0.0005-20], S0 [arbitrary], option offset: offset [arbitrary]
known bias   reads 5-15 % high when the refocusing angle is not 180 degrees: see t2_extended_phase_graph, for which
             skip_first and even_echoes are no more than half a measure
reference    Milford et al. 2015, doi 10.1371/journal.pone.0145255
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.models import register
from isocenter.models.base import Bound, Parameter
from isocenter.models.exponential_decay import bind_decay


@register
class T2MultiEcho:
    """T2 by one exponential; see the card at the top of this file."""

    name = "t2_multi_echo"
    title = "T2 by one exponential"
    parameters = (
        Parameter("T2", "s", 0.0005, 20.0, "transverse relaxation time"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "signal at echo time zero"),
    )
    needs = ("EchoTime",)
    uses: tuple[str, ...] = ()
    options: dict[str, Any] = {"offset": False, "skip_first": False, "even_echoes": False}  # noqa: RUF012
    example: dict[str, Any] = {"EchoTime": [0.01 * k for k in range(1, 17)]}  # noqa: RUF012
    typical: dict[str, float] = {"T2": 0.08, "S0": 1000.0}  # noqa: RUF012
    algorithm = "Nonlinear least squares (variable projection)"
    reference = "https://doi.org/10.1371/journal.pone.0145255"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to EchoTime (n,) [s]."""
        return bind_decay(self, acquisition, options, key="EchoTime")
