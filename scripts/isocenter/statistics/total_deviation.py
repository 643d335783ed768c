"""Total deviation index: the distance that a given share of the differences stays within.

With normal differences of mean μ and SD σ the index k solves Φ((k − μ)/σ) − Φ((−k − μ)/σ) = p. Its upper bound is
generalized: μ and σ are drawn from what the data say of them (σ² = df·s²/χ², μ = d̄ − z·σ·s.e./s), on a fixed grid of
quantiles instead of at random, so there is no seed.

References
----------
Lin 2000, doi 10.1002/(SICI)1097-0258(20000130)19:2<255::AID-SIM293>3.0.CO;2-8; Choudhary & Nagaraja 2007,
doi 10.1016/j.jspi.2006.01.004; Weerahandi 1993, doi 10.1080/01621459.1993.10476355.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from isocenter.statistics.bland_altman import Agreement
from isocenter.statistics.quantiles import find_chi2, find_quantiles, find_t

#: The share of differences that the index holds.
SHARE = 0.9

_CHI2_POINTS, _NORMAL_POINTS = 64, 33

#: The index per SD is tabulated by the bias per SD, in so many steps a unit up to where only one tail is left; between
#: them a cubic with the exact slopes is good to 1e-12.
_STEPS, _FAR = 256, 8


@dataclass(frozen=True)
class TotalDeviation:
    """The index and its one-sided 95 % upper bound, in the values' unit."""

    n: int
    probability: float
    tdi: float
    tdi_upper95: float


def find_total_deviation(agreement: Agreement, probability: float = SHARE) -> TotalDeviation:
    """The index of differences whose bias and SD Bland–Altman found (repeats added back)."""
    n = agreement.n
    if n < 2 or not agreement.sd > 0:
        return TotalDeviation(n, probability, np.nan, np.nan)
    index = float(_solve(np.float64(agreement.bias), agreement.sd, probability))
    stderr = (agreement.bias_high - agreement.bias_low) / 2 / float(find_t(0.975, n - 1))
    wider, z = _spread_points(n - 1)
    sigma = agreement.sd * wider
    mu = agreement.bias + z * (wider * stderr)
    drawn = _solve(mu, sigma, probability)
    return TotalDeviation(n, probability, index, float(find_quantiles(drawn.ravel(), (0.95,))[0]))


@lru_cache(maxsize=256)
def _spread_points(df: int) -> tuple[np.ndarray, np.ndarray]:
    """(c, 1) SDs per estimate and (z,) normal deviates, at evenly spread shares."""
    shares = (np.arange(_CHI2_POINTS) + 0.5) / _CHI2_POINTS
    z = special.ndtri((np.arange(_NORMAL_POINTS) + 0.5) / _NORMAL_POINTS)
    return np.sqrt(df / find_chi2(shares, df))[:, None], z


def _solve(mu: np.ndarray, sigma: np.ndarray, probability: float) -> np.ndarray:
    """K with probability `probability` inside ±k."""
    shift = np.abs(mu) / sigma
    cubics = _tabulate_cubics(probability)
    place = np.minimum(shift * _STEPS, cubics.shape[1])
    step = np.minimum(place.astype(int), cubics.shape[1] - 1)
    t = place - step
    a, b, c, d = (cubic[step] for cubic in cubics)
    k = ((d * t + c) * t + b) * t + a
    if np.max(shift) < _FAR:
        return k * sigma
    return np.where(shift < _FAR, k, shift + special.ndtri(probability)) * sigma


@lru_cache(maxsize=8)
def _tabulate_cubics(probability: float) -> np.ndarray:
    """(4, steps) coefficients of the cubic through two neighbors of the table with their slopes."""
    value, slope = _tabulate_index(probability)
    rise = np.diff(value)
    return np.stack([value[:-1], slope[:-1], 3 * rise - 2 * slope[:-1] - slope[1:], slope[:-1] + slope[1:] - 2 * rise])


@lru_cache(maxsize=8)
def _tabulate_index(probability: float) -> tuple[np.ndarray, np.ndarray]:
    """The index and its slope (per step) for unit SD at biases from 0, by Newton's method."""
    shift = np.arange(_FAR * _STEPS + 1) / _STEPS
    # Above the root from here on: convex steps never overshoot below it.
    k = np.maximum(special.ndtri((1 + probability) / 2) * np.sqrt(1 + shift**2), shift + special.ndtri(probability))
    for _ in range(25):
        inside = special.ndtr(k - shift) - special.ndtr(-k - shift)
        density = (np.exp(-((k - shift) ** 2) / 2) + np.exp(-((k + shift) ** 2) / 2)) / np.sqrt(2 * np.pi)
        step = (inside - probability) / np.maximum(density, 1e-12)
        k = np.maximum(k - np.clip(step, -1.0, 1.0), 0.0)
        if np.abs(step).max() < 1e-13:
            break
    near, far = np.exp(-((k - shift) ** 2) / 2), np.exp(-((k + shift) ** 2) / 2)
    return k, (near - far) / (near + far) / _STEPS
