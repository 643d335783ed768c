"""T1 of a phantom's vials by inversion recovery when one pulse inverted them all.

Fitted alone, each vial pays for an efficiency of its own, though the pulse is the scanner's. Where the header's
inversion time counts from a little before the effective inversion, a vial alone reads 1 + k' = (1 + k) exp(delay / T1):
over vials of short and long T1 this tells the efficiency k and the delay, which then hold for every vial. That leaves
T1 and an amplitude, which matters where early samples are clipped. It changes no T1 by more than its efficiency was
uncertain; what each vial says alone stands beside it.
"""

from dataclasses import dataclass

import numpy as np

from isocenter import models

#: With fewer vials nothing is shared.
LEAST_VIALS = 6
#: A vial whose own T1 is not known to this share of it tells nothing of the pulse: it holds no signal, or too little.
MOST_ERROR = 0.2
#: Own efficiencies that a pulse can look like; a perfect one reads 1 at long T1 and up to 2 at the shortest.
EFFICIENCIES = (-0.5, 3.0)
#: How alike the slopes of T1 and amplitude may be: the condition of their normal equations, each of unit size.
MOST_ALIKE = 1e10
#: Samples beyond this many T1 tell nothing of T1 and may hold the fluid around a short vial, as in the model itself.
WINDOW, LEAST_SAMPLES = 8.0, 5


@dataclass(frozen=True)
class SharedInversion:
    """The pulse and what the vials read with it.

    efficiency [1], delay [s] and their standard errors
    t1, t1_stderr [s], m0 [a.u.], own_efficiency [1] : (v,) arrays, NaN where there is no value; `own_efficiency` is the
        k' that a vial of this T1 shows
    """

    efficiency: float
    efficiency_stderr: float
    delay: float
    delay_stderr: float
    t1: np.ndarray
    t1_stderr: np.ndarray
    m0: np.ndarray
    own_efficiency: np.ndarray


def share_inversion(
    acquisition: dict, signal: np.ndarray, t1: np.ndarray, t1_stderr: np.ndarray, efficiency: np.ndarray
) -> SharedInversion | None:
    """Fit all vials with one inversion pulse; None with too few of them.

    acquisition : InversionTime (n,) [s] and, where known, RepetitionTime [s]; signal : (v, n) [a.u.], NaN left out
    t1, t1_stderr, efficiency : (v,) arrays of the fits alone [s, s, 1]
    """
    good = np.isfinite(t1) & (efficiency > EFFICIENCIES[0]) & (efficiency < EFFICIENCIES[1])
    good &= t1_stderr < MOST_ERROR * t1
    if good.sum() < LEAST_VIALS or np.ptp(1 / t1[good]) < 1.0:
        return None
    x, y = 1.0 / t1[good], np.log1p(efficiency[good])
    # Short vials tell the delay, long ones the efficiency; the median of all pairs' slopes resists an odd vial.
    i, j = np.triu_indices(len(x), 1)
    far = np.abs(x[i] - x[j]) > 1e-3
    delay = float(np.median((y[i] - y[j])[far] / (x[i] - x[j])[far]))
    rest = y - delay * x
    k = float(np.expm1(np.median(rest)))
    scatter = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    k_stderr = 1.2533 * (1 + k) * scatter / np.sqrt(len(x))
    delay_stderr = scatter / np.sqrt(np.sum((x - x.mean()) ** 2))
    ti = np.asarray(acquisition["InversionTime"], dtype=float)
    found = {name: np.full(len(t1), np.nan) for name in ("t1", "t1_stderr", "m0", "own_efficiency")}
    bound = models.get("t1_inversion_recovery").bind(acquisition)
    for v in np.flatnonzero(good):
        used = np.isfinite(signal[v])
        if (used & (ti <= WINDOW * t1[v])).sum() >= LEAST_SAMPLES:
            used &= ti <= WINDOW * t1[v]
        value, stderr, m0 = _fit(_shape(bound, k, delay, used), signal[v][used], float(t1[v]))
        # The pulse is known no better than this, and it moves every vial.
        moved, _, _ = _fit(_shape(bound, k + k_stderr, delay, used), signal[v][used], value)
        found["t1"][v], found["t1_stderr"][v], found["m0"][v] = value, np.hypot(stderr, moved - value), m0
        found["own_efficiency"][v] = (1 + k) * np.exp(delay / value) - 1
    return SharedInversion(k, float(k_stderr), delay, float(delay_stderr), **found)


def _shape(bound, efficiency: float, delay: float, used: np.ndarray):
    """The recovery of unit amplitude at the samples used, as a function of T1 [s]."""

    def shape(t1: float) -> np.ndarray:
        own = (1 + efficiency) * np.exp(delay / t1) - 1
        return bound.predict({"T1": t1, "M0": 1.0, "inversion_efficiency": own})[used]

    return shape


def _fit(shape, signal: np.ndarray, start: float) -> tuple[float, float, float]:
    """T1, its standard error and the amplitude, by Gauss-Newton steps on log T1 from the fit alone.

    NaN where no sample tells T1 from the amplitude.
    """
    nothing = (np.nan, np.nan, np.nan)
    log_t1 = np.log(start)
    for _ in range(30):
        base = shape(np.exp(log_t1))
        m0 = (base @ signal) / (base @ base)
        slope = m0 * (shape(np.exp(log_t1 + 1e-5)) - shape(np.exp(log_t1 - 1e-5))) / 2e-5
        design = np.column_stack([slope, base])
        if not np.isfinite(design).all():
            return nothing
        step = np.linalg.lstsq(design, signal - m0 * base, rcond=None)[0][0]
        log_t1 += float(np.clip(step, -0.2, 0.2))
        if abs(step) < 1e-9:
            break
    base = shape(np.exp(log_t1))
    m0 = (base @ signal) / (base @ base)
    freedom = max(len(signal) - 2, 1)
    variance = np.sum((signal - m0 * base) ** 2) / freedom
    value, normal = float(np.exp(log_t1)), design.T @ design
    size = np.sqrt(np.diag(normal))
    if not (size > 0).all() or np.linalg.cond(normal / np.outer(size, size)) > MOST_ALIKE:
        return nothing
    covariance = variance * np.linalg.inv(normal)
    return value, value * float(np.sqrt(covariance[0, 0])), float(m0)
