"""The page of one session of a participant: maps with errors and flags, values, motion, order, and the way back."""

from dataclasses import dataclass
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
from isocenter.report.metrics import ROOT, list_metrics, metric_page, times
from isocenter.report.origins import show_origin
from isocenter.report.overview import list_needs
from isocenter.report.pictures import color_limits, read_label_names
from isocenter.report.places import value_anchor, visit_page
from isocenter.report.plausibility import order_rows
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of
from isocenter.report.wording import format_number, is_missing, name_roi, plural, shorten, shown_unit

Visit = tuple[str, str, str]


def list_visits(trial: Trial) -> list[Visit]:
    """Site, participant and session of every session that anything was measured or fitted of, phantoms apart."""
    found: set[Visit] = {(key.site, key.participant, key.session) for key, _ in trial.maps}
    rows = trial.tables["measurements"]
    if len(rows):
        people = rows[rows["kind"] != "phantom"] if "kind" in rows else rows
        found |= set(people[["site", "participant_id", "session"]].itertuples(index=False, name=None))
    return sorted(visit for visit in found if not any(is_missing(part) for part in visit))


@dataclass
class Known:
    """What the pages of all sessions share: the sessions, pages of quantities, what was left out of which session."""

    visits: list[Visit]
    metrics: dict[tuple[str, str], str]
    needs: dict[Visit, list[list[Cell]]]


def survey(trial: Trial) -> Known:
    """What is known before the pages of the sessions are made."""
    metrics = {(metric.biomarker, metric.roi): metric_page(metric) for metric in list_metrics(trial)}
    return Known(list_visits(trial), metrics, _needs(trial))


def visit_counts(visits: list[Visit]) -> list[tuple[str, int, str]]:
    """Each site with how many sessions it has, and the page of its first."""
    first: dict[str, Visit] = {}
    for visit in visits:
        first.setdefault(visit[0], visit)
    return [(site, sum(v[0] == site for v in visits), visit_page(*visit)) for site, visit in first.items()]


def visit_context(trial: Trial, visit: Visit, known: Known, folder: Path) -> dict[str, Any]:
    """What the page of a session shows; its pictures are written under `folder`/figures/visits."""
    site, participant, session = visit
    who = {"site": site, "participant_id": participant, "session": session}
    values = trial.rows("measurements", **who)
    names = [name for name in trial.biomarkers if _runs(trial, visit, name, values)]
    names += sorted(set(values.get("biomarker", [])) - set(names))
    blocks = [_block(trial, visit, name, values, known, folder) for name in names]
    needs = known.needs.get(visit, [])
    order = trial.rows("plausibility", **who)
    return {
        "visit": visit,
        "label": f"sub-{participant}, session {session}",
        "day": _day(trial, who),
        "blocks": blocks,
        "motion": [f for key, table in trial.motions.items() if (f := _motion(visit, key, table, trial)) is not None],
        "order": order_rows(order, ROOT),
        "needs": Table(
            "needs", ["Scan", "Stage", "Why it is left out", "What to do"], needs, [],
            "exclusions.tsv", "Nothing of this session is left out.", len(needs),
        ),
        "same": [(_name(other, visit), Path(visit_page(*other)).name) for other in known.visits
                 if other != visit and other[1] == participant],
        "around": _around(visit, known.visits),
    }  # fmt: skip


def _name(other: Visit, visit: Visit) -> str:
    return f"session {other[2]}" if other[0] == visit[0] else f"{other[0]}, session {other[2]}"


def _around(visit: Visit, visits: list[Visit]) -> list[tuple[str, str]]:
    """The sessions before and after in the list of the site."""
    own = [other for other in visits if other[0] == visit[0]]
    at = own.index(visit)
    near = [("← ", own[at - 1])] if at else []
    near += [("→ ", own[at + 1])] if at + 1 < len(own) else []
    return [(f"{arrow}sub-{v[1]} ses-{v[2]}", Path(visit_page(*v)).name) for arrow, v in near]


