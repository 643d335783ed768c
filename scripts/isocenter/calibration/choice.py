"""Which form of calibration the vials support: every form is tried and shown, the simplest that predicts is taken."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.calibration.curve import FORMS, Calibration
from isocenter.calibration.outliers import find_outliers
from isocenter.calibration.regression import (
    POWERS,
    Points,
    find_obstacle,
    fit_form,
    is_monotone,
    leave_one_out,
    predict,
    solve,
)  # fmt: skip
from isocenter.calibration.scale import scale_of
from isocenter.errors import CalibrationError, explain

#: A form with one coefficient more must lower the leave-one-out error by this share to be preferred.
PARSIMONY = 0.15
#: What may be chosen unless the config says otherwise. A bend is only looked for when it is asked for: scanners scale
#: and shift, and a parabola through fourteen vials is easily had by chance.
DEFAULT_FORMS = ("none", "gain", "linear")


@dataclass(frozen=True)
class _Trial:
    """One form as tried: coefficients (3,), covariance (3, 3), scatter τ, leave-one-out errors (n,), reduced χ²."""

    coefficients: np.ndarray
    covariance: np.ndarray
    tau: float
    errors: np.ndarray
    reduced_chi_square: float


def fit_calibration_curve(
    measured: np.ndarray,
    measured_stderr: np.ndarray,
    reference: np.ndarray,
    reference_stderr: np.ndarray,
    *,
    biomarker: str,
    unit: str,
    forms: tuple[str, ...] = DEFAULT_FORMS,
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
        Which of :data:`FORMS` may be chosen. All are tried, and ``checks["forms"]`` shows them.
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
    scale = scale_of(unit)
    common = np.zeros((0, n)) if shared is None else np.asarray(shared, dtype=float).reshape(-1, n)
    points = Points(*arrays, common, scale)
    is_positive = not scale.is_relative or ((arrays[0] > 0).all() and (arrays[2] > 0).all())
    if n and not (np.isfinite(np.stack(arrays)).all() and is_positive):
        raise CalibrationError(explain("Vials need finite, positive values", found=str(arrays)))
    if n < FORMS["gain"]:
        return Calibration.refuse(
            biomarker, unit, f"{n} vials can be used; a calibration needs {FORMS['gain']}", n_vials=n
        )
    keep = ~find_outliers(points.m, points.s, points.r, points.u, may_bend="quadratic" in forms, scale=scale)
    used = points.only(keep)
    obstacles = {f: find_obstacle(used, f) for f in FORMS}
    tried = {f: _try(used, f) for f in FORMS if not obstacles[f]}
    limits = (float(used.m.min()), float(used.m.max()))
    for f in tried:
        if f == "quadratic" and not is_monotone(tried[f].coefficients, *limits):
            obstacles[f] = "does not rise everywhere between the vials"
    allowed = {f: t for f, t in tried.items() if f in (*forms, "none") and not obstacles[f]}
    size, own = scale.size(used.r), scale.size(used.m)
    weight = 1.0 / (used.u**2 / size**2 + used.s**2 / own**2 + min(t.tau for t in allowed.values()) ** 2)
    weighted = {f: _rms(t.errors, weight) for f, t in tried.items()}
    form, reason, refused = _choose({f: weighted[f] for f in allowed}, forms)
    coefficients, covariance, tau = tried[form].coefficients, tried[form].covariance, tried[form].tau
    if form == "none":
        # Not to calibrate is to say c1 = 1, and that is known no better than the gain that was found.
        gain = tried["gain"]
        covariance, tau = gain.covariance.copy(), gain.tau
        covariance[1, 1] += (gain.coefficients[1] - 1) ** 2
    n_terms = 3 if form == "quadratic" else 2
    checks = _checks(points, keep, coefficients, tau)
    checks["loo_rms_percent"] = 100 * _rms(tried[form].errors)
    checks["weighted_loo_rms_percent"] = {f: 100 * weighted[f] for f in allowed}
    checks["forms"] = {f: _show(f, form, tried.get(f), weighted, obstacles[f], forms) for f in FORMS}
    return Calibration(
        biomarker,
        unit,
        form,
        tuple(float(c) for c in coefficients[:n_terms]),
        tuple(tuple(float(x) for x in row[:n_terms]) for row in covariance[:n_terms]),
        limits,
        int(keep.sum()),
        refused=refused,
        reason=reason,
        checks=checks,
        vials=[
            {
                "used": bool(k),
                "flag": "ok" if k else "outlier",
                "calibrated": float(c),
                "residual_percent": float(100 * scale.error(c, r)),
            }
            for k, c, r in zip(keep, predict(coefficients, points.m), points.r, strict=True)
        ],
    )


def _try(points: Points, form: str) -> _Trial:
    coefficients, covariance, tau = fit_form(points, form)
    free = max(len(points.m) - len(POWERS[form]), 1)
    return _Trial(coefficients, covariance, tau, leave_one_out(points, form, tau), solve(points, form, 0.0)[2] / free)


def _show(
    form: str, chosen: str, trial: _Trial | None, weighted: dict[str, float], obstacle: str, forms: tuple[str, ...]
) -> dict[str, Any]:
    """One form for the reader: what it would have been, how well it predicts, why it was not taken."""
    if trial is None:
        return {"verdict": obstacle}
    size = 3 if form == "quadratic" else 2
    if form == chosen:
        verdict = "chosen"
    elif obstacle:
        verdict = obstacle
    elif form not in forms:
        verdict = "not among the forms allowed"
    elif weighted[form] >= weighted[chosen]:
        verdict = f"predicts no better than {chosen}"
    else:
        verdict = f"predicts better than {chosen} by less than {PARSIMONY:.0%}"
    return {
        "coefficients": trial.coefficients[:size].tolist(),
        "stderr": np.sqrt(np.diag(trial.covariance))[:size].tolist(),
        "loo_rms_percent": 100 * _rms(trial.errors),
        "weighted_loo_rms_percent": 100 * weighted[form],
        "reduced_chi_square": trial.reduced_chi_square,
        "extra_scatter_percent": 100 * float(trial.tau),
        "verdict": verdict,
    }


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


def _checks(points: Points, keep: np.ndarray, coefficients: np.ndarray, tau: float) -> dict[str, Any]:
    used = points.only(keep)
    bias = used.scale.error(used.m, used.r)
    residual = used.scale.error(predict(coefficients, used.m), used.r)
    return {
        "n_used": int(keep.sum()),
        "n_outliers": int((~keep).sum()),
        "max_abs_percent_bias": float(100 * np.abs(bias).max()),
        "mean_percent_bias": float(100 * bias.mean()),
        "rms_percent_bias": 100 * _rms(bias),
        "rms_percent_residual": 100 * _rms(residual),
        "extra_scatter_percent": 100 * float(tau),
    }
