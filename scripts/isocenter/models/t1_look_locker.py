"""T1 from a Look-Locker or MOLLI readout: many small pulses after one inversion.

equation     S(TI) = A - B exp(-TI/T1*), its magnitude where the sign was lost; T1 = T1* (B/A - 1) / efficiency
assumptions  the readout drives Mz to the steady state A with one time constant T1*, from -efficiency M0 on; full
             recovery between inversions; the same readout at every TI
needs        InversionTime [s]
options      magnitude (default true: the lost sign is searched; false for signed, phase-sensitive data)
             efficiency (default 1): the inversion turns Mz into -efficiency M0; measured values for adiabatic pulses
             are 0.9 to 0.97 in muscle (Kellman 2014, doi 10.1002/mrm.24793)
parameters   T1 [s, 0.001-20], T1star [s] as seen under the readout, A [arbitrary] steady state
known bias   MOLLI with a balanced readout reads T1 low, more so the shorter T2 is, and magnetization transfer lowers it
             further: in heart muscle by some 10 % together; it also depends on flip angle, heart rate and
             off-resonance. It is a biomarker of its own and not comparable with T1 from inversion recovery
reference    Messroghli et al. 2004, doi 10.1002/mrm.20110

The correction follows from the inversion: at TI = 0 the readout starts from A - B, which in units of M0 is
-efficiency A/M0, while A/M0 = T1*/T1. So B/A - 1 is efficiency T1/T1*. Noise can bring B/A below 1, where no T1
exists: such a voxel is flagged and holds no value.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_options
from isocenter.models.compiled import reporting
from isocenter.models.t1_inversion_recovery import evaluate_recovery

_AT_BOUND = int(Flag.AT_BOUND)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_OK = int(Flag.OK)
_SHORTEST, _LONGEST = 0.001, 20.0
#: An inversion that leaves less than half of Mz inverted is a saturation; more than all of it is impossible.
_EFFICIENCY = (0.5, 1.0)


@reporting
def report_look_locker(theta, amplitudes, constants, covariance, values, errors):
    """T1, T1*, A from log T1* and the amplitudes -B, A."""
    t1_star = np.exp(theta[0])
    b, a = amplitudes[0], amplitudes[1]
    is_magnitude, efficiency = constants[0] > 0.0, constants[1]
    # The ratio does not see the sign that a magnitude lost as a whole, so neither do the slopes.
    t1 = t1_star * (-b / a - 1.0) / efficiency
    slope_b = -t1_star / (a * efficiency)
    slope_a = t1_star * b / (a * a * efficiency)
    along = slope_b * covariance[0, 1] + slope_a * covariance[0, 2]
    variance = t1 * t1 * covariance[0, 0] + 2.0 * (t1 * along + slope_a * slope_b * covariance[1, 2])
    variance += slope_b * slope_b * covariance[1, 1] + slope_a * slope_a * covariance[2, 2]
    values[0] = t1
    values[1] = t1_star
    values[2] = abs(a) if is_magnitude else a
    errors[0] = np.sqrt(variance)
    errors[1] = t1_star * np.sqrt(covariance[0, 0])
    errors[2] = np.sqrt(covariance[2, 2])
    if not values[2] > 0.0:
        return _NO_SIGNAL
    if not (t1 > _SHORTEST and t1 < _LONGEST):
        return _AT_BOUND
    return _OK


@register
class T1LookLocker:
    """T1 by Look-Locker or MOLLI; see the card at the top of this file."""

    name = "t1_look_locker"
    title = "T1 by Look-Locker (MOLLI)"
    parameters = (
        Parameter("T1", "s", _SHORTEST, _LONGEST, "longitudinal relaxation time, corrected for the readout"),
        Parameter("T1star", "s", _SHORTEST, _LONGEST, "time constant of the recovery under the readout"),
        Parameter("A", "arbitrary", 0.0, np.inf, "signal of the steady state"),
    )
    needs = ("InversionTime",)
    uses = ()
    options: dict[str, Any] = {"magnitude": True, "efficiency": 1.0}  # noqa: RUF012
    example: dict[str, Any] = {"InversionTime": [0.1, 0.18, 0.26, 1.1, 1.18, 2.1, 3.1, 4.1]}  # noqa: RUF012
    typical: dict[str, float] = {"T1": 1.2, "T1star": 0.95, "A": 1000.0}  # noqa: RUF012
    algorithm = "Three-parameter nonlinear least squares with Look-Locker correction (variable projection)"
    reference = "https://doi.org/10.1002/mrm.20110"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to InversionTime (n,) [s]."""
        options = read_options(self, options)
        ti = read_axis(self, acquisition, "InversionTime")
        is_magnitude = options["magnitude"]
        efficiency = float(options["efficiency"])
        if not isinstance(is_magnitude, bool) or not _EFFICIENCY[0] <= efficiency <= _EFFICIENCY[1]:
            raise ConfigError(
                explain(
                    f"The model {self.name} cannot use these options",
                    expected=f"magnitude true or false, efficiency {_EFFICIENCY[0]} to {_EFFICIENCY[1]}",
                    found=options,
                    remedy="mend `options` of the biomarker in config/biomarkers.yaml",
                )
            )
        order = np.argsort(ti, kind="stable")

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            t1, t1_star, a = (p[name][..., np.newaxis] for name in ("T1", "T1star", "A"))
            signal = a * (1 - (1 + efficiency * t1 / t1_star) * np.exp(-ti / t1_star))
            return np.abs(signal) if is_magnitude else signal

        return Bound(
            model=self,
            parameters=self.parameters,
            n=ti.size,
            acquisition={"InversionTime": ti},
            options=options,
            forward=forward,
            separable=Separable(
                evaluate=evaluate_recovery,
                report=report_look_locker,
                design=ti[order][np.newaxis],
                constants=np.array([float(is_magnitude), efficiency]),
                lower=np.log([_SHORTEST]),
                upper=np.log([_LONGEST]),
                is_hard=np.array([[True, True]]),
                # As in inversion recovery: less than 4 % of the inversion left to see, or a straight line.
                visible=np.log([[ti.min() / 4, ti.max() * 4]]),
                grid=np.linspace(np.log(ti.min() / 8), np.log(ti.max() * 5), 48)[:, np.newaxis],
                order=order,
                amplitudes=2,
                is_magnitude=is_magnitude,
            ),
        )
