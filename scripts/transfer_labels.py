"""Bring the template's tissues to one run's maps.

Reads   the template's folder, the run's maps and their fits (same order)
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
from isocenter.io.nifti import read_series, read_sidecar, read_volume, write_image, write_json
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import write_table
from isocenter.registration import transfer_tissues
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

#: The fit's layer that tells tissue from air, by name.
AMPLITUDES = ("M0", "S0")


def transfer_labels(template: In, maps: Ins, fits: Ins, *, labels: OutDir, seed: int) -> None:
    """Label the tissues in every usable map of a run; the first, T1 before others, is registered to the template."""
    labels.mkdir(parents=True, exist_ok=True)
    outcome: dict[str, Any] = {"Outcome": None, "Template": "T1w.nii.gz", "Thresholds": THRESHOLDS, "Seed": seed}
    try:
        images = _find_images(maps, fits)
        found = transfer_tissues([image for _, image in images], _read_template(template), seed=seed)
        log.info("The template fits with a correlation of %.2f", found.correlation)
        outcome["Correlation"] = round(found.correlation, 4)
        for (name, (_, affine)), probabilities in zip(images, found.probabilities, strict=True):
            write_image(labels / f"{name}_dseg.nii.gz", label_tissues(probabilities), affine)
    except Exception as error:  # one bad run must not stop the others
        outcome["Outcome"] = asdict(Exclusion.from_error("regions", error))
    write_table(labels / "labels.tsv", pd.DataFrame({"index": range(1, len(TISSUES) + 1), "name": TISSUES}))
    write_json(labels / "outcome.json", outcome)


def _find_images(maps: list[Path], fits: list[Path]) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Name, synthetic image and affine of each usable map, in the order of `CONTRAST_TIMES`."""
    found, reasons = {}, []
    for path, fit in zip(maps, fits, strict=True):
        name = path.name.removesuffix(".nii.gz").rsplit("_", 1)[-1]
        sidecar = read_sidecar(fit)
        exclusion = read_exclusion(sidecar)
        if exclusion is not None:
            reasons.append(f"{name}: {exclusion.reason}")
            continue
        layers = dict(zip(sidecar["Parameters"], np.moveaxis(read_series([fit]).data, 3, 0), strict=True))
        parameter = next((p for p in CONTRAST_TIMES if p in layers), None)
        amplitude = next((a for a in AMPLITUDES if a in layers), None)
        if parameter is None or amplitude is None:
            reasons.append(f"{name}: {', '.join(layers)} give no T1-weighted image")
            continue
        image = synthesize_contrast(layers[parameter], layers[amplitude], parameter)
        found[parameter] = name, (image, read_volume(path).affine)
    if not found:
        raise RegistrationError(
            explain("No map of this run can be registered to the template", found="; ".join(reasons))
        )
    return [found[parameter] for parameter in CONTRAST_TIMES if parameter in found]


def _read_template(folder: Path) -> Template:
    image = read_volume(folder / "T1w.nii.gz")
    tissues = {name: read_volume(folder / f"{name}.nii.gz").data for name in TISSUES}
    return Template(image.data, tissues, image.affine)


if __name__ == "__main__":
    run_step(transfer_labels, globals())
