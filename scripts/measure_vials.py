"""Find the vials of a phantom in its series, measure them and hold them against the reference.

Reads   the phantom's series, the map fitted to it, and the phantom's definition; where there are any, the scans of the
        geometry, the regions drawn by hand, and the trains by which the pulses of the site were chosen
Writes  vials.tsv, one row a vial with bias, flag and reason; a picture of every region; what the session's page draws
"""

import json
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from isocenter.documents import read_document
from isocenter.entities import Flag
from isocenter.errors import CalibrationError
from isocenter.figures.vials import draw_contact_sheet, draw_vials
from isocenter.io.nifti import read_layers, read_map, read_series, read_volume, write_json
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import write_table
from isocenter.phantom.library import Phantom, VialReference, load_phantom, without_reference
from isocenter.phantom.mapped_vials import find_axis, measure_mapped_vials
from isocenter.phantom.places import BY_HAND, Place, Problems, find_geometry, find_place, find_pose
from isocenter.phantom.records import record_failure, record_result
from isocenter.phantom.scanner_pulses import read_choice
from isocenter.phantom.scanner_quality import measure_scanner_quality
from isocenter.phantom.sessions import tabulate_failure, tabulate_vials
from isocenter.phantom.slice_cut import mark_cut
from isocenter.phantom.strays import mark_strays
from isocenter.phantom.vial_fits import Method
from isocenter.step import In, Ins, Out, run_step
from isocenter.vial_regions import read_drawn
from isocenter.volume import ParameterMap, Series

log = logging.getLogger("isocenter")

#: Of the scanner, from the sidecar of its series.
SCANNER = ("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber", "SoftwareVersions")
#: No option of a fit.
NOTHING: dict[str, Any] = {}


def measure_vials(
    series: Ins,
    map: In,
    stderr: In,
    flag: In,
    fit: In,
    phantom: In,
    geometry: Ins = (),
    regions: Ins = (),
    trains: Ins = (),
    *,
    vials: Out,
    picture: Out,
    record: Out,
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
    scan: str = "",
    run: str = "1",
    title: str = "",
    model: str = "",
    options: dict = NOTHING,
    inversion: str = "own",
    scanner: str = "",
) -> None:
    """Measure the vials of one phantom session.

    `quantity` is what the phantom's table calls the biomarker (T1 of a biomarker T1vfa); without it, its own name.
    `scan` names the run in `trains`. `model` and its `options` draw a curve through each vial's mean signal; without a
    model there is none. `inversion` is ``shared`` where one pulse inverts all vials, ``own`` where each is read alone.
    """
    library = load_phantom(read_document(phantom, "phantom", integer_keys=True))
    quantity = quantity or biomarker
    same = {"session": session, "date": date, "phantom": library.name, "serial": serial, "scanner": scanner}
    same |= {"biomarker": biomarker, "unit": unit}
    about = {**same, "title": library.definition["title"], "field_strength": field_strength}
    about |= {"temperature": temperature, "temperature_stderr": temperature_stderr, "scanner": {}}
    heading = f"{about['title']}, ses-{session}, {biomarker}"
    has_table = library.calibrates(quantity) or not library.shows(quantity)
    # A quantity that the phantom has no table for is shown; its vials are told apart by what their array is made for.
    order = quantity if has_table else library.order_of(quantity)
    numbers, diameter, reference, images = library.vials(order), 0.0, None, None
    try:
        drawn = read_drawn(regions)
        array = find_geometry(library, quantity, is_drawn=drawn is not None)
        diameter, heading = array.roi_diameter, f"{about['title']}, {array.array}, ses-{session}, {biomarker}"
        told = library.reference(order, serial, field_strength, temperature, temperature_stderr)
        reference = told if has_table else library.without_reference(quantity)
        about["source"] = next((one.source for one in reference if one.source), "")
        fitted, sidecar = read_map(map, stderr, flag)
        excluded = read_exclusion(sidecar)
        if excluded is None:
            images = read_series(series)
            about["scanner"] = {key: str(images.acquisition.get(key, "")) for key in SCANNER}
            choice, pulses = _read_pulses(trains, scan)
            place, problems = _find_vials(library, images, fitted, array, told, geometry, drawn, pulses)
            if place.how != BY_HAND:
                place = replace(place, locations=mark_cut(images, place.geometry, place.locations))
            known = [one for one in reference if one.vial in place.locations.vials]
            axis = find_axis(images)
            method = Method(biomarker, title or biomarker, quantity, unit, model, axis, {**options}, has_table)
            if not has_table:
                problems = [*problems, (method.title, without_reference(library.name, quantity))]
            shares = inversion == "shared"
            found = measure_mapped_vials(
                method, images, fitted, place, known, run=int(run), choice=choice, shares_inversion=shares,
                with_curves=bool(model and axis),
            )  # fmt: skip
            share = thermometer_stderr / temperature_stderr if temperature_stderr else 1.0
            table = tabulate_vials(known, found.measurements, thermometer_share=share, **same)
            table = _add_quality(table, images, fitted, read_layers(fit), place)
            if choice is not None:
                table = mark_strays(table)
            log.info("%s: %s, confidence %.2f", heading, place.how, place.locations.confidence)
            _draw(picture, images, table, place, heading)
            absent = [v for v in numbers if v not in place.locations.vials]
            if absent:  # vials that a person's file leaves out are rows all the same
                rows = tabulate_failure(absent, reference, "no region was drawn for this vial", "not_found", **same)
                records = [*table.to_dict("records"), *rows.to_dict("records")]
                table = pd.DataFrame(records, columns=list(table.columns)).sort_values("vial")
            write_table(vials, table)
            write_json(record, record_result(found, place, problems, about=about))
            return
        reason, word = excluded.reason, "failed"
    except Exception as error:  # one bad session must not stop the others
        reason = Exclusion.from_error("phantom", error).reason
        word = "not_found" if isinstance(error, CalibrationError) and images is not None else "failed"
    _draw_failure(picture, images, diameter, heading, reason)
    write_table(vials, tabulate_failure(numbers, reference, reason, word, **same))
    write_json(record, record_failure(reason, about=about))


