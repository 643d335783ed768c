"""Measure the regions of one run: a row per biomarker and region, raw and calibrated; a reason for each missing one.

Reads   the run's raw maps with standard errors and flags, its labels' folder, its site's calibrations
Writes  a table with the columns of measurements.tsv, and the run's exclusions
"""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration
from isocenter.calibration.scanners import choose_curve
from isocenter.entities import EXCLUSION_COLUMNS
from isocenter.io.nifti import read_labels, read_layers, read_map, read_sidecar
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import read_table, write_table
from isocenter.rois import COLUMNS, FEWEST_VOXELS, RoiStatistic, measure_region
from isocenter.step import In, Ins, Out, run_step

log = logging.getLogger("isocenter")

#: The statistic of regions by biomarker; without an entry it is the median.
MEDIANS: dict[str, str] = {}

#: In the column `flags`: the share of voxels with a value that a steep field shortened beyond the limit.
STEEP = "steep_field"

Rows = list[dict[str, Any]]


def extract_rois(
    maps: Ins,
    stderrs: Ins,
    flags: Ins,
    labels: In,
    calibrations: Ins = (),
    gradients: Ins = (),
    *,
    table: Out,
    exclusions: Out,
    biomarkers: list,
    rois: dict,
    site: str,
    scanner: str,
    participant_id: str,
    kind: str,
    session: str,
    run: str,
    field_strength: float,
    statistics: dict = MEDIANS,
    day: float | None = None,
    day_stderr: float = 0.0,
) -> None:
    """Measure every region of every biomarker; `biomarkers` is in the order of `maps`.

    `statistics` says by biomarker what stands for a region, ``median`` or ``mean``; the median where it is silent.
    `gradients` are the marks that a field gradient left on some of the maps, by the ending of their files.
    `day` [days since the site's first phantom session] is what a calibration by date goes by.
    """
    curves = _read_calibrations(calibrations, scanner)
    who = {"site": site, "participant_id": participant_id, "session": session, "run": run}
    rows: Rows = []
    left_out: Rows = []
    for biomarker, *paths in zip(biomarkers, maps, stderrs, flags, strict=True):
        try:
            curve = curves[biomarker].at(day, day_stderr) if biomarker in curves else None
            marks = [path for path in gradients if _stem(path) == _stem(paths[0])]
            measured, reasons = _measure(biomarker, paths, labels, rois[biomarker], curve, statistics, marks)
        except Exception as error:  # one bad map must not stop the others
            measured, reasons = [], [Exclusion.from_error("regions", error)]
        rows += [{**who, "scanner": scanner, "kind": kind, "field_strength": field_strength, **row} for row in measured]
        left_out += [{**who, "biomarker": biomarker, "series": paths[0].name, **asdict(reason)} for reason in reasons]
    write_table(table, pd.DataFrame(rows, columns=list(COLUMNS)))
    write_table(exclusions, pd.DataFrame(left_out, columns=list(EXCLUSION_COLUMNS)))


def _read_calibrations(paths: list[Path], scanner: str) -> dict[str, Calibration]:
    curves = [choose_curve(json.loads(path.read_text(encoding="utf-8")), scanner) for path in paths]
    return {curve.biomarker: curve for curve in curves}


def _measure(
    biomarker: str,
    paths: list[Path],
    labels: Path,
    names: list[str],
    curve: Calibration | None,
    statistics: dict,
    marks: list[Path],
) -> tuple[Rows, list[Exclusion]]:
    """Rows and exclusions of one biomarker."""
    parameter_map, sidecar = read_map(*paths)
    outcome = json.loads((labels / "outcome.json").read_text(encoding="utf-8"))
    stem = _stem(paths[0])
    by_map = outcome.get("Maps", {})  # maps with labels of their own, which the others' fate does not touch
    excluded = read_exclusion(sidecar) or read_exclusion({"Outcome": by_map[stem]} if stem in by_map else outcome)
    if excluded is not None:
        return [], [excluded]
    steep, word = _read_marks(marks)
    regions, _ = read_labels(labels / f"{stem}_dseg.nii.gz")
    numbers = read_table(labels / "labels.tsv", text=("name",)).groupby("name")["index"].apply(list)
    came = outcome["Labels"][stem]
    rows, reasons = [], []
    for name in names:
        if name not in numbers:
            reasons.append(_exclude(f"The labels hold no region {name}", "Correct `rois` of this biomarker"))
            continue
        region = np.isin(regions, numbers[name])
        found = measure_region(parameter_map, region, statistics.get(biomarker, "median"))
        if found.n_valid < FEWEST_VOXELS:
            reasons.append(
                _exclude(
                    f"{name} holds {found.n_valid} voxels with a value ({found.n_voxels} in all); at least "
                    f"{FEWEST_VOXELS} are needed",
                    "Look at the map and the labels of this run; more slices or smaller voxels would help",
                )
            )
            continue
        if steep is not None and steep.shape == regions.shape:
            share = float(np.mean(steep[region & parameter_map.ok]))
            found = replace(found, flags={**found.flags, **({STEEP: share} if share > 0 else {})})
        row = _describe(biomarker, name, found, parameter_map.unit, curve, stem)
        origin = {"erosion": came["Erosion"], "transform_hash": came["TransformHash"]}
        rows.append({**row, "lent_maps": "; ".join(filter(None, (_name_lent(sidecar), word))), **origin})
    if curve is not None and curve.refused and rows:
        reasons.append(
            Exclusion(
                "calibrate",
                f"The site has no calibration of {biomarker}: {curve.reason}",
                "Scan the phantom at this site, or see why its vials were not used; the raw values stay in the table",
            )
        )
    return rows, reasons


