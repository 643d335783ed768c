"""Repeatability: how far repeats of one subject scatter.

The within-subject SD (wSD) pools the variance of each group of repeats with its degrees of freedom. The
repeatability coefficient RC = z.975 · √2 · wSD is the difference that two repeats exceed in 5 % of cases.

References
----------
Raunig et al. 2015, doi 10.1177/0962280214537344; Obuchowski & Bullen 2018, doi 10.1177/0962280217752622.
"""

import math
from dataclasses import dataclass, field, fields
from functools import lru_cache

import numpy as np

from isocenter.statistics.design import encode_labels
from isocenter.statistics.quantiles import K, find_chi2

#: A within-subject SD above this share of the mean makes percent statistics meaningless.
NEAR_ZERO_SHARE = 1 / 3

#: Above this within-subject CV the asymmetric percent limits are the ones to quote.
ASYMMETRIC_ABOVE = 0.15

#: Relative scatter below which repeats count as copies: a few bits of double precision.
COPY_TOLERANCE = 1e-13


@dataclass
class Repeatability:
    """Within-subject statistics of repeated measurements; NaN where a statistic is not estimable.

    SDs and coefficients are in the values' unit, CVs are ratios, percent coefficients are percent.
    """

    n_subjects: int = 0
    df: int = 0
    mean: float = np.nan
    wsd: float = np.nan
    wsd_low: float = np.nan
    wsd_high: float = np.nan
    rc: float = np.nan
    rc_low: float = np.nan
    rc_high: float = np.nan
    rc_upper95: float = np.nan
    rc_lower95: float = np.nan
    wcv: float = np.nan
    wcv_low: float = np.nan
    wcv_high: float = np.nan
    log_wsd: float = np.nan
    wcv_log: float = np.nan
    wcv_log_low: float = np.nan
    wcv_log_high: float = np.nan
    wcv_mean: float = np.nan
    percent_rc: float = np.nan
    percent_rc_down: float = np.nan
    percent_rc_up: float = np.nan
    flags: list[str] = field(default_factory=list)


