"""Control charts of a scanner: is today's phantom like the phantom sessions before, and does the scanner drift?

Individuals (Shewhart) see a jump, an exponentially weighted moving average (EWMA) a drift. Center and spread come from
the first sessions; the spread from the moving range, which a drift does not widen. Both are then known from few
sessions, and the limits are widened accordingly, so that a false alarm stays as rare as the textbook's.

Reference: Montgomery, Introduction to Statistical Quality Control, ch. 6 and 9; Lucas & Saccucci 1990,
doi 10.1080/00401706.1990.10484583 (EWMA: weight 0.2 and limit 2.962 give one false alarm in 500 sessions).
"""

import datetime
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from isocenter.calibration.scale import scale_of
from isocenter.phantom.drift import find_session_shifts

#: Sessions that set the limits at most: later ones are judged by them and do not move them.
BASELINE = 20
#: Fewer sessions than this set no limits: with 8 a single session must already lie 5.3 standard deviations off.
LEAST_SESSIONS = 8
#: Individuals beyond so many standard deviations: one false alarm in 370 sessions.
INDIVIDUAL = 3.0
#: Weight of the newest session in the moving average, and its limit in the average's own standard deviations.
WEIGHT, AVERAGE = 0.2, 2.962
#: Expected moving range of two normal values over their standard deviation, 2/√π.
_RANGE = 1.128379
#: Student's t with 0.69 (n - 1) + 0.95 degrees of freedom gives limits from n moving ranges that a new session crosses
#: once in 370: fitted to the simulated quantile for n of 8 to 20, which it meets within 1 %.
_PER_SESSION, _START = 0.69, 0.95

#: What is charted beside the bias: columns of ``vials.tsv`` of which a session's value is the median of its vials.
QUALITIES = ("inversion_efficiency", "b1", "snr")

CONTROL_COLUMNS = (
    "scanner", "biomarker", "quantity", "session", "date", "n_vials", "value", "stderr", "unit", "center", "lower",
    "upper", "average", "average_lower", "average_upper", "segment", "baseline", "signal", "state", "events",
)  # fmt: skip
CONTROL_TEXT = (
    "scanner", "biomarker", "quantity", "session", "date", "unit", "signal", "state", "events",
)  # fmt: skip


