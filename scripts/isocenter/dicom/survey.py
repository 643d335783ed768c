"""What a tree of DICOM holds, before there is a site: scanners, patients with their days, and what each series is.

Nothing is converted. Patient IDs and what else names a person stay in memory, for the caller to keep out of files.
"""

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.dicom.convert import Converted
from isocenter.dicom.copies import find_copies
from isocenter.dicom.deidentify import BLOT, PathTeller, Redactor
from isocenter.dicom.group import Series, group_series
from isocenter.dicom.index import read_images
from isocenter.dicom.recognize import Recognition, recognize_all
from isocenter.dicom.sets import AcquisitionSet, form_sets, slice_position
from isocenter.dicom.sidecar import build_sidecar
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.entities import Disposition

#: Words in a name or ID by which people call a phantom.
PHANTOM_WORDS = re.compile(r"phantom|phant\b|(^|[^a-z])(nist|caliber|eurospin|qa|qc)([^a-z]|$)", re.IGNORECASE)
#: Field strengths that scanners are named by [T], and how far the true one may lie off [1].
NOMINAL_FIELDS, FIELD_SLACK = (0.2, 0.35, 0.5, 0.55, 1.0, 1.2, 1.5, 3.0, 4.7, 5.0, 7.0, 9.4, 10.5, 11.7), 0.1


@dataclass(frozen=True)
class Scanner:
    """One scanner by its headers. field_strength : nominal [T], None where no header tells."""

    serial: str
    manufacturer: str
    model: str
    field_strength: float | None


@dataclass
class Person:
    """One Patient ID, kept in memory only; `dates` are those of its sessions (YYYY-MM-DD)."""

    patient_id: str
    is_phantom: bool
    dates: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Surveyed:
    """One acquisition: whose, what for, and what its headers say. shape, affine : of its stack of slices"""

    patient_id: str
    date: str
    run: str
    suffix: str
    serial: str
    sidecars: list[dict[str, Any]]
    shape: tuple[int, ...]
    affine: np.ndarray


@dataclass
class Survey:
    """What was found. rows : a row a DICOM series, redacted; identifying : every value that names somebody"""

    scanners: list[Scanner] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    acquisitions: list[Surveyed] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    identifying: set[str] = field(default_factory=set)
    n_files: int = 0
    n_no_dicom: int = 0


def survey_folders(sources: Sequence[Path], *, on_progress: Callable[[str], None] = lambda text: None) -> Survey:
    """Read the headers below every folder of `sources` and recognize all series that can be converted."""
    images = []
    with tempfile.TemporaryDirectory(prefix="isocenter-survey-") as folder:
        for number, source in enumerate(sources):
            on_progress(f"reading {source}")
            found, _ = read_images(source, {"files": {}, "volumes": {}}, Path(folder, str(number)))
            images += found
        series, duplicates, strays = group_series(images)
        recognized = recognize_all(series, tuple(SUFFIXES))
        for uid, copy in find_copies(series).items():
            recognized[uid] = copy.judge(recognized[uid])
        survey = Survey(n_files=len(images), n_no_dicom=sum(1 for image in strays if not image.series_uid))
        survey.identifying = {text for one in series for text in one.description.identifying}
        redactor, teller = Redactor(survey.identifying), PathTeller()
        mr = [one for one in series if one.description.modality == "MR" and len(one.patients) <= 1]
        survey.scanners = _list_scanners(mr, redactor)
        survey.people = _list_people(mr)
        survey.acquisitions = _list_acquisitions(mr, recognized)
        survey.rows = [_row(one, recognized[one.uid], teller) for one in sorted(series, key=lambda s: (s.time, s.uid))]
        survey.rows += [_copy_row(copy, teller) for copy in duplicates]
    return survey


def nominal_field(value: float | None) -> float | None:
    """The field strength that a scanner is named by [T]; a value far from any stays as it is."""
    if value is None or not 0 < value <= 12:
        return None
    nearest = min(NOMINAL_FIELDS, key=lambda nominal: abs(value - nominal))
    return nearest if abs(value - nearest) <= FIELD_SLACK * nearest else round(value, 3)


