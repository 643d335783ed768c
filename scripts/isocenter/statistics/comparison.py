"""Comparing two methods: concordance, Deming and Passing–Bablok regression.

References
----------
Lin 1989, doi 10.2307/2532051, with the erratum of 2000; Linnet 1993, doi 10.1093/clinchem/39.3.424;
Passing & Bablok 1983, doi 10.1515/cclm.1983.21.11.709.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isocenter.errors import TableError, explain
from isocenter.statistics.quantiles import Z975, find_t, pick_ordered


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
    count = int(np.count_nonzero(keep))
    if count < at_least:
        raise TableError(explain("Too few complete pairs to compare", expected=f"{at_least} or more", found=count))
    return (x, y) if count == len(keep) else (x[keep], y[keep])


def find_concordance(x, y, *, ddof: int = 0) -> Concordance:
    """Concordance correlation 2s_xy / (s_x² + s_y² + (x̄ − ȳ)²); moments divide by n − `ddof`.

    The interval is Fisher's z with the variance of Lin's erratum. NaN when neither side varies.
    """
    x, y = _pairs(x, y, 3)
    n = len(x)
    mx, my, *sums = _find_moments(x, y)
    sx2, sy2, sxy = (total / (n - ddof) for total in sums)
    shift = my - mx
    nan = float("nan")
    if sx2 * sy2 == 0:
        return Concordance(nan, nan, nan, nan, nan, nan, nan, n)
    estimate = 2 * sxy / (sx2 + sy2 + shift**2)
    r = sxy / math.sqrt(sx2 * sy2)
    location = shift / (sx2 * sy2) ** 0.25
    low = high = nan
    if 0 < abs(r) < 1 and abs(estimate) < 1:
        u2, c2, r2 = location**2, estimate**2, r**2
        variance = (
            (1 - r2) * c2 / ((1 - c2) * r2)
            + 2 * estimate**3 * (1 - estimate) * u2 / (r * (1 - c2) ** 2)
            - estimate**4 * u2**2 / (2 * r2 * (1 - c2) ** 2)
        ) / (n - 2)
        half = Z975 * math.sqrt(max(variance, 0.0))
        low, high = math.tanh(math.atanh(estimate) - half), math.tanh(math.atanh(estimate) + half)
    return Concordance(estimate, low, high, r, estimate / r if r else nan, math.sqrt(sy2 / sx2), location, n)


def _find_moments(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float, float]:
    """Both means, and the sums of squares and products around them."""
    mx, my = float(x.sum()) / len(x), float(y.sum()) / len(y)
    dx, dy = x - mx, y - my
    return mx, my, float(dx @ dx), float(dy @ dy), float(dx @ dy)


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
    mx, my, *sums = _find_moments(x, y)
    xx, yy, xy = map(np.float64, sums)  # zero over zero is no line, and no error
    sx, sy = n * mx, n * my
    slope, intercept = _deming_line(xx, yy, xy, mx, my, variance_ratio)
    # Leave-one-out sums of squares in closed form: removing point i takes n/(n−1)·d_i² away.
    dx, dy, factor = x - mx, y - my, n / (n - 1)
    slopes, intercepts = _deming_line(
        xx - factor * dx**2,
        yy - factor * dy**2,
        xy - factor * dx * dy,
        (sx - x) / (n - 1),
        (sy - y) / (n - 1),
        variance_ratio,
    )
    half = float(find_t(0.975, n - 2))
    # Pseudovalues scatter as the answers without a point do, times n − 1.
    stderr = [(n - 1) / math.sqrt(n) * _find_sd(left) for left in (slopes, intercepts)]
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


def _find_sd(values: np.ndarray) -> float:
    away = values - values.sum() / len(values)
    return math.sqrt(float(away @ away) / (len(values) - 1))


@lru_cache(maxsize=1)
def _lend_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for a number and for a yes or no a pair: fresh megabytes cost more than what is computed in them."""
    count = n * (n - 1) // 2
    return np.empty(count), np.empty(count, bool)


@lru_cache(maxsize=16)
def _number_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second point of each pair, in the order of the points."""
    return np.triu_indices(n, 1)


def _divide_pairs(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """The slopes of all pairs of points with different x, in no order.

    Each point with the next one, the one after that, …, round a circle: every pair once, a few steps at a time, whose
    numbers then stay near the processor.
    """
    n = len(x)
    half = (n - 1) // 2
    ring_x, ring_y = (np.lib.stride_tricks.sliding_window_view(np.concatenate([v, v[:half]]), n)[1:] for v in (x, y))
    steps = max(1, 16_384 // n)
    for k in range(0, half, steps):
        end = min(k + steps, half)
        np.divide(ring_y[k:end] - y, ring_x[k:end] - x, out=out[k * n : end * n].reshape(-1, n))
    if n % 2 == 0:
        np.divide(y[n // 2 :] - y[: n // 2], x[n // 2 :] - x[: n // 2], out=out[half * n :])


#: Up to so many points the numbers of their pairs are kept.
_MOST_NUMBERED = 200


def _list_slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slope of each pair of points, identical points and slopes of −1 left out; good until the next call."""
    if len(x) > _MOST_NUMBERED and np.diff(np.sort(x)).all():
        slopes, mask = _lend_pairs(len(x))
        _divide_pairs(x, y, slopes)
        return slopes[~mask] if np.equal(slopes, -1.0, out=mask).any() else slopes
    # A vertical rise has its sign from the order of the points, which a circle does not keep.
    first, second = _number_pairs(len(x)) if len(x) <= _MOST_NUMBERED else np.triu_indices(len(x), 1)
    dx, dy = x[second] - x[first], y[second] - y[first]
    if not dx.all():
        keep = (dx != 0) | (dy != 0)
        dx, dy = dx[keep], dy[keep]
        flat = dx == 0
        slopes = np.where(flat, np.where(dy > 0, np.inf, -np.inf), dy / np.where(flat, 1.0, dx))
    else:
        slopes = dy / dx
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
    count, offset = len(slopes), int(np.count_nonzero(slopes < -1))
    if count == 0:
        raise TableError(explain("All pairs are identical", found=f"{n} pairs", remedy="check the two columns"))
    width = Z975 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    first = round((count - width) / 2)
    ranks = ((count - 1) // 2, count // 2, first - 1, count - first)
    left, right, low, high = pick_ordered(slopes, tuple(min(max(r + offset, 0), count - 1) for r in ranks)).tolist()
    slope = (left + right) / 2
    return Line(slope, low, high, *(_find_median(y - s * x) for s in (slope, high, low)))


def _find_median(values: np.ndarray) -> float:
    """The median, NaN where a value is; the room of the values is used up."""
    if not math.isfinite(float(values.sum())):
        return float(np.median(values))
    middle = len(values) // 2
    values.partition(middle)
    return float(values[middle] if len(values) % 2 else (values[:middle].max() + values[middle]) / 2)
