"""T1 from inversion recovery, magnitude images.

equation     S(TI) = M0 |1 - (1 + k) exp(-TI/T1) + k exp(-TR/T1)|
assumptions  90 degree readout that leaves no longitudinal magnetization; the inversion turns Mz into -k Mz
needs        InversionTime [s]; uses RepetitionTime [s] (without it TR is taken as infinite, which leaves T1
             untouched and changes the meaning of M0 and k)
options      window [T1, default 8]: inversion times beyond this many T1 are left out in a second fit where at least 5
             samples remain; they tell nothing on T1, and a few percent of long-T1 signal from the surroundings of
             a short-T1 vial (Gibbs ringing, partial volume) would bend the curve; null keeps all
parameters   T1 [s, 0.001-20], M0 [arbitrary], inversion_efficiency k [1]
known bias   Rician noise floor near the null; two compartments in a voxel; signal of surrounding fluid at TI >> T1
reference    Barral et al. 2010, doi 10.1002/mrm.22497

T1 comes from the reduced-dimension form a + b exp(-TI/T1), which holds for any TR and any k. The sign that the
magnitude lost is searched: the true signal rises with TI, so the negative samples are the first ones, and every such
split is tried.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_constant, read_options
from isocenter.models.compiled import evaluation, reporting

_AT_BOUND = int(Flag.AT_BOUND)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_OK = int(Flag.OK)
#: Inversion efficiencies that are surely outside of this are no inversion recovery.
_EFFICIENCY = (-0.5, 1.5)


@evaluation
def evaluate_recovery(theta, design, constants, basis, slope):
    """Basis (1, exp(-TI/T1)) and its slope with respect to log T1."""
    rate = np.exp(-theta[0])
    for i in range(design.shape[1]):
        x = design[0, i] * rate
        e = np.exp(-x)
        basis[0, i] = 1.0
        basis[1, i] = e
        slope[0, 0, i] = 0.0
        slope[0, 1, i] = e * x


@reporting
def report_recovery(theta, amplitudes, constants, covariance, values, errors):
    """T1, M0 and inversion efficiency from log T1, a, b: M0 = (a + b E) / (1 - E), k = -b/M0 - 1, E = exp(-TR/T1)."""
    t1 = np.exp(theta[0])
    a, b = amplitudes[0], amplitudes[1]
    if a < 0.0:
        # Every sample lies before the null: the magnitude is the mirrored signal. The slopes below are those of
        # |M0|; variances do not see the sign.
        a, b = -a, -b
        sign = -1.0
    else:
        sign = 1.0
    x = constants[0] / t1
    e = np.exp(-x)
    de = e * x if e > 0.0 else 0.0
    m0 = (a + b * e) / (1.0 - e)
    k = -b / m0 - 1.0
    g_m0 = np.empty(3)
    g_m0[0] = (a + b) / (1.0 - e) ** 2 * de
    g_m0[1] = sign / (1.0 - e)
    g_m0[2] = sign * e / (1.0 - e)
    var_t1 = covariance[0, 0]
    var_m0 = 0.0
    var_k = 0.0
    for i in range(3):
        ki = b / m0**2 * g_m0[i] - (sign / m0 if i == 2 else 0.0)
        for j in range(3):
            kj = b / m0**2 * g_m0[j] - (sign / m0 if j == 2 else 0.0)
            var_m0 += g_m0[i] * g_m0[j] * covariance[i, j]
            var_k += ki * kj * covariance[i, j]
    values[0] = t1
    values[1] = m0
    values[2] = k
    errors[0] = t1 * np.sqrt(var_t1)
    errors[1] = np.sqrt(var_m0)
    errors[2] = np.sqrt(var_k)
    if not m0 > 0.0:
        return _NO_SIGNAL
    # Where all samples are late, k is an extrapolation: only a significant contradiction counts.
    if k + 3.0 * errors[2] < _EFFICIENCY[0] or k - 3.0 * errors[2] > _EFFICIENCY[1]:
        return _AT_BOUND
    return _OK


@register
class T1InversionRecovery:
    """T1 by inversion recovery; see the card at the top of this file."""

    name = "t1_inversion_recovery"
    title = "T1 by inversion recovery"
    parameters = (
        Parameter("T1", "s", 0.001, 20.0, "longitudinal relaxation time"),
        Parameter("M0", "arbitrary", 0.0, np.inf, "signal at full recovery"),
        Parameter("inversion_efficiency", "1", *_EFFICIENCY, "k: the inversion turns Mz into -k Mz; 1 is perfect"),
    )
    needs = ("InversionTime",)
    uses = ("RepetitionTime",)
    options: dict[str, Any] = {"window": 8.0}  # noqa: RUF012
    example: dict[str, Any] = {"InversionTime": [0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.0]}  # noqa: RUF012
    typical: dict[str, float] = {"T1": 0.9, "M0": 1000.0, "inversion_efficiency": 0.96}  # noqa: RUF012
    algorithm = "Reduced-dimension nonlinear least squares with polarity search (variable projection)"
    reference = "https://doi.org/10.1002/mrm.22497"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to InversionTime (n,) [s] and, where given, RepetitionTime [s]."""
        options = read_options(self, options)
        ti = read_axis(self, acquisition, "InversionTime", positive=False)
        tr = read_constant(self, acquisition, "RepetitionTime", np.inf, unit="s")
        order = np.argsort(ti, kind="stable")
        bounds = np.log([self.parameters[0].lower, self.parameters[0].upper])
        first, last = ti[ti > 0].min(), ti.max()

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            t1, m0, k = (p[name][..., np.newaxis] for name in ("T1", "M0", "inversion_efficiency"))
            return m0 * np.abs(1 - (1 + k) * np.exp(-ti / t1) + k * np.exp(-tr / t1))

        return Bound(
            model=self,
            parameters=self.parameters,
            n=ti.size,
            acquisition={"InversionTime": ti, **({"RepetitionTime": tr} if np.isfinite(tr) else {})},
            options=options,
            forward=forward,
            separable=Separable(
                evaluate=evaluate_recovery,
                report=report_recovery,
                design=ti[order][np.newaxis],
                constants=np.array([tr]),
                lower=bounds[:1],
                upper=bounds[1:],
                is_hard=np.array([[True, True]]),
                # Below a quarter of the first TI less than 4 % of the inversion is left to see; above four times
                # the last TI the curve is a straight line and T1, M0 and k trade off.
                visible=np.log([[first / 4, last * 4]]),
                grid=np.linspace(np.log(first / 8), np.log(last * 5), 48)[:, np.newaxis],
                order=order,
                amplitudes=2,
                is_magnitude=True,
                window=np.inf if options["window"] is None else float(options["window"]),
            ),
        )
