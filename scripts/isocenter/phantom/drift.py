"""How a scanner moves between its phantom sessions: one shift a session, and a straight line through the shifts.

The shift of a session is what all its vials have in common beyond what each vial always reads: the logarithm of
measured over reference is a vial's part plus a session's part, so that a vial missing in some session moves nothing.
Its standard error holds the noise of the vials and what was misread of the temperature on that day; what the
thermometer always misreads is the same in every session and is no drift.

Reference: Paule & Mandel 1982, doi 10.6028/jres.087.022 (the wander of single sessions about the line).
"""

import datetime
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from isocenter.calibration.scale import scale_of

#: A relative standard error below this is not believed.
_LEAST_ERROR = 1e-4


def count_days(dates: pd.Series | list[str], origin: str | None) -> np.ndarray:
    """(n,) days from `origin` (YYYY-MM-DD) to each date; NaN where one of the two is no date.

    Without an origin the first of the dates is day 0.
    """
    known = [_parse(date) for date in dates]
    start = _parse(origin) if origin else min((d for d in known if d), default=None)
    return np.array([(d - start).days if d and start else np.nan for d in known], dtype=float)


def _parse(date: object) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(str(date))
    except ValueError:
        return None


def find_session_shifts(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a session: how far all its vials lie from what they read on average.

    rows : of ``vials.tsv``, one scanner and biomarker, those used

    Returns a table with `session`, `date`, `n_vials`, `shift` (log, of shares the difference; weighted mean zero over
    vials and sessions),
    `level` (log measured over reference: the mean of all and the shift) and `stderr` (noise and the day's temperature),
    ordered by date and session.
    """
    scale = scale_of(str(rows["unit"].iloc[0]))
    y = scale.shift(rows["measured"].to_numpy(float), rows["reference"].to_numpy(float))
    relative = np.maximum(scale.share(rows["stderr"].to_numpy(float), rows["measured"].to_numpy(float)), _LEAST_ERROR)
    vial, vials = pd.factorize(rows["serial"].astype(str) + "/" + rows["vial"].astype(str), sort=True)
    session, sessions = pd.factorize(rows["session"].astype(str), sort=True)
    design = np.hstack([np.eye(len(vials))[vial], np.eye(len(sessions))[session]])
    scatter = 0.0
    for _ in range(2):  # once with the noise alone, once with what single vials scatter beyond it
        w = 1.0 / (relative**2 + scatter**2)
        found = np.linalg.lstsq(design * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
        freedom = max(len(y) - len(vials) - len(sessions) + 1, 1)
        excess = ((y - design @ found) ** 2).sum() / freedom - (relative**2).mean()
        scatter = float(np.sqrt(max(excess, 0.0)))
    total = np.bincount(session, w)
    shift = found[len(vials) :]
    shift = shift - (total @ shift) / total.sum()
    level = float(w @ y / w.sum())
    own = np.maximum(rows["temperature_stderr"] ** 2 - rows["thermometer_stderr"] ** 2, 0.0)
    day = scale.share(np.sign(rows["temperature_stderr"]) * np.sqrt(own), rows["reference"])
    # Two phantoms of one session are two readings of a thermometer; they count as one, which can only widen.
    warmth = np.bincount(session, w * np.nan_to_num(day.to_numpy(float))) / total
    first = rows.assign(session=rows["session"].astype(str)).groupby("session", sort=True)["date"].first()
    table = pd.DataFrame(
        {
            "session": sessions,
            "date": first.reindex(sessions).to_numpy(),
            "n_vials": np.bincount(session),
            "shift": shift,
            "level": level + shift,
            "stderr": np.sqrt(1.0 / total + warmth**2),
        }
    )
    return table.sort_values(["date", "session"], kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Drift:
    """A straight line through the sessions' shifts.

    per_day, stderr_per_day : of log measured [1/day]; day : where the line's level and slope are independent
    scatter : of single sessions about the line, beyond their errors [1]; first_day, last_day : of the sessions
    """

    per_day: float
    stderr_per_day: float
    day: float
    scatter: float
    first_day: float
    last_day: float
    n_sessions: int


def fit_drift(day: np.ndarray, shift: np.ndarray, stderr: np.ndarray) -> Drift | None:
    """The line through (n,) shifts with standard errors at (n,) days; None with fewer than two different days.

    What sessions scatter about the line beyond their errors counts as a wander of the scanner and widens the interval
    of the slope, by Student's t where there are few of them. Two sessions give a line but nothing to judge the wander
    by: its interval then holds the errors of the two alone.
    """
    known = np.isfinite(day) & np.isfinite(shift) & (stderr > 0)
    day, shift, stderr = day[known], shift[known], stderr[known]
    if len(np.unique(day)) < 2:
        return None
    free = len(day) - 2

    def line(variance: float) -> tuple[float, float, float, float]:
        w = 1.0 / (stderr**2 + variance)
        center = float(w @ day / w.sum())
        across = float(w @ (day - center) ** 2)
        slope = float(w @ ((day - center) * shift)) / across
        rest = shift - w @ shift / w.sum() - slope * (day - center)
        return slope, across**-0.5, center, float(w @ rest**2)

    variance = 0.0
    if free > 0 and line(0.0)[3] > free:
        low, high = 0.0, float(np.var(shift)) + float((stderr**2).max())
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if line(middle)[3] > free else (low, middle)
        variance = (low + high) / 2
    slope, error, center, _ = line(variance)
    if variance > 0:  # the wander is itself estimated: its share of the interval follows Student's t
        share = variance / (variance + float((stderr**2).mean()))
        error *= 1 + share * (float(stdtrit(free, 0.975)) / 1.959964 - 1)
    return Drift(slope, error, center, float(np.sqrt(variance)), float(day.min()), float(day.max()), len(day))
