"""What the figures plot, from the rows of ``measurements.tsv``: pairs, spreads, deviations of sites.

Nothing here decides anything: estimates and intervals come from the statistics tables, these are their points.
"""

from typing import Any

import numpy as np
import pandas as pd

#: the column of ``measurements.tsv`` that holds a value before and after calibration
COLUMNS = {"raw": "raw_value", "calibrated": "value"}


def pair_repeats(rows: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """The first two runs of each session: mean, difference (second minus first) and where they come from."""
    pairs = []
    for (site, participant, session), group in _sessions(rows, column):
        if len(group) < 2:
            continue
        first, second = group.iloc[0], group.iloc[1]
        pairs.append(
            {
                "mean": float(first[column] + second[column]) / 2,
                "difference": float(second[column] - first[column]),
                "site": site,
                "participant": participant,
                "session": session,
                "runs": [(str(r["run"]), float(r[column]), _error(r, column)) for r in (first, second)],
                "row": group.index[1],
            }
        )
    return pairs


def spread_repeats(rows: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """Mean and SD of the runs of each session that has at least two."""
    spreads = []
    for (site, participant, session), group in _sessions(rows, column):
        if len(group) >= 2:
            values = group[column].to_numpy(float)
            spreads.append(
                {
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)),
                    "site": site,
                    "participant": participant,
                    "session": session,
                    "n": len(group),
                    "error": _pooled_error(group, column),
                    "row": group.index[0],
                }
            )
    return spreads


def deviate_sites(rows: pd.DataFrame, column: str) -> tuple[list[dict[str, Any]], int]:
    """How far each site reads from the mean of all sites, in percent, over people seen at every site.

    Returns one dict a site (``site``, ``value``, ``low``, ``high``, ``n``; 95 % t interval over participants) and
    how many participants were seen at every site.
    """
    usable = rows[np.isfinite(rows[column].to_numpy(float))]
    table = usable.pivot_table(index="participant_id", columns="site", values=column, aggfunc="mean").dropna()
    n = len(table)
    if n < 1 or table.shape[1] < 2:
        return [], n
    deviation = 100 * (table.div(table.mean(axis=1), axis=0) - 1)
    found = []
    for site in deviation.columns:
        values = deviation[site].to_numpy(float)
        half = _t_quantile(n - 1) * values.std(ddof=1) / np.sqrt(n) if n >= 2 else float("nan")
        mean = float(values.mean())
        found.append({"site": str(site), "value": mean, "low": mean - half, "high": mean + half, "n": n})
    return found, n


def explain_spread(rows: pd.DataFrame, column: str) -> tuple[float, float, int]:
    """How much of the within-session variance the measurements' own standard errors explain.

    Returns the pooled variance of repeats [unit²], the mean of their squared standard errors [unit²], and the degrees
    of freedom. Of the errors before calibration only the noise of the fits counts, where it is known: repeats share the
    anatomy that the region samples. A share near 1: the repeats scatter as their errors say. Far above: errors are too
    large, or hold what repeats share; far below: something moves between repeats that no fit knows.
    """
    name = _ERRORS[column]
    name = _NOISE if name == "raw_stderr" and knows_noise(rows) else name
    squares, errors, df = 0.0, [], 0
    for _, group in _sessions(rows, column):
        if len(group) >= 2:
            values = group[column].to_numpy(float)
            squares += float(((values - values.mean()) ** 2).sum())
            errors += [e for e in group[name].astype(float) if e == e] if name in group else []
            df += len(group) - 1
    return (squares / df if df else float("nan")), (float(np.mean(np.square(errors))) if errors else float("nan")), df


#: the column with the standard error of a column of values
_ERRORS = {"value": "stderr", "raw_value": "raw_stderr"}
#: the part of raw_stderr that a repeat draws anew
_NOISE = "raw_stderr_noise"


def knows_noise(rows: pd.DataFrame) -> bool:
    """Whether rows tell the noise of their fits apart from the anatomy that their regions sample."""
    return _NOISE in rows and bool(pd.to_numeric(rows[_NOISE], errors="coerce").notna().any())


def _error(row: pd.Series, column: str) -> float:
    return float(row.get(_ERRORS[column], float("nan")))


def _pooled_error(group: pd.DataFrame, column: str) -> float:
    errors = group.get(_ERRORS[column])
    return float("nan") if errors is None else float(np.sqrt(np.mean(np.square(errors.to_numpy(float)))))


def _sessions(rows: pd.DataFrame, column: str):
    usable = rows[np.isfinite(rows[column].to_numpy(float))]
    return usable.sort_values("run", kind="stable").groupby(["site", "participant_id", "session"], sort=True)


def _t_quantile(df: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.975))
