"""The scanner's own ruler, measured in a phantom: reference = c0 + c1 · measured, with its uncertainty.

Both sides have errors: the reference its table's and the temperature's, the measurement its noise. Minimized is

    (r − X c)ᵀ V⁻¹ (r − X c),   V = diag(u² + c1² s² + τ² r²) + Σ b bᵀ

with u, s the standard errors of reference and measurement, b errors shared by all vials (the temperature of the
day), and τ a relative scatter between vials, zero unless the residuals are larger than the errors explain: then it
takes the value that makes χ² equal its degrees of freedom, and every interval widens with it. Vials span two
decades, so scatter is relative throughout.

Reference: York 2004, doi 10.1119/1.1632486 (errors in both variables); Paule & Mandel 1982,
doi 10.6028/jres.087.022 (the scatter τ).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from isocenter.errors import CalibrationError, explain
from isocenter.units import check_unit

#: The forms of a calibration, simplest first, with the vials that each needs at least.
FORMS = {"none": 0, "gain": 3, "linear": 6}
#: A form with one coefficient more must lower the leave-one-out error by this share to be preferred.
PARSIMONY = 0.15
#: An offset is only told from a gain when the vials span this ratio.
LEAST_SPAN = 3.0
#: A vial further than this many standard deviations from the others' line is an outlier; at most this share is.
OUTLIER, MOST_OUTLIERS = 4.0, 0.3
#: Pairs of vials through which a line is tried at most.
MOST_PAIRS = 400


@dataclass(frozen=True)
class Calibration:
    """How a scanner's values of one biomarker become the reference's.

    form : ``none``, ``gain`` or ``linear``
    coefficients : (2,) c0 [unit], c1 [1]; covariance : (2, 2)
    valid_range : smallest and largest measured value [unit] that the vials support; None when there are none
    dates : of the phantom sessions; refused : no calibration could be made, `reason` says why
    checks : figures of merit by name (percent where the name says so)
    vials : what entered, one dict a vial
    """

    biomarker: str
    unit: str
    form: str
    coefficients: tuple[float, float] = (0.0, 1.0)
    covariance: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    valid_range: tuple[float, float] | None = None
    n_vials: int = 0
    dates: tuple[str, ...] = ()
    refused: bool = False
    reason: str = ""
    checks: dict[str, Any] = field(default_factory=dict)
    vials: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self):
        check_unit(self.unit)
        if self.form not in FORMS:
            raise CalibrationError(explain("Unknown form", expected=", ".join(FORMS), found=self.form))

    @classmethod
    def refuse(cls, biomarker: str, unit: str, reason: str, **more: Any) -> "Calibration":
        """No calibration: values stay as measured, and the reason travels on."""
        return cls(biomarker, unit, "none", refused=True, reason=reason, **more)

    def apply(self, value: np.ndarray, stderr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Calibrated value and standard error [unit], and where the value lies beyond the vials.

        value, stderr : (...,) arrays [unit], NaN where absent. The standard error holds the measurement's, scaled,
        and the calibration's own; the latter is shared by all values of the scanner and does not average out.
        """
        value, stderr = np.asarray(value, dtype=float), np.asarray(stderr, dtype=float)
        c0, c1 = self.coefficients
        (v00, v01), (_, v11) = self.covariance
        own = v00 + 2 * v01 * value + v11 * value**2
        if self.valid_range is None:
            beyond = np.zeros(value.shape, bool)
        else:
            beyond = (value < self.valid_range[0]) | (value > self.valid_range[1])
        return c0 + c1 * value, np.sqrt((c1 * stderr) ** 2 + np.maximum(own, 0.0)), beyond

    def to_dict(self) -> dict[str, Any]:
        """Plain content for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Calibration":
        """What :meth:`to_dict` wrote; CalibrationError when it is something else."""
        try:
            c0, c1 = (float(c) for c in content["coefficients"])
            (v00, v01), (v10, v11) = content["covariance"]
            limits = content.get("valid_range")
            return cls(
                content["biomarker"],
                content["unit"],
                content["form"],
                (c0, c1),
                ((float(v00), float(v01)), (float(v10), float(v11))),
                (float(limits[0]), float(limits[1])) if limits else None,
                int(content["n_vials"]),
                tuple(content.get("dates", ())),
                bool(content["refused"]),
                content["reason"],
                content.get("checks", {}),
                content.get("vials", []),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(
                explain("A calibration file is incomplete", found=repr(error), remedy="run fit_calibration again")
            ) from error


@dataclass(frozen=True)
class _Points:
    """measured m, its standard error s, reference r, its own standard error u: (n,); shared errors b: (k, n)."""

    m: np.ndarray
    s: np.ndarray
    r: np.ndarray
    u: np.ndarray
    b: np.ndarray

    def only(self, keep: np.ndarray) -> "_Points":
        return _Points(self.m[keep], self.s[keep], self.r[keep], self.u[keep], self.b[:, keep])

    def without(self, i: int) -> "_Points":
        return self.only(np.arange(len(self.m)) != i)


def fit_calibration_curve(
    measured: np.ndarray,
    measured_stderr: np.ndarray,
    reference: np.ndarray,
    reference_stderr: np.ndarray,
    *,
    biomarker: str,
    unit: str,
    forms: tuple[str, ...] = ("none", "gain", "linear"),
    shared: np.ndarray | None = None,
) -> Calibration:
    """Calibrate from one value a vial.

    Parameters
    ----------
    measured, measured_stderr : (n,) arrays [unit]
        What the scanner read.
    reference, reference_stderr : (n,) arrays [unit]
        What it should have read; the standard error without what is in `shared`.
    biomarker, unit : str
        Of the values.
    forms : tuple of str
        Which of :data:`FORMS` may be chosen.
    shared : (k, n) array [unit], optional
        Errors of the reference that all vials share, one row each, as signed standard errors.

    Returns
    -------
    Calibration
        Its ``vials`` hold, in the order given, `used`, `flag` (``ok``, ``outlier``), `calibrated`, `residual_percent`.
        It is refused when too few vials are left or when every form allowed is worse than none.
    """
    unknown = set(forms) - set(FORMS)
    if unknown:
        raise CalibrationError(explain("Unknown forms", expected=", ".join(FORMS), found=", ".join(sorted(unknown))))
    arrays = [np.asarray(a, dtype=float) for a in (measured, measured_stderr, reference, reference_stderr)]
    n = len(arrays[0])
    points = _Points(*arrays, np.zeros((0, n)) if shared is None else np.asarray(shared, dtype=float).reshape(-1, n))
    if n and not (np.isfinite(np.stack(arrays)).all() and (arrays[0] > 0).all() and (arrays[2] > 0).all()):
        raise CalibrationError(explain("Vials need finite, positive values", found=str(arrays)))
    if n < FORMS["gain"]:
        return Calibration.refuse(
            biomarker, unit, f"{n} vials can be used; a calibration needs {FORMS['gain']}", n_vials=n
        )
    keep = ~find_outliers(points.m, points.s, points.r, points.u)
    used = points.only(keep)
    fits = {f: _fit(used, f) for f in FORMS if f in (*forms, "none") and _allows(used, f)}
    errors = {f: _leave_one_out(used, f, fits[f][2]) for f in fits}
    weight = 1.0 / (used.u**2 / used.r**2 + used.s**2 / used.m**2 + min(t for _, _, t in fits.values()) ** 2)
    weighted = {f: _rms(e, weight) for f, e in errors.items()}
    form, reason, refused = _choose(weighted, forms)
    coefficients, covariance, tau = fits[form]
    if form == "none" and "gain" in weighted:
        # Not to calibrate is to say c1 = 1, and that is known no better than the gain that was found.
        gain, spread, tau = fits["gain"] if "gain" in fits else _fit(used, "gain")
        covariance = spread + np.array([[0.0, 0.0], [0.0, (gain[1] - 1) ** 2]])
    checks = _checks(points, keep, form, coefficients, tau, weighted, errors)
    return Calibration(
        biomarker,
        unit,
        form,
        (float(coefficients[0]), float(coefficients[1])),
        tuple(tuple(float(x) for x in row) for row in covariance),
        (float(used.m.min()), float(used.m.max())),
        int(keep.sum()),
        refused=refused,
        reason=reason,
        checks=checks,
        vials=[
            {
                "used": bool(k),
                "flag": "ok" if k else "outlier",
                "calibrated": float(c),
                "residual_percent": float(100 * (c / r - 1)),
            }
            for k, c, r in zip(keep, coefficients[0] + coefficients[1] * points.m, points.r, strict=True)
        ],
    )


def find_outliers(
    measured: np.ndarray, measured_stderr: np.ndarray, reference: np.ndarray, reference_stderr: np.ndarray
) -> np.ndarray:
    """(n,) booleans: vials that do not follow the line of the others.

    The line is the one through two vials that leaves the smallest median residual, so that up to a third of the
    vials cannot pull it toward themselves; the scatter of the others judges the distance. At most
    :data:`MOST_OUTLIERS` of the vials are called outliers, the worst first: beyond that, "outlier" means nothing.
    """
    m, r = np.asarray(measured, dtype=float), np.asarray(reference, dtype=float)
    n = len(m)
    most = int(MOST_OUTLIERS * n)
    if n < 5:
        return np.zeros(n, bool)
    relative = np.sqrt((np.asarray(reference_stderr) / r) ** 2 + (np.asarray(measured_stderr) / m) ** 2)
    lines = [(0.0, g) for g in r / m]
    if n >= FORMS["linear"] and m.max() / m.min() >= LEAST_SPAN:
        i, j = np.triu_indices(n, 1)
        # Enough pairs to find the line; more vials than a phantom or two have are drawn on evenly.
        thin = max(1, len(i) // MOST_PAIRS)
        i, j = i[::thin], j[::thin]
        far = np.maximum(m[i], m[j]) / np.minimum(m[i], m[j]) >= 1.5
        slope = (r[i] - r[j])[far] / (m[i] - m[j])[far]
        lines += list(zip(r[i][far] - slope * m[i][far], slope, strict=True))
    c = np.array(lines)
    residual = np.abs(c[:, :1] + c[:, 1:] * m - r) / r
    # Judged by the better three quarters: the median alone would let a line through two stray vials win.
    cost = np.sort(residual / np.maximum(relative, np.median(relative)), axis=1)[:, : int(np.ceil(0.75 * n))].mean(1)
    best = residual[np.argmin(cost)]
    scatter = 1.4826 * np.median(best) * np.sqrt(n / (n - 2))
    z = best / np.sqrt(relative**2 + max(scatter**2 - np.median(relative) ** 2, 0.0))
    outlier = z > OUTLIER
    if outlier.sum() > most:
        outlier[np.argsort(-z, kind="stable")[most:]] = False
    return outlier


def _allows(points: _Points, form: str) -> bool:
    wide = len(points.m) and points.m.max() / points.m.min() >= LEAST_SPAN
    return len(points.m) >= FORMS[form] and (form != "linear" or bool(wide))


def _fit(points: _Points, form: str) -> tuple[np.ndarray, np.ndarray, float]:
    """(2,) coefficients, (2, 2) covariance and τ of one form."""
    free = len(points.m) - {"none": 0, "gain": 1, "linear": 2}[form]

    def excess(tau):
        return _solve(points, form, tau)[2] - free

    tau = 0.0
    if free > 0 and excess(0.0) > 0:
        low, high = 0.0, 0.01
        while excess(high) > 0 and high < 10:
            low, high = high, 2 * high
        while high - low > 1e-4 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if excess(middle) > 0 else (low, middle)
        tau = (low + high) / 2
    coefficients, covariance, _ = _solve(points, form, tau)
    return coefficients, covariance, tau


def _solve(points: _Points, form: str, tau: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients, covariance and χ² at a given τ, by the fixed point of the normal equations."""
    p = points
    c = np.array([0.0, 1.0])
    free = {"none": [], "gain": [1], "linear": [0, 1]}[form]
    design = np.column_stack([np.ones_like(p.m), p.m])
    if free:
        c[1] = np.median(p.r / p.m)
    covariance = np.zeros((2, 2))
    for _ in range(30):
        weigh = _inverse(p.u**2 + (c[1] * p.s) ** 2 + (tau * p.r) ** 2, p.b)
        q = weigh(p.r - design @ c)
        if not free:
            break
        # The measured values as the line corrects them; without it the slope would be pulled toward zero.
        corrected = np.column_stack([np.ones_like(p.m), p.m + c[1] * p.s**2 * q])[:, free]
        left = weigh(corrected).T
        step = np.linalg.solve(left @ design[:, free], left @ (p.r - design @ c))
        c[free] += step
        if np.all(np.abs(step) <= 1e-10 * np.maximum(np.abs(c[free]), p.r.min())):
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