def _day(trial: Trial, who: dict[str, str]) -> str:
    dates = [d for d in trial.rows("scans", **who).get("date", []) if not is_missing(d)]
    return str(dates[0]) if dates else ""


def _runs(trial: Trial, visit: Visit, name: str, values: Any) -> list[str]:
    map_name = trial.biomarkers.get(name, {}).get("map")
    found = {key.run for key, m in trial.maps if m == map_name and (key.site, key.participant, key.session) == visit}
    found |= set(values.loc[values["biomarker"] == name, "run"]) if len(values) else set()
    return sorted(found)


def _block(trial: Trial, visit: Visit, name: str, values: Any, known: Known, folder: Path) -> dict[str, Any]:
    """One biomarker: the table of its values, and each run with its picture and its way back."""
    pages = {
        (key.participant, key.session, key.run): f"{ROOT}phantoms/{key.site}_{key.prefix}.html"
        for key in trial.pages
        if key.site == visit[0]
    }
    runs = []
    for run in _runs(trial, visit, name, values):
        node = trial.lineage.get((*visit, run, name))
        runs.append(
            {
                "run": run,
                "anchor": value_anchor(run, name),
                "figure": _maps(trial, RunKey(*visit, run), name, folder),
                "origin": show_origin(node, pages) if node is not None else None,
            }
        )
    title = trial.biomarkers.get(name, {}).get("title", "")
    own = values[values["biomarker"] == name] if len(values) else values
    return {"name": name, "title": title, "table": _value_table(known, name, own), "runs": runs}


def _value_table(known: Known, name: str, rows: Any) -> Table:
    cells, unit = [], ""
    for index, r in rows.iterrows():
        unit, factor = shown_unit(r.get("unit"))
        page = known.metrics.get((r["biomarker"], r["roi"]), "")
        row, href = row_link("measurements", index, ROOT), f"#{value_anchor(r['run'], name)}"
        flags = "; ".join(str(r[c]) for c in ("flags", "calibrated_flag") if not is_missing(r.get(c)))
        share = times(r.get("n_valid"), 100) / times(r.get("n_voxels"), 1) if times(r.get("n_voxels"), 1) else 0.0
        cells.append(
            [
                Cell(str(r["run"]), href=row),
                Cell(name_roi(r["roi"]), href=ROOT + page if page else ""),
                _plus_minus(r, "value", "stderr", factor, href),
                _plus_minus(r, "raw_value", "raw_stderr", factor, href),
                number_cell(format_number(r.get("n_voxels"), 0), r.get("n_voxels"), row),
                number_cell(format_number(share, 1), share, row),
                Cell(shorten(flags, 120).replace("_", " "), state="warn" if flags else ""),
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
    text = format_number(shown) if is_missing(se) else f"{format_number(shown)} ± {format_number(se)}"
    return number_cell(text, shown, href)


def _maps(trial: Trial, key: RunKey, name: str, folder: Path) -> Figure:
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
    limits = color_limits(trial, name, factor)
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


def _motion(visit: Visit, key: tuple[RunKey, str], table: Any, trial: Trial) -> Figure | None:
    run, suffix = key
    if (run.site, run.participant, run.session) != visit or "displacement_mm" not in table:
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


def _needs(trial: Trial) -> dict[Visit, list[list[Cell]]]:
    """What was left out, by the session that it belongs to."""
    found: dict[Visit, list[list[Cell]]] = {}
    for is_open in (True, False):
        table = list_needs(trial, is_open=is_open)
        for row, anchor in zip(table.rows, table.anchors, strict=True):
            e = trial.tables["exclusions"].loc[int(anchor.removeprefix("need-"))]
            scan, stage, *rest = row[1:6]
            cells = [scan, Cell(stage.text, href=ROOT + stage.href if stage.href else ""), *rest]
            found.setdefault((str(e["site"]), str(e["participant_id"]), str(e["session"])), []).append(cells)
    return found