def _list_scanners(series: list[Series], redactor: Redactor) -> list[Scanner]:
    found: dict[str, Scanner] = {}
    for one in series:
        about = one.description
        words = about.sidecar
        known = found.get(about.serial)
        scanner = Scanner(
            about.serial,
            _keep(str(words.get("Manufacturer", "")), redactor),
            _keep(str(words.get("ManufacturersModelName", "")), redactor),
            nominal_field(about.field_strength),
        )
        if known is None or (known.field_strength is None and scanner.field_strength is not None):
            found[about.serial] = scanner
    return [found[serial] for serial in sorted(found)]


def _keep(text: str, redactor: Redactor) -> str:
    """A word of the header as it is, or nothing where it holds what names somebody."""
    return "" if BLOT in redactor.redact(text) else text


def _list_people(series: list[Series]) -> list[Person]:
    people: dict[str, Person] = {}
    for one in sorted(series, key=lambda s: (str(s.description.date), s.time, s.uid)):
        about = one.description
        words = " ".join((about.patient_id, *about.identifying, *about.names))
        person = people.setdefault(about.patient_id, Person(about.patient_id, False))
        person.is_phantom |= bool(PHANTOM_WORDS.search(words))
        date = about.date.isoformat() if about.date else ""
        if date and date not in person.dates:
            person.dates.append(date)
    return list(people.values())


def _list_acquisitions(series: list[Series], recognized: dict[str, Recognition]) -> list[Surveyed]:
    visits: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        about = one.description
        visits.setdefault((about.patient_id, about.date.isoformat() if about.date else ""), []).append(one)
    found = []
    for (patient, date), members in sorted(visits.items()):
        count: dict[str, int] = {}
        for acquisition in form_sets(members, recognized):
            recognized.update(acquisition.outcomes)
            if acquisition.volumes:
                count[acquisition.suffix] = count.get(acquisition.suffix, 0) + 1
                found.append(_describe(acquisition, patient, date, str(count[acquisition.suffix])))
    return found


def _describe(acquisition: AcquisitionSet, patient: str, date: str, run: str) -> Surveyed:
    unread = Converted(None, None, None, False)
    sidecars = [build_sidecar(acquisition, value, unread, "") for value in acquisition.volumes]
    planes = sorted(next(iter(acquisition.volumes.values())), key=slice_position)
    image, frame = planes[0].image, planes[0].frame
    rows, columns = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * frame.spacing[1], columns * frame.spacing[0]
    last = np.array(planes[-1].frame.position) - np.array(frame.position)
    thickness = acquisition.used[0].description.sidecar.get("SliceThickness", 1.0)
    affine[:3, 2] = last / (len(planes) - 1) if len(planes) > 1 else np.cross(rows, columns) * thickness
    affine[:3, 3] = frame.position
    serial = acquisition.used[0].description.serial
    shape = (image.n_columns, image.n_rows, len(planes))
    return Surveyed(patient, date, run, acquisition.suffix, serial, sidecars, shape, affine)


def _row(one: Series, known: Recognition, teller: PathTeller) -> dict[str, Any]:
    files = [*one.images, *one.damaged]
    return {
        "patient_id": one.description.patient_id,
        "suffix": known.suffix,
        "disposition": str(known.disposition),
        "what": known.reason or (SUFFIXES[known.suffix].title if known.suffix in SUFFIXES else ""),
        "serial": one.description.serial,
        "n_files": len(files),
        "where": teller.tell(files[0].relative),
    }


def _copy_row(copy: Any, teller: PathTeller) -> dict[str, Any]:
    what = f"Duplicate: {len(copy.images)} images that stand elsewhere too"
    where = teller.tell(copy.images[0].relative)
    return {"patient_id": "", "suffix": "", "disposition": str(Disposition.IGNORED), "what": what, "serial": "",
            "n_files": len(copy.images), "where": where}  # fmt: skip
