"""Linearity and bias: measured against reference values of a phantom's vials.

The quadratic comes first: its *effect* over the range, not its p-value, says whether a line is the right model.
Phantoms span two decades, so the ordinary slope is that of the largest vials; a fit weighted with 1/reference²
stands beside it. Shares (fractions of fat) have a fixed whole and may be 0: their biases are in points, and no vial
weighs more than another.

References
----------
Raunig et al. 2015, doi 10.1177/0962280214537344; Obuchowski et al. 2018, doi 10.1177/0962280216665078.
"""

from dataclasses import dataclass, field

import numpy as np

from isocenter.calibration.scale import RELATIVE, Scale
from isocenter.statistics.quantiles import find_t, find_t_pvalue

#: A line needs this many distinct reference values before a quadratic can be told from noise.
MINIMUM_VIALS = 4


@dataclass
class Linearity:
    """Line, quadratic and bias of measured on reference; percent columns are percent, of shares points."""

    n_vials: int = 0
    n_scans: int = 0
    slope: float = np.nan
    slope_low: float = np.nan
    slope_high: float = np.nan
    intercept: float = np.nan
    intercept_low: float = np.nan
    intercept_high: float = np.nan
    r2: float = np.nan
    quadratic_effect: float = np.nan
    quadratic_p: float = np.nan
    quadratic: float = np.nan
    weighted_slope: float = np.nan
    weighted_intercept: float = np.nan
    percent_bias: float = np.nan
    percent_bias_low: float = np.nan
    percent_bias_high: float = np.nan
    max_percent_bias: float = np.nan
    scan_wcv: float = np.nan
    flags: list[str] = field(default_factory=list)


def fit_line(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Least squares y = a + b·x: coefficients (2,), their covariance (2, 2) and the residual sum of squares."""
    w = np.ones_like(x) if weight is None else weight
    root = np.sqrt(w)
    X = np.column_stack([np.ones_like(x), x])
    coefficients, *_ = np.linalg.lstsq(X * root[:, None], y * root, rcond=None)
    rss = float((w * (y - X @ coefficients) ** 2).sum())
    df = max(len(x) - 2, 1)
    return coefficients, np.linalg.inv((X * w[:, None]).T @ X) * rss / df, rss


def assess_linearity(reference, measured, vial, scan=None, *, scale: Scale = RELATIVE) -> Linearity:
    """Linearity and percent bias of one site's phantom measurements.

    Parameters
    ----------
    reference, measured : (n,) arrays
        In one unit. References are positive, those of shares 0 or more; others are left out.
    vial : (n,) array
        Which vial each row is of.
    scan : (n,) array, optional
        Which scan each row is of (counted only).
    scale : Scale
        How errors count: relative to the reference, or of shares in points.

    Notes
    -----
    ``quadratic_effect`` is how far the fitted quadratic departs from its best line over the range, c·range²/8, in
    percent of the range: 2.5 is what a slope that is off by 0.05 does at either end.
    """
    reference, measured = np.asarray(reference, float), np.asarray(measured, float)
    vial = np.asarray(vial)
    keep = np.isfinite(reference) & np.isfinite(measured) & scale.is_reference(reference)
    x, y, vial = reference[keep], measured[keep], vial[keep]
    vials, code = np.unique(vial, return_inverse=True)
    result = Linearity(n_vials=len(vials))
    result.n_scans = len(np.unique(np.asarray(scan)[keep])) if scan is not None else int(keep.any())
    if len(vials) < 2 or len(np.unique(x)) < 2:
        result.flags.append("too_few_vials")
        return result
    _add_bias(result, x, y, code, scale)
    if len(x) < 3:
        result.flags.append("too_few_vials")
        return result
    (intercept, slope), covariance, rss = fit_line(x, y)
    half = float(find_t(0.975, len(x) - 2)) * np.sqrt(np.diag(covariance))
    result.slope, result.slope_low, result.slope_high = slope, slope - half[1], slope + half[1]
    result.intercept, result.intercept_low, result.intercept_high = (
        intercept,
        intercept - half[0],
        intercept + half[0],
    )
    total = float(((y - y.mean()) ** 2).sum())
    result.r2 = 1 - rss / total if total > 0 else np.nan
    (result.weighted_intercept, result.weighted_slope), *_ = fit_line(x, y, 1 / scale.size(x) ** 2)
    _add_quadratic(result, x, y)
    return result


def _add_quadratic(result: Linearity, x: np.ndarray, y: np.ndarray) -> None:
    if len(np.unique(x)) < MINIMUM_VIALS:
        result.flags.append("too_few_vials")
        return
    # Centered and scaled, so that the three columns are far from collinear over two decades.
    center, half_range = (x.max() + x.min()) / 2, np.ptp(x) / 2
    t = (x - center) / half_range
    X = np.column_stack([np.ones_like(t), t, t**2])
    coefficients, *_ = np.linalg.lstsq(X, y, rcond=None)
    residual = y - X @ coefficients
    df = len(x) - 3
    result.quadratic = float(coefficients[2] / half_range**2)
    result.quadratic_effect = 100 * result.quadratic * np.ptp(x) / 8
    stderr = np.sqrt((residual**2).sum() / max(df, 1) * np.linalg.inv(X.T @ X)[2, 2])
    if df > 0 and stderr > 0:
        result.quadratic_p = float(find_t_pvalue(coefficients[2] / stderr, df))


def _add_bias(result: Linearity, x: np.ndarray, y: np.ndarray, code: np.ndarray, scale: Scale) -> None:
    percent = 100 * scale.error(y, x)
    count = np.bincount(code)
    of_vial = np.bincount(code, percent) / count
    n = len(count)
    half = float(find_t(0.975, n - 1)) * of_vial.std(ddof=1) / np.sqrt(n)
    result.percent_bias = float(of_vial.mean())
    result.percent_bias_low, result.percent_bias_high = result.percent_bias - half, result.percent_bias + half
    result.max_percent_bias = float(np.abs(of_vial).max())
    mean = np.bincount(code, y) / count
    df = len(y) - n
    if df > 0:
        squares = np.bincount(code, (y - mean[code]) ** 2)
        result.scan_wcv = float(np.sqrt((squares / scale.size(mean) ** 2).sum() / df))
