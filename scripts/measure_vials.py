"""Find the vials of a phantom in its series, measure them and hold them against the reference.

Reads   the phantom's series, the map fitted to it, and the phantom's definition
Writes  vials.tsv, one row a vial with bias, flag and reason, and a picture of the regions
"""

import logging
from typing import Any

import numpy as np

from isocenter.documents import read_document
from isocenter.entities import Flag
from isocenter.errors import CalibrationError
from isocenter.figures.vials import draw_vials
from isocenter.io.nifti import read_layers, read_map, read_series
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import write_table
from isocenter.phantom.library import load_phantom
from isocenter.phantom.locate import locate_vials
from isocenter.phantom.measure import measure_vials as measure
from isocenter.phantom.scanner_quality import measure_scanner_quality
from isocenter.phantom.sessions import tabulate_failure, tabulate_vials
from isocenter.step import In, Ins, Out, run_step

log = logging.getLogger("isocenter")


def measure_vials(
    series: Ins,
    map: In,
    stderr: In,
    flag: In,
    fit: In,
    phantom: In,
    *,
    vials: Out,
    picture: Out,
    biomarker: str,
    unit: str,
    serial: str,
    temperature: float,
    temperature_stderr: float,
    thermometer_stderr: float,
    field_strength: float,
    session: str,
    date: str,
    quantity: str = "",
) -> None:
    """Measure the vials of one phantom session.

    `quantity` is what the phantom's table calls the biomarker (T1 of a biomarker T1vfa); without it, its own name.
    """
    library = load_phantom(read_document(phantom, "phantom", integer_keys=True))
    quantity = quantity or biomarker
    same = {"session": session, "date": date, "phantom": library.name, "serial": serial}
    same |= {"biomarker": biomarker, "unit": unit}
    title = f"{library.definition['title']}, ses-{session}, {biomarker}"
    numbers, geometry, reference, images = library.vials(quantity), None, None, None
    try:
        geometry = library.geometry(quantity)
        title = f"{library.definition['title']}, {geometry.array}, ses-{session}, {biomarker}"
        reference = library.reference(quantity, serial, field_strength, temperature, temperature_stderr)
        fitted, sidecar = read_map(map, stderr, flag)
        excluded = read_exclusion(sidecar)
        if excluded is None:
            images = read_series(series)
            locations = locate_vials(images, fitted, geometry, reference)
            measured = measure(images, fitted, geometry, locations, reference)
            share = thermometer_stderr / temperature_stderr if temperature_stderr else 1.0
            table = tabulate_vials(reference, measured, thermometer_share=share, **same)
            quality = measure_scanner_quality(
                images, fitted, read_layers(fit), locations.vials, locations.voxels, geometry.roi_diameter
            )
            table.update(quality.set_index("vial").reindex(table["vial"]).set_index(table.index))
            log.info("%s: confidence %.2f, residual %.2f mm", title, locations.confidence, locations.residual)
            drawn = [
                {"vial": v, "voxel": p, "used": u}
                for v, p, u in zip(table["vial"], locations.voxels, table["used"], strict=True)
            ]
            write_picture(picture, images, int(locations.voxels[0, 2]), drawn, geometry, title, "")
            write_table(vials, table)
            return
        reason, word = excluded.reason, "failed"
    except Exception as error:  # one bad session must not stop the others
        reason = Exclusion.from_error("phantom", error).reason
        word = "not_found" if isinstance(error, CalibrationError) and images is not None else "failed"
    write_picture(picture, images, 0, [], geometry, title, reason)
    write_table(vials, tabulate_failure(numbers, reference, reason, word, **same))


def write_picture(path, images, k: int, drawn: list[dict[str, Any]], geometry, title: str, note: str) -> None:
    """Draw the mean over the series of slice `k`; a blank picture where there is no series."""
    if images is None:
        image, spacing = np.full((2, 2), float(Flag.OK)), (1.0, 1.0)
    else:
        image = np.nan_to_num(images.data[:, :, k]).mean(axis=2)
        spacing = tuple(float(s) for s in np.sqrt((images.affine[:3, :2] ** 2).sum(axis=0)))
    diameter = 0.0 if geometry is None else geometry.roi_diameter
    draw_vials(path, image, spacing, drawn, diameter=diameter, title=title, note=note)


if __name__ == "__main__":
    run_step(measure_vials, globals())
