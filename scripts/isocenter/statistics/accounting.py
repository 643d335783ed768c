"""Accounting: planned, received, usable and used runs of each site, and why the rest is not used."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from isocenter.statistics.metric import Metric

_RUN = ["participant_id", "session", "run"]

#: Stage of an exclusion that says nothing ever arrived.
NOT_RECEIVED = "schedule"


def account_runs(
    metric: Metric, table: pd.DataFrame, exclusions: pd.DataFrame, planned: dict[str, int] | None
) -> list[dict[str, Any]]:
    """One row a site: counts of the runs of one metric.

    Parameters
    ----------
    metric : Metric
        The stage that is judged; its rows are the ones used.
    table : DataFrame
        All measurements.
    exclusions : DataFrame
        What was left out: site, participant_id, session, run, biomarker, stage, reason.
    planned : dict or None
        Site → planned runs of people; None when no schedule exists (then what is there was planned).

    Notes
    -----
    A run is *received* when it has a row of measurements or an exclusion after its data arrived; *usable* when its
    value is a number; *used* when it entered the analysis. Received runs that are not used are *excluded*.
    """
    own = table[(table["biomarker"] == metric.biomarker) & (table["roi"] == metric.roi)]
    if np.isfinite(metric.field_strength) and "stratified_by_field_strength" in metric.flags:
        own = own[((own["field_strength"] * 2).round() / 2) == metric.field_strength]
    people = set(table.loc[table["kind"] != "phantom", "participant_id"])
    sites = sorted(set(own["site"]))
    if "stratified_by_field_strength" not in metric.flags:
        sites = sorted({*sites, *(planned or {})})
    rows = []
    for site in sites:
        mine = own[(own["site"] == site) & (own["kind"] != "phantom")]
        measured = _keys(mine)
        left_out = exclusions[(exclusions["site"] == site) & exclusions["participant_id"].isin(people)]
        left_out = left_out[left_out["biomarker"].isin(["", "n/a", metric.biomarker])]
        arrived = left_out[(left_out["stage"] != NOT_RECEIVED) & ~left_out["run"].isin(["", "n/a"])]
        received = measured | _keys(arrived)
        n_used = int((metric.rows["site"] == site).sum())
        n_usable = int(np.isfinite(mine["value"]).sum())
        n_planned = planned.get(site) if planned else len(received)
        flags = []
        if n_planned is not None and len(received) > n_planned:
            flags.append("more_than_planned")
        rows.append(
            {
                "site": site,
                "n_planned": np.nan if n_planned is None else n_planned,
                "n_received": len(received),
                "n_usable": n_usable,
                "n_used": n_used,
                "n_excluded": len(received) - n_used,
                "reason": _explain(mine, left_out, measured, n_planned, len(received)),
                "flags": flags,
            }
        )
    return rows


def _keys(rows: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(rows[_RUN].astype(str).itertuples(index=False, name=None))


def _explain(mine, left_out, measured, n_planned, n_received) -> str:
    parts = []
    missing = 0 if n_planned is None else n_planned - n_received
    if missing > 0:
        parts.append(f"{missing} not received")
    arrived = left_out[left_out["stage"] != NOT_RECEIVED]
    keys = list(arrived[_RUN].astype(str).itertuples(index=False, name=None))
    lost = arrived[np.array([key not in measured for key in keys], bool)]
    for (stage, reason), count in sorted(Counter(zip(lost["stage"], lost["reason"], strict=True)).items()):
        parts.append(f"{count} at {stage}: {reason}")
    empty = int((~np.isfinite(mine["value"])).sum())
    if empty:
        parts.append(f"{empty} without a value")
    return "; ".join(parts)


def reconciles(rows: list[dict[str, Any]]) -> bool:
    """Whether the counts add up: none more than planned, none used that was not received."""
    return all(not row["flags"] and 0 <= row["n_excluded"] <= row["n_received"] for row in rows)