def pool_groups(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size, mean and variance of every group with two or more values.

    Parameters
    ----------
    values : (n,) array
        Finite measurements.
    groups : (n,) array of labels
        Which repeats belong together.

    Returns
    -------
    size, mean, variance : (g,) arrays
    """
    if len(values) == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    code = encode_labels(np.asarray(groups))
    size = np.bincount(code).astype(float)
    mean = np.bincount(code, values) / size
    squares = np.bincount(code, (values - mean[code]) ** 2)
    repeated = size > 1
    return size[repeated], mean[repeated], squares[repeated] / (size[repeated] - 1)


@dataclass(frozen=True)
class Pool:
    """All groups of repeats, (g,) each: size, subject, mean, sum of squares around it, that of logarithms.

    ``log_squares`` are NaN where a value is not positive.
    """

    size: np.ndarray
    subject: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    log_squares: np.ndarray
    is_positive: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, groups: np.ndarray, subjects: np.ndarray) -> "Pool":
        """From (n,) finite values, and codes of groups and of subjects; groups are nested in subjects."""
        size = np.bincount(groups)
        mean = np.bincount(groups, values) / size
        subject = np.zeros(len(size), int)
        subject[groups] = subjects
        is_low = values <= 0
        is_positive = np.bincount(groups[is_low], minlength=len(size)) == 0
        log = np.log(np.where(is_low, np.nan, values))
        log_mean = np.bincount(groups, log) / size
        return cls(
            size.astype(float),
            subject,
            mean,
            np.bincount(groups, (values - mean[groups]) ** 2),
            np.bincount(groups, (log - log_mean[groups]) ** 2),
            is_positive,
        )

    def keep(self, chosen: np.ndarray) -> "Pool":
        """Some of the groups."""
        return Pool(*(getattr(self, f.name)[chosen] for f in fields(self)))


def estimate_repeatability(values, groups, subjects=None) -> Repeatability:
    """Within-subject SD, RC, CV and percent RC with chi-square intervals.

    Parameters
    ----------
    values : (n,) array
        Measurements; rows that are not finite are left out (the row, never the subject).
    groups : (n,) array
        Label of the group of repeats that each value belongs to (a subject, or a subject's session).
    subjects : (n,) array, optional
        The subject of each value, when groups are finer than subjects; counted in ``n_subjects``.

    Notes
    -----
    Intervals of the CV are those of its variance on the log scale, where it scales like a variance.
    """
    values = np.asarray(values, float)
    keep = np.isfinite(values)
    groups = encode_labels(np.asarray(groups)[keep])
    subjects = groups if subjects is None else encode_labels(np.asarray(subjects)[keep])
    return estimate_from_pool(Pool.of(values[keep], groups, subjects))


def estimate_from_pool(pool: Pool) -> Repeatability:
    """The same from groups of repeats; those of one value tell nothing."""
    repeated = pool.size > 1
    pool = pool if repeated.all() else pool.keep(repeated)
    n = float(pool.size.sum())
    df = int(n) - len(pool.size)
    result = Repeatability(df=df)
    if df == 0:
        result.flags.append("no_replicates")
        return result
    result.n_subjects = int(np.count_nonzero(np.bincount(pool.subject)))
    result.mean = float(pool.size @ pool.mean) / n
    result.wsd = math.sqrt(float(pool.squares.sum()) / df)
    if result.wsd <= COPY_TOLERANCE * np.abs(pool.mean).max():
        result.wsd = result.rc = 0.0
        result.flags.append("zero_within_variance")
        return result
    low, high = _scale_interval(df)
    result.wsd_low, result.wsd_high = result.wsd * low, result.wsd * high
    result.rc, result.rc_low, result.rc_high = K * result.wsd, K * result.wsd_low, K * result.wsd_high
    upper, lower = _scale_bounds(df)
    result.rc_upper95, result.rc_lower95 = K * result.wsd * upper, K * result.wsd * lower
    _add_percent(result, pool)
    return result


@lru_cache(maxsize=1024)
def _scale_interval(df: int) -> tuple[float, float]:
    """Factors on an SD that give its two-sided 95 % chi-square interval."""
    return float(np.sqrt(df / find_chi2(0.975, df))), float(np.sqrt(df / find_chi2(0.025, df)))


@lru_cache(maxsize=1024)
def _scale_bounds(df: int) -> tuple[float, float]:
    """Factors on an SD that give its one-sided 95 % upper and lower bounds."""
    return float(np.sqrt(df / find_chi2(0.05, df))), float(np.sqrt(df / find_chi2(0.95, df)))


def _add_percent(result: Repeatability, pool: Pool) -> None:
    if not pool.is_positive.all():
        result.flags.append("non_positive")
        return
    if result.wsd > NEAR_ZERO_SHARE * abs(result.mean):
        result.flags.append("mean_near_zero")
        return
    df = result.df
    low, high = _scale_interval(df)
    result.wcv = math.sqrt(float((pool.squares / pool.mean**2).sum()) / df)
    result.wcv_mean = result.wsd / result.mean
    log_square = float(pool.log_squares.sum()) / df
    result.log_wsd = math.sqrt(log_square)
    result.wcv_log, result.wcv_log_low, result.wcv_log_high = (
        math.sqrt(math.expm1(log_square * factor**2)) for factor in (1.0, low, high)
    )
    # The RMS CV gets the relative width of a variance's interval, taken on the log scale where it is exact.
    of_cv = math.log1p(result.wcv**2)
    result.wcv_low, result.wcv_high = (math.sqrt(math.expm1(of_cv * factor**2)) for factor in (low, high))
    result.percent_rc = 100 * K * result.wcv
    result.percent_rc_up = 100 * math.expm1(K * result.log_wsd)
    result.percent_rc_down = 100 * math.expm1(-K * result.log_wsd)
    if result.wcv > ASYMMETRIC_ABOVE:
        result.flags.append("asymmetric")
