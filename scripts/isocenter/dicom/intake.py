"""From a tree of DICOM to a site's BIDS root, the table of its series and the rows of what was left out."""

import datetime
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from isocenter.dicom.bids import name_geometry, name_phase, name_volumes, remove_stale, write_dataset, write_volumes
from isocenter.dicom.deidentify import Redactor
from isocenter.dicom.geometry_scan import REASON, as_one_volume, is_geometry_scan
from isocenter.dicom.group import Duplicate, Member, Series, find_copies, group_series
from isocenter.dicom.headers import Image
from isocenter.dicom.index import read_images
from isocenter.dicom.people import Roster
from isocenter.dicom.recognize import NOT_NEEDED, Recognition, recognize_all
from isocenter.dicom.sets import AcquisitionSet, form_sets
from isocenter.dicom.suffixes import GEOMETRY, SUFFIXES
from isocenter.entities import Disposition, Kind
from isocenter.io.outcome import EXCLUSION_COLUMNS, Exclusion
from isocenter.phantom.periods import coarsen_day

log = logging.getLogger("isocenter")

SCAN_COLUMNS = (
    "series_uid", "participant_id", "kind", "session", "run", "suffix", "disposition", "reason", "action", "scanner",
    "field_strength", "n_files", "files", "day", "date", "time", "calibration_day",
)  # fmt: skip
STAGE = "intake"


@dataclass
class Intake:
    """What a run of the intake found: rows of the two tables, and the next index."""

    scans: list[dict[str, Any]] = field(default_factory=list)
    exclusions: list[dict[str, Any]] = field(default_factory=list)
    index: dict[str, Any] = field(default_factory=dict)

    def scans_table(self) -> pd.DataFrame:
        """A row per series, in the order of participant, session, time."""
        table = pd.DataFrame(self.scans, columns=list(SCAN_COLUMNS))
        return table.sort_values(
            ["participant_id", "session", "time", "series_uid", "disposition"], kind="stable", ignore_index=True
        )

    def exclusions_table(self) -> pd.DataFrame:
        """A row per series or file that is not used."""
        table = pd.DataFrame(self.exclusions, columns=list(EXCLUSION_COLUMNS))
        return table.sort_values(["participant_id", "session", "series", "reason"], kind="stable", ignore_index=True)


@dataclass
class Place:
    """Where a series belongs: participant, kind, session and day, as far as they are known."""

    participant: str = ""
    kind: str = ""
    session: str = ""
    day: int | None = None
    calibration_day: float | None = None
    date: datetime.date | None = None


