"""How much of the variance between repeats, and between sites, the standard errors of the measurements explain.

An error counts for a component only as far as it varies within it. Repeats of a session share the scanner's
calibration, and the anatomy that the region samples: only the noise of the fits is drawn anew, so it alone is held
against the residual variance. Sites differ by their calibrations, so the calibration's part is held against the
variance between sites; what the references of all phantoms share is in it too, so it is the most they explain. What
is left is everything that standard errors do not know: repositioning of person and region, physiology, drift.
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
    flag: str = ""


#: Flags of parts that hold more than what varies within their component.
HOLDS_SHARED, AT_MOST = "may_hold_shared_parts", "at_most"


def explain_components(
    components: Components, values: np.ndarray, stderr: np.ndarray, fit: np.ndarray, noise: np.ndarray, *, is_log: bool
) -> list[ErrorShare]:
    """Shares of the residual (noise of the fits) and of the site variance (calibration).

    Parameters
    ----------
    components : Components
        On the scale of the analysis.
    values, stderr, fit, noise : (n,) arrays [unit]
        `stderr` holds all, `fit` leaves the calibration's part out, `noise` is what a repeat draws anew; each may be
        NaN. Without `noise` the next one stands for it, and the share says that it may hold shared parts.
    is_log : bool
        Standard errors are divided by their values, as logarithms have it.
    """
    size = np.abs(values) if is_log else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = {name: _mean((e / size) ** 2) for name, e in (("all", stderr), ("fit", fit), ("noise", noise))}
    parts = []
    for name, source in (
        ("noise", "noise of the fits"),
        ("fit", "standard errors before calibration"),
        ("all", "standard errors"),
    ):
        if np.isfinite(squares[name]):
            parts.append(("residual", squares[name], source, "" if name == "noise" else HOLDS_SHARED))
            break
    calibration = squares["all"] - squares["fit"]
    if calibration > 1e-9 * squares["all"]:
        # Tables hold one standard error a value: what of it all sites share (one traveling phantom, one batch, one
        # thermometer) cannot be taken out here, so the row says so.
        parts.append(("site", calibration, "standard errors of the calibrations, shared references included", AT_MOST))
    found = []
    for name, error, source, flag in parts:
        variance = components.variances[name]
        if not np.isfinite(variance):
            continue
        low, high = bound_component(components, name)
        shares = [error / v if v > 0 else np.nan for v in (variance, high, low)]
        found.append(ErrorShare(name, variance, error, *shares, source, flag))
    return found


def _mean(squares: np.ndarray) -> float:
    squares = squares[np.isfinite(squares)]
    return float(squares.mean()) if len(squares) else np.nan