def _stem(path: Path) -> str:
    """The name of a map, from its file."""
    return path.name.removesuffix(".nii.gz").rsplit("_", 1)[-1]


def _read_marks(paths: list[Path]) -> tuple[np.ndarray | None, str]:
    """Voxels (x, y, z) that a steep field marks, and the words for their row; None where no map of B0 could tell."""
    if not paths:
        return None, ""
    told = read_sidecar(paths[0])["FieldGradient"]
    if told["Reason"]:
        return None, f"field_gradient: none ({_in_a_cell(told['Reason'])})"
    return read_layers(paths[0])["shortening"] > told["LimitPercent"], f"field_gradient: {told['FieldMap']}"


def _name_lent(sidecar: dict[str, Any]) -> str:
    """Which maps and pulses the fit made use of, and which it did without: ``b1: TB1map``, ``b0: uncorrected (no field
    map in this session)``, ``pulses: phantom``.
    """
    words = {}
    if "b1" in sidecar.get("Options", {}):  # a model whose values depend on B1 says so, lent or not
        words["b1"] = sidecar["Options"]["b1"]
    words |= {key.lower(): word for key, word in sidecar.get("LentMaps", {}).items()}
    if "Distortion" in sidecar:
        own = sidecar["Distortion"]
        by_site = " (readout as the site states it)" if own.get("ReadoutFrom") == "site" else ""
        is_corrected = own["State"] == "corrected"
        words["b0"] = own["FieldMap"] + by_site if is_corrected else f"uncorrected ({_in_a_cell(own['Reason'])})"
    if "Pulses" in sidecar:  # pulses that the phantom was to choose, and did or did not
        own = sidecar["Pulses"]
        reason = f" ({_in_a_cell(own['Reason'])})" if own["From"] != "phantom" else ""
        words["pulses"] = f"{own['From']}{reason}"
    return "; ".join(f"{key}: {word}" for key, word in sorted(words.items()))


def _in_a_cell(reason: str) -> str:
    """A reason without the mark that parts the entries of its cell."""
    return reason.replace(";", ",")


def _exclude(reason: str, action: str) -> Exclusion:
    return Exclusion("regions", reason, action)


def _describe(
    biomarker: str, name: str, found: RoiStatistic, unit: str, curve: Calibration | None, stem: str
) -> dict[str, Any]:
    """One row: raw and calibrated. Without the calibration that its biomarker wants, a value is no value."""
    value, stderr, beyond, word = found.value, found.stderr, False, "not wanted"
    if curve is not None and curve.refused:
        value, stderr, word = np.nan, np.nan, f"refused: {curve.reason}"
    elif curve is not None:
        value, stderr, beyond = (a.item() for a in curve.apply(found.value, found.stderr))
        word = curve.describe()
    return {
        "biomarker": biomarker,
        "roi": name,
        "value": value,
        "stderr": stderr,
        "raw_value": found.value,
        "raw_stderr": found.stderr,
        "raw_stderr_noise": found.stderr_noise,
        "unit": unit,
        "n_voxels": found.n_voxels,
        "n_valid": found.n_valid,
        "calibration": word,
        "map": stem,
        "calibrated_flag": "beyond_calibration" if beyond else "",
        "flags": found.describe_flags(),
        **{f"raw_{key}": getattr(found, key) for key in ("median", "mean", "sd", "iqr", "p10", "p90")},
        "n_effective": found.n_effective,
        "interior": found.interior,
        "lean": found.lean,
    }


if __name__ == "__main__":
    run_step(extract_rois, globals())
