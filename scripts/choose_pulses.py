"""Choose the pulses of a site's echo trains by the residual that they leave on its phantom.

Reads   the echo trains of all phantom sessions of the site, the phantoms' definitions; where there are any, the scans
        of the geometry and the regions drawn by hand
Writes  the choice a scanner and protocol, which the fits take; and the candidates with their residuals and the vials
        fitted with the choice, which measure_vials and the report take
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.documents import read_document
from isocenter.errors import IsocenterError
from isocenter.io.nifti import read_series, read_volume, write_json
from isocenter.io.outcome import Exclusion
from isocenter.phantom.echo_trains import known_t1, read_trains
from isocenter.phantom.library import Phantom, load_phantom
from isocenter.phantom.methods import ECHO_TRAIN
from isocenter.phantom.places import BY_HAND, find_geometry, find_place, find_pose, fit_crude
from isocenter.phantom.pulse_options import describe_pulses
from isocenter.phantom.scanner_pulses import Train, choose_for_scanners, describe_choice, record_choice
from isocenter.phantom.slice_cut import mark_cut
from isocenter.step import Ins, Out, run_step
from isocenter.vial_regions import read_drawn

log = logging.getLogger("isocenter")


def choose_pulses(
    series: Ins,
    phantoms: Ins,
    geometry: Ins = (),
    regions: Ins = (),
    *,
    pulses: Out,
    trains: Out,
    biomarker: str,
    quantity: str,
    scans: dict,
    threads: int = 1,
) -> None:
    """Choose the pulses of each scanner and protocol of one site.

    `scans` says of each echo train, by the beginning of its files' names (``sub-phantom1_ses-01_run-1``): `scanner`,
    `phantom` (the name of its definition), `serial`, `temperature` and `temperature_stderr` [degC] and
    `field_strength` [T].
    """
    library = {path.stem: path for path in phantoms}
    found, left_out = [], []
    for scan, about in scans.items():
        own = [path for path in series if path.name.startswith(f"{scan}_")]
        visit = scan.rsplit("_run-", 1)[0]
        whole = [path for path in geometry if path.name.startswith(f"{visit}_")]
        drawn = [path for path in regions if path.name.startswith(f"{scan}_")]
        try:
            known = load_phantom(read_document(library[about["phantom"]], "phantom", integer_keys=True))
            found.append(_read_train(scan, own, whole, drawn, known, quantity, about, threads))
        except Exception as error:  # one bad session must not stop the others
            reason = Exclusion.from_error("phantom", error).reason
            left_out.append({"scan": scan, "scanner": about["scanner"], "reason": reason})
    chosen = choose_for_scanners(found, threads=threads)
    without = [one for one in left_out if one["scanner"] not in {c.scanner for c in chosen}]
    refused = [{"scanner": one["scanner"], "protocol": {}, "options": None, "reason": one["reason"]} for one in without]
    for one in chosen:
        words = "none" if one.choice is None else describe_pulses(one.choice.recorded)
        log.info("%s, %s: %s", one.scanner, ", ".join(train.scan for train in one.trains), words)
    about = {"biomarker": biomarker}
    write_json(pulses, {**about, "choices": [*map(describe_choice, chosen), *refused]})
    write_json(trains, {**about, "choices": [record_choice(one) for one in chosen], "left_out": left_out})


def _read_train(
    scan: str,
    series: list[Path],
    geometry: list[Path],
    regions: list[Path],
    phantom: Phantom,
    quantity: str,
    about: dict[str, Any],
    threads: int,
) -> Train:
    """The vials of one echo train, located and read."""
    conditions = (about["serial"], about["field_strength"], about["temperature"])
    reference = phantom.reference(quantity, *conditions, about["temperature_stderr"])
    images, drawn = read_series(series), read_drawn(regions)
    array = find_geometry(phantom, quantity, is_drawn=drawn is not None)
    pose, crude = None, None
    if drawn is None:
        pose, problems = find_pose(phantom, [read_volume(path) for path in geometry])
        for what, why in problems:
            log.warning("%s: %s: %s", scan, what, why)
        crude = fit_crude(images, ECHO_TRAIN, threads)
    place, problems = find_place(images, crude, array, reference, pose=pose, drawn=drawn)
    for what, why in problems:
        log.warning("%s: %s: %s", scan, what, why)
    where = place.locations if place.how == BY_HAND else mark_cut(images, array, place.locations)
    acquisition, signals, clipped = read_trains(images, array, where)
    if not np.isfinite(np.where(clipped, np.nan, signals)).any():
        raise IsocenterError(f"Every sample of the echo train {scan} is clipped")
    return Train(
        scan, about["scanner"], place.locations.vials, place.locations.centers, place.how, acquisition,
        np.where(clipped, np.nan, signals), known_t1(phantom, *conditions, place),
    )  # fmt: skip


if __name__ == "__main__":
    run_step(choose_pulses, globals())
