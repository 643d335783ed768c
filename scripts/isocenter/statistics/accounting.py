"""Accounting: planned, received, usable and used runs of each site, and why the rest is not used."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from isocenter.statistics.metric import Metric, code_groups, order_naturally

_RUN = ["participant_id", "session", "run"]

#: Stage of an exclusion that says nothing ever arrived.
NOT_RECEIVED = "schedule"


def account_runs(
    metric: Metric, own: pd.DataFrame, exclusions: pd.DataFrame, planned: dict[str, int] | None, people: set[str]
) -> list[dict[str, Any]]:
    """One row a site: counts of the runs of one metric.

    Parameters
    ----------
    metric : Metric
        The stage that is judged; its rows are the ones used.
    own : DataFrame
        All rows of people of the metric's biomarker, region and field strength, with a value or not.
    exclusions : DataFrame
        What was left out: site, participant_id, session, run, biomarker, stage, reason.
    planned : dict or None
        Site → planned runs of people; None when no schedule exists (then what is there was planned).
    people : set of str
        All participants that are no phantoms.

    Notes
    -----
    A run is *received* when it has a row of measurements or an exclusion after its data arrived; *usable* when its
    value is a number; *used* when it entered the analysis. Received runs that are not used are *excluded*.
    """
    site_names, site_codes = own["site"].array.categories, own["site"].array.codes
    sites = {str(site_names[k]) for k in np.flatnonzero(np.bincount(site_codes, minlength=len(site_names)))}
    if "stratified_by_field_strength" not in metric.flags:
        sites |= set(planned or {})
    left_out = exclusions[exclusions["participant_id"].isin(people)] if len(exclusions) else exclusions
    if len(left_out):
        left_out = left_out[left_out["biomarker"].isin(["", "n/a", metric.biomarker])]
    used_names, used_codes = metric.names("site"), metric.codes("site")
    used = dict(zip(used_names, np.bincount(used_codes, minlength=len(used_names)).tolist(), strict=True))
    finite = np.isfinite(own["value"].to_numpy(float))
    keys = code_groups(*(own[name].array.codes.astype(np.int64) for name in _RUN))
    rows = []
    for site in order_naturally(sites):
        inside = site_codes == (site_names.get_loc(site) if site in site_names else -1)
        mine = left_out[left_out["site"] == site] if len(left_out) else left_out
        measured: set | int = int(np.unique(keys[inside]).size)
        n_received = measured
        if len(mine):
            measured = _keys(own[inside])
            arrived = mine[(mine["stage"] != NOT_RECEIVED) & ~mine["run"].isin(["", "n/a"])]
            n_received = len(measured | _keys(arrived))
        n_used = used.get(site, 0)
        n_planned = planned.get(site) if planned else n_received
        flags = ["more_than_planned"] if n_planned is not None and n_received > n_planned else []
        rows.append(
            {
                "site": site,
                "n_planned": np.nan if n_planned is None else n_planned,
                "n_received": n_received,
                "n_usable": int(finite[inside].sum()),
                "n_used": n_used,
                "n_excluded": n_received - n_used,
                "reason": _explain(int((~finite[inside]).sum()), mine, measured, n_planned, n_received),
                "flags": flags,
            }
        )
    return rows


def _keys(rows: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(rows[_RUN].astype(str).itertuples(index=False, name=None))


def _explain(empty: int, left_out, measured, n_planned, n_received) -> str:
    parts = []
    missing = 0 if n_planned is None else n_planned - n_received
    if missing > 0:
        parts.append(f"{missing} not received")
    if len(left_out):
        arrived = left_out[left_out["stage"] != NOT_RECEIVED]
        keys = list(arrived[_RUN].astype(str).itertuples(index=False, name=None))
        lost = arrived[np.array([key not in measured for key in keys], bool)]
        for (stage, reason), count in sorted(Counter(zip(lost["stage"], lost["reason"], strict=True)).items()):
            parts.append(f"{count} at {stage}: {reason}")
    if empty:
        parts.append(f"{empty} without a value")
    return "; ".join(parts)


def reconciles(rows: list[dict[str, Any]]) -> bool:
    """Whether the counts add up: none more than planned, none used that was not received."""
    return all(not row["flags"] and 0 <= row["n_excluded"] <= row["n_received"] for row in rows)
