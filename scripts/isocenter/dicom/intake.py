"""From a tree of DICOM to a site's BIDS root, the table of its series and the rows of what was left out."""

import datetime
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from isocenter.dataset.archived import take_datasets
from isocenter.dataset.arrive import enter_datasets, place_datasets
from isocenter.dataset.names import find_datasets
from isocenter.dicom.arrivals import Arrivals
from isocenter.dicom.bids import name_geometry, name_volumes, remove_stale, write_dataset, write_volumes
from isocenter.dicom.copies import find_copies
from isocenter.dicom.deidentify import PathTeller
from isocenter.dicom.geometry_scan import REASON, as_one_volume, is_geometry_scan
from isocenter.dicom.group import Series, group_series
from isocenter.dicom.headers import Image
from isocenter.dicom.index import IMAGE_FIELDS, digest_rule, list_files, read_files
from isocenter.dicom.people import Roster
from isocenter.dicom.privacy import UidRule
from isocenter.dicom.recognize import NOT_NEEDED, Recognition, recognize_all
from isocenter.dicom.rows import (
    STAGE,
    Intake,
    Place,
    duplicate_row,
    exclusion_row,
    find_scanner,
    scan_row,
    superseded_row,
)
from isocenter.dicom.sets import AcquisitionSet, form_sets
from isocenter.dicom.suffixes import GEOMETRY, SUFFIXES
from isocenter.entities import Disposition, Kind
from isocenter.errors import DicomError, explain
from isocenter.io.outcome import Exclusion
from isocenter.phantom.periods import coarsen_day

log = logging.getLogger("isocenter")


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
    rule = UidRule(roster.phantoms(), keep_dates=dates == "keep")
    datasets = find_datasets(source.resolve())
    files, entries = list_files(source, index, unpacked, without=[dataset.root for dataset in datasets])
    archived, files = take_datasets(files)
    images, read = read_files(files, index, rule)
    arrivals = Arrivals.from_index(index)
    arrivals.note(images)
    series, duplicates, strays = group_series(images, arrivals)
    teller = PathTeller()
    kept = {"rule": digest_rule(rule), "arrived": arrivals.known, "fields": list(IMAGE_FIELDS)}
    kept |= {"files": entries | read, "volumes": {}}
    result = Intake(index={**index, **kept}, paths=teller.paths)
    recognized = recognize_all(series, suffixes, site.get("series") or ())
    copies = find_copies(series, arrivals)
    for uid, copy in copies.items():
        recognized[uid] = copy.judge(recognized[uid])
    places = _find_places(series, recognized, roster)
    people = {place.participant for place in places.values()}
    received = place_datasets(
        [*datasets, *archived], site, roster, result, teller, needed=suffixes, people=people - {""}
    )
    if by_date:
        everything = [*places.values(), *(one.place for one in received)]
        _count_from_first_phantom(everything, is_exact=dates == "keep")
    sets = _number_runs(series, recognized, places)
    _convert_sets(sets, recognized, bids, site, prefix, index, result)
    scans = _take_geometry(series, recognized, places, copies)
    _convert_geometry(scans, recognized, bids, site, prefix, index, result)
    by_series = {one.uid: acquisition for acquisition in [*sets, *scans] for one in acquisition.series}
    name = site["site"]
    for one in series:
        row = scan_row(one, recognized[one.uid], by_series.get(one.uid), places[one.uid], site, dates)
        result.scans.append(row)
        if row["disposition"] != Disposition.USED:
            result.exclusions.append(exclusion_row(name, row, row["series_uid"], row["reason"], row["action"]))
    for one in series:
        replaced = arrivals.replaced(one.images)
        if replaced:
            row = superseded_row(one, replaced, places[one.uid], dates)
            result.scans.append(row)
            result.exclusions.append(exclusion_row(name, row, one.uid, row["reason"], row["action"]))
    for copy in duplicates:
        row = duplicate_row(copy, by_series, places, teller, dates)
        result.scans.append(row)
        result.exclusions.append(exclusion_row(name, row, copy.uid, row["reason"], row["action"]))
    for paths, image in _merge_alike(strays):
        more = f" (nor are {len(paths) - 1} more files of the same content)" if len(paths) > 1 else ""
        place = places.get(image.series_uid, Place())
        row = {"participant_id": place.participant, "session": place.session}
        result.exclusions.append(exclusion_row(name, row, teller.tell(paths[0]), image.problem + more, image.action))
    _check_still_there(source, images)  # before anything is removed for want of a source
    written = {acquisition.suffix for acquisition in sets if acquisition.files}
    written |= enter_datasets(received, bids, site, result, prefix=prefix, dates=dates)
    write_dataset(bids, name, roster.table, written)
    removed = remove_stale(bids, set(result.index["volumes"]))
    log.info(
        "%s: %d files, %d series, %d rows left out, %d files removed from BIDS",
        name, len(images), len(series), len(result.exclusions), len(removed),
    )  # fmt: skip
    return result


def _check_still_there(source: Path, images: list[Image]) -> None:
    """Raise DicomError where the folder, or files of it, went away while it was read: what was read is no whole."""
    gone = [image for image in images if not image.problem and not image.path.exists()]
    if gone or not source.is_dir():
        raise DicomError(
            explain(
                "The site's DICOM went away while it was read",
                where=str(source),
                expected=f"{len(images)} files that were there",
                found=f"{len(images) - len(gone)} of them",
                remedy="bring the folder back (is its disk there?), then isocenter run",
            )
        )


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
    series: list[Series], recognized: dict[str, Recognition], places: dict[str, Place], copies: Collection[str]
) -> list[AcquisitionSet]:
    """The 3D scans of whole phantoms, with participant and session; they belong to no run."""
    scans = []
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


def _merge_alike(strays: list[Image]) -> list[tuple[list[str], Image]]:
    """Files with a problem, those of one content together: exports put the same note beside every series."""
    groups: dict[tuple, list[Image]] = {}
    for image in strays:
        groups.setdefault((image.sha256 or image.relative, image.problem), []).append(image)
    return [([image.relative for image in group], group[0]) for group in groups.values()]
