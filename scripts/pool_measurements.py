"""Pool every site's region rows into the trial's one table, with what was left out and a flow that adds up.

Reads   each run's rois.tsv and exclusions.tsv; each site's scans.tsv, intake exclusions, vials and participants
Writes  measurements.tsv, exclusions.tsv, flow.tsv, plausibility.tsv
"""

import pandas as pd

from isocenter import flow as trial_flow
from isocenter.entities import EXCLUSION_COLUMNS
from isocenter.io.tables import read_table, write_table
from isocenter.regions.order import check_order
from isocenter.rois import COLUMNS
from isocenter.step import Ins, Out, run_step

TEXT = (
    "site",
    "scanner",
    "participant_id",
    "kind",
    "session",
    "run",
    "series",
    "biomarker",
    "roi",
    "suffix",
    "series_uid",
    "reason",
    "action",
    "stage",
    "calibration",
    "calibrated_flag",
    "lent_maps",
    "erosion",
    "transform_hash",
    "map",
    "unit",
    "disposition",
)
ORDER = ["site", "participant_id", "session", "run", "biomarker"]


def pool_measurements(
    rois: Ins,
    run_exclusions: Ins,
    intake_exclusions: Ins,
    scans: Ins,
    vials: Ins,
    participants: Ins,
    *,
    measurements: Out,
    exclusions: Out,
    flow: Out,
    plausibility: Out,
    sites: list,
    schedule: dict,
    suffixes: dict,
    parameters: dict,
    left_out: dict | None = None,
) -> None:
    """Pool the trial's measurements.

    `sites` is in the order of the per-site files; `left_out` has the decisions of people by site; `suffixes` maps each
    biomarker to the series it is fitted to, `parameters` to the parameter that it is (T1, T2 …), by which the order of
    tissues is checked.
    """
    left_out = left_out or {}
    pooled = trial_flow.drop_left_out(_pool(rois, COLUMNS), left_out)
    lost, site_tables = [_pool(run_exclusions, EXCLUSION_COLUMNS)], []
    for site, *paths in zip(sites, scans, intake_exclusions, vials, participants, strict=True):
        scan, unreadable, vial, people = (read_table(path, text=TEXT) for path in paths)
        decisions = left_out.get(site, [])
        lost += [
            trial_flow.list_missing_visits(site, people.to_dict("records"), scan, schedule, decisions),
            trial_flow.list_decisions(site, scan, decisions, suffixes),
            trial_flow.list_intake_exclusions(site, scan, unreadable),
            trial_flow.list_phantom_exclusions(site, vial),
        ]
        site_tables.append((site, scan, unreadable, vial))
    excluded = pd.concat([t for t in lost if len(t)] or lost[:1], ignore_index=True)
    excluded = excluded.reindex(columns=list(EXCLUSION_COLUMNS)).sort_values(
        ["site", "stage", "participant_id", "session", "run", "biomarker", "series"], kind="stable"
    )
    counts = [trial_flow.count_flow(*t, pooled, excluded, suffixes) for t in site_tables]

    write_table(measurements, pooled)
    write_table(exclusions, excluded)
    write_table(plausibility, check_order(pooled, parameters))
    write_table(flow, pd.concat(counts, ignore_index=True))


def _pool(paths: list, columns: tuple) -> pd.DataFrame:
    """All rows of the tables that have any; without any table, `columns` and no row."""
    tables = [read_table(path, text=TEXT) for path in paths]
    filled = [table for table in tables if len(table)] or tables[:1] or [pd.DataFrame(columns=list(columns))]
    pooled = pd.concat(filled, ignore_index=True)
    return pooled.sort_values([c for c in ORDER if c in pooled.columns], kind="stable", ignore_index=True)


if __name__ == "__main__":
    run_step(pool_measurements, globals())