def estimate_limits(baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Center, spread and the widths of both limits, from baseline sessions.

    baseline : (..., n) array, at least two sessions, in order

    Returns center (...), standard deviation (...) by the mean moving range, and the half widths of the limits of
    individuals and of the settled average, in that standard deviation: 3 and 0.987 when everything is known.
    """
    n = baseline.shape[-1]
    sigma = np.abs(np.diff(baseline, axis=-1)).mean(axis=-1) / _RANGE
    freedom = _PER_SESSION * (n - 1) + _START
    widen = -float(stdtrit(freedom, 0.00134990)) / INDIVIDUAL
    return (
        baseline.mean(axis=-1),
        sigma,
        float(INDIVIDUAL * widen * np.sqrt(1 + 1 / n)),
        float(AVERAGE * widen * np.sqrt(WEIGHT / (2 - WEIGHT) + 1 / n)),
    )


def choose_baseline(values: np.ndarray) -> np.ndarray:
    """(n,) booleans: the first sessions, without those that lie beyond the limits of the others.

    Each is judged by the others, as a new session would be, and the worst goes first; at most a quarter goes.
    """
    keep = np.arange(len(values)) < BASELINE
    for _ in range(int(keep.sum()) // 4):
        inside = np.flatnonzero(keep)
        excess = []
        for i in inside:
            center, sigma, single, _ = estimate_limits(values[inside[inside != i]])
            excess.append(abs(values[i] - center) - single * sigma)
        worst = int(np.argmax(excess))
        if not excess[worst] > 0:
            break
        keep[inside[worst]] = False
    return keep


def average_in_time(values: np.ndarray, center: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """The exponentially weighted moving average (..., n) of values (..., n), started at the center (...).

    counts : (n,) booleans; a session that does not count leaves the average where it was
    """
    averages = np.empty(np.shape(values))
    last = np.asarray(center, dtype=float)
    for k in range(np.shape(values)[-1]):
        if counts is None or counts[k]:
            last = WEIGHT * values[..., k] + (1 - WEIGHT) * last
        averages[..., k] = last
    return averages


def chart_values(values: np.ndarray) -> dict[str, Any]:
    """One stretch of sessions between which nothing was changed: limits, averages, signals.

    values : (n,) array in the order of time

    Returns arrays of n by the names of :data:`CONTROL_COLUMNS`; limits are NaN with fewer than
    :data:`LEAST_SESSIONS` sessions. The average's limits narrow at the start, where it holds few sessions; a session
    that set no limits because it lies far off is no part of the average either.
    """
    n = len(values)
    nothing = np.full(n, np.nan)
    baseline = np.arange(n) < BASELINE
    if n < LEAST_SESSIONS:
        names = ("center", "lower", "upper", "average", "average_lower", "average_upper")
        return dict.fromkeys(names, nothing) | {"baseline": baseline, "signal": np.full(n, "", dtype=object)}
    baseline = choose_baseline(values)
    center, sigma, single, settled = estimate_limits(values[baseline])
    held = int(baseline.sum())
    full, start = WEIGHT / (2 - WEIGHT), 1 - (1 - WEIGHT) ** (2 * np.arange(1, n + 1))
    width = settled * sigma * np.sqrt((full * start + 1 / held) / (full + 1 / held))
    is_late = np.arange(n) >= BASELINE
    jumps = np.where(is_late, np.abs(values - center) > single * sigma, ~baseline)
    averages = average_in_time(values, center, baseline | is_late)
    drifts = np.abs(averages - center) > width
    words = [
        " ".join(w for w, is_on in (("jump", j), ("drift", d)) if is_on) for j, d in zip(jumps, drifts, strict=True)
    ]
    return {
        "center": np.full(n, center),
        "lower": np.full(n, center - single * sigma),
        "upper": np.full(n, center + single * sigma),
        "average": averages,
        "average_lower": center - width,
        "average_upper": center + width,
        "baseline": baseline,
        "signal": np.array(words, dtype=object),
    }


def chart_sessions(vials: pd.DataFrame, events: list[dict[str, Any]], scanner_of: dict[str, str]) -> pd.DataFrame:
    """The control table of a site: one row a scanner, biomarker, quantity and session.

    Parameters
    ----------
    vials : DataFrame
        ``vials.tsv`` of the site.
    events : list of dict
        `date` (YYYY-MM-DD), `text`, and optionally `scanner` (without it all scanners) and `rebase` (limits are set
        anew from the sessions that follow). An event of a session's day counts as before that session.
    scanner_of : dict
        Session to scanner.

    Returns
    -------
    DataFrame
        :data:`CONTROL_COLUMNS`. `signal` is ``jump``, ``drift``, both or empty; `state` is ``in``, ``out``,
        ``explained`` (out, and an event of that day or later says why), or ``too few sessions``.
    """
    parts = []
    if len(vials):
        used = vials[vials["used"].astype(str).str.lower().isin(["true", "1", "1.0"])].copy()
        used["scanner"] = used["session"].astype(str).map(scanner_of).fillna("")
        for (scanner, biomarker), rows in used.groupby(["scanner", "biomarker"], sort=True):
            own = [e for e in events if e.get("scanner") in (None, "", scanner)]
            for quantity, values in _list_quantities(rows):
                parts.append(_chart(values, own).assign(scanner=scanner, biomarker=biomarker, quantity=quantity))
    if not parts:
        return pd.DataFrame(columns=list(CONTROL_COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(CONTROL_COLUMNS)]


def _list_quantities(rows: pd.DataFrame):
    """(quantity, table of session, date, n_vials, value, stderr, unit) of one scanner and biomarker."""
    shifts = find_session_shifts(rows)
    value = 100 * scale_of(str(rows["unit"].iloc[0])).as_error(shifts["level"])
    table = shifts[["session", "date", "n_vials"]]
    yield "bias", table.assign(value=value, stderr=100 * shifts["stderr"], unit="percent")
    for quantity in QUALITIES:
        if quantity not in rows or rows[quantity].isna().all():
            continue
        vials = rows.dropna(subset=[quantity]).assign(session=rows["session"].astype(str))
        group = vials.groupby("session")[quantity]
        # 1.2533 = √(π/2): the median's standard error over the mean's.
        error = 1.2533 * group.std(ddof=1) / np.sqrt(group.size())
        kept = table[table["session"].isin(group.groups)].assign(n_vials=lambda t, g=group: t["session"].map(g.size()))
        yield (
            quantity,
            kept.assign(value=kept["session"].map(group.median()), stderr=kept["session"].map(error), unit="1"),
        )


def _chart(values: pd.DataFrame, events: list[dict[str, Any]]) -> pd.DataFrame:
    values = values.sort_values(["date", "session"], kind="stable", ignore_index=True)
    dates = [_date(d) for d in values["date"]]
    known = sorted(((_date(e["date"]), e) for e in events), key=lambda pair: pair[0])
    segment = np.array([sum(bool(e.get("rebase")) and when <= d for when, e in known) for d in dates])
    charts = [
        pd.DataFrame(chart_values(values["value"].to_numpy(float)[segment == s])) for s in sorted(set(segment.tolist()))
    ]
    table = pd.concat([values, pd.concat(charts, ignore_index=True)], axis=1)
    table["segment"] = segment + 1
    before = [datetime.date.min, *dates[:-1]]
    table["events"] = [
        "; ".join(f"{when.isoformat()} {e['text']}" for when, e in known if a < when <= d)
        for a, d in zip(before, dates, strict=True)
    ]
    last = max((when for when, _ in known), default=datetime.date.min)
    table["state"] = [
        "too few sessions" if np.isnan(c) else "in" if not s else "explained" if d <= last else "out"
        for c, s, d in zip(table["center"], table["signal"], dates, strict=True)
    ]
    return table


def _date(text: object) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(text))
    except ValueError:
        return datetime.date.min
