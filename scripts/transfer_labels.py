"""Label one run's maps: with the template's tissues, or with what the site drew on the series.

Reads   the template's folder, the run's maps and their fits (same order), the site's label images and their tables
Writes  into the labels' folder <map>_dseg.nii.gz for each usable map, in the map's own grid; labels.tsv, which names
        the labels; outcome.json, which says why there are none
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter.errors import RegistrationError, explain
from isocenter.io.nifti import read_labels, read_series, read_sidecar, read_volume, write_image, write_json
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import read_table, write_table
from isocenter.registration import transfer_tissues
from isocenter.rois import place_labels
from isocenter.step import In, Ins, OutDir, run_step
from isocenter.tissues import (
    CONTRAST_TIMES,
    THRESHOLDS,
    TISSUES,
    Template,
    label_tissues,
    synthesize_contrast,
)

log = logging.getLogger("isocenter")

#: Regions by map; without an entry they are the template's.
EVERYWHERE: dict[str, Any] = {}
#: The fit's layer that tells tissue from air, by name.
AMPLITUDES = ("M0", "S0")


def transfer_labels(
    template: In, maps: Ins, fits: Ins, sent: Ins = (), *, labels: OutDir, seed: int, regions: dict = EVERYWHERE
) -> None:
    """Label the regions in every usable map of a run.

    Of the maps with the template's tissues the first, T1 before others, is registered to the template; a map that gives
    no T1-weighted image (Ktrans, B1, R2') takes the labels of the first one at its own place. `regions` says
    by map where its labels come from: ``{"regions": "template" or "site", "suffix": of its series, "contrast": the
    scale of its T1-weighted-like image or None}``; a map that it does not name has the template's.
    """
    labels.mkdir(parents=True, exist_ok=True)
    outcome: dict[str, Any] = {"Outcome": None, "Template": "T1w.nii.gz", "Thresholds": THRESHOLDS, "Seed": seed}
    pairs = [(_name_of(path), path, fit) for path, fit in zip(maps, fits, strict=True)]
    from_site = [pair for pair in pairs if regions.get(pair[0], {}).get("regions") == "site"]
    from_template = [pair for pair in pairs if pair not in from_site]
    if from_template:
        try:
            images, others = _find_images(from_template, regions)
            found = transfer_tissues([image for _, image in images], _read_template(template), seed=seed)
            log.info("The template fits with a correlation of %.2f", found.correlation)
            outcome["Correlation"] = round(found.correlation, 4)
            for (name, (_, affine)), probabilities in zip(images, found.probabilities, strict=True):
                write_image(labels / f"{name}_dseg.nii.gz", label_tissues(probabilities), affine)
            for name, path in others:
                _, affine = images[0][1]
                first, other = label_tissues(found.probabilities[0]), read_volume(path)
                placed = place_labels(first, affine, other.data.shape, other.affine)
                write_image(labels / f"{name}_dseg.nii.gz", placed, other.affine)
        except Exception as error:  # one bad run must not stop the others
            outcome["Outcome"] = asdict(Exclusion.from_error("regions", error))
    names = list(TISSUES)
    for name, path, _ in from_site:
        by_map = outcome.setdefault("Maps", {})
        try:
            placed, affine = _place_sent(path, regions[name]["suffix"], sent, names)
            if placed is not None:
                write_image(labels / f"{name}_dseg.nii.gz", placed, affine)
            by_map[name] = None
        except Exception as error:
            by_map[name] = asdict(Exclusion.from_error("regions", error))
    write_table(labels / "labels.tsv", pd.DataFrame({"index": range(1, len(names) + 1), "name": names}))
    write_json(labels / "outcome.json", outcome)


def _name_of(path: Path) -> str:
    return path.name.removesuffix(".nii.gz").rsplit("_", 1)[-1]


def _find_images(
    pairs: list[tuple[str, Path, Path]], regions: dict[str, Any]
) -> tuple[list[tuple[str, tuple[np.ndarray, np.ndarray]]], list[tuple[str, Path]]]:
    """Name, synthetic image and affine of each usable map: in the order of `CONTRAST_TIMES`, then as configured.

    And name and path of the usable maps that give no such image.
    """
    found, others, reasons, ranks = [], [], [], list(CONTRAST_TIMES)
    for name, path, fit in pairs:
        sidecar = read_sidecar(fit)
        exclusion = read_exclusion(sidecar)
        if exclusion is not None:
            reasons.append(f"{name}: {exclusion.reason}")
            continue
        layers = dict(zip(sidecar["Parameters"], np.moveaxis(read_series([fit]).data, 3, 0), strict=True))
        scale = regions.get(name, {}).get("contrast")
        parameter = next((p for p in CONTRAST_TIMES if p in layers), None) if scale is None else next(iter(layers))
        amplitude = next((a for a in AMPLITUDES if a in layers), None)
        if parameter is None or amplitude is None:
            reasons.append(f"{name}: {', '.join(layers)} give no T1-weighted image")
            others.append((name, path))
            continue
        image = synthesize_contrast(layers[parameter], layers[amplitude], parameter, scale)
        rank = ranks.index(parameter) if parameter in ranks else len(ranks)
        found.append((rank, (name, (image, read_volume(path).affine))))
    if not found:
        raise RegistrationError(
            explain("No map of this run can be registered to the template", found="; ".join(reasons))
        )
    return [image for _, image in sorted(found, key=lambda pair: pair[0])], others


def _place_sent(path: Path, suffix: str, sent: list[Path], names: list[str]) -> tuple[np.ndarray | None, np.ndarray]:
    """The labels that a site drew on a series, on its map's grid; new region names are added to `names`.

    None for a map that holds no value anyway.
    """
    if read_exclusion(read_sidecar(path)) is not None:
        return None, np.eye(4)
    drawn = next((p for p in sent if p.name.endswith(f"_{suffix}_dseg.nii.gz")), None)
    table = next((p for p in sent if p.name.endswith(f"_{suffix}_dseg.tsv")), None)
    if drawn is None or table is None:
        raise RegistrationError(
            explain(
                f"The site sent no {'labels' if drawn is None else 'names of labels'} for the {suffix} series",
                expected=f"sites/<site>/rois/{_prefix_of(path)}_{suffix}_dseg.nii.gz and .tsv (index, name)",
                found="no such file",
                remedy="ask the site to outline the regions on this series",
            )
        )
    image, affine = read_labels(drawn)
    map_ = read_volume(path)
    placed = place_labels(image, affine, map_.data.shape, map_.affine)
    labels = np.zeros(placed.shape, np.uint8)
    for index, name in read_table(table, text=("name",))[["index", "name"]].itertuples(index=False):
        if name not in names:
            names.append(name)
        labels[placed == int(index)] = names.index(name) + 1
    if not labels.any():
        raise RegistrationError(
            explain(
                f"The labels that the site drew do not meet the {suffix} series",
                expected="labels in the scanner's coordinates of that series",
                found="no labeled voxel within the map",
                remedy="draw them on the series itself, or export them with its geometry",
            )
        )
    return labels, map_.affine


def _prefix_of(path: Path) -> str:
    return "_".join(part for part in path.name.split("_") if part.startswith(("sub-", "ses-", "run-")))


def _read_template(folder: Path) -> Template:
    image = read_volume(folder / "T1w.nii.gz")
    tissues = {name: read_volume(folder / f"{name}.nii.gz").data for name in TISSUES}
    return Template(image.data, tissues, image.affine)


if __name__ == "__main__":
    run_step(transfer_labels, globals())
