"""Precision profile: how the within-subject SD runs with the level of the measurand.

Groups of repeats are sorted by their mean and cut into bins of equal size; a curve, SD² = a² + b²·mean², goes through
all of them (constant SD where b = 0, constant CV where a = 0). Its weights are those of variances, 1/SD⁴, iterated.

References
----------
CLSI EP05-A3 (2014), precision profiles; Rocke & Lorenzato 1995, doi 10.1080/00401706.1995.10484302.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.statistics.quantiles import find_chi2

#: So many bins at most, and so many groups of repeats a bin at least.
MOST_BINS, LEAST_GROUPS = 5, 4


@dataclass(frozen=True)
class ProfileBin:
    """One stretch of the measurand; SDs and means in the values' unit, wcv a ratio."""

    bin: int
    n_groups: int
    df: int
    mean: float
    wsd: float
    wsd_low: float
    wsd_high: float
    wcv: float
    fitted_wsd: float


def find_profile(size: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[list[ProfileBin], float, float]:
    """Bins of the profile and the curve's constant part a [unit] and proportional part b [1].

    Parameters
    ----------
    size, mean, variance : (g,) arrays
        Of each group of repeats, as :func:`isocenter.statistics.repeatability.pool_groups` gives them.
    """
    n_bins = min(MOST_BINS, len(size) // LEAST_GROUPS)
    if n_bins < 2 or not (variance > 0).any():
        return [], np.nan, np.nan
    a, b = _fit_curve(size - 1, mean, variance)
    order = np.argsort(mean, kind="stable")
    bins = []
    for k, chosen in enumerate(np.array_split(order, n_bins), start=1):
        df = float((size[chosen] - 1).sum())
        wsd = float(np.sqrt(((size[chosen] - 1) * variance[chosen]).sum() / df))
        level = float(np.average(mean[chosen], weights=size[chosen]))
        low, high = (wsd * float(np.sqrt(df / find_chi2(p, df))) for p in (0.975, 0.025))
        if wsd == 0:
            low = high = np.nan
        wcv = wsd / level if level > 0 else np.nan
        bins.append(ProfileBin(k, len(chosen), int(df), level, wsd, low, high, wcv, float(np.hypot(a, b * level))))
    return bins, a, b


def _fit_curve(df: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Non-negative a and b of variance = a² + b²·mean², weighted with df/fitted²."""
    square = mean**2
    fitted = np.full(len(df), (df * variance).sum() / df.sum())
    floor = 1e-3 * fitted[0]
    for _ in range(50):
        weight = df / np.maximum(fitted, floor) ** 2
        candidates = []
        M = np.array([[weight.sum(), (weight * square).sum()], [0, (weight * square**2).sum()]])
        M[1, 0] = M[0, 1]
        right = np.array([(weight * variance).sum(), (weight * square * variance).sum()])
        if np.linalg.cond(M / np.sqrt(np.outer(np.diag(M), np.diag(M)))) < 1e10:
            candidates.append(np.linalg.solve(M, right))
        candidates += [np.array([right[0] / M[0, 0], 0.0]), np.array([0.0, right[1] / max(M[1, 1], 1e-300)])]
        allowed = [c for c in candidates if (c >= 0).all()]
        best = min(allowed, key=lambda c: (weight * (variance - c[0] - c[1] * square) ** 2).sum())
        updated = best[0] + best[1] * square
        if np.abs(updated - fitted).max() <= 1e-8 * fitted.max():
            break
        fitted = updated
    return float(np.sqrt(best[0])), float(np.sqrt(best[1]))
