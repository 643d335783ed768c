"""Label one run's maps: with the template's tissues, with what the site drew, or with what the images show.

Reads   the template's folder, the run's maps and their fits (same order), what the site sent, the atlas and its names,
        the participant's structural scan
Writes  into the labels' folder <map>_dseg.nii.gz for each usable map, in the map's own grid; labels.tsv, which names
        the labels (a number may have several names); outcome.json, which says where they came from, or why there
        are none
"""

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isocenter.atlas import read_atlas_regions
from isocenter.errors import RegistrationError, explain
from isocenter.io.nifti import read_labels, read_series, read_sidecar, read_volume, write_image, write_json
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import write_table
from isocenter.regions.brain import divide_brain
from isocenter.regions.erosion import Erosion
from isocenter.regions.label_table import LabelTable
from isocenter.regions.thigh import divide_thigh
from isocenter.registration import segment_tissues, transfer_tissues
from isocenter.rois import place_labels
from isocenter.site_regions import divide_heart, hash_files, place_sent
from isocenter.step import In, Ins, OutDir, run_step
from isocenter.tissues import CONTRAST_TIMES, FEWEST_VOXELS, THRESHOLDS, TISSUES, Template, synthesize_contrast

log = logging.getLogger("isocenter")

#: Regions by map; without an entry they are the template's.
EVERYWHERE: dict[str, Any] = {}
#: How a brain is divided when the trial says nothing.
BRAIN: dict[str, Any] = {"segmentation": "template", "least_probability": {}}
#: The fit's layer that tells tissue from air, by name.
AMPLITUDES = ("M0", "S0")
#: The fit's layers that tell muscle from fat.
DIXON = ("PDFF", "W", "F")

#: A structural scan in which more voxels than this share are above 0 has noise in its air; tissue exceeds this share of
#: what is typically bright.
NOISY_AIR, AIR_LEVEL = 0.8, 0.2

#: A map: its name, its path, its fit's path.
Pair = tuple[str, Path, Path]


def transfer_labels(
    template: In,
    maps: Ins,
    fits: Ins,
    sent: Ins = (),
    atlas: Ins = (),
    structural: Ins = (),
    *,
    labels: OutDir,
    seed: int,
    regions: dict = EVERYWHERE,
    brain: dict = BRAIN,
) -> None:
    """Label the regions in every usable map of a run.

    Of the maps with the template's tissues the first, T1 before others, is registered to the template; a map that gives
    no T1-weighted image (Ktrans, B1, R2') takes the labels of the first one at its own place. `regions` says
    by map where its labels come from: ``{"regions": "template", "site", "heart" or "thigh", "suffix": of its series,
    "contrast": the scale of its T1-weighted-like image or None, "erosion": of each region}``; a map that it does not
    name has the template's. `brain` is the config's ``regions.brain``; `atlas` an image and its names, or nothing. With
    a `structural` scan the template is registered to it, and every map's image rigidly.
    """
    labels.mkdir(parents=True, exist_ok=True)
    # The template's probabilities stand for purity; those of a segmentation do not.
    usual = THRESHOLDS if brain["segmentation"] == "template" else dict.fromkeys(TISSUES, 0.0)
    thresholds = usual | {name: p for name, p in brain["least_probability"].items() if p is not None}
    outcome: dict[str, Any] = {"Outcome": None, "Template": "T1w.nii.gz", "Thresholds": thresholds, "Seed": seed}
    outcome |= {"Segmentation": brain["segmentation"], "Labels": {}}
    table = LabelTable(TISSUES)
    pairs = [(_name_of(path), path, fit) for path, fit in zip(maps, fits, strict=True)]
    by_source = {name: regions.get(name, {}).get("regions", "template") for name, _, _ in pairs}
    from_template = [pair for pair in pairs if by_source[pair[0]] == "template"]
    if from_template:
        try:
            _label_brain(from_template, template, atlas, structural, labels, table, outcome, regions, seed)
        except Exception as error:  # one bad run must not stop the others
            outcome["Outcome"] = asdict(Exclusion.from_error("regions", error))
    for name, path, fit in pairs:
        if by_source[name] == "template":
            continue
        by_map = outcome.setdefault("Maps", {})
        try:
            if read_exclusion(read_sidecar(path)) is None:
                erosion = Erosion.from_dict(regions[name].get("erosion"))
                if by_source[name] == "thigh":
                    found, digest = _label_thigh(path, fit, erosion)
                else:
                    found, digest = _label_sent(path, regions[name], sent, erosion)
                _write(labels, name, table.draw(found), read_volume(path).affine, outcome, erosion, digest)
            by_map[name] = None
        except Exception as error:
            by_map[name] = asdict(Exclusion.from_error("regions", error))
    write_table(labels / "labels.tsv", pd.DataFrame(table.rows, columns=["index", "name"]))
    write_json(labels / "outcome.json", outcome)