def take_in(
    source: Path,
    unpacked: Path,
    bids: Path,
    site: dict[str, Any],
    roster: Roster,
    index: dict[str, Any],
    *,
    prefix: str,
    dates: str,
    suffixes: Collection[str] = tuple(SUFFIXES),
    by_date: bool = False,
) -> Intake:
    """Take in everything below `source`; `index` is that of the last run, empty the first time;
    archives are unpacked below `unpacked`.

    `prefix` is the layout's pattern of a run's files below the BIDS root, with {participant}, {session}, {folder} and
    {run}; `suffixes` are the series to convert, and any other is ignored. With `by_date` each row tells the
    days since the site's first phantom session, which a calibration by date needs.
    """
    images, entries = read_images(source, index, unpacked)
    series, duplicates, strays = group_series(images)
    redactor = Redactor(
        {text for one in series for text in _identifying(one)} | roster.identifiers(), keep=roster.labels()
    )
    result = Intake(index={**index, "files": entries, "volumes": {}})
    recognized = recognize_all(series, suffixes, site.get("series") or ())
    for uid, kept in find_copies(series).items():
        recognized[uid] = Recognition(
            recognized[uid].suffix,
            Disposition.IGNORED,
            f"A second copy of the images of series {kept}, under new UIDs",
            "Nothing: the first copy is used",
        )
    places = _find_places(series, recognized, roster)
    if by_date:
        _count_from_first_phantom(list(places.values()), is_exact=dates == "keep")
    sets = _number_runs(series, recognized, places)
    _convert_sets(sets, recognized, bids, site, prefix, index, result)
    scans = _take_geometry(series, recognized, places)
    _convert_geometry(scans, recognized, bids, site, prefix, index, result)
    by_series = {one.uid: acquisition for acquisition in [*sets, *scans] for one in acquisition.series}
    name = site["site"]
    for one in series:
        row = _scan_row(one, recognized[one.uid], by_series.get(one.uid), places[one.uid], site, dates)
        result.scans.append(row)
        if row["disposition"] != Disposition.USED:
            result.exclusions.append(_exclusion_row(name, row, row["series_uid"], row["reason"], row["action"]))
    for copy in duplicates:
        row = _duplicate_row(copy, by_series, places, redactor, dates)
        result.scans.append(row)
        result.exclusions.append(_exclusion_row(name, row, copy.uid, row["reason"], row["action"]))
    for paths, image in _merge_alike(strays):
        more = f" (nor are {len(paths) - 1} more files of the same content)" if len(paths) > 1 else ""
        place = places.get(image.series_uid, Place())
        row = {"participant_id": place.participant, "session": place.session}
        result.exclusions.append(
            _exclusion_row(name, row, redactor.redact_path(paths[0]), image.problem + more, image.action)
        )
    write_dataset(bids, name, roster.table, {acquisition.suffix for acquisition in sets if acquisition.files})
    removed = remove_stale(bids, set(result.index["volumes"]))
    log.info(
        "%s: %d files, %d series, %d rows left out, %d files removed from BIDS",
        name, len(images), len(series), len(result.exclusions), len(removed),
    )  # fmt: skip
    return result


def _find_places(series: list[Series], recognized: dict[str, Recognition], roster: Roster) -> dict[str, Place]:
    """Participant and session per series; an unknown patient or an absent date quarantines what would be used."""
    places: dict[str, Place] = {}
    for one in series:
        about, place = one.description, Place(date=one.description.date)
        places[one.uid] = place
        if len(one.patients) > 1:
            continue
        found = roster.find(about.patient_id)
        if found is None:
            _quarantine(
                recognized,
                one.uid,
                "The Patient ID (0010,0020) of the series stands in no row of participants.tsv",
                "Add the patient to participants.tsv (participant_id, kind, and the Patient ID as source_id), or "
                "remove the series if it is not part of the trial",
            )
            continue
        place.participant, place.kind = found
        if about.date is None:
            _quarantine(
                recognized,
                one.uid,
                "Study Date (0008,0020) is missing: the session cannot be told",
                "Send the series again with its study date",
            )
    first: dict[str, datetime.date] = {}
    days: dict[str, set[datetime.date]] = {}
    for place in places.values():
        if place.participant and place.date:
            days.setdefault(place.participant, set()).add(place.date)
    for participant, seen in days.items():
        first[participant] = min(seen)
    for place in places.values():
        if place.participant and place.date:
            place.session = roster.session(place.participant, place.date, sorted(days[place.participant]))
            place.day = (place.date - first[place.participant]).days
    return places


def _count_from_first_phantom(places: list[Place], *, is_exact: bool) -> None:
    """The day by which each series is calibrated: a phantom's exactly, a person's to a period of some weeks.

    A person's first session is told to its period, and later ones keep their distance from it: periods of several
    sessions would together narrow the date down.
    """
    first = min((p.date for p in places if p.kind == Kind.PHANTOM and p.date), default=None)
    for place in places:
        if first and place.date:
            day, since = (place.date - first).days, place.day or 0
            is_told = is_exact or place.kind == Kind.PHANTOM
            place.calibration_day = float(day) if is_told else coarsen_day(day - since) + since


def _quarantine(recognized: dict[str, Recognition], uid: str, reason: str, action: str) -> None:
    # What would be ignored anyway stays ignored: nobody has to act on a localizer.
    if recognized[uid].disposition is not Disposition.IGNORED:
        recognized[uid] = Recognition(recognized[uid].suffix, Disposition.QUARANTINED, reason, action)


