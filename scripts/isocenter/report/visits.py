"""The page of one session of a participant: maps with errors and flags, values, motion, order, and the way back."""

from pathlib import Path
from typing import Any

import numpy as np

from isocenter.entities import Flag, RunKey
from isocenter.figures.maps import middle_slice
from isocenter.figures.motion import draw_motion
from isocenter.figures.panels import draw_panels, render_tiles
from isocenter.io.nifti import read_labels, read_volume, write_bytes
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, times
from isocenter.report.origins import show_origin
from isocenter.report.overview import need_cells
from isocenter.report.pictures import read_label_names
from isocenter.report.places import value_anchor, visit_page
from isocenter.report.plausibility import order_rows
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of
from isocenter.report.visit_index import Visit, VisitIndex
from isocenter.report.wording import (
    explain_flags,
    format_number,
    format_plus_minus,
    is_missing,
    name_flags,
    name_roi,
    plural,
    shorten,
    shown_unit,
)


def visit_context(trial: Trial, visit: Visit, index: VisitIndex, folder: Path) -> dict[str, Any]:
    """What the page of a session shows; its pictures are written under `folder`/figures/visits."""
    values = index.of("measurements", visit)
    names = [name for name in trial.biomarkers if _runs(trial, visit, name, index)]
    names += sorted(set(values.get("biomarker", [])) - set(names))
    dates = [d for d in index.of("scans", visit).get("date", []) if not is_missing(d)]
    needs = _needs(trial, index.of("exclusions", visit))
    columns = ["Scan", "Stage", "Why it is left out", "What to do"]
    empty = "Nothing of this session is left out."
    return {
        "visit": visit,
        "label": f"sub-{visit[1]}, session {visit[2]}",
        "day": str(dates[0]) if dates else "",
        "blocks": [_block(trial, visit, name, index, folder) for name in names],
        "motion": [f for key, table in index.motions[visit].items() if (f := _motion(key, table, trial)) is not None],
        "order": order_rows(index.of("plausibility", visit), ROOT),
        "needs": Table("needs", columns, needs, [], "exclusions.tsv", empty, len(needs)),
        "same": [(_name(v, visit), Path(visit_page(*v)).name) for v in index.visits if v != visit and v[1] == visit[1]],
        "around": [(f"{arrow} sub-{v[1]} ses-{v[2]}", Path(visit_page(*v)).name) for arrow, v in index.near(visit)],
    }


def _name(other: Visit, visit: Visit) -> str:
    return f"session {other[2]}" if other[0] == visit[0] else f"{other[0]}, session {other[2]}"


def _runs(trial: Trial, visit: Visit, name: str, index: VisitIndex) -> list[str]:
    found = set(index.runs.get(visit, {}).get(trial.biomarkers.get(name, {}).get("map", ""), set()))
    values = index.of("measurements", visit)
    return sorted(found | (set(values.loc[values["biomarker"] == name, "run"]) if len(values) else set()))


def _block(trial: Trial, visit: Visit, name: str, index: VisitIndex, folder: Path) -> dict[str, Any]:
    """One biomarker: the table of its values, and each run with its picture and its way back."""
    runs = []
    for run in _runs(trial, visit, name, index):
        node = trial.lineage.get((*visit, run, name))
        runs.append(
            {
                "run": run,
                "anchor": value_anchor(run, name),
                "figure": _maps(trial, RunKey(*visit, run), name, index, folder),
                "origin": show_origin(node, index.pages, ROOT, index.series) if node is not None else None,
            }
        )
    values = index.of("measurements", visit)
    own = values[values["biomarker"] == name] if len(values) else values
    title = trial.biomarkers.get(name, {}).get("title", "")
    return {"name": name, "title": title, "table": _value_table(index, name, own), "runs": runs}


def _value_table(index: VisitIndex, name: str, rows: Any) -> Table:
    cells, unit = [], ""
    for number, r in rows.iterrows():
        unit, factor = shown_unit(r.get("unit"))
        page = index.metrics.get((r["biomarker"], r["roi"]), "")
        row, href = row_link("measurements", number, ROOT), f"#{value_anchor(r['run'], name)}"
        flags = "; ".join(str(r[c]) for c in ("flags", "calibrated_flag") if not is_missing(r.get(c)))
        share = times(r.get("n_valid"), 100) / times(r.get("n_voxels"), 1) if times(r.get("n_voxels"), 1) else 0.0
        cells.append(
            [
                Cell(str(r["run"]), href=row),
                Cell(name_roi(r["roi"]), href=ROOT + page if page else "", is_kept=True),
                _plus_minus(r, "value", "stderr", factor, href),
                _plus_minus(r, "raw_value", "raw_stderr", factor, href),
                number_cell(format_number(r.get("n_voxels"), 0), r.get("n_voxels"), row),
                number_cell(format_number(share, 1), share, row),
                Cell(
                    name_flags(shorten(flags, 160)),
                    state="warn" if flags else "",
                    title="; ".join(explain_flags(flags, with_remarks=True)),
                ),
            ]
        )
    columns = [
        "Run", "Region", f"Value ± SE [{unit}]", f"Before calibration ± SE [{unit}]", "Voxels",
        "Voxels with a value [%]", "Flags",
    ]  # fmt: skip
    empty = "No region has a value: see what was left out."
    return table_of(f"values_{name}", columns, cells, source="measurements.tsv", empty=empty)


def _plus_minus(row: Any, value: str, error: str, factor: float, href: str) -> Cell:
    shown, se = times(row.get(value), factor), times(row.get(error), factor)
    return number_cell(format_plus_minus(shown, se), shown, href)


