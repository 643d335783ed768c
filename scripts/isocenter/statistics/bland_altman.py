"""Bland–Altman: bias and limits of agreement of two sets of measurements.

With repeats, the differences of subject means scatter less than single measurements would; the missing within-part
is added back (Bland & Altman 1999, section 5), and the interval of the limits is generalized: each part is drawn from
what its mean square says of it. (MOVER on the parts, Zou 2013, held the truth in 97 to 99 % instead of 95.)
Without repeats the limits' intervals are exact (Carkeet 2015, noncentral t).

References
----------
Bland & Altman 1986, doi 10.1016/S0140-6736(86)90837-8; 1999, doi 10.1177/096228029900800204;
Carkeet 2015, doi 10.1097/OPX.0000000000000513; Zou 2013, doi 10.1177/0962280211402548;
Weerahandi 1993, doi 10.1080/01621459.1993.10476355 (generalized intervals).
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from isocenter.statistics.quantiles import (
    Z975,
    find_chi2,
    find_noncentral_t,
    find_quantiles,
    find_t,
    find_t_pvalue,
    spread_normals,
    spread_variances,
)

#: Points of the generalized intervals: their ends are good to about 0.5 % of the width.
_POINTS = 2048

#: Ends of a two-sided 95 % interval.
_ENDS = (0.025, 0.975)

#: Fewer differences than this carry no trend worth a p-value.
MINIMUM_FOR_TREND = 4


@dataclass
class Agreement:
    """Bias and 95 % limits of agreement with two-sided 95 % intervals, in the values' unit."""

    n: int = 0
    bias: float = np.nan
    bias_low: float = np.nan
    bias_high: float = np.nan
    sd: float = np.nan
    loa_lower: float = np.nan
    loa_lower_low: float = np.nan
    loa_lower_high: float = np.nan
    loa_upper: float = np.nan
    loa_upper_low: float = np.nan
    loa_upper_high: float = np.nan
    slope: float = np.nan
    slope_p: float = np.nan
    spread_rho: float = np.nan
    spread_p: float = np.nan
    method: str = ""
    flags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class WithinPart:
    """A within-subject variance that averaging took out of the differences: `share` of it is added back."""

    share: float
    variance: float
    df: int


def compare_pairs(difference, mean, *, limits: str = "exact", within: tuple[WithinPart, ...] = ()) -> Agreement:
    """Bias and limits of agreement from one difference a subject.

    Parameters
    ----------
    difference, mean : (n,) arrays
        Difference and mean of each subject's pair.
    limits : {"exact", "approximate", "mover"}
        How the limits' intervals are made; with `within` they are always generalized.
    within : tuple of WithinPart
        The within-parts to add back when each side of a difference averages repeats.
    """
    difference, mean = np.asarray(difference, float), np.asarray(mean, float)
    keep = np.isfinite(difference) & np.isfinite(mean)
    if not keep.all():
        difference, mean = difference[keep], mean[keep]
    n = len(difference)
    result = Agreement(n=n)
    if n < 2:
        result.flags.append("too_few_pairs")
        return result
    result.bias = float(difference.sum()) / n
    away = difference - result.bias
    spread = math.sqrt(float(away @ away) / (n - 1))
    half = float(find_t(0.975, n - 1)) * spread / math.sqrt(n)
    result.bias_low, result.bias_high = result.bias - half, result.bias + half
    parts = [(spread**2, n - 1), *((w.share * w.variance, w.df) for w in within if w.share > 0 and w.df > 0)]
    result.sd = math.sqrt(sum(variance for variance, _ in parts))
    result.loa_lower, result.loa_upper = result.bias - Z975 * result.sd, result.bias + Z975 * result.sd
    if result.sd <= 1e-13 * max(np.abs(mean).max(), np.abs(difference).max()):
        result.flags.append("zero_variance")
        result.method = "not estimable"
        return result
    if len(parts) > 1:
        limits = "generalized"
        result.flags.append("replicates_added_back")
    _add_limits(result, limits, spread, half, parts)
    _add_trends(result, difference, mean)
    return result


def _add_limits(result: Agreement, limits: str, spread: float, half: float, parts) -> None:
    n = result.n
    if limits == "exact":
        # Noncentrality z√n; the outer bound is the tolerance factor, the inner one its mirror.
        outer = find_noncentral_t(0.975, n - 1, Z975 * np.sqrt(n)) / np.sqrt(n) * spread
        inner = find_noncentral_t(0.025, n - 1, Z975 * np.sqrt(n)) / np.sqrt(n) * spread
        result.method = "exact (noncentral t)"
        bounds = (result.bias - outer, result.bias - inner, result.bias + inner, result.bias + outer)
    elif limits == "approximate":
        width = float(find_t(0.975, n - 1)) * spread * np.sqrt(1 / n + Z975**2 / (2 * (n - 1)))
        result.method = "approximate (Bland-Altman 1999)"
        bounds = (
            result.loa_lower - width,
            result.loa_lower + width,
            result.loa_upper - width,
            result.loa_upper + width,
        )
    elif limits == "mover":
        total = result.sd**2
        low = total - np.sqrt(sum((v * (1 - df / find_chi2(0.975, df))) ** 2 for v, df in parts))
        high = total + np.sqrt(sum((v * (df / find_chi2(0.025, df) - 1)) ** 2 for v, df in parts))
        away = np.hypot(half, Z975 * (np.sqrt(high) - result.sd))
        toward = np.hypot(half, Z975 * (result.sd - np.sqrt(max(low, 0.0))))
        result.method = "MOVER"
        bounds = (
            result.loa_lower - away,
            result.loa_lower + toward,
            result.loa_upper - toward,
            result.loa_upper + away,
        )
    elif limits == "generalized":
        size = 1 + len(parts)
        drawn = [v * spread_variances(_POINTS, size, k, df) for k, (v, df) in enumerate(parts, start=1)]
        middle = result.bias + spread_normals(_POINTS, size, 0) * np.sqrt(drawn[0] / n)
        away = Z975 * np.sqrt(sum(drawn))
        result.method = "generalized (repeats added back)"
        bounds = (*find_quantiles(middle - away, _ENDS), *find_quantiles(middle + away, _ENDS))
    else:
        raise ValueError(f"Unknown kind of limits {limits!r}; known: exact, approximate, mover, generalized")
    result.loa_lower_low, result.loa_lower_high, result.loa_upper_low, result.loa_upper_high = map(float, bounds)


