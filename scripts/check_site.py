"""Give a site its onboarding verdict: protocol, geometry, completeness, headers, phantom and shim, with what to change.

Reads the site's intake, sidecars, vials, calibrations, control charts and shim figures; writes ``verdict.json``, the
certificate that the site gets, and a line of the history of its verdicts.
"""

import json
import logging
from pathlib import Path
from typing import Any

from isocenter import __version__, quality
from isocenter.dicom.suffixes import GEOMETRY, SUFFIXES
from isocenter.documents import read_document, read_rows
from isocenter.entities import Disposition
from isocenter.errors import ConfigError, SidecarError
from isocenter.io.nifti import load_image, read_sidecar, write_json
from isocenter.io.tables import read_table
from isocenter.io.verdict_history import append_verdict
from isocenter.phantom.control import CONTROL_TEXT
from isocenter.report.certificate import write_certificate
from isocenter.step import In, Ins, Out, run_step

log = logging.getLogger("isocenter")

#: What varies over the volumes of each kind of series.
AXES = {
    suffix: quality.Axis(kind.key, kind.unit, not kind.entity, kind.is_time or kind.is_gated)
    for suffix, kind in SUFFIXES.items()
}

#: Columns that stay text: "01" is not 1.
TEXT = (
    "series_uid", "participant_id", "kind", "session", "run", "suffix", "disposition", "reason", "action", "files",
    "series", "phantom", "serial", "biomarker", "flag", "used", "scanner", "named",
    "warnings",
)  # fmt: skip


def check_site(
    site: In,
    participants: In,
    scans: In,
    intake_exclusions: In,
    vials: In,
    calibrations: Ins,
    protocol: In,
    control: In,
    shims: Ins = (),
    consoles: Ins = (),
    differences: Ins = (),
    *,
    verdict: Out,
    certificate: Out,
    history: Out,
    schedule: dict,
    bids: str,
    trial: str = "",
    when: str = "",
) -> None:
    """Put every onboarding check to one site.

    consoles, differences : config/consoles.yaml and the site's differences.yaml, or none; history : grows by a line
    where the verdict is another than the last; schedule : planned sessions and runs by kind of participant; bids : the
    site's BIDS root; trial : its title; when : date and time of the verdict (UTC), without it now
    """
    description = read_document(site, "site")
    different = [one for path in differences for one in read_document(path, "differences")["differences"]]
    rules = quality.accept_differences(read_document(protocol, "protocol"), different)
    people = read_rows(participants, "participants")
    # Scans of a phantom's geometry belong to no run and to no protocol.
    series = [row for row in read_table(scans, text=TEXT).to_dict("records") if row["suffix"] != GEOMETRY]
    refused = read_table(intake_exclusions, text=TEXT).to_dict("records")
    measured = read_table(vials, text=TEXT).to_dict("records")
    curves = [json.loads(path.read_text(encoding="utf-8")) for path in calibrations]
    acquisitions = read_acquisitions(series, Path(bids))

    words = [entry for path in consoles for entry in read_document(path, "consoles")["consoles"]]
    by_scanner = name_consoles(acquisitions, description["scanners"], words)
    console = by_scanner[""]

    parameters = quality.check_parameters(acquisitions, rules, words)
    checks = [
        *quality.check_intake(series, refused, rules["intake"]),
        *quality.check_completeness(series, people, schedule, rules["completeness"]),
        *quality.check_sequences(series, rules, console),
        *quality.check_extra_series(series, rules, SUFFIXES, rules["extra"]),
        *parameters,
        *quality.check_sampling(acquisitions, AXES, rules["same_volumes"], parameters, words),
        *quality.check_geometry(acquisitions, rules["geometry"], words),
        *quality.check_headers(acquisitions, description["scanners"]),
        *quality.check_privacy(series),
        *quality.check_phantom(measured, curves, rules["phantom"], by_scanner),
        *quality.check_control(read_table(control, text=CONTROL_TEXT).to_dict("records")),
        *quality.check_shim([json.loads(path.read_text(encoding="utf-8")) for path in shims], rules["shim"], console),
    ]

    tried = tell_tried(series, acquisitions, refused, measured)
    tried["consoles"] = sorted({(one.manufacturer, one.checked) for one in by_scanner.values() if one.manufacturer})
    answer = quality.build_verdict(description, rules, checks, tried, quality.list_accepted(different))
    write_json(verdict, answer)
    earlier = append_verdict(history, answer, when=when)
    write_certificate(certificate, answer, earlier, measured, rules, trial=trial)
    log.info("%s: %s (%s)", answer["site"], answer["verdict"], answer["counts"])


def name_consoles(
    acquisitions: list[quality.Acquisition], scanners: list[dict[str, Any]], words: list[dict[str, Any]]
) -> dict[str, quality.Console]:
    """The console of each scanner by its id, as headers or site.yaml tell its make; "" where no scanner is named.

    Where all scanners of the site are of one make, that is also the console of the site.
    """
    makers = {scanner["id"]: (scanner["manufacturer"], "") for scanner in scanners}
    for one in acquisitions:
        if one.text("Manufacturer"):
            makers[one.text("Scanner")] = (one.text("Manufacturer"), one.text("SoftwareVersions"))
    found = {scanner: quality.find_console(words, *maker) for scanner, maker in makers.items()}
    makes = {console.manufacturer for console in found.values()}
    return {**found, "": next(iter(found.values())) if len(makes) == 1 else quality.find_console(words, "")}


def tell_tried(
    series: list[dict[str, Any]], acquisitions: list[quality.Acquisition], refused: list[Any], vials: list[Any]
) -> dict[str, Any]:
    """What the verdict rests on, in numbers and names."""
    found = [row["disposition"] for row in series]
    return {
        "series_received": len(series),
        "series_used": found.count(Disposition.USED),
        "series_quarantined": found.count(Disposition.QUARANTINED),
        "series_ignored": found.count(Disposition.IGNORED),
        "rows_left_out": len(refused),
        "acquisitions": len(acquisitions),
        "participants": len({one.participant_id for one in acquisitions}),
        "sessions": len({(one.participant_id, one.session) for one in acquisitions}),
        "phantom_sessions": len({(row["phantom"], row["serial"], row["session"]) for row in vials}),
        "software": sorted({one.text("SoftwareVersions") for one in acquisitions} - {""}),
        "isocenter": __version__,
    }


def read_acquisitions(rows: list[dict[str, Any]], bids: Path) -> list[quality.Acquisition]:
    """The usable acquisitions of ``scans.tsv`` with their sidecars; several series may make one acquisition."""
    files: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row["disposition"] == Disposition.USED:
            key = tuple(row[name] for name in ("participant_id", "kind", "session", "run", "suffix"))
            images = (name for name in row["files"].split("|") if name.endswith((".nii", ".nii.gz")))
            files.setdefault(key, []).extend(images)
    return [
        quality.Acquisition(
            *key,
            [_sidecar_or_nothing(bids / name) for name in dict.fromkeys(names)],
            _grid_or_none(bids / names[0]) if names else None,
        )
        for key, names in sorted(files.items())
    ]


def _grid_or_none(image: Path) -> quality.Grid | None:
    try:
        found = load_image(image)
    except ConfigError as error:
        log.warning("%s", error)  # what asks for the image's own geometry then says that it is missing
        return None
    return quality.Grid(tuple(found.shape), found.affine)


def _sidecar_or_nothing(image: Path) -> dict[str, Any]:
    try:
        return read_sidecar(image)
    except SidecarError as error:
        log.warning("%s", error)  # every check of this series then says that the value is missing
        return {}


if __name__ == "__main__":
    run_step(check_site, globals())
