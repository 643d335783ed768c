"""The pictures that are files: mosaics of maps a site and biomarker, and the phantom with its vials."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import escape

from isocenter.entities import RunKey
from isocenter.figures.maps import draw_mosaic, middle_slice
from isocenter.io.nifti import read_labels, read_volume, write_bytes
from isocenter.io.tables import read_table
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.sites import ROOT
from isocenter.report.wording import format_number, name_roi, plural, shown_unit

#: a picture holds at most this many participants and visits; more would shrink each tile to nothing
MAX_COLUMNS, MAX_ROWS = 8, 8


def write_mosaics(trial: Trial, site: str, folder: Path) -> list[Figure]:
    """One mosaic a biomarker of a site, written under `folder`/figures."""
    figures = []
    for name, block in trial.biomarkers.items():
        maps = {
            key: path for (key, map_name), path in trial.maps.items() if key.site == site and map_name == block["map"]
        }
        if maps:
            figures.append(_mosaic(trial, site, name, block, maps, folder))
    return figures


def _mosaic(
    trial: Trial, site: str, name: str, block: dict[str, Any], maps: dict[RunKey, Path], folder: Path
) -> Figure:
    unit, factor = shown_unit(block["unit"])
    columns = sorted({key.participant for key in maps})[:MAX_COLUMNS]
    visits = sorted({(key.session, key.run) for key in maps})[:MAX_ROWS]
    names: dict[int, str] = {}
    tiles, n_shown = [], 0
    for session, run in visits:
        row = []
        for participant in columns:
            key = RunKey(site, participant, session, run)
            tile = _tile(trial, key, maps.get(key), block["map"], factor, names)
            n_shown += bool(tile and "values" in tile)
            row.append(tile)
        tiles.append(row)
    limits = color_limits(trial, name, factor)
    title = f"{name} at {site}"
    src = f"figures/{site}_{block['map']}_maps.png"
    rows = [f"ses {session}\nrun {run}" for session, run in visits]
    picture = draw_mosaic(
        tiles,
        rows,
        columns,
        {k: name_roi(v) for k, v in names.items()},
        title=title,
        unit=f"{name} [{unit}]",
        limits=limits,
    )
    write_bytes(folder / src, picture)
    stage = "calibrated" if block.get("calibration") == "phantom" else "fitted"
    dropped = len({key.participant for key in maps}) - len(columns)
    regions = ", ".join(name_roi(v) for _, v in sorted(names.items())) or "none"
    return Figure(
        f"Maps of {name}, every run",
        f"Mid-slices of the {stage} {name} maps of {site}, {plural(n_shown, 'run')}, regions outlined: {regions}",
        f"The middle slice of each {stage} {name} map (n = {n_shown}): one column per participant, one row per session "
        f"and run, colors {format_number(limits[0])} to {format_number(limits[1])} {unit} in every mosaic of "
        f"this trial; outlines: {regions}. Gray: no value."
        + (f" {plural(dropped, 'participant')} more are not shown." if dropped > 0 else ""),
        "Calibrated maps of the fit, on their own grid, with labels brought from the template.",
        "Rows of one participant look alike; outlines follow the borders of white and gray matter; no holes or rings.",
        "One slice of a volume only. A shift of a few percent cannot be seen on a color scale.",
        src=ROOT + src,
        sources=[("measurements.tsv", f"{ROOT}tables/measurements.html")],
        is_wide=True,
    )


def _tile(
    trial: Trial, key: RunKey, path: Path | None, map_name: str, factor: float, names: dict[int, str]
) -> dict[str, Any] | None:
    if path is None:
        return {"reason": "no map"}
    try:
        volume = read_volume(path)
        if volume.data.size <= 1 or not np.isfinite(volume.data).any():
            return {"reason": "left out"}
        labels = _labels(trial, key, map_name, names)
        if labels is not None and labels.shape != volume.data.shape:
            labels = None
        k = middle_slice(volume.data, labels)
        return {"values": volume.data[:, :, k] * factor, "labels": None if labels is None else labels[:, :, k]}
    except Exception as error:
        trial.problems.append(f"The map {path.as_posix()} cannot be shown: {error}")
        return {"reason": "unreadable"}


def _labels(trial: Trial, key: RunKey, map_name: str, names: dict[int, str]) -> np.ndarray | None:
    folder = trial.labels.get(key)
    path = folder / f"{map_name}_dseg.nii.gz" if folder else None
    if path is None or not path.is_file():
        return None
    read_label_names(folder, names)
    return read_labels(path)[0]


def read_label_names(folder: Path, names: dict[int, str]) -> None:
    """Enter what the labels of a run are called into `names`."""
    table = folder / "labels.tsv"
    if table.is_file():
        for _, row in read_table(table, text=("name",)).iterrows():  # a number's first name is the tissue
            names.setdefault(int(row["index"]), str(row["name"]))


def color_limits(trial: Trial, name: str, factor: float) -> tuple[float, float]:
    """The color range of a biomarker: from zero to above the largest median of a solid region, all sites alike."""
    rows = trial.rows("measurements", biomarker=name)
    medians = rows.groupby("roi")["value"].median().sort_values() if len(rows) else []
    solid = [float(v) for v in medians if np.isfinite(v)]
    # Fluid is several times longer than tissue and would leave tissue in one color.
    top = (solid[-2] if len(solid) > 1 and solid[-1] > 1.8 * solid[-2] else solid[-1]) if solid else 1.0
    return 0.0, float(f"{1.6 * top * factor:.2g}")


def copy_vial_pictures(trial: Trial, site: str, folder: Path) -> list[Figure]:
    """The phantom pictures of a site, copied under `folder`/figures."""
    figures = []
    for (key, map_name), path in sorted(trial.pictures.items()):
        if key.site != site or not path.is_file():
            continue
        src = f"figures/{site}_ses-{key.session}_run-{key.run}_{map_name}_vials.png"
        write_bytes(folder / src, path.read_bytes())
        figures.append(
            Figure(
                f"Vials in {map_name}, session {key.session}",
                f"The phantom's {map_name} of {site}, session {key.session}, with the located vials circled "
                "and numbered",
                f"The slice of the phantom that was measured, {map_name}, session {key.session}, with the "
                "circles in which each vial was read.",
                "Vials located from the phantom's known geometry; the numbering that agrees best with the references.",
                "Every circle lies inside its vial and the numbers run as on the phantom.",
                "Whether a vial still holds its solution: its bias shows that.",
                src=ROOT + src,
                sources=[("vials.tsv", f"{ROOT}tables/vials.html")],
            )
        )
    return figures


def copy_phantom_pages(trial: Trial, site: str, folder: Path) -> list[tuple[str, str]]:
    """The pages of a site's phantom sessions, copied under `folder`/phantoms: what each is, and its link."""
    links = []
    for key, path in sorted(trial.pages.items()):
        if key.site != site or not path.is_file():
            continue
        src = f"phantoms/{site}_{key.prefix}.html"
        # The page stands by itself; in a report it leads back.
        way = f'<a href="../index.html">Report</a> <a href="../sites/{quote(site)}.html">{escape(site)}</a> '
        write_bytes(folder / src, path.read_bytes().replace(b"<!--report-->", way.encode("utf-8"), 1))
        links.append((f"{key.participant}, session {key.session}, run {key.run}", ROOT + src))
    return links


def copy_certificate(trial: Trial, site: str, folder: Path) -> str:
    """The certificate of a site, copied beside its page: the link to it, "" where there is none."""
    path = trial.certificates.get(site)
    if path is None or not path.is_file():
        return ""
    write_bytes(folder / "certificates" / f"{site}.html", path.read_bytes())
    return f"{ROOT}certificates/{site}.html"


def copy_json(trial: Trial, folder: Path) -> None:
    """Verdicts and calibrations as they are, beside the tables."""
    for site, verdict in trial.verdicts.items():
        _write(folder / "tables" / f"{site}_verdict.json", verdict)
    for (site, biomarker), calibration in trial.calibrations.items():
        _write(folder / "tables" / f"{site}_{biomarker}_calibration.json", calibration)


def _write(path: Path, content: dict[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8"))
