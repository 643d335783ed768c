"""How much of the variance between repeats the standard errors of the measurements explain.

Each value carries a standard error of its fit and of its calibration. Repeats within a session share the calibration,
so only the fit's part can explain their variance; sites differ by theirs, so the calibration's part can explain
variance between sites. What is left is everything that standard errors do not know: repositioning, physiology, drift.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.statistics.bounds import bound_component
from isocenter.statistics.components import Components


@dataclass(frozen=True)
class ErrorShare:
    """The share of one component that standard errors explain (1 is all of it), with the interval of the component."""

    component: str
    variance: float
    error_variance: float
    share: float
    share_low: float
    share_high: float
    source: str


def explain_components(
    components: Components, values: np.ndarray, stderr: np.ndarray, raw_stderr: np.ndarray, *, is_log: bool
) -> list[ErrorShare]:
    """Shares of the residual (fit) and of the site variance (calibration).

    Parameters
    ----------
    components : Components
        On the scale of the analysis.
    values, stderr, raw_stderr : (n,) arrays [unit]
        `stderr` holds fit and calibration, `raw_stderr` the fit alone; either may be NaN.
    is_log : bool
        Standard errors are divided by their values, as logarithms have it.
    """
    size = np.abs(values) if is_log else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        whole, fit = (stderr / size) ** 2, (raw_stderr / size) ** 2
    if not np.isfinite(fit).any():
        fit, source = whole, "standard errors"
    else:
        source = "standard errors of the fit"
    found = []
    parts = [("residual", _mean(fit), source)]
    calibration = np.maximum(_mean(whole) - _mean(fit), 0.0)
    if fit is not whole and calibration > 0:
        parts.append(("site", float(calibration), "standard errors of the calibration"))
    for name, error, which in parts:
        variance = components.variances[name]
        if not (np.isfinite(error) and np.isfinite(variance)):
            continue
        low, high = bound_component(components, name)
        shares = [error / v if v > 0 else np.nan for v in (variance, high, low)]
        found.append(ErrorShare(name, variance, error, *shares, which))
    return found


def _mean(squares: np.ndarray) -> float:
    squares = squares[np.isfinite(squares)]
    return float(squares.mean()) if len(squares) else np.nan