def _add_trends(result: Agreement, difference: np.ndarray, mean: np.ndarray) -> None:
    """Proportional bias (slope of difference on mean) and heteroscedasticity (rank correlation)."""
    if result.n < MINIMUM_FOR_TREND or np.ptp(mean) == 0:
        return
    x = mean - mean.sum() / result.n
    square = float(x @ x)
    result.slope = float(x @ difference) / square
    residual = difference - result.bias - result.slope * x
    df = result.n - 2
    stderr = math.sqrt(float(residual @ residual) / df / square)
    if stderr > 0:
        result.slope_p = float(find_t_pvalue(result.slope / stderr, df))
    result.spread_rho, result.spread_p = correlate_ranks(np.abs(difference - result.bias), mean)


def correlate_ranks(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Spearman's rank correlation and its two-sided p-value (t approximation); NaN for constant input."""
    if not len(x) or x.max() == x.min() or y.max() == y.min():
        return np.nan, np.nan
    rank_x, rank_y = rank_values(x), rank_values(y)
    a, b = rank_x - (len(x) + 1) / 2, rank_y - (len(x) + 1) / 2
    rho = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    df = len(x) - 2
    if df < 1:
        return rho, np.nan
    if abs(rho) >= 1:
        return rho, 0.0
    return rho, float(find_t_pvalue(rho * math.sqrt(df / (1 - rho**2)), df))


def rank_values(x: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties get their mean rank."""
    order = np.argsort(x)
    ordered = x[order]
    if (ordered[1:] > ordered[:-1]).all():
        ranks = np.empty(len(x))
        ranks[order] = np.arange(1.0, len(x) + 1)
        return ranks
    _, code, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[code]


@dataclass(frozen=True)
class Repeats:
    """Repeats of each subject on one side: (p,) counts (0 where absent), means, and squares around them."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, subject: np.ndarray, n_subjects: int) -> "Repeats":
        """From (n,) finite values and the code of each one's subject."""
        count = np.bincount(subject, minlength=n_subjects)
        mean = np.bincount(subject, values, n_subjects) / np.maximum(count, 1)
        return cls(count, mean, np.bincount(subject, (values - mean[subject]) ** 2, n_subjects))

    def keep(self, chosen) -> "Repeats":
        """Some of the subjects."""
        return Repeats(self.count[chosen], self.mean[chosen], self.squares[chosen])

    def reshape(self, *shape: int) -> "Repeats":
        """The same in another shape, one row a side say."""
        return Repeats(self.count.reshape(shape), self.mean.reshape(shape), self.squares.reshape(shape))

    @cached_property
    def within(self) -> "WithinPart":
        """What the means hide."""
        df = int(self.count.sum()) - len(self.count)
        if df == 0:
            return WithinPart(0.0, 0.0, 0)
        return WithinPart(1.0 - float((1.0 / self.count).sum()) / len(self.count), float(self.squares.sum()) / df, df)


def compare_repeats(first: Repeats, second: Repeats) -> Agreement:
    """Bias and limits of two sides with repeats; subjects without a value on one side are left out."""
    both = (first.count > 0) & (second.count > 0)
    if not both.any():
        return Agreement(flags=["too_few_pairs"])
    if not both.all():
        first, second = first.keep(both), second.keep(both)
    within = (first.within, second.within)
    return compare_pairs(second.mean - first.mean, (first.mean + second.mean) / 2, within=within)


def compare_replicated(first, second) -> Agreement:
    """Bias and limits of two methods with repeats in each subject.

    Parameters
    ----------
    first, second : list of (m,) arrays
        Each subject's repeats by either method; subjects without a value on one side are left out. Differences are
        second minus first.
    """
    sides = []
    for side in (first, second):
        values = [_finite(group) for group in side]
        subject = np.repeat(np.arange(len(values)), [len(group) for group in values])
        sides.append(Repeats.of(np.concatenate([*values, np.zeros(0)]), subject, len(values)))
    return compare_repeats(*sides)


def compare_clustered(difference, mean, subject) -> Agreement:
    """Bias and limits where each subject gives several differences (a retest at several sites, say).

    The subject is the unit: bias and its interval come from subject means, and the scatter of single differences
    around them is added back. `subject` holds the (n,) code of each difference's subject.
    """
    difference, mean, subject = np.asarray(difference, float), np.asarray(mean, float), np.asarray(subject)
    keep = np.isfinite(difference) & np.isfinite(mean)
    _, code = np.unique(subject[keep], return_inverse=True)
    if not len(code):
        return Agreement(flags=["too_few_pairs"])
    repeats = Repeats.of(difference[keep], code, int(code.max()) + 1)
    means = np.bincount(code, mean[keep]) / repeats.count
    result = compare_pairs(repeats.mean, means, within=(repeats.within,))
    if (repeats.count > 1).any():
        result.flags.append("clustered")
    return result


def _finite(values) -> np.ndarray:
    values = np.asarray(values, float)
    return values[np.isfinite(values)]
