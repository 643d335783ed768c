"""From received to analyzed: what was left out, at which stage, and counts that add up.

Every function takes and gives tables (pandas DataFrames); nothing here knows a path.
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from isocenter.entities import EXCLUSION_COLUMNS, Disposition, Kind
from isocenter.left_out import find_decision, has_withdrawn

#: Stage of what a person decided to leave out.
DECIDE = "decide"
#: Stages that an acquisition of a person goes through after intake, in order.
STAGES = (DECIDE, "align", "fit", "regions", "calibrate")

FLOW_COLUMNS = ["site", "entity", "stage", "n_in", "n_ignored", "n_excluded", "n_out"]
RUN = ["participant_id", "session", "run"]


def list_missing_visits(
    site: str,
    participants: Iterable[dict[str, str]],
    scans: pd.DataFrame,
    schedule: dict[str, Any],
    left_out: Iterable[dict[str, str]] = (),
) -> pd.DataFrame:
    """Planned runs of which nothing arrived: one exclusion row each, stage ``schedule``.

    `schedule` maps a kind to ``{"sessions": {"01": {"runs": 2}}}``; `scans` is the site's ``scans.tsv``; nobody waits
    for a participant who withdrew, as the decisions of people in `left_out` say.
    """
    arrived = {tuple(row) for row in scans[RUN].astype(str).itertuples(index=False)}
    rows = []
    for person in participants:
        if has_withdrawn(left_out, person["participant_id"]):
            continue
        for session, entry in schedule.get(person["kind"], {}).get("sessions", {}).items():
            absent = [
                str(run)
                for run in range(1, entry["runs"] + 1)
                if (person["participant_id"], session, str(run)) not in arrived
            ]
            for run in absent:
                whole = len(absent) == entry["runs"]
                rows.append(
                    {
                        "site": site,
                        "participant_id": person["participant_id"],
                        "session": session,
                        "run": run,
                        "stage": "schedule",
                        "reason": "The schedule plans this visit, but no data arrived"
                        if whole
                        else "The schedule plans this repeat scan, but no data arrived",
                        "action": "Ask the site whether the visit took place; send its DICOM, or record why it did not",
                    }
                )
    return _exclusions(rows)


def list_decisions(
    site: str, scans: pd.DataFrame, left_out: Iterable[dict[str, str]], suffixes: dict[str, str]
) -> pd.DataFrame:
    """Usable acquisitions that a person left out: one exclusion row each, stage ``decide``, the person's reason.

    suffixes : biomarker → the series that it is fitted to
    """
    left_out = list(left_out)
    used = _acquisitions(scans, suffixes).drop_duplicates([*RUN, "biomarker"])
    rows = []
    for _, row in used.iterrows():
        decision = find_decision(left_out, *(str(row[key]) for key in [*RUN, "biomarker"]))
        if decision is None:
            continue
        withdrew = decision["is_withdrawn"] == "true"
        rows.append(
            {
                "site": site,
                "participant_id": row["participant_id"],
                "session": row["session"],
                "run": row["run"],
                "biomarker": row["biomarker"],
                "stage": DECIDE,
                "reason": f"{'Withdrawn from the trial' if withdrew else 'Left out by a person'}: {decision['reason']}",
                "action": "Nothing: it stays out" if withdrew else "Nothing: isocenter include takes it back",
            }
        )
    return _exclusions(rows)


def drop_left_out(measurements: pd.DataFrame, left_out: dict[str, list[dict[str, str]]]) -> pd.DataFrame:
    """The measurements without those that a person left out; `left_out` has the decisions by site."""
    if not any(left_out.values()) or not len(measurements):
        return measurements
    keys = measurements[["site", *RUN, "biomarker"]].astype(str).itertuples(index=False, name=None)
    is_kept = [find_decision(left_out.get(site, []), *rest) is None for site, *rest in keys]
    return measurements[is_kept].reset_index(drop=True)


def list_intake_exclusions(site: str, scans: pd.DataFrame, unreadable: pd.DataFrame) -> pd.DataFrame:
    """Series that intake did not use and files that it could not read, one exclusion row each."""
    left_out = scans[scans["disposition"] != Disposition.USED]
    rows = [
        {
            "site": site,
            "participant_id": row["participant_id"],
            "session": row["session"],
            "run": row["run"],
            "series": row["series_uid"],
            "stage": "intake",
            "reason": row["reason"],
            "action": row["action"],
        }
        for _, row in left_out.iterrows()
    ]
    files = unreadable_files(scans, unreadable).assign(site=site)
    return pd.concat([_exclusions(rows), files.reindex(columns=list(EXCLUSION_COLUMNS))], ignore_index=True)


def unreadable_files(scans: pd.DataFrame, unreadable: pd.DataFrame) -> pd.DataFrame:
    """The intake exclusions that are files; a series that intake left out stands in ``scans.tsv`` already."""
    return unreadable[~unreadable["series"].isin(scans["series_uid"])]


def list_phantom_exclusions(site: str, vials: pd.DataFrame) -> pd.DataFrame:
    """Phantom scans of which no vial can be used, one exclusion row each.

    A site may have several phantoms and scanners: what one of them measured does not stand for another.
    """
    rows = []
    keys = ["session", "biomarker", *(name for name in ("serial", "scanner") if name in vials)]
    for (session, biomarker, *_), group in vials.groupby(keys, sort=True, dropna=False):
        if not group["used"].astype(bool).any():
            reasons = [str(reason) for reason in group["reason"] if str(reason) not in ("", "nan")]
            rows.append(
                {
                    "site": site,
                    "participant_id": "n/a",
                    "session": session,
                    "biomarker": biomarker,
                    "stage": "phantom",
                    "reason": reasons[0] if reasons else "No vial of the phantom can be used",
                    "action": "Rescan the phantom with its plate in the slice",
                }
            )
    return _exclusions(rows)


def count_flow(
    site: str,
    scans: pd.DataFrame,
    unreadable: pd.DataFrame,
    vials: pd.DataFrame,
    measurements: pd.DataFrame,
    exclusions: pd.DataFrame,
    suffixes: dict[str, str],
) -> pd.DataFrame:
    """Counts per stage of one site. In each row n_in = n_ignored + n_excluded + n_out.

    Entities: ``file`` (as sent), ``series`` (DICOM), ``acquisition`` (one biomarker of one run of a person; each
    stage starts with what the stage before let through) and ``phantom`` (one biomarker of one phantom session).

    suffixes : biomarker → the series that it is fitted to; several may be fitted to one
    """
    n_files = int(scans["n_files"].astype(int).sum())
    n_unreadable = int(unreadable_files(scans, unreadable)["series"].fillna("").ne("").sum())
    disposition = scans["disposition"]
    n_ignored = int((disposition == Disposition.IGNORED).sum())
    n_quarantined = int((disposition == Disposition.QUARANTINED).sum())
    rows = [
        (site, "file", "read", n_files + n_unreadable, 0, n_unreadable, n_files),
        (
            site,
            "series",
            "intake",
            len(scans),
            n_ignored,
            n_quarantined,
            len(scans) - n_ignored - n_quarantined,
        ),
    ]
    used = _acquisitions(scans, suffixes)
    keys = [*RUN, "biomarker"]
    people = used[used["kind"] != Kind.PHANTOM]
    remaining = {tuple(row) for row in people[keys].astype(str).itertuples(index=False)}
    for stage in STAGES:
        fallen = exclusions[(exclusions["stage"] == stage) & (exclusions["site"] == site)]
        lost = {tuple(row) for row in fallen[keys].astype(str).itertuples(index=False)} & remaining
        # A stage that loses one region of an acquisition has not lost the acquisition.
        lost = {key for key in lost if not _has_value(measurements, site, key)}
        rows.append((site, "acquisition", stage, len(remaining), 0, len(lost), len(remaining) - len(lost)))
        remaining -= lost
    analyzed = sum(_has_value(measurements, site, key) for key in remaining)
    rows.append((site, "acquisition", "analyze", len(remaining), 0, len(remaining) - analyzed, analyzed))
    phantoms = used[used["kind"] == Kind.PHANTOM].drop_duplicates(keys)
    n_phantom = len(phantoms)
    decided = exclusions[(exclusions["stage"] == DECIDE) & (exclusions["site"] == site)]
    n_failed = len(list_phantom_exclusions(site, vials))
    n_failed += int(decided["participant_id"].isin(set(phantoms["participant_id"])).sum())
    rows.append((site, "phantom", "measure", n_phantom, 0, n_failed, n_phantom - n_failed))
    return pd.DataFrame(rows, columns=FLOW_COLUMNS)


def _acquisitions(scans: pd.DataFrame, suffixes: dict[str, str]) -> pd.DataFrame:
    """The used series of ``scans.tsv``, once for each biomarker that is fitted to them."""
    needs = pd.DataFrame({"biomarker": list(suffixes), "suffix": list(suffixes.values())})
    return scans[scans["disposition"] == Disposition.USED].merge(needs, on="suffix")


def _has_value(measurements: pd.DataFrame, site: str, key: tuple[str, ...]) -> bool:
    columns = dict(zip([*RUN, "biomarker"], key, strict=True))
    chosen = measurements["site"] == site
    for column, value in columns.items():
        chosen &= measurements[column].astype(str) == value
    return bool(measurements.loc[chosen, "value"].notna().any())


def _exclusions(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(EXCLUSION_COLUMNS))
