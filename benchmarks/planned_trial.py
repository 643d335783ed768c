"""A trial as it stands right after intake, without an image in it: what a plan of its jobs is made from.

Sites, people, visits and series are those of `isocenter simulate`; config is the repository's. Every raw file of which
a job is planned is there and empty, and so is every DICOM file: planning looks at names, sizes and times only.
"""

import csv
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isocenter import layout
from isocenter.dicom.rows import SCAN_COLUMNS, tell_clock
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.entities import EXCLUSION_COLUMNS, Disposition, Kind
from isocenter.simulation.design import Acquisition, TrialDesign, design_trial, session_day
from isocenter.simulation.settings import SimulationSettings
from isocenter.simulation.site_files import format_participants, format_site_yaml

REPOSITORY = Path(__file__).resolve().parent.parent
#: Slices of a series: a DICOM file a slice and value.
N_SLICES = 12
#: A moment before everything that a run would make [s since 1970].
LONG_AGO = 1_750_000_000


@dataclass(frozen=True)
class Size:
    """How large a trial is; people have two runs in their first session and one in each later one."""

    sites: int
    participants: int
    sessions: int

    def __str__(self) -> str:
        return f"{self.sites} × {self.participants} × {self.sessions}"


def write_planned_trial(directory: Path, size: Size, *, with_dicom: bool = True) -> int:
    """Write a trial that stands after intake; returns how many files it has."""
    settings = SimulationSettings(
        sites=size.sites, participants=size.participants, sessions=size.sessions, bad_things=False, spike=False
    )
    design = design_trial(settings)
    shutil.copytree(REPOSITORY / "config", directory / "config")
    by_site: dict[str, list[Acquisition]] = {}
    for acquisition in design.acquisitions:
        by_site.setdefault(acquisition.site.name, []).append(acquisition)
    return sum(_write_site(directory, design, site, by_site[site.name], with_dicom) for site in design.sites)


def _write_site(directory: Path, design: TrialDesign, site, acquisitions: list[Acquisition], with_dicom: bool) -> int:
    folder = directory / layout.fill(layout.SITE_FOLDER, site=site.name)
    folder.mkdir(parents=True)
    (folder / "site.yaml").write_text(format_site_yaml(site, design.settings), encoding="utf-8")
    (folder / "participants.tsv").write_text(format_participants(site, design), encoding="utf-8")
    (folder / "dicom").mkdir()
    for path in folder.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    bids = directory / layout.fill(layout.BIDS, site=site.name)
    rows, n_files = [], 0
    for acquisition in acquisitions:
        names = _name_volumes(acquisition, design.settings)
        for name in names:
            _touch(bids / name)
        series = list(_split(acquisition, names))
        for number, part in enumerate(series, start=acquisition.number):
            rows.append(_scan_row(acquisition, number, part))
        n_images = N_SLICES * len(names) if with_dicom else 0
        place = folder / "dicom" / acquisition.patient_id / acquisition.session / f"{acquisition.number:03d}"
        for image in range(n_images):
            _touch(place / f"{image:04d}.dcm")
        n_files += len(names) + n_images
    rows.sort(key=lambda row: (row["participant_id"], row["session"], row["time"], row["series_uid"]))
    _write_table(directory / layout.fill(layout.SCANS, site=site.name), SCAN_COLUMNS, rows)
    _write_table(directory / layout.fill(layout.INTAKE_EXCLUSIONS, site=site.name), EXCLUSION_COLUMNS, [])
    (directory / layout.fill(layout.INTAKE_INDEX, site=site.name)).write_text("{}", encoding="utf-8")
    return n_files


def _name_volumes(acquisition: Acquisition, settings: SimulationSettings) -> list[str]:
    count = len(settings.inversion_times) if acquisition.suffix == "IRT1" else settings.echoes
    entities = {"participant": acquisition.participant, "session": acquisition.session, "run": acquisition.run}
    start = f"{layout.SESSION_FOLDER}/anat/{layout.PREFIX}".format(**entities)
    entity = SUFFIXES[acquisition.suffix].entity
    return [f"{start}_{entity}-{number}_{acquisition.suffix}.nii.gz" for number in range(1, count + 1)]


def _split(acquisition: Acquisition, names: list[str]) -> Iterator[list[str]]:
    """The series of an acquisition: some scanners send one an inversion time."""
    if acquisition.suffix == "IRT1" and acquisition.site.dialect == "siemens":
        yield from ([name] for name in names)
    else:
        yield names


def _scan_row(acquisition: Acquisition, number: int, names: list[str]) -> dict[str, object]:
    site, is_phantom = acquisition.site, acquisition.kind == Kind.PHANTOM
    day = (acquisition.day - session_day(site, 1)).days
    told = {
        "series_uid": ".".join(("2.25", *(str(ord(c)) for c in "".join(acquisition.key)[-20:]), str(number))),
        "participant_id": acquisition.participant, "kind": acquisition.kind, "session": acquisition.session,
        "run": acquisition.run, "suffix": acquisition.suffix, "disposition": str(Disposition.USED),
        "scanner": f"{site.vendor.lower()}{site.index + 1}", "field_strength": 3.0,
        "n_files": N_SLICES * len(names), "files": "|".join(names), "day": day,
        "date": acquisition.day.isoformat() if is_phantom else "n/a",
        "time": tell_clock(acquisition.start + number), "n_named": 0,
    }  # fmt: skip
    return dict.fromkeys(SCAN_COLUMNS, "n/a") | told


def _write_table(path: Path, columns: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _touch(path: Path) -> None:
    try:
        path.touch()
    except FileNotFoundError:
        path.parent.mkdir(parents=True)
        path.touch()
    os.utime(path, (LONG_AGO, LONG_AGO))
