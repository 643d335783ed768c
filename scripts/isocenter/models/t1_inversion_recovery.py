"""T1 from inversion recovery: magnitude, real (phase-sensitive) or complex images.

equation     S(TI) = M0 (1 - (1 + k) exp(-TI/T1) + k exp(-TR/T1)), its magnitude, or times exp(i phase)
assumptions  90 degree readout that leaves no longitudinal magnetization; the inversion turns Mz into -k Mz
needs        InversionTime [s]; uses RepetitionTime [s] (without it TR is taken as infinite, which leaves T1
             untouched and changes the meaning of M0 and k)
options      data: magnitude (the lost sign is searched), real (the sign is in the data) or complex (the phase is free)
             window [T1, default 8]: inversion times beyond this many T1 are left out in a second fit where at least 5
             samples remain; they tell nothing on T1, and a few percent of long-T1 signal from the surroundings of
             a short-T1 vial (Gibbs ringing, partial volume) would bend the curve; null keeps all
parameters   T1 [s, 0.001-20], M0 [arbitrary], inversion_efficiency k [1]
known bias   Rician noise floor of magnitudes near the null; two compartments in a voxel; signal of surrounding fluid
             at TI >> T1; real and complex data: a phase that drifts from one TI to the next
reference    Barral et al. 2010, doi 10.1002/mrm.22497

T1 comes from the reduced-dimension form a + b exp(-TI/T1), which holds for any TR and any k. The sign that the
magnitude lost is searched: the true signal rises with TI, so the negative samples are the first ones, and every such
split is tried. Real data may have either sign as a whole. In complex data a and b are complex and independent, as in
Barral's paper: an inversion pulse that turns the phase is no error; k is then the part of it that opposes M0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_constant, read_options
from isocenter.models.compiled import evaluation, reporting

_AT_BOUND = int(Flag.AT_BOUND)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_OK = int(Flag.OK)
#: Inversion efficiencies that are surely outside of this are no inversion recovery.
_EFFICIENCY = (-0.5, 1.5)
_KINDS = ("magnitude", "real", "complex")


@evaluation
def evaluate_recovery(theta, design, constants, basis, slope):
    """Basis (exp(-TI/T1), 1) and its slope with respect to log T1."""
    rate = np.exp(-theta[0])
    for i in range(design.shape[1]):
        x = design[0, i] * rate
        e = np.exp(-x)
        basis[0, i] = e
        basis[1, i] = 1.0
        slope[0, 0, i] = e * x
        slope[0, 1, i] = 0.0


@evaluation
def evaluate_complex_recovery(theta, design, constants, basis, slope):
    """Basis (exp(-TI/T1), i exp(-TI/T1), 1, i) over real, then imaginary parts, and its slope."""
    rate = np.exp(-theta[0])
    n = design.shape[1]
    half = n // 2
    for i in range(n):
        x = design[0, i] * rate
        e = np.exp(-x)
        for k in range(4):
            basis[k, i] = 0.0
            slope[0, k, i] = 0.0
        part = 0 if i < half else 1
        basis[part, i] = e
        basis[2 + part, i] = 1.0
        slope[0, part, i] = e * x


@reporting
def report_recovery(theta, amplitudes, constants, covariance, values, errors):
    """T1, M0 and inversion efficiency from log T1, b, a: M0 = (a + b E) / (1 - E), k = -b/M0 - 1, E = exp(-TR/T1)."""
    t1 = np.exp(theta[0])
    b, a = amplitudes[0], amplitudes[1]
    if a < 0.0:
        # Every sample lies before the null, or real data have the other sign: the signal is mirrored. The slopes
        # below are those of |M0|; variances do not see the sign.
        a, b = -a, -b
        sign = -1.0
    else:
        sign = 1.0
    x = constants[0] / t1
    e = np.exp(-x)
    de = e * x if e > 0.0 else 0.0
    m0 = (a + b * e) / (1.0 - e)
    k = -b / m0 - 1.0
    g_m0 = ((a + b) / (1.0 - e) ** 2 * de, sign * e / (1.0 - e), sign / (1.0 - e))
    var_t1 = covariance[0, 0]
    var_m0 = 0.0
    var_k = 0.0
    for i in range(3):
        ki = b / m0**2 * g_m0[i] - (sign / m0 if i == 1 else 0.0)
        for j in range(3):
            kj = b / m0**2 * g_m0[j] - (sign / m0 if j == 1 else 0.0)
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


@reporting
def report_complex_recovery(theta, amplitudes, constants, covariance, values, errors):
    """The same from log T1 and complex b, a: |M0|, and the real part of k."""
    t1 = np.exp(theta[0])
    b = complex(amplitudes[0], amplitudes[1])
    a = complex(amplitudes[2], amplitudes[3])
    x = constants[0] / t1
    e = np.exp(-x)
    de = e * x if e > 0.0 else 0.0
    m0 = (a + b * e) / (1.0 - e)
    size = abs(m0)
    inverse = m0.conjugate() / size**2
    g_m0 = np.empty(5)
    g_k = np.empty(5)
    for i in range(5):
        # How M0 and b move with log T1, Re b, Im b, Re a, Im a.
        unit = complex(0.0, 1.0) if i == 2 or i == 4 else complex(1.0, 0.0)
        if i == 0:
            d_m0 = (a + b) / (1.0 - e) ** 2 * de
            d_b = complex(0.0, 0.0)
        elif i < 3:
            d_m0 = unit * (e / (1.0 - e))
            d_b = unit
        else:
            d_m0 = unit / (1.0 - e)
            d_b = complex(0.0, 0.0)
        g_m0[i] = (m0.conjugate() * d_m0).real / size
        g_k[i] = ((b * d_m0 * inverse - d_b) * inverse).real
    var_m0 = 0.0
    var_k = 0.0
    for i in range(5):
        for j in range(5):
            var_m0 += g_m0[i] * g_m0[j] * covariance[i, j]
            var_k += g_k[i] * g_k[j] * covariance[i, j]
    values[0] = t1
    values[1] = size
    values[2] = -(b * inverse).real - 1.0
    errors[0] = t1 * np.sqrt(covariance[0, 0])
    errors[1] = np.sqrt(var_m0)
    errors[2] = np.sqrt(var_k)
    if not size > 0.0:
        return _NO_SIGNAL
    if values[2] + 3.0 * errors[2] < _EFFICIENCY[0] or values[2] - 3.0 * errors[2] > _EFFICIENCY[1]:
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
    options: dict[str, Any] = {"data": "magnitude", "window": 8.0}  # noqa: RUF012
    example: dict[str, Any] = {"InversionTime": [0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.0]}  # noqa: RUF012
    typical: dict[str, float] = {"T1": 0.9, "M0": 1000.0, "inversion_efficiency": 0.96}  # noqa: RUF012
    algorithm = "Reduced-dimension nonlinear least squares with polarity search (variable projection)"
    reference = "https://doi.org/10.1002/mrm.22497"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to InversionTime (n,) [s] and, where given, RepetitionTime [s]."""
        options = read_options(self, options)
        kind = options["data"]
        if kind not in _KINDS:
            raise ConfigError(
                explain(
                    f"The model {self.name} knows no such data",
                    expected=f"data: {', '.join(_KINDS)}",
                    found=kind,
                    remedy="mend `options` of the biomarker in config/biomarkers.yaml",
                )
            )
        is_complex = kind == "complex"
        ti = read_axis(self, acquisition, "InversionTime", positive=False)
        tr = read_constant(self, acquisition, "RepetitionTime", np.inf, unit="s")
        order = np.argsort(ti, kind="stable")
        bounds = np.log([self.parameters[0].lower, self.parameters[0].upper])
        first, last = ti[ti > 0].min(), ti.max()

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            t1, m0, k = (p[name][..., np.newaxis] for name in ("T1", "M0", "inversion_efficiency"))
            signal = m0 * (1 - (1 + k) * np.exp(-ti / t1) + k * np.exp(-tr / t1))
            if is_complex:
                return signal * np.exp(1j * p["phase"][..., np.newaxis])
            return np.abs(signal) if kind == "magnitude" else signal

        return Bound(
            model=self,
            parameters=self.parameters,
            n=ti.size,
            acquisition={"InversionTime": ti, **({"RepetitionTime": tr} if np.isfinite(tr) else {})},
            options=options,
            forward=forward,
            defaults={"phase": 0.0} if is_complex else {},
            separable=Separable(
                evaluate=evaluate_complex_recovery if is_complex else evaluate_recovery,
                report=report_complex_recovery if is_complex else report_recovery,
                design=np.tile(ti[order], 2 if is_complex else 1)[np.newaxis],
                constants=np.array([tr]),
                lower=bounds[:1],
                upper=bounds[1:],
                is_hard=np.array([[True, True]]),
                # Below a quarter of the first TI less than 4 % of the inversion is left to see; above four times
                # the last TI the curve is a straight line and T1, M0 and k trade off.
                visible=np.log([[first / 4, last * 4]]),
                grid=np.linspace(np.log(first / 8), np.log(last * 5), 48)[:, np.newaxis],
                order=order,
                amplitudes=4 if is_complex else 2,
                is_magnitude=kind == "magnitude",
                is_complex=is_complex,
                window=np.inf if options["window"] is None else float(options["window"]),
                # Five inversion times; complex ones count twice.
                window_least=10 if is_complex else 5,
            ),
        )