def _leave_one_out(points: _Points, form: str, tau: float) -> np.ndarray:
    """(n,) relative error with which each vial is predicted from all others."""
    errors = np.zeros(len(points.m))
    for i in range(len(points.m)):
        c, _, _ = _solve(points.without(i), form, tau)
        errors[i] = (c[0] + c[1] * points.m[i]) / points.r[i] - 1
    return errors


def _rms(errors: np.ndarray, weight: np.ndarray | None = None) -> float:
    return float(np.sqrt(np.average(errors**2, weights=weight)))


def _choose(weighted: dict[str, float], forms: tuple[str, ...]) -> tuple[str, str, bool]:
    """The form, why it is not a richer one, and whether calibration is refused."""
    candidates = [f for f in FORMS if f in weighted and f != "none" and f in forms]
    if not candidates:
        return "none", "" if "none" in forms else "too few vials for the forms allowed", "none" not in forms
    chosen = candidates[0]
    for form in candidates[1:]:
        if weighted[form] < (1 - PARSIMONY) * weighted[chosen]:
            chosen = form
    if weighted[chosen] >= weighted["none"]:
        reason = (
            f"leave-one-out error {100 * weighted[chosen]:.2f} % with a {chosen} calibration, "
            f"{100 * weighted['none']:.2f} % without"
        )
        return "none", reason, "none" not in forms
    return chosen, "", False


def _checks(points, keep, form, coefficients, tau, weighted, errors) -> dict[str, Any]:
    used = points.only(keep)
    bias = used.m / used.r - 1
    residual = (coefficients[0] + coefficients[1] * used.m) / used.r - 1
    return {
        "n_used": int(keep.sum()),
        "n_outliers": int((~keep).sum()),
        "max_abs_percent_bias": float(100 * np.abs(bias).max()),
        "mean_percent_bias": float(100 * bias.mean()),
        "rms_percent_bias": 100 * _rms(bias),
        "rms_percent_residual": 100 * _rms(residual),
        "loo_rms_percent": 100 * _rms(errors[form]),
        "weighted_loo_rms_percent": {f: 100 * e for f, e in weighted.items()},
        "extra_scatter_percent": 100 * float(tau),
    }
