"""Comparing two methods: concordance, Deming and Passing–Bablok regression.

References
----------
Lin 1989, doi 10.2307/2532051, with the erratum of 2000; Linnet 1993, doi 10.1093/clinchem/39.3.424;
Passing & Bablok 1983, doi 10.1515/cclm.1983.21.11.709.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isocenter.errors import TableError, explain
from isocenter.statistics.quantiles import Z975, find_t


@dataclass(frozen=True)
class Concordance:
    """Lin's concordance correlation with its 95 % interval and its parts (all ratios)."""

    estimate: float
    low: float
    high: float
    pearson: float
    bias_correction: float
    scale_shift: float
    location_shift: float
    n: int


@dataclass(frozen=True)
class Line:
    """y = intercept + slope · x with standard errors and 95 % intervals."""

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float
    slope_stderr: float = np.nan
    intercept_stderr: float = np.nan
    slope_stderr_analytic: float = np.nan


def _pairs(x, y, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    keep = np.isfinite(x) & np.isfinite(y)
    if keep.sum() < at_least:
        raise TableError(
            explain("Too few complete pairs to compare", expected=f"{at_least} or more", found=int(keep.sum()))
        )
    return x[keep], y[keep]


def find_concordance(x, y, *, ddof: int = 0) -> Concordance:
    """Concordance correlation 2s_xy / (s_x² + s_y² + (x̄ − ȳ)²); moments divide by n − `ddof`.

    The interval is Fisher's z with the variance of Lin's erratum. NaN when neither side varies.
    """
    x, y = _pairs(x, y, 3)
    n = len(x)
    sx2, sy2 = x.var(ddof=ddof), y.var(ddof=ddof)
    sxy = ((x - x.mean()) * (y - y.mean())).sum() / (n - ddof)
    shift = y.mean() - x.mean()
    nan = float("nan")
    if sx2 * sy2 == 0:
        return Concordance(nan, nan, nan, nan, nan, nan, nan, n)
    estimate = 2 * sxy / (sx2 + sy2 + shift**2)
    r = sxy / np.sqrt(sx2 * sy2)
    location = shift / (sx2 * sy2) ** 0.25
    low = high = nan
    if 0 < abs(r) < 1 and abs(estimate) < 1:
        u2, c2, r2 = location**2, estimate**2, r**2
        variance = (
            (1 - r2) * c2 / ((1 - c2) * r2)
            + 2 * estimate**3 * (1 - estimate) * u2 / (r * (1 - c2) ** 2)
            - estimate**4 * u2**2 / (2 * r2 * (1 - c2) ** 2)
        ) / (n - 2)
        half = Z975 * np.sqrt(max(variance, 0.0))
        low, high = np.tanh(np.arctanh(estimate) - half), np.tanh(np.arctanh(estimate) + half)
    return Concordance(
        float(estimate),
        float(low),
        float(high),
        float(r),
        float(estimate / r) if r else nan,
        float(np.sqrt(sy2 / sx2)),
        float(location),
        n,
    )


def _deming_line(sx2, sy2, sxy, mx, my, ratio):
    slope = (sy2 - ratio * sx2 + np.sqrt((sy2 - ratio * sx2) ** 2 + 4 * ratio * sxy**2)) / (2 * sxy)
    return slope, my - slope * mx


def fit_deming(x, y, *, variance_ratio: float = 1.0) -> Line:
    """Deming regression with jackknife intervals (t on n − 2).

    Parameters
    ----------
    x, y : (n,) arrays
        Paired values; incomplete pairs are left out.
    variance_ratio : float
        Error variance of `y` over that of `x`.
    """
    x, y = _pairs(x, y, 4)
    n = len(x)
    sx, sy = x.sum(), y.sum()
    xx, yy, xy = ((x - x.mean()) ** 2).sum(), ((y - y.mean()) ** 2).sum(), ((x - x.mean()) * (y - y.mean())).sum()
    slope, intercept = _deming_line(xx, yy, xy, x.mean(), y.mean(), variance_ratio)
    # Leave-one-out sums of squares in closed form: removing point i takes n/(n−1)·d_i² away.
    dx, dy, factor = x - x.mean(), y - y.mean(), n / (n - 1)
    slopes, intercepts = _deming_line(
        xx - factor * dx**2,
        yy - factor * dy**2,
        xy - factor * dx * dy,
        (sx - x) / (n - 1),
        (sy - y) / (n - 1),
        variance_ratio,
    )
    half = float(find_t(0.975, n - 2))
    stderr = [
        float(np.std(n * whole - (n - 1) * left, ddof=1) / np.sqrt(n))
        for whole, left in ((slope, slopes), (intercept, intercepts))
    ]
    # The large-sample formula that other software prints, for comparison; the intervals are the jackknife's.
    r2 = xy**2 / (xx * yy)
    analytic = float(abs(slope) * np.sqrt((1 - r2) / (r2 * (n - 2))))
    return Line(
        float(slope),
        float(slope - half * stderr[0]),
        float(slope + half * stderr[0]),
        float(intercept),
        float(intercept - half * stderr[1]),
        float(intercept + half * stderr[1]),
        *stderr,
        analytic,
    )


@lru_cache(maxsize=1)
def _lend_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for a number a pair, twice: fresh megabytes cost more than what is computed in them."""
    return np.empty(n * (n - 1) // 2), np.empty(n * (n - 1) // 2)


def _list_slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slope of each pair of points, identical points and slopes of −1 left out; good until the next call."""
    n, start = len(x), 0
    dx, dy = _lend_pairs(n)
    for k in range(n - 1):
        end = start + n - 1 - k
        np.subtract(x[k + 1 :], x[k], out=dx[start:end])
        np.subtract(y[k + 1 :], y[k], out=dy[start:end])
        start = end
    if (dx == 0).any():
        keep = (dx != 0) | (dy != 0)
        dx, dy = dx[keep], dy[keep]
        flat = dx == 0
        slopes = np.where(flat, np.where(dy > 0, np.inf, -np.inf), dy / np.where(flat, 1.0, dx))
    else:
        slopes = np.divide(dy, dx, out=dy)
    left_out = slopes == -1
    return slopes[~left_out] if left_out.any() else slopes


def fit_passing_bablok(x, y) -> Line:
    """Passing–Bablok regression with rank intervals, for positively related methods.

    Slopes of −1 are left out; identical points give none; a vertical pair counts as infinite with the sign of its
    rise. O(n²) memory.
    """
    x, y = _pairs(x, y, 4)
    n = len(x)
    slopes = _list_slopes(x, y)
    count, offset = len(slopes), int((slopes < -1).sum())
    if count == 0:
        raise TableError(explain("All pairs are identical", found=f"{n} pairs", remedy="check the two columns"))
    width = Z975 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    first = round((count - width) / 2)
    ranks = np.array([(count - 1) // 2, count // 2, first - 1, count - first])
    ranks = np.clip(ranks + offset, 0, count - 1)
    # Four order statistics need no sorted list.
    slopes.partition(np.unique(ranks))
    left, right, low, high = (float(v) for v in slopes[ranks])
    slope = (left + right) / 2
    return Line(
        slope,
        low,
        high,
        float(np.median(y - slope * x)),
        float(np.median(y - high * x)),
        float(np.median(y - low * x)),
    )
