"""Quantiles of the distributions that intervals are made of, without the start-up cost of ``scipy.stats``."""

from functools import lru_cache

import numpy as np
from scipy import special

#: The two-sided 95 % normal quantile.
Z975 = float(special.ndtri(0.975))

#: Within-subject SD to the 95 % limit of the difference of two measurements: z.975 times the square root of 2.
K = Z975 * np.sqrt(2.0)


def find_chi2(probability, df):
    """The chi-square value below which `probability` lies; NaN where `df` is not positive."""
    df = np.asarray(df, float)
    with np.errstate(invalid="ignore"):
        return np.where(df > 0, special.chdtri(np.where(df > 0, df, 1.0), 1.0 - np.asarray(probability)), np.nan)[()]


def find_t(probability: float, df):
    """The Student t value below which `probability` lies; NaN where `df` is not positive."""
    if isinstance(df, int) and isinstance(probability, float):
        return _find_one_t(probability, df)
    df = np.asarray(df, float)
    return np.where(df > 0, special.stdtrit(np.where(df > 0, df, 1.0), probability), np.nan)[()]


@lru_cache(maxsize=4096)
def _find_one_t(probability: float, df: int) -> float:
    return float(special.stdtrit(float(df), probability)) if df > 0 else np.nan


def find_t_pvalue(t, df):
    """The two-sided p-value of a t statistic."""
    return 2.0 * special.stdtr(df, -np.abs(t))


@lru_cache(maxsize=1024)
def find_noncentral_t(probability: float, df: float, noncentrality: float) -> float:
    """The noncentral t value below which `probability` lies."""
    return float(special.nctdtrit(df, noncentrality, probability))


#: Steps of an additive recurrence in up to four dimensions: powers of the root of x⁵ = x + 1, the most even ones known.
_STEPS = 1.1673039782614187 ** -np.arange(1.0, 5.0)


@lru_cache(maxsize=64)
def spread_points(count: int, dimensions: int) -> np.ndarray:
    """(count, dimensions) points spread evenly over the unit cube, the same every time: no seed is needed.

    Reference: Roberts 2018, the R-sequence; additive recurrences as in Niederreiter 1992, doi 10.1137/1.9781611970081.
    """
    return (0.5 + np.arange(1, count + 1)[:, None] * _STEPS[:dimensions]) % 1.0


@lru_cache(maxsize=512)
def spread_variances(count: int, dimensions: int, dimension: int, df: int) -> np.ndarray:
    """(count,) variances per estimate, df/χ², at one dimension of the evenly spread points; one design asks often."""
    return df / find_chi2(spread_points(count, dimensions)[:, dimension], df)


@lru_cache(maxsize=64)
def spread_normals(count: int, dimensions: int, dimension: int) -> np.ndarray:
    """(count,) normal deviates at one dimension of the evenly spread points."""
    return special.ndtri(spread_points(count, dimensions)[:, dimension])


def find_quantiles(sample: np.ndarray, probabilities: tuple[float, ...]) -> np.ndarray:
    """Quantiles of an (n,) sample, linear between order statistics as ``np.quantile`` has them, at less cost."""
    below, above, share = _place_quantiles(len(sample), probabilities)
    ordered = pick_ordered(sample.copy(), below + above)
    low, high = ordered[: len(below)], ordered[len(below) :]
    return low + share * (high - low)


@lru_cache(maxsize=256)
def _place_quantiles(
    count: int, probabilities: tuple[float, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], np.ndarray]:
    """Ranks on both sides of each quantile, and its share of the way between them."""
    place = np.asarray(probabilities) * (count - 1)
    below = np.minimum(place.astype(int), max(count - 2, 0))
    above = np.minimum(below + 1, count - 1)
    return tuple(below.tolist()), tuple(above.tolist()), place - below


#: Of so many values, those between the ranks are taken out first.
_MANY = 20_000

#: How many of them tell about where the ranks lie.
_SAMPLE = 2048


def pick_ordered(values: np.ndarray, ranks: tuple[int, ...]) -> np.ndarray:
    """The values at the ranks of an (n,) array's order; the array is left in another order.

    One rank after the other, each in the part that the ones before leave: NumPy finds one in a fraction of the time
    that it takes for several at once.
    """
    first, *rest = sorted(set(ranks))
    if len(values) > _MANY:
        below, inside = _cut_out(values, first, rest[-1] if rest else first)
        if len(inside):
            return pick_ordered(inside, tuple(rank - below for rank in ranks))
    values.partition(first)
    if rest:
        *inner, last = rest
        values[first + 1 :].partition(last - first - 1)
        for rank in inner:
            values[first + 1 : last].partition(rank - first - 1)
            first = rank
    return values[list(ranks)]


def _cut_out(values: np.ndarray, first: int, last: int) -> tuple[int, np.ndarray]:
    """How many values are below, and the values from rank `first` to `last` with some more on both sides.

    No values where they are not much fewer, or where a sample of the values did not tell their place.
    """
    n = len(values)
    sample = np.sort(values[:: n // _SAMPLE])
    # Three standard errors of a share near a half.
    spare = 1.5 * len(sample) ** 0.5 + 1
    low, high = int(first / n * len(sample) - spare), int(last / n * len(sample) + spare)
    if low < 0 or high >= len(sample) or high - low > len(sample) // 2:
        return 0, values[:0]
    is_below = values < sample[low]
    below = int(np.count_nonzero(is_below))
    inside = values[(values <= sample[high]) & ~is_below]
    is_found = below <= first and last < below + len(inside) and len(inside) < 0.75 * n
    return below, inside if is_found else values[:0]
