"""One form of calibration, fitted with errors on both sides.

Minimized is

    (r − X c)ᵀ V⁻¹ (r − X c),   V = diag(u² + g² s² + τ² r²) + Σ b bᵀ

with u, s the standard errors of reference and measurement, g the slope of the curve at the vial, b errors shared by
all vials (the temperature of the day), and τ a relative scatter between vials, zero unless the residuals are larger
than the errors explain: then it takes the value that makes χ² equal its degrees of freedom, and every interval widens
with it. Vials span two decades, so scatter is relative throughout; that of fractions is in points, with 100 % in the
place of r.

Reference: York 2004, doi 10.1119/1.1632486 (errors in both variables); Paule & Mandel 1982,
doi 10.6028/jres.087.022 (the scatter τ).
"""

from dataclasses import dataclass

import numpy as np

from isocenter.calibration.curve import FORMS
from isocenter.calibration.scale import RELATIVE, Scale

#: The coefficients that each form fits: powers of the measured value.
POWERS = {"none": (), "gain": (1,), "linear": (0, 1), "quadratic": (0, 1, 2)}
#: The ratio that the measured vials must span: an offset is only told from a gain, and a bend from an offset, when
#: the vials lie far apart.
LEAST_SPAN = {"none": 1.0, "gain": 1.0, "linear": 3.0, "quadratic": 10.0}


@dataclass(frozen=True)
class Points:
    """measured m, its standard error s, reference r, its own standard error u: (n,); shared errors b: (k, n).

    scale : how errors of these values count
    """

    m: np.ndarray
    s: np.ndarray
    r: np.ndarray
    u: np.ndarray
    b: np.ndarray
    scale: Scale = RELATIVE

    def only(self, keep: np.ndarray) -> "Points":
        """Those where `keep`, (n,) booleans, says so."""
        return Points(self.m[keep], self.s[keep], self.r[keep], self.u[keep], self.b[:, keep], self.scale)

    def without(self, i: int) -> "Points":
        """All but one."""
        return self.only(np.arange(len(self.m)) != i)


def predict(coefficients: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The reference that (3,) coefficients give for measured values."""
    c = coefficients
    return c[0] + c[1] * measured + c[2] * measured**2


def find_obstacle(points: Points, form: str) -> str:
    """Why the vials cannot bear a form; empty when they can."""
    n = len(points.m)
    if n < FORMS[form]:
        return f"needs {FORMS[form]} vials, {n} can be used"
    span = find_span(points.m) if n else 1.0
    if span < LEAST_SPAN[form]:
        return f"needs vials that span a ratio of {LEAST_SPAN[form]:g}, these span {span:.3g}"
    return ""


def find_span(measured: np.ndarray) -> float:
    """The ratio of the largest value to the smallest, endless where a share reaches down to 0."""
    low, high = float(measured.min()), float(measured.max())
    return high / low if low > 0 else np.inf


def is_monotone(coefficients: np.ndarray, low: float, high: float) -> bool:
    """Whether the curve rises everywhere between two measured values."""
    return bool(min(coefficients[1] + 2 * coefficients[2] * x for x in (low, high)) > 0)


def fit_form(points: Points, form: str) -> tuple[np.ndarray, np.ndarray, float]:
    """(3,) coefficients, (3, 3) covariance and τ of one form."""
    free = len(points.m) - len(POWERS[form])

    def excess(tau):
        return solve(points, form, tau)[2] - free

    tau = 0.0
    if free > 0 and excess(0.0) > 0:
        low, high = 0.0, 0.01
        while excess(high) > 0 and high < 10:
            low, high = high, 2 * high
        while high - low > 1e-4 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if excess(middle) > 0 else (low, middle)
        tau = (low + high) / 2
    coefficients, covariance, _ = solve(points, form, tau)
    return coefficients, covariance, tau


def solve(points: Points, form: str, tau: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients (3,), covariance (3, 3) and χ² at a given τ, by the fixed point of the normal equations."""
    p = points
    c = np.array([0.0, 1.0, 0.0])
    free = list(POWERS[form])
    # A squared value reads high by the square of its error.
    design = np.column_stack([np.ones_like(p.m), p.m, p.m**2 - p.s**2])
    if free:
        c[1] = np.median(p.r / p.m) if p.scale.is_relative else 1.0
    covariance = np.zeros((3, 3))
    for _ in range(30):
        slope = c[1] + 2 * c[2] * p.m
        weigh = _inverse(p.u**2 + (slope * p.s) ** 2 + (tau * p.scale.size(p.r)) ** 2, p.b)
        q = weigh(p.r - design @ c)
        if not free:
            break
        # The measured values as the curve corrects them; without it the slope would be pulled toward zero.
        true = p.m + slope * p.s**2 * q
        corrected = np.column_stack([np.ones_like(p.m), true, true**2])[:, free]
        left = weigh(corrected).T
        step = np.linalg.solve(left @ design[:, free], left @ (p.r - design @ c))
        c[free] += step
        if np.all(np.abs(step) <= 1e-10 * np.maximum(np.abs(c[free]), p.scale.size(p.r).min())):
            break
    if free:
        covariance[np.ix_(free, free)] = np.linalg.inv(left @ corrected)
        q = weigh(p.r - design @ c)
    return c, covariance, float((p.r - design @ c) @ q)


def _inverse(variance: np.ndarray, shared: np.ndarray):
    """A function that multiplies by the inverse of diag(variance) + Σ b bᵀ (Woodbury: a few shared errors only)."""
    rows = shared[np.any(shared != 0, axis=1)]
    if len(rows) == 0:
        return lambda x: x / (variance if x.ndim == 1 else variance[:, None])
    scaled = rows / variance
    core = np.linalg.inv(np.eye(len(rows)) + scaled @ rows.T)

    def weigh(x):
        return x / (variance if x.ndim == 1 else variance[:, None]) - scaled.T @ (core @ (scaled @ x))

    return weigh


def leave_one_out(points: Points, form: str, tau: float) -> np.ndarray:
    """(n,) error [1], as its scale counts it, with which each vial is predicted from all others."""
    errors = np.zeros(len(points.m))
    for i in range(len(points.m)):
        c, _, _ = solve(points.without(i), form, tau)
        errors[i] = points.scale.error(predict(c, points.m[i]), points.r[i])
    return errors