def _number_runs(
    series: list[Series], recognized: dict[str, Recognition], places: dict[str, Place]
) -> list[AcquisitionSet]:
    """Acquisition sets with participant, session and run: numbered by time within suffix, quarantined ones too.

    A quarantined set keeps its number, so that the series of one run still meet.
    """
    visits: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        place = places[one.uid]
        is_convertible = recognized[one.uid].suffix in SUFFIXES
        if is_convertible and recognized[one.uid].disposition is not Disposition.IGNORED and place.session:
            visits.setdefault((place.participant, place.session), []).append(one)
    sets = []
    for (participant, session), members in sorted(visits.items()):
        count: dict[str, int] = {}
        for acquisition in form_sets(members, recognized):
            acquisition.participant, acquisition.session = participant, session
            if any(o.disposition is not Disposition.IGNORED for o in acquisition.outcomes.values()):
                count[acquisition.suffix] = count.get(acquisition.suffix, 0) + 1
                acquisition.run = str(count[acquisition.suffix])
            sets.append(acquisition)
            recognized.update(acquisition.outcomes)
    return sets


def _convert_sets(sets, recognized, bids, site, prefix, index, result) -> None:
    for acquisition in sets:
        if not acquisition.volumes:
            continue
        scanner, _ = find_scanner(acquisition.used[0], site)
        try:
            names = name_volumes(acquisition, prefix)
            stated = site.get("readouts") or ()
            entries = write_volumes(acquisition, names, bids, scanner, index["volumes"], stated)
        except Exception as error:  # one series that cannot be converted must not stop the others
            exclusion = Exclusion.from_error(STAGE, error)
            acquisition.reject(Disposition.QUARANTINED, exclusion.reason, exclusion.action)
            recognized.update(acquisition.outcomes)
            continue
        acquisition.files = names
        result.index["volumes"].update(entries)


def _take_geometry(
    series: list[Series], recognized: dict[str, Recognition], places: dict[str, Place]
) -> list[AcquisitionSet]:
    """The 3D scans of whole phantoms, with participant and session; they belong to no run."""
    copies, scans = find_copies(series), []
    for one in sorted(series, key=lambda s: (s.time, s.uid)):
        place = places[one.uid]
        is_of_phantom = place.kind == Kind.PHANTOM and place.session and one.uid not in copies
        if is_of_phantom and is_geometry_scan(one, recognized[one.uid]):
            scan = as_one_volume(one)
            scan.participant, scan.session, scan.note = place.participant, place.session, REASON
            scans.append(scan)
    return scans


def _convert_geometry(scans, recognized, bids, site, prefix, index, result) -> None:
    count: dict[tuple[str, str], int] = {}
    for scan in scans:
        one = scan.series[0]
        visit = (scan.participant, scan.session)
        count[visit] = count.get(visit, 0) + 1
        scanner, _ = find_scanner(one, site)
        try:
            names = name_geometry(scan, prefix, count[visit])
            entries = write_volumes(scan, names, bids, scanner, index["volumes"])
        except Exception as error:  # the vials are then sought in the series to be measured
            reason = Exclusion.from_error(STAGE, error).reason
            recognized[one.uid] = Recognition("", Disposition.IGNORED, f"{REASON}; not converted: {reason}", NOT_NEEDED)
            continue
        scan.files = names
        recognized[one.uid] = Recognition(GEOMETRY, Disposition.USED, REASON)
        result.index["volumes"].update(entries)


def find_scanner(series: Series, site: dict[str, Any]) -> tuple[str, str]:
    """The scanner's id in site.yaml and "", or an id made from its serial number and what to do about it.

    A scanner that nobody listed is still a scanner: its data are used, under an id of their own, so that they are
    never counted as another's.
    """
    serial = series.description.serial
    for scanner in site.get("scanners") or []:
        if str(scanner.get("serial", "")).strip() == serial and serial:
            return str(scanner["id"]), ""
    label = "unlisted" + "".join(character for character in serial if character.isalnum())
    return label, (
        f"Used, but the scanner with serial number {serial or '(none)'} (0018,1000) is not in site.yaml: add it there"
    )


