"""All statistics of a trial: precision, agreement, bias, and a verdict for each claim.

Reads the trial's measurements, its exclusions and the phantom vials of every site; writes one table per kind of
estimate and all of them as one JSON.
"""

import re

from isocenter import layout
from isocenter.io.nifti import write_json
from isocenter.io.tables import read_table, to_records, write_table
from isocenter.statistics.analyze import analyze
from isocenter.step import In, Ins, Out, run_step

TEXT = (
    "site", "scanner", "participant_id", "kind", "session", "run", "biomarker", "roi", "unit", "calibration", "map",
    "calibrated_flag", "phantom", "serial", "vial", "flag", "reason", "stage", "series", "action", "date", "used",
    "lent_maps", "erosion", "transform_hash",
)  # fmt: skip


def compute_statistics(
    measurements: In,
    exclusions: In,
    vials: Ins = (),
    *,
    accounting: Out,
    descriptives: Out,
    repeatability: Out,
    bland_altman: Out,
    variance_components: Out,
    reproducibility: Out,
    agreement: Out,
    linearity: Out,
    harmonization: Out,
    power: Out,
    qualification: Out,
    sensitivity: Out,
    method_comparison: Out,
    total_deviation: Out,
    precision_profile: Out,
    measurement_error: Out,
    longitudinal: Out,
    statistics: Out,
    claims: list,
    biomarkers: dict,
    planned: dict,
    seed: int,
    combat: bool = False,
    threads: int = 1,
) -> None:
    """Compute and write every statistics table.

    `claims` and `biomarkers` are the blocks of their files, `planned` maps a site to its planned runs of people;
    `combat` asks for ComBat beside the phantom calibration; `threads` processes give the same answer as one.
    """
    written = {name: path for name, path in locals().items() if name in layout.STATISTICS_TABLES}
    tables = analyze(
        read_table(measurements, text=TEXT),
        read_vials(vials),
        read_table(exclusions, text=TEXT),
        claims,
        biomarkers,
        planned,
        seed,
        combat=combat,
        workers=threads,
    )
    for name, path in written.items():
        write_table(path, tables[name])
    write_json(statistics, {name: to_records(table) for name, table in tables.items()})


def read_vials(paths):
    """The vials of all sites in one table; a site without a column ``site`` is named by its path."""
    import pandas as pd

    pattern = re.compile(re.escape(layout.VIALS).replace(r"\{site\}", "([^/]+)") + "$")
    found = []
    for path in paths:
        table = read_table(path, text=TEXT)
        match = pattern.search(path.as_posix())
        if "site" not in table.columns and match:
            table = table.assign(site=match.group(1))
        found.append(table)
    found = [table for table in found if len(table)]
    return pd.concat(found, ignore_index=True) if found else None


if __name__ == "__main__":
    run_step(compute_statistics, globals())
