"""Which phantom session stands for the day of a scan: all of them, the nearest, or a line through them.

``pooled`` puts all sessions into one curve and counts what they differ by as uncertainty; it needs no date of a
person. ``nearest`` takes the curve of the closest session. ``drift`` takes one curve whose measured values move along a
straight line in time.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration
from isocenter.calibration.curve import DAYS_A_YEAR, RULES
from isocenter.calibration.scale import scale_of
from isocenter.errors import CalibrationError, explain
from isocenter.phantom.drift import Drift, count_days, find_session_shifts, fit_drift
from isocenter.phantom.sessions import calibrate_vials, select_vials


def calibrate_by_date(
    table: pd.DataFrame,
    biomarker: str,
    unit: str,
    forms: tuple[str, ...],
    rule: str,
    origin: str | None = None,
    *,
    with_curves: bool = True,
) -> Calibration:
    """One calibration that knows its sessions, each with its own curve, and how they stand for other days.

    Parameters
    ----------
    table : DataFrame
        Rows of ``vials.tsv``.
    biomarker, unit : str
        Of the values.
    forms : tuple of str
        The forms that may be chosen.
    rule : str
        A word of :data:`~isocenter.calibration.curve.RULES`.
    origin : str, optional
        The date of the site's first phantom session (YYYY-MM-DD), which is day 0; default the first of the table.
    with_curves : bool
        Give each session a curve of its own; ``nearest`` cannot do without.

    Returns
    -------
    Calibration
        Its ``sessions`` hold every session; ``checks`` say how the scanner drifted and whether that is more than its
        uncertainty.
    """
    if rule not in RULES:
        raise CalibrationError(explain("Unknown calibration_dates", expected=", ".join(RULES), found=rule))
    if rule == "drift" and not scale_of(unit).is_relative:
        raise CalibrationError(
            explain(
                "A share of a whole has no drift that scales it",
                expected="calibration_dates: pooled or nearest",
                found=f"drift, for {biomarker} in {unit}",
                remedy="change calibration_dates of this biomarker in config/biomarkers.yaml",
            )
        )
    rows = select_vials(table, biomarker, forms)
    if len(rows) == 0:
        return calibrate_vials(table, biomarker, unit, forms)
    shifts = find_session_shifts(rows)
    shifts["day"] = count_days(shifts["date"], origin)
    drift = fit_drift(*(shifts[c].to_numpy(float) for c in ("day", "shift", "stderr")))
    if rule == "drift" and drift is not None:
        days = dict(zip(shifts["session"], shifts["day"], strict=True))
        moved = rows["session"].astype(str).map(days).to_numpy(float) - drift.day
        back = np.exp(-drift.per_day * np.nan_to_num(moved))
        rows = rows.assign(measured=rows["measured"] * back, stderr=rows["stderr"] * back)
    pooled = calibrate_vials(rows, biomarker, unit, forms)
    content = pooled.to_dict()
    content["rule"] = rule
    content["sessions"] = [
        _describe(shift) | (_own_curve(table, shift["session"], biomarker, unit, forms) if with_curves else {})
        for shift in shifts.to_dict("records")
    ]
    content["checks"] |= _describe_drift(drift, rule)
    if rule == "drift" and drift is not None:
        content["day"] = drift.day
        content["drift"] = asdict(drift)
    return Calibration.from_dict(content)


def _describe(shift: dict) -> dict:
    """One session: when, and how far from the mean of all."""
    return {
        "session": shift["session"],
        "date": shift["date"],
        "day": None if np.isnan(shift["day"]) else shift["day"],
        "shift_percent": 100 * shift["shift"],
        "shift_stderr_percent": 100 * shift["stderr"],
    }


def _own_curve(table: pd.DataFrame, session: str, biomarker: str, unit: str, forms: tuple[str, ...]) -> dict:
    """The curve of one session alone, without its vials, which stand in ``vials.tsv``."""
    rows = table[table["session"].astype(str) == session]
    curve = calibrate_vials(rows, biomarker, unit, forms).to_dict()
    kept = ("biomarker", "unit", "form", "coefficients", "covariance", "valid_range", "n_vials", "dates", "refused")
    loo = curve["checks"].get("loo_rms_percent")
    return {"curve": {key: curve[key] for key in (*kept, "reason")} | {"checks": {"loo_rms_percent": loo}}}


def _describe_drift(drift: Drift | None, rule: str) -> dict:
    """What the sessions say of the scanner's drift [percent a year], and in words whether it matters."""
    if drift is None:
        note = "fewer than two dated sessions: no drift can be told"
        return {"drift_note": note + (", one curve serves all days" if rule == "drift" else "")}
    yearly, error = (100 * DAYS_A_YEAR * x for x in (drift.per_day, drift.stderr_per_day))
    within = abs(yearly) <= 1.96 * error
    words = "no more than its uncertainty explains" if within else "more than its uncertainty explains"
    return {
        "drift_percent_per_year": yearly,
        "drift_stderr_percent_per_year": error,
        "drift_within_interval": bool(within),
        "wander_percent": 100 * drift.scatter,
        "drift_note": f"{yearly:+.2f} % a year (95 % interval {yearly - 1.96 * error:+.2f} to "
        f"{yearly + 1.96 * error:+.2f}) over {drift.n_sessions} sessions, {words}",
    }
