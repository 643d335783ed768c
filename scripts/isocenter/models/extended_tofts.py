"""Ktrans, kep and vp of the extended Tofts model, dynamic contrast-enhanced series.

equation     Ct(t) = vp Cp(t) + Ktrans * integral of Cp(s) exp(-kep (t - s)) ds; ve = Ktrans / kep
assumptions  one well-mixed extravascular space and plasma that follows the input at once (fast flow); Cp known
needs        FrameTimesStart [s], ArterialInputFunction [mM, plasma]; uses ArterialInputTimes [s]. The signal to fit
             is tissue concentration [mM]
options      as of the model tofts
parameters   Ktrans [1/min, from 0], kep [1/min, 0.0001-200], ve [1, 0-1], vp [1, 0-1], option delay "fit": delay [s]
known bias   slow flow: the first pass is broader than the input, which kep and vp take up; a wrong delay goes into vp
reference    Tofts 1997, doi 10.1002/jmri.1880070113

Where plasma alone explains the curve, kep means nothing and the voxel is flagged out of range. That takes voxels of
small Ktrans out of a region's mean: for tissue that hardly leaks, patlak is the model.
"""

from collections.abc import Mapping
from typing import Any

from isocenter.models import register
from isocenter.models.base import Bound
from isocenter.models.dynamic_series import prepare_dynamic
from isocenter.models.tofts import KEP, KTRANS, VE, VP, bind_tofts
from isocenter.models.tracer_uptake import OPTIONS, USES, example_input
from isocenter.volume import Series


@register
class ExtendedTofts:
    """Ktrans, kep, ve and vp by the extended Tofts model; see the card at the top of this file."""

    name = "extended_tofts"
    title = "Ktrans and vp by the extended Tofts model"
    parameters = (KTRANS, KEP, VE, VP)
    needs = ("FrameTimesStart", "ArterialInputFunction")
    uses = USES
    options: dict[str, Any] = OPTIONS
    example: dict[str, Any] = example_input()
    typical: dict[str, float] = {"Ktrans": 0.2, "kep": 0.5, "ve": 0.4, "vp": 0.05}  # noqa: RUF012
    algorithm = "Extended Tofts model, nonlinear least squares over kep (variable projection), exact convolution"
    reference = "https://doi.org/10.1002/jmri.1880070113"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to FrameTimesStart (n,) [s] and ArterialInputFunction (m,) [mM]."""
        return bind_tofts(self, acquisition, options, has_plasma=True)

    def prepare(self, acquired: Series, options: Mapping[str, Any]) -> Series:
        """A series of signal turned into concentration: see `isocenter.models.dynamic_series`."""
        return prepare_dynamic(self, acquired, options)