def _write(folder: Path, name: str, image, affine, outcome: dict[str, Any], erosion: Erosion, digest: str) -> None:
    write_image(folder / f"{name}_dseg.nii.gz", image, affine)
    outcome["Labels"][name] = {"Erosion": str(erosion), "TransformHash": digest}


def _name_of(path: Path) -> str:
    return path.name.removesuffix(".nii.gz").rsplit("_", 1)[-1]


# The template's tissues -------------------------------------------------------------------------------
def _label_brain(
    pairs: list[Pair],
    template: Path,
    atlas: list[Path],
    structural: list[Path],
    labels: Path,
    table: LabelTable,
    outcome: dict[str, Any],
    regions: dict[str, Any],
    seed: int,
) -> None:
    images, others = _find_images(pairs, regions)
    first = [_read_structural(path) for path in structural[:1]]
    mask = _read_brain_mask(structural[1], first[0]) if structural[1:] else None
    names = read_atlas_regions(atlas[1]) if atlas else []
    in_template = read_labels(atlas[0]) if atlas else None
    scans = [image for _, image in images]
    found = transfer_tissues([*first, *scans], _read_template(template), seed=seed, atlas=in_template, brain=mask)
    how = "mask" if mask is not None else "registration" if found.is_extracted else "none"
    log.info("The template fits with a correlation of %.2f; brain extraction: %s", found.correlation, how)
    outcome |= {
        "Correlation": round(found.correlation, 4),
        "RegisteredTo": structural[0].name if first else images[0][0],
        "BrainExtraction": how,
    }
    probabilities, hashes, parts = (kind[len(first) :] for kind in (found.probabilities, found.hashes, found.atlas))
    if outcome["Segmentation"] == "atropos":
        brains = scans if how == "none" else [_mask_brain(*one) for one in zip(scans, probabilities, strict=True)]
        probabilities = [segment_tissues(*s, p, seed=seed) for s, p in zip(brains, probabilities, strict=True)]

    def divide(number: int, erosion: Erosion) -> np.ndarray:
        own = {"thresholds": outcome["Thresholds"], "erosion": erosion, "atlas_regions": names}
        own["atlas"] = parts[number] if atlas else None
        return table.draw(divide_brain(probabilities[number], scans[number][1], **own))

    def erosion_of(name: str) -> Erosion:
        return Erosion.from_dict(regions.get(name, {}).get("erosion"))

    for number, (name, (_, affine)) in enumerate(images):
        erosion = erosion_of(name)
        _write(labels, name, divide(number, erosion), affine, outcome, erosion, hashes[number])
    for name, path in others:
        other, erosion = read_volume(path), erosion_of(name)
        placed = place_labels(divide(0, erosion), images[0][1][1], other.data.shape, other.affine)
        _write(labels, name, placed, other.affine, outcome, erosion, hashes[0])


