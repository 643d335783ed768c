"""Statistics of a phantom that a protocol may set limits for: of one session, and of a scanner over its sessions."""

import math
import statistics
from typing import Any

import numpy as np

from isocenter.calibration.scale import scale_of
from isocenter.quality.values import as_number, as_text

Row = dict[str, Any]

#: Statistics that are medians over the vials used, of the column of the same name.
MEDIANS = ("inversion_efficiency", "b1", "snr")
#: Statistics that need several sessions of one phantom on one scanner.
OVER_SESSIONS = ("repeatability_percent", "drift_percent")


def compute_phantom_statistics(rows: list[Row], calibration: dict[str, Any]) -> dict[str, float]:
    """The statistics that a phantom check may name, of the vials used in one session; NaN where none can be given.

    Bias and linearity are before calibration, ``rms_percent_residual`` after it, in percent of the reference; of
    shares, which may be 0, in points.
    """
    used = [row for row in rows if is_used(row)]
    whole = scale_of(as_text(used[0].get("unit")) if used else "").whole
    pairs = [(as_number(row.get("measured")), as_number(row.get("reference"))) for row in used]
    pairs = [(m, r) for m, r in pairs if math.isfinite(m) and math.isfinite(r) and (r != 0 or whole)]
    bias = [100 * (measured - reference) / (whole or reference) for measured, reference in pairs]
    coefficients, factor = _coefficients_of(calibration, as_text(rows[0].get("session")) if rows else "")
    residual = [
        100 * (sum(c * (factor * measured) ** k for k, c in enumerate(coefficients)) - reference) / (whole or reference)
        for measured, reference in pairs
        if coefficients
    ]
    medians = {name: [v for row in used if math.isfinite(v := as_number(row.get(name)))] for name in MEDIANS}
    return {
        "n_used": float(len(pairs)),
        "max_abs_percent_bias": max(map(abs, bias), default=math.nan),
        "mean_percent_bias": sum(bias) / len(bias) if bias else math.nan,
        "rms_percent_residual": math.sqrt(sum(r * r for r in residual) / len(residual)) if residual else math.nan,
        **measure_linearity([m for m, _ in pairs], [r for _, r in pairs], whole),
        "loo_rms_percent": as_number((calibration.get("checks") or {}).get("loo_rms_percent")),
        "slope": coefficients[1] if coefficients else math.nan,
        **{name: statistics.median(values) if values else math.nan for name, values in medians.items()},
    }


def _coefficients_of(calibration: dict[str, Any], session: str) -> tuple[list[float], float]:
    """The coefficients that serve a session, and what its measured values are multiplied by before."""
    of_session = next((s for s in calibration.get("sessions") or [] if as_text(s.get("session")) == session), {})
    factor, source = 1.0, calibration
    if calibration.get("rule") == "nearest" and not (of_session.get("curve") or {"refused": True}).get("refused"):
        source = of_session["curve"]
    drift = calibration.get("drift") or {}
    if calibration.get("rule") == "drift" and drift and of_session.get("day") is not None:
        factor = math.exp(-drift["per_day"] * (of_session["day"] - drift["day"]))
    coefficients = [as_number(value) for value in source.get("coefficients") or []]
    return (coefficients if len(coefficients) in (2, 3) else []), factor


def is_used(row: Row) -> bool:
    """Whether a vial takes part: as its table says, else when nothing was wrong with it."""
    if "used" in row:
        return as_text(row["used"]).casefold() in ("true", "1", "1.0", "yes")
    return as_text(row.get("flag")) == "ok"


def measure_linearity(measured: list[float], reference: list[float], whole: float | None = None) -> dict[str, float]:
    """``r_squared`` of measured on reference, and ``nonlinearity_percent``: how far a vial lies off the straight line.

    The line is fitted with weights by the reference, so that short values count as much as long ones; of shares
    (`whole` is their full scale) all count alike. NaN with fewer than three vials.
    """
    x, y = np.array(reference, dtype=float), np.array(measured, dtype=float)
    if len(x) < 3 or np.ptp(x) == 0:
        return {"r_squared": math.nan, "nonlinearity_percent": math.nan}
    scale = np.full(len(x), float(whole)) if whole else np.abs(x)
    with np.errstate(all="ignore"):
        slope, intercept = np.polyfit(x, y, 1, w=1 / scale)
        residual = 100 * (y - (slope * x + intercept)) / scale
        r = np.corrcoef(x, y)[0, 1]
    return {"r_squared": float(r * r), "nonlinearity_percent": float(np.abs(residual).max())}


def compare_sessions(rows: list[Row]) -> dict[str, float]:
    """How one scanner reads one phantom from session to session, of the vials used in several.

    ``repeatability_percent`` is the within-vial coefficient of variation of measured over reference (each session at
    its own temperature); ``drift_percent`` the largest distance between the first session and a later one, each
    session by the median of what it has in common with the first. Of shares both are in points.
    """
    whole = scale_of(as_text(rows[0].get("unit")) if rows else "").whole
    sessions: dict[str, dict[str, float]] = {}
    for row in rows:
        measured, reference = as_number(row.get("measured")), as_number(row.get("reference"))
        if (
            is_used(row)
            and math.isfinite(measured)
            and math.isfinite(reference)
            and (whole or reference > 0 < measured)
        ):
            error = 100 * (measured - reference) / whole if whole else 100 * math.log(measured / reference)
            sessions.setdefault(as_text(row.get("session")), {})[as_text(row.get("vial"))] = error
    first, *later = [sessions[name] for name in sorted(sessions)] or [{}]
    shifts = [statistics.median(d) for one in later if (d := [one[v] - first[v] for v in one if v in first])]
    vials = {vial for one in sessions.values() for vial in one}
    spreads = [
        statistics.variance(values)
        for vial in sorted(vials)
        if len(values := [one[vial] for one in sessions.values() if vial in one]) > 1
    ]
    return {
        "n_sessions": float(len(sessions)),
        "repeatability_percent": math.sqrt(statistics.fmean(spreads)) if spreads else math.nan,
        "drift_percent": max(map(abs, shifts), default=math.nan),
    }
