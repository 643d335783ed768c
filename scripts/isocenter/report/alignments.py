"""Pictures of the series of a site that moved the most: the fit's residual before and after alignment."""

from pathlib import Path

import pandas as pd

from isocenter.entities import RunKey
from isocenter.io.nifti import write_bytes
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT
from isocenter.report.wording import format_number, plural

#: A page shows this many; what moved less needs no look.
MOST_PICTURES = 3


def copy_alignments(trial: Trial, site: str, folder: Path) -> list[Figure]:
    """The pictures of the series that moved the furthest, copied under `folder`/figures, the furthest first."""
    found = trial.rows("motion", site=site)
    if not len(found):
        return []
    found = found.sort_values("max_displacement_mm", ascending=False, kind="stable")
    known = []
    for _, row in found.iterrows():
        key = RunKey(site, str(row["participant_id"]), str(row["session"]), str(row["run"]))
        path = trial.alignments.get((key, str(row["series"])))
        if path is not None and path.is_file():
            known.append((key, path, row))
    return [_copy(key, path, row, len(known), folder) for key, path, row in known[:MOST_PICTURES]]


def _copy(key: RunKey, path: Path, row: pd.Series, n_known: int, folder: Path) -> Figure:
    src = f"figures/{key.site}_{key.prefix}_{row['series']}_motion.png"
    write_bytes(folder / src, path.read_bytes())
    far = format_number(row["max_displacement_mm"], 1)
    return Figure(
        f"Motion in {row['series']}, {key.participant}, session {key.session}, run {key.run}",
        f"Residual of the fits to {row['series']} of {key.participant} at {key.site} before and after alignment, and "
        "how far each volume moved",
        f"One series (n = {row['n_volumes']:.0f} volumes) whose volumes moved by up to {far} mm: the residual of the "
        "fits in one slice as measured and aligned, in one color scale, and the displacement of each volume. Of "
        f"{plural(n_known, 'series')}, those that moved the most are shown.",
        "Root mean square of what a plain fit of the signal model leaves, in every voxel; displacement is that of the "
        "head's surface.",
        "Bright rims as measured are gone when aligned; what is left looks like noise.",
        "Motion through thick slices blurs what no alignment brings back; a residual shows no error that the model can "
        "explain.",
        src=ROOT + src,
        sources=[("motion.tsv", f"{ROOT}tables/motion.html")],
        is_wide=True,
    )