def _find_images(
    pairs: list[Pair], regions: dict[str, Any]
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
        layers = _read_layers(fit, sidecar)
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


def _read_structural(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A T1-weighted scan as the template is one: bright tissue about 1, air 0; with its skull or without."""
    volume = read_volume(path)
    data = np.nan_to_num(volume.data)
    tissue = data > 0
    if data.any() and np.mean(tissue) > NOISY_AIR:  # the air was not set to 0: its noise must not count as tissue
        tissue = data > AIR_LEVEL * np.median(data[data > data.mean()])
    if np.count_nonzero(tissue) < FEWEST_VOXELS:
        raise RegistrationError(
            explain(
                "A structural scan holds too few voxels above 0 to find the head in it",
                where=path.name,
                expected=f"{FEWEST_VOXELS} or more, T1-weighted",
                found=np.count_nonzero(tissue),
            )
        )
    return np.where(tissue, data / np.percentile(data[tissue], 95), np.float32(0)), volume.affine


def _read_brain_mask(path: Path, scan: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Where the brain is in a structural scan, (x, y, z) booleans on its grid, from a mask that the site drew on it."""
    drawn = read_volume(path)
    mask = place_labels((np.nan_to_num(drawn.data) > 0).astype(np.uint8), drawn.affine, scan[0].shape, scan[1]) > 0
    if np.count_nonzero(mask & (scan[0] > 0)) < FEWEST_VOXELS:
        raise RegistrationError(
            explain(
                "The mask of the brain does not meet the structural scan",
                where=path.name,
                expected=f"{FEWEST_VOXELS} voxels or more above 0 where the brain is, in the scan's coordinates",
                found=np.count_nonzero(mask & (scan[0] > 0)),
                remedy="draw it on the scan itself, or take it away: the brain is then sought by registration",
            )
        )
    return mask


def _mask_brain(scan: tuple[np.ndarray, np.ndarray], probabilities: dict) -> tuple[np.ndarray, np.ndarray]:
    """A scan without what is no brain by the template's tissues."""
    return np.where(sum(probabilities.values()) > 0.5, scan[0], np.float32(0)), scan[1]


def _read_layers(fit: Path, sidecar: dict[str, Any]) -> dict[str, np.ndarray]:
    return dict(zip(sidecar["Parameters"], np.moveaxis(read_series([fit]).data, 3, 0), strict=True))


def _read_template(folder: Path) -> Template:
    image = read_volume(folder / "T1w.nii.gz")
    tissues = {name: read_volume(folder / f"{name}.nii.gz").data for name in TISSUES}
    return Template(image.data, tissues, image.affine)


# What the site sent, and what the images show -----------------------------------------------------------
def _label_sent(
    path: Path, source: dict[str, Any], sent: list[Path], erosion: Erosion
) -> tuple[dict[str, np.ndarray], str]:
    """The regions that a site sent for a series, on its map's grid and eroded; the hash of its files."""
    map_ = read_volume(path)
    grid, word = (map_.data.shape, map_.affine), source["regions"]
    found, files = place_sent(sent, source["suffix"], *grid, prefix=_prefix_of(path), source=word)
    if word == "heart":
        return divide_heart(files[-1], found, *grid, erosion), hash_files(files)
    return {name: erosion.apply(region, map_.affine) for name, region in found.items()}, hash_files(files)


def _label_thigh(path: Path, fit: Path, erosion: Erosion) -> tuple[dict[str, np.ndarray], str]:
    """Muscle and subcutaneous fat by the fit's water and fat; the hash of the labels themselves."""
    layers, affine = _read_layers(fit, read_sidecar(fit)), read_volume(path).affine
    if any(name not in layers for name in DIXON):
        raise RegistrationError(
            explain(
                "A fit gives no water and fat to find a thigh by",
                where=fit.name,
                expected=", ".join(DIXON),
                found=", ".join(layers),
                remedy="take regions template or site for this biomarker, or fit a model of fat and water",
            )
        )
    found = divide_thigh(*(layers[name] for name in DIXON), affine)
    regions = {name: erosion.apply(region, affine) for name, region in found.items()}
    return regions, hashlib.sha256(b"".join(np.packbits(region).tobytes() for region in regions.values())).hexdigest()


def _prefix_of(path: Path) -> str:
    return "_".join(part for part in path.name.split("_") if part.startswith(("sub-", "ses-", "run-")))


if __name__ == "__main__":
    run_step(transfer_labels, globals())
