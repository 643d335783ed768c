"""Repeatability: how far repeats of one subject scatter.

The within-subject SD (wSD) pools the variance of each group of repeats with its degrees of freedom. The
repeatability coefficient RC = z.975 · √2 · wSD is the difference that two repeats exceed in 5 % of cases.

References
----------
Raunig et al. 2015, doi 10.1177/0962280214537344; Obuchowski & Bullen 2018, doi 10.1177/0962280217752622.
"""

from dataclasses import dataclass, field

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
    groups = np.asarray(groups)
    subjects = groups if subjects is None else np.asarray(subjects)
    keep = np.isfinite(values)
    values, groups, subjects = values[keep], encode_labels(groups[keep]), subjects[keep]
    size, mean, variance = pool_groups(values, groups)
    result = Repeatability(df=int((size - 1).sum()))
    if result.df == 0:
        result.flags.append("no_replicates")
        return result
    used = (np.bincount(groups) > 1)[groups]
    df = result.df
    result.n_subjects = int(encode_labels(subjects[used]).max()) + 1
    result.mean = float(values[used].mean())
    weight = (size - 1) / df
    result.wsd = float(np.sqrt((weight * variance).sum()))
    if result.wsd <= COPY_TOLERANCE * np.abs(values[used]).max():
        result.wsd = result.rc = 0.0
        result.flags.append("zero_within_variance")
        return result
    low, high = _scale_interval(df)
    result.wsd_low, result.wsd_high = result.wsd * low, result.wsd * high
    result.rc, result.rc_low, result.rc_high = (
        K * result.wsd,
        K * result.wsd_low,
        K * result.wsd_high,
    )
    result.rc_upper95 = K * result.wsd * float(np.sqrt(df / find_chi2(0.05, df)))
    result.rc_lower95 = K * result.wsd * float(np.sqrt(df / find_chi2(0.95, df)))
    _add_percent(result, values[used], groups[used], size, mean, variance)
    return result


def _scale_interval(df: int) -> tuple[float, float]:
    """Factors on an SD that give its two-sided 95 % chi-square interval."""
    return float(np.sqrt(df / find_chi2(0.975, df))), float(np.sqrt(df / find_chi2(0.025, df)))


def _add_percent(result, values, groups, size, mean, variance) -> None:
    if (values <= 0).any():
        result.flags.append("non_positive")
        return
    if result.wsd > NEAR_ZERO_SHARE * abs(result.mean):
        result.flags.append("mean_near_zero")
        return
    df = result.df
    weight = (size - 1) / df
    low, high = _scale_interval(df)
    result.wcv = float(np.sqrt((weight * variance / mean**2).sum()))
    result.wcv_mean = result.wsd / result.mean
    log_size, _, log_variance = pool_groups(np.log(values), groups)
    log_square = float(((log_size - 1) * log_variance).sum() / df)
    result.log_wsd = float(np.sqrt(log_square))
    result.wcv_log, result.wcv_log_low, result.wcv_log_high = (
        float(np.sqrt(np.expm1(log_square * factor**2))) for factor in (1.0, low, high)
    )
    # The RMS CV gets the relative width of a variance's interval, taken on the log scale where it is exact.
    of_cv = np.log1p(result.wcv**2)
    result.wcv_low, result.wcv_high = (float(np.sqrt(np.expm1(of_cv * factor**2))) for factor in (low, high))
    result.percent_rc = 100 * K * result.wcv
    result.percent_rc_up = 100 * float(np.expm1(K * result.log_wsd))
    result.percent_rc_down = 100 * float(np.expm1(-K * result.log_wsd))
    if result.wcv > ASYMMETRIC_ABOVE:
        result.flags.append("asymmetric")
