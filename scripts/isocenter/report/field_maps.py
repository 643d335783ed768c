"""What a site's page shows of its maps of B0: the shim of every session, and pictures of corrected series."""

from pathlib import Path

from isocenter.io.nifti import write_bytes
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT
from isocenter.report.tabulate import Table, number_cell, row_link, table_of
from isocenter.report.wording import format_number, is_missing, plural, shorten

#: A page holds at most this many pictures; more would bury the rest.
MOST_PICTURES = 12
_COLUMNS = {"median_hz": "Median [Hz]", "sd_hz": "SD [Hz]", "range_hz": "5–95 % range [Hz]", "fwhm_hz": "FWHM [Hz]"}


def shim_table(trial: Trial, site: str) -> Table:
    """One row a map of B0 of a site."""
    rows = []
    for index, row in trial.rows("shim", site=site).iterrows():
        href = row_link("shim", index, ROOT)
        rows.append(
            [str(row[c]) for c in ("participant_id", "session", "run", "biomarker")]
            + [number_cell(format_number(row["n_voxels"], 0), row["n_voxels"], href)]
            + [number_cell(format_number(row[c], 1), row[c], href) for c in _COLUMNS]
            + ["" if is_missing(row["reason"]) else shorten(row["reason"], 120)]
        )
    columns = ["Participant", "Session", "Run", "Map", "Voxels", *_COLUMNS.values(), "Reason"]
    return table_of("shim", columns, rows, source="shim.tsv", empty="No map of B0 of this site.")


def copy_distortions(trial: Trial, site: str, folder: Path) -> list[Figure]:
    """The pictures of corrected series of a site, copied under `folder`/figures."""
    figures = []
    known = [(key, suffix, p) for (key, suffix), p in sorted(trial.distortions.items()) if key.site == site]
    known = [one for one in known if one[2].is_file()]
    for key, suffix, path in known[:MOST_PICTURES]:
        src = f"figures/{site}_{key.prefix}_{suffix}_distortion.png"
        write_bytes(folder / src, path.read_bytes())
        more = len(known) - MOST_PICTURES
        figures.append(
            Figure(
                f"Distortion of {suffix}, {key.participant}, session {key.session}, run {key.run}",
                f"One slice of {suffix} of {key.participant} at {site} before and after the correction of distortion",
                f"The slice of {suffix} (n = 1) that moved the furthest: the field map's magnitude, the image as "
                "scanned, the image corrected, and the shift in voxels; the line is the outline of the magnitude."
                + (f" {plural(more, 'series')} more are not shown." if more > 0 else ""),
                "Shift in voxels = field offset × total readout time, along the phase-encoding axis; the image is "
                "pulled back and multiplied by 1 + the slope of the shift.",
                "After the correction the image fills the outline; before, it leaves it where the shift is large.",
                "Signal that was squeezed onto one place (gray after the correction) is lost.",
                src=ROOT + src,
                sources=[("shim.tsv", f"{ROOT}tables/shim.html")],
                is_wide=True,
            )
        )
    return figures