def _maps(trial: Trial, key: RunKey, name: str, index: VisitIndex, folder: Path) -> Figure:
    block = trial.biomarkers.get(name, {})
    unit, factor = shown_unit(block.get("unit"))
    figure = Figure(
        f"Run {key.run}: {name}",
        "",
        f"The middle slice of the map of {name} (left), its standard error (middle), and why a voxel has no value "
        "(right); outlines are the regions. Gray: no value. The range of values is that of every page of this trial.",
        f"Fit of {block.get('model', 'the model')} in every voxel"
        + (", calibrated on the phantom" if block.get("calibration") == "phantom" else "")
        + "; standard errors hold the fit and the calibration.",
        "Outlines follow the tissue's borders; the error is even within a tissue; no flags inside regions.",
        "One slice of the volume. Motion that blurs all images of a series alike.",
        is_wide=True,
        empty="No map: the scan was left out. The reason stands under “What was left out”.",
    )
    paths = [found.get((key, block.get("map", ""))) for found in (trial.maps, trial.stderrs, trial.flags)]
    if paths[0] is None:
        return figure
    try:
        planes, labels, names = _planes(trial, key, block["map"], paths)
    except Exception as error:
        trial.problems.append(f"The map {paths[0].as_posix()} cannot be shown: {error}")
        return figure
    if planes is None:
        return figure
    values, stderr, flags = planes[0] * factor, planes[1] * factor, planes[2].astype(int)
    limits = index.limits[name]
    errors = stderr[np.isfinite(stderr)]
    top = float(f"{np.percentile(errors, 95):.2g}") if errors.size else 1.0
    src = f"figures/visits/{key.site}_{key.prefix}_{block['map']}.png"
    write_bytes(folder / src, render_tiles(values, limits, stderr, (0.0, top or 1.0), flags))
    counts = {flag: int((flags == flag).sum()) for flag in Flag}
    lost = sum(n for flag, n in counts.items() if flag not in (Flag.OK, Flag.MASKED))
    regions = ", ".join(name_roi(v) for v in names.values()) or "none"
    figure.alt = (
        f"Map of {name}, its standard error and its flags, run {key.run}, regions outlined: {regions}; "
        f"{counts[Flag.OK]} voxels of the slice have a value, {lost} inside the object have none"
    )
    bars = [
        {"title": f"{name}", "unit": unit, "limits": limits},
        {"title": "Standard error", "unit": unit, "limits": (0.0, top or 1.0)},
    ]
    shown = {k: name_roi(v) for k, v in names.items()}
    figure.svg = draw_panels(ROOT + src, values.shape, labels, shown, bars, counts, figure.alt)
    return figure


def _planes(trial: Trial, key: RunKey, map_name: str, paths: list[Path | None]):
    """The middle slice of map, standard error and flags, the labels there, and what the labels are called."""
    volume = read_volume(paths[0]).data
    if volume.size <= 1 or not np.isfinite(volume).any():
        return None, None, {}
    labels, names = None, {}
    folder = trial.labels.get(key)
    if folder is not None and (folder / f"{map_name}_dseg.nii.gz").is_file():
        labels = read_labels(folder / f"{map_name}_dseg.nii.gz")[0]
        labels = labels if labels.shape == volume.shape else None
        read_label_names(folder, names)
    k = middle_slice(volume, labels)
    planes = [volume[:, :, k]]
    for path, fill in zip(paths[1:], (np.nan, Flag.MASKED), strict=True):
        other = read_volume(path).data if path is not None and path.is_file() else None
        fits = other is not None and other.shape == volume.shape
        planes.append(other[:, :, k] if fits else np.full(planes[0].shape, fill, float))
    if paths[2] is None:
        planes[2] = np.where(np.isfinite(planes[0]), Flag.OK, Flag.MASKED).astype(float)
    return planes, None if labels is None else labels[:, :, k], names


def _motion(key: tuple[RunKey, str], table: Any, trial: Trial) -> Figure | None:
    run, suffix = key
    if "displacement_mm" not in table:
        return None
    largest = float(table["displacement_mm"].abs().max())
    steps = [float(v) for v in table["displacement_mm"].abs()]
    used = [str(v) for v in table["used"]] if "used" in table else [""] * len(steps)
    residuals = [times(table[c].iloc[0], 1) if c in table else float("nan") for c in
                 ("residual_before", "residual_after")]  # fmt: skip
    words = ""
    if not any(is_missing(r) for r in residuals):
        words = f" The residual of the model's fit went from {format_number(residuals[0])} to " + (
            f"{format_number(residuals[1])} a.u. by the alignment."
        )
    alt = f"Motion in {suffix}, run {run.run}: at most {largest:.2f} mm over {plural(len(steps), 'volume')}"
    found = trial.rows("motion", site=run.site, participant_id=run.participant, session=run.session, run=run.run)
    found = found[found["series"] == suffix]
    return Figure(
        f"Motion in {suffix}, run {run.run}",
        alt,
        f"How far the head's surface moved from the reference volume, volume by volume (n = {len(steps)}).{words}",
        "Rigid registration of each volume; the largest displacement of the object's surface.",
        "Well below the width of a voxel; crosses are volumes that were left out or left in place.",
        "Motion within the time of one volume.",
        svg=draw_motion(steps, used, alt),
        sources=[
            ("motion.tsv", row_link("motion", found.index[0], ROOT) if len(found) else f"{ROOT}tables/motion.html")
        ],
    )


def _needs(trial: Trial, rows: Any) -> list[list[Cell]]:
    """What was left out of a session."""
    found = []
    for number, row in rows.iterrows():
        _, scan, stage, *rest = need_cells(trial, number, row)
        found.append([scan, Cell(stage.text, href=ROOT + stage.href), *rest])
    return found
