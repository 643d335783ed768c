"""The arterial input of the DCE tasks and the convolution as a careful user of scipy would write it."""

import numpy as np
from scipy.signal import lfilter

TIMES = 2.5 * np.arange(150)
"""Frames [s]."""


def parker_input(times: np.ndarray, *, onset: float, hematocrit: float = 0.42) -> np.ndarray:
    """Plasma concentration [mM] of the population input (Parker 2006, doi 10.1002/mrm.21066); times (n,), onset [s]."""
    t = (times - onset) / 60
    blood = sum(
        a / (s * np.sqrt(2 * np.pi)) * np.exp(-((t - m) ** 2) / (2 * s**2))
        for a, m, s in ((0.809, 0.17046, 0.0563), (0.330, 0.365, 0.132))
    )
    blood = blood + 1.050 * np.exp(-0.1685 * t) / (1 + np.exp(-38.078 * (t - 0.483)))
    return np.where(t < 0, 0.0, blood / (1 - hematocrit))


ACQUISITION = {
    "FrameTimesStart": TIMES.tolist(),
    "ArterialInputFunction": parker_input(TIMES, onset=20.0).tolist(),
}


def make_filter() -> tuple[np.ndarray, float]:
    """Plasma [mM] and the step [min]."""
    return np.asarray(ACQUISITION["ArterialInputFunction"]), (TIMES[1] - TIMES[0]) / 60


def convolve(plasma: np.ndarray, step: float, rate: float) -> np.ndarray:
    """The input, straight between its samples, convolved with exp(-rate t): exact, as a recursive filter of one tap."""
    x = rate * step
    if abs(x) < 1e-6:
        return np.concatenate([[0.0], np.cumsum(plasma[1:] + plasma[:-1]) * step / 2])
    e = np.exp(-x)
    now = step * (x - 1 + e) / x**2
    before = step * (1 - e - x * e) / x**2
    first = now * plasma[0]
    return lfilter([now, before], [1.0, -e], plasma) - first * e ** np.arange(plasma.size)
