"""Quantiles of the distributions that intervals are made of, without the start-up cost of ``scipy.stats``."""

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
    df = np.asarray(df, float)
    return np.where(df > 0, special.stdtrit(np.where(df > 0, df, 1.0), probability), np.nan)[()]


def find_t_pvalue(t, df):
    """The two-sided p-value of a t statistic."""
    return 2.0 * special.stdtr(df, -np.abs(t))


def find_noncentral_t(probability: float, df: float, noncentrality: float) -> float:
    """The noncentral t value below which `probability` lies."""
    return float(special.nctdtrit(df, noncentrality, probability))