def _read_pulses(trains: Ins, scan: str):
    """The choice of pulses that this scan's vials took part in, and where they lie; None and None without."""
    for path in trains:
        found = read_choice(json.loads(path.read_text(encoding="utf-8")), scan)
        if found is not None:
            return found[0], found[1:]
    return None, None


def _find_vials(
    library: Phantom,
    images: Series,
    fitted: ParameterMap,
    array,
    reference: list[VialReference],
    scans: Ins,
    drawn,
    pulses,
) -> tuple[Place, Problems]:
    """Where the vials lie: as when the pulses were chosen, as drawn, by the geometry scan, or in the series itself."""
    if pulses is not None:
        numbers, centers, how = pulses
        place, problems = find_place(images, None, array, reference, drawn=(numbers, centers, False))
        return replace(place, how=how), problems
    pose, problems = (None, []) if drawn is not None else find_pose(library, [read_volume(path) for path in scans])
    place, more = find_place(images, fitted, array, reference, pose=pose, drawn=drawn)
    return place, [*problems, *more]


def _add_quality(table: pd.DataFrame, images: Series, fitted: ParameterMap, layers, place: Place) -> pd.DataFrame:
    """The table with what the vials tell of the scanner."""
    where, diameter = place.locations, place.geometry.roi_diameter
    quality = measure_scanner_quality(images, fitted, layers, where.vials, where.voxels, diameter)
    table.update(quality.set_index("vial").reindex(table["vial"]).set_index(table.index))
    return table


def _spacing(images: Series) -> tuple[float, ...]:
    return tuple(float(s) for s in np.sqrt((images.affine[:3, :2] ** 2).sum(axis=0)))


def _draw(path, images: Series, table: pd.DataFrame, place: Place, title: str) -> None:
    """Draw the mean over the series with every region, from afar and from near by."""
    drawn = [
        {"vial": v, "voxel": p, "used": u}
        for v, p, u in zip(table["vial"], place.locations.voxels, table["used"], strict=True)
    ]
    draw_contact_sheet(
        path, np.nan_to_num(images.data).mean(axis=3), _spacing(images), drawn,
        diameter=place.geometry.roi_diameter, reach=0.75 * place.geometry.sphere_diameter, title=title,
    )  # fmt: skip


def _draw_failure(path, images: Series | None, diameter: float, title: str, reason: str) -> None:
    """Draw the first slice and why there are no regions; a blank picture where there is no series."""
    if images is None:
        image, spacing = np.full((2, 2), float(Flag.OK)), (1.0, 1.0)
    else:
        image, spacing = np.nan_to_num(images.data[:, :, 0]).mean(axis=2), _spacing(images)
    draw_vials(path, image, spacing, [], diameter=diameter, title=title, note=reason)


if __name__ == "__main__":
    run_step(measure_vials, globals())
