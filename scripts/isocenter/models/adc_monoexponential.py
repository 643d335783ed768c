"""Apparent diffusion coefficient, one exponential.

equation     S(b) = S0 exp(-b ADC)
assumptions  Gaussian diffusion; trace images or the mean over directions
needs        DiffusionBValue [s/mm2], one per volume
parameters   ADC [mm2/s, 1e-6 to 0.1], S0 [arbitrary]
known bias   high b-values near the noise floor, and kurtosis, bend it down
reference    Stejskal and Tanner 1965, doi 10.1063/1.1695690
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.models import register
from isocenter.models.base import Bound, Parameter
from isocenter.models.exponential_decay import bind_decay


@register
class AdcMonoexponential:
    """ADC by one exponential; see the card at the top of this file."""

    name = "adc_monoexponential"
    title = "ADC by one exponential"
    parameters = (
        Parameter("ADC", "mm2/s", 1e-6, 0.1, "apparent diffusion coefficient"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "signal without diffusion weighting"),
    )
    needs = ("DiffusionBValue",)
    uses: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012
    example: dict[str, Any] = {"DiffusionBValue": [0.0, 300.0, 600.0, 1000.0]}  # noqa: RUF012
    typical: dict[str, float] = {"ADC": 1.0e-3, "S0": 1000.0}  # noqa: RUF012
    algorithm = "Nonlinear least squares (variable projection)"
    reference = "https://doi.org/10.1063/1.1695690"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to DiffusionBValue (n,) [s/mm2]."""
        return bind_decay(self, acquisition, options, key="DiffusionBValue", is_rate=True)