def _field_strength(series: Series, site: dict[str, Any]) -> float | None:
    if series.description.field_strength is not None:
        return series.description.field_strength
    for scanner in site.get("scanners") or []:
        if str(scanner.get("serial", "")).strip() == series.description.serial:
            return scanner.get("field_strength")
    return None


def _scan_row(
    one: Series,
    recognition: Recognition,
    acquisition: AcquisitionSet | None,
    place: Place,
    site: dict[str, Any],
    dates: str,
) -> dict[str, Any]:
    files: list[str] = []
    reason, action = recognition.reason, recognition.action
    scanner, advice = find_scanner(one, site)
    is_used = recognition.disposition is Disposition.USED
    if is_used and acquisition is not None and acquisition.volumes:
        own = [acquisition.files[value] for value, m in acquisition.volumes.items() if _is_of(one, m)]
        phases = acquisition.phases.items()
        own += [name_phase(acquisition, acquisition.files[value]) for value, m in phases if _is_of(one, m)]
        files = list(dict.fromkeys(own))
        reason, action = acquisition.note, advice
    elif is_used:  # recognized, yet no set took it: say so rather than lose it
        recognition = Recognition(
            recognition.suffix, Disposition.IGNORED, "No usable volume stands in the series", NOT_NEEDED
        )
        reason, action = recognition.reason, recognition.action
    is_dated = place.date is not None and (place.kind == Kind.PHANTOM or dates == "keep")
    run = acquisition.run if acquisition is not None and recognition.disposition is not Disposition.IGNORED else ""
    return {
        "series_uid": one.uid,
        "participant_id": place.participant,
        "kind": place.kind,
        "session": place.session,
        "run": run,
        "suffix": recognition.suffix,
        "disposition": str(recognition.disposition),
        "reason": reason,
        "action": action,
        "scanner": scanner,
        "field_strength": _field_strength(one, site),
        "n_files": len(one.images) + len(one.damaged),
        "files": "|".join(files),
        "day": place.day,
        "date": place.date.isoformat() if is_dated else None,
        "time": _clock(one.time),
        "calibration_day": place.calibration_day,
    }


def _is_of(series: Series, members: list[Member]) -> bool:
    return any(member.image.series_uid == series.uid for member in members)


def _duplicate_row(copy: Duplicate, by_series, places, redactor: Redactor, dates: str) -> dict[str, Any]:
    place = places.get(copy.uid, Place())
    acquisition = by_series.get(copy.uid)
    folder = redactor.redact_path(copy.images[0].relative)
    is_dated = place.date is not None and (place.kind == Kind.PHANTOM or dates == "keep")
    return dict.fromkeys(SCAN_COLUMNS, None) | {
        "series_uid": copy.uid,
        "participant_id": place.participant,
        "kind": place.kind,
        "session": place.session,
        "run": acquisition.run if acquisition else "",
        "suffix": acquisition.suffix if acquisition else "",
        "disposition": str(Disposition.IGNORED),
        "reason": f"Duplicate upload: {len(copy.images)} images arrived before (from {folder} on)",
        "action": "Nothing: the first copy is used",
        "n_files": len(copy.images),
        "day": place.day,
        "date": place.date.isoformat() if is_dated else None,
        "time": _clock(min(image.time for image in copy.images)),
    }


def _exclusion_row(site: str, row: dict[str, Any], series: str, reason: str, action: str) -> dict[str, Any]:
    return {
        "site": site,
        "participant_id": row.get("participant_id") or "",
        "session": row.get("session") or "",
        "run": row.get("run") or "",
        "biomarker": "",
        "series": series,
        "stage": STAGE,
        "reason": reason,
        "action": action,
    }


def _identifying(one: Series) -> set[str]:
    date = one.description.date
    return {*one.description.identifying, *([date.strftime("%Y%m%d"), date.isoformat()] if date else [])}


def _merge_alike(strays: list[Image]) -> list[tuple[list[str], Image]]:
    """Files with a problem, those of one content together: exports put the same note beside every series."""
    groups: dict[tuple, list[Image]] = {}
    for image in strays:
        groups.setdefault((image.sha256 or image.relative, image.problem), []).append(image)
    return [([image.relative for image in group], group[0]) for group in groups.values()]


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
