"""Give a site its onboarding verdict: protocol, completeness, headers, phantom and shim, with what to change.

Reads the site's intake, sidecars, vials, calibrations, control charts and shim figures; writes ``verdict.json``.
"""

import json
import logging
from pathlib import Path
from typing import Any

from isocenter import quality
from isocenter.dicom.suffixes import GEOMETRY
from isocenter.documents import read_document, read_rows
from isocenter.entities import Disposition
from isocenter.errors import SidecarError
from isocenter.io.nifti import read_sidecar, write_json
from isocenter.io.tables import read_table
from isocenter.phantom.control import CONTROL_TEXT
from isocenter.step import In, Ins, Out, run_step

log = logging.getLogger("isocenter")

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
    *,
    verdict: Out,
    schedule: dict,
    bids: str,
) -> None:
    """Put every onboarding check to one site."""
    description = read_document(site, "site")
    rules = read_document(protocol, "protocol")
    people = read_rows(participants, "participants")
    # Scans of a phantom's geometry belong to no run and to no protocol.
    series = [row for row in read_table(scans, text=TEXT).to_dict("records") if row["suffix"] != GEOMETRY]
    refused = read_table(intake_exclusions, text=TEXT).to_dict("records")
    measured = read_table(vials, text=TEXT).to_dict("records")
    curves = [json.loads(path.read_text(encoding="utf-8")) for path in calibrations]
    acquisitions = read_acquisitions(series, Path(bids))

    checks = [
        *quality.check_intake(series, refused, rules["intake"]),
        *quality.check_completeness(series, people, schedule, rules["completeness"]),
        *quality.check_sequences(series, rules),
        *quality.check_parameters(acquisitions, rules),
        *quality.check_headers(acquisitions, description["scanners"]),
        *quality.check_privacy(series),
        *quality.check_phantom(measured, curves, rules["phantom"]),
        *quality.check_control(read_table(control, text=CONTROL_TEXT).to_dict("records")),
        *quality.check_shim([json.loads(path.read_text(encoding="utf-8")) for path in shims], rules["shim"]),
    ]

    answer = quality.build_verdict(description, rules, checks)
    write_json(verdict, answer)
    log.info("%s: %s (%s)", answer["site"], answer["verdict"], answer["counts"])


def read_acquisitions(rows: list[dict[str, Any]], bids: Path) -> list[quality.Acquisition]:
    """The usable acquisitions of ``scans.tsv`` with their sidecars; several series may make one acquisition."""
    files: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row["disposition"] == Disposition.USED:
            key = tuple(row[name] for name in ("participant_id", "kind", "session", "run", "suffix"))
            images = (name for name in row["files"].split("|") if name.endswith((".nii", ".nii.gz")))
            files.setdefault(key, []).extend(images)
    return [
        quality.Acquisition(*key, [_sidecar_or_nothing(bids / name) for name in dict.fromkeys(names)])
        for key, names in sorted(files.items())
    ]


def _sidecar_or_nothing(image: Path) -> dict[str, Any]:
    try:
        return read_sidecar(image)
    except SidecarError as error:
        log.warning("%s", error)  # every check of this series then says that the value is missing
        return {}


if __name__ == "__main__":
    run_step(check_site, globals())
