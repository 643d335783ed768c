"""From BIDS datasets that arrived to rows of the site's tables, and to images of its own BIDS root.

What is taken over is the voxels, their place, and the acquisition values of the sidecars: no other part of a header
or sidecar, and no name of a file.
"""

import datetime
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from isocenter.dataset.acquisitions import Received, Volume, read_voxels, recognize_received
from isocenter.dataset.copies import Sent, describe_content, judge_copies
from isocenter.dataset.names import DESCRIPTION, Dataset, Name, is_image, parse_name
from isocenter.dataset.sessions import number_sessions, read_times
from isocenter.dicom.arrivals import DIGITS, Arrivals
from isocenter.dicom.bids import name_phase, name_volumes, place_series
from isocenter.dicom.deidentify import PathTeller, digest_path
from isocenter.dicom.false_images import check_copies, check_cuts, print_slices
from isocenter.dicom.people import Roster
from isocenter.dicom.recognition import NOT_NEEDED, Recognition, quarantine
from isocenter.dicom.rows import SCAN_COLUMNS, STAGE, Intake, Place, exclusion_row, label_scanner, tell_clock
from isocenter.dicom.sets import AcquisitionSet
from isocenter.dicom.walk import Found, walk_tree
from isocenter.entities import Disposition, Kind
from isocenter.io.outcome import Exclusion

#: Folders of a dataset that hold something other than raw images.
ASIDE = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
#: Endings of what stands beside images, and files at the top of a dataset.
BESIDE = (".json", ".tsv", ".bval", ".bvec", ".tsv.gz")
TOP = (DESCRIPTION, "README", "README.md", "README.txt", "README.rst", "CHANGES", "LICENSE", "CITATION.cff",
       ".bidsignore", "participants.tsv", "participants.json")  # fmt: skip


@dataclass
class Placed:
    """An acquisition with where it belongs; place.participant is "" where the site's table names nobody.

    replaced : contents that stood under the same names in an earlier run, and are gone
    """

    root: Path
    uid: str
    received: Received
    place: Place = field(default_factory=Place)
    run: str = ""
    time: float = 0.0
    files: tuple[str, ...] = ()
    scanner: str = ""
    advice: str = ""
    replaced: tuple[str, ...] = ()


def place_datasets(
    datasets: Iterable[Dataset],
    site: dict[str, Any],
    roster: Roster,
    result: Intake,
    teller: PathTeller,
    *,
    needed: Collection[str],
    people: Collection[str] = (),
) -> list[Placed]:
    """The acquisitions of all datasets, with participant, session and run; files that are none are rows of `result`.

    people : participants whose DICOM arrived; other parameters are those of `dicom.intake.take_in`
    """
    placed: list[Placed] = []
    for dataset in datasets:
        names, strays = _sort_files(dataset.root)
        for found in strays:
            path = dataset.locate(found.relative)
            result.exclusions.append(exclusion_row(site["site"], {}, teller.tell(path), found.problem, found.action))
        for files in _group(names):
            path = dataset.locate(files[0].relative)
            uid = f"bids-{digest_path(path)[:16]}"
            teller.paths[uid] = path
            placed.append(Placed(dataset.root, uid, recognize_received(dataset.root, files, frozenset(needed))))
    _find_people(placed, roster, people)
    copies = _find_copies(placed, result.index)
    _find_sessions([one for one in placed if one.place.participant not in people], copies, roster)
    _number_runs(placed)
    return placed


def enter_datasets(
    placed: list[Placed], bids: Path, site: dict[str, Any], result: Intake, *, prefix: str, dates: str
) -> set[str]:
    """Write what can be used, and enter a row an acquisition in `result`; the suffixes of what was written."""
    for one in placed:
        if one.received.outcome.disposition is Disposition.USED:
            _write(one, bids, site, prefix, result)
        row = _row(one, site, dates)
        result.scans.append(row)
        if row["disposition"] != Disposition.USED:
            result.exclusions.append(exclusion_row(site["site"], row, one.uid, row["reason"], row["action"]))
        if one.replaced:
            row = row | {
                "disposition": str(Disposition.IGNORED),
                "reason": f"Superseded: other images or values stood under these names before (SHA-256 "
                f"{', '.join(one.replaced)})",
                "action": "Nothing: the corrected images are used",
                "files": "",
            }
            result.scans.append(row)
            result.exclusions.append(exclusion_row(site["site"], row, one.uid, row["reason"], row["action"]))
    return {one.received.kind for one in placed if one.files}


def _sort_files(root: Path) -> tuple[list[Name], list[Found]]:
    """The images of a dataset, and what is not taken, each with its reason."""
    names, strays, aside = [], [], {}
    for found in walk_tree(root):
        top = found.relative.split("/")[0]
        name = parse_name(found.relative)
        if found.problem:
            strays.append(found)
        elif name:
            names.append(name)
        elif top in ASIDE and "/" in found.relative:
            aside[top] = replace(found, relative=top)
        elif is_image(found.relative):
            problem = "The name of the image is none of BIDS (sub-…_suffix.nii.gz in sub-…/[ses-…/]<type>/)"
            strays.append(replace(found, problem=problem, action="Give it the name that BIDS wants, or remove it"))
        elif found.relative not in TOP and not found.relative.endswith(BESIDE):
            problem = "No file of a BIDS dataset: it was not read"
            strays.append(replace(found, problem=problem, action="Nothing, if it holds no images"))
    for found in aside.values():
        problem = "A folder of a BIDS dataset that holds no raw images was not read"
        strays.append(replace(found, problem=problem, action="Nothing, unless its images belong to the trial"))
    return names, strays


def _group(names: list[Name]) -> list[list[Name]]:
    groups: dict[tuple, list[Name]] = {}
    for name in names:
        groups.setdefault(name.acquisition, []).append(name)
    return list(groups.values())


def _find_people(placed: list[Placed], roster: Roster, people: Collection[str]) -> None:
    """The participant of each; who is named in no row is quarantined where it would be used.

    So is whoever's DICOM arrived too: sessions of both could be numbered together by their dates alone.
    """
    for one in placed:
        name = one.received.names[0]
        found = roster.find(f"sub-{name.get('sub')}") or roster.find(name.get("sub"))
        if found:
            one.place.participant, one.place.kind = found
        if found and found[0] in people:
            _refuse(
                one,
                "DICOM of the same participant arrived too, and is used",
                "Send all of the participant's sessions in one of the two ways",
            )
        elif not found:
            _refuse(
                one,
                "The subject of the images stands in no row of participants.tsv",
                "Add the subject to participants.tsv (participant_id, kind, and its BIDS label as source_id), or "
                "remove the images if they are not part of the trial",
            )


def _find_copies(placed: list[Placed], index: dict[str, Any]) -> set[str]:
    """The acquisitions that repeat another or were corrected by it, by UID; `index` keeps what came when."""
    arrivals = Arrivals.from_index({"arrived": index.get("received")})
    usable = [one for one in placed if one.received.outcome.disposition is Disposition.USED]
    contents = {one.uid: describe_content(one.uid, one.root, one.received) for one in usable}
    arrivals.note(list(contents.values()))
    index["received"] = arrivals.known
    present = {content.sha256[:DIGITS] for content in contents.values()}
    judge_copies(
        [Sent(one.uid, one.place.participant, one.received, contents[one.uid]) for one in usable],
        arrivals,
    )
    for one in usable:
        gone = [digits for digits in arrivals.replaced([contents[one.uid]]) if digits not in present]
        one.replaced = tuple(gone) if one.received.outcome.disposition is Disposition.USED else ()
    return {one.uid for one in usable if one.received.outcome.disposition is Disposition.IGNORED}


def _find_sessions(placed: list[Placed], copies: Collection[str], roster: Roster) -> None:
    """Session, day and time of each whose participant is known; copies make no session of their own."""
    times: dict[tuple, dict[str, datetime.datetime]] = {}
    starts: dict[str, datetime.datetime | None] = {}
    stays = [one for one in placed if one.place.participant]
    for one in stays:
        name = one.received.names[0]
        key = (one.root, name.get("sub"), name.get("ses"))
        if key not in times:
            times[key] = read_times(one.root, name)
        known = [times[key][n.relative] for n in one.received.names if n.relative in times[key]]
        starts[one.uid] = min(known, default=None)
    visits = (
        (one.place.participant, _label(one), starts[one.uid].date() if starts[one.uid] else None)
        for one in stays
        if one.uid not in copies
    )
    numbered = number_sessions(visits, roster)
    for one in stays:
        visit = numbered.get((one.place.participant, _label(one)))
        if visit is None:
            continue
        one.place.session, one.place.day, one.place.date = visit.session, visit.day, visit.date
        start = starts[one.uid]
        if start is not None:
            one.time = start.hour * 3600.0 + start.minute * 60.0 + start.second + start.microsecond / 1e6


def _refuse(one: Placed, reason: str, action: str) -> None:
    # What would be ignored anyway stays ignored.
    if one.received.outcome.disposition is not Disposition.IGNORED:
        one.received.outcome = quarantine(one.received.kind, reason, action)


def _label(one: Placed) -> str:
    return one.received.names[0].get("ses")


def _number_runs(placed: list[Placed]) -> None:
    """Runs within a session and kind, by the runs of the dataset, quarantined ones too."""
    visits: dict[tuple, list[Placed]] = {}
    for one in placed:
        if one.place.session and one.received.outcome.disposition is not Disposition.IGNORED:
            visits.setdefault((one.place.participant, one.place.session, one.received.kind), []).append(one)
    for members in visits.values():
        for number, one in enumerate(sorted(members, key=_order), start=1):
            one.run = str(number)


def _order(one: Placed) -> tuple:
    name = one.received.names[0]
    run = name.get("run")
    return (int(run) if run.isdigit() else 0, one.time, name.acquisition)


def _write(one: Placed, bids: Path, site: dict, prefix: str, result: Intake) -> None:
    """Write the files of an acquisition unless they stand there from the same bytes."""
    received = one.received
    one.scanner, one.advice = label_scanner(str(received.sidecar.get("DeviceSerialNumber", "")), site)
    shape = AcquisitionSet(
        received.kind, [], {}, volumes={value: [] for value in received.volumes},
        phases={value: [] for value in received.phases},
        difference_of=received.difference_of, participant=one.place.participant, session=one.place.session, run=one.run,
    )  # fmt: skip
    names = name_volumes(shape, prefix)
    phases = {value: name_phase(shape, names[value]) for value in received.phases}
    try:
        entries = _place(one, bids, names, received.volumes) | _place(one, bids, phases, received.phases)
    except Exception as error:  # one acquisition that cannot be used must not stop the others
        exclusion = Exclusion.from_error(STAGE, error)
        received.outcome = quarantine(received.kind, exclusion.reason, exclusion.action)
        return
    one.files = tuple(dict.fromkeys([*names.values(), *phases.values()]))
    result.index["volumes"].update(entries)


def _place(one: Placed, bids: Path, names: dict[float, str], volumes: dict[float, Volume]) -> dict[str, Any]:
    """Write the volumes under their names; what the index keeps of each file."""
    if not volumes:
        return {}
    digests = {name.relative: _digest(one.root / name.relative) for name in {v.name for v in volumes.values()}}
    files: dict[str, list[float]] = {}
    for value in sorted(names):
        files.setdefault(names[value], []).append(value)
    told = {value: _build_sidecar(one, volume, digests) for value, volume in volumes.items()}
    voxels, affine = read_voxels(one.root, volumes)
    if volumes is one.received.volumes:  # the phase of air may well be 0
        kind = one.received.convertible
        check_copies(kind, {value: print_slices(volume) for value, volume in sorted(voxels.items())})
        check_cuts(kind, dict(sorted(voxels.items())))
    entries = {}
    for name, values in files.items():
        sidecars = [told[value] for value in values]
        size = place_series(
            bids, name, one.received.kind, values, [voxels[value] for value in values], affine, sidecars
        )
        entries[name] = {"key": "", "size": size}
    return entries


def _build_sidecar(one: Placed, volume: Volume, digests: dict[str, str]) -> dict[str, Any]:
    sidecar = {"Modality": "MR", **volume.sidecar}
    if one.time:
        sidecar["AcquisitionTimeOfDay"] = round(one.time, 3)
    return sidecar | {
        "Scanner": one.scanner,
        "SourceFormat": "BIDS",
        "SourceFiles": 1,
        "SourceSHA256": digests[volume.name.relative],
        "ConversionVerified": False,
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row(one: Placed, site: dict[str, Any], dates: str) -> dict[str, Any]:
    received, outcome = one.received, one.received.outcome
    is_used = outcome.disposition is Disposition.USED
    if is_used and not one.files:
        outcome = Recognition(received.kind, Disposition.IGNORED, "No usable volume stands in the images", NOT_NEEDED)
    field = received.sidecar.get("MagneticFieldStrength")
    is_dated = one.place.date is not None and (one.place.kind == Kind.PHANTOM or dates == "keep")
    named = {word for words in received.named.values() for word in words.split()}
    scanner = one.scanner or label_scanner(str(received.sidecar.get("DeviceSerialNumber", "")), site)[0]
    odd = "; ".join(received.odd.values())
    return dict.fromkeys(SCAN_COLUMNS, None) | {
        "series_uid": one.uid,
        "participant_id": one.place.participant,
        "kind": one.place.kind,
        "session": one.place.session,
        "run": one.run,
        "suffix": outcome.suffix,
        "disposition": str(outcome.disposition),
        "reason": f"Used, but {odd}" if is_used and odd else outcome.reason,
        "action": one.advice if is_used else outcome.action,
        "scanner": scanner,
        "field_strength": field if isinstance(field, (int, float)) else None,
        "n_files": len(received.names),
        "files": "|".join(one.files),
        "day": one.place.day,
        "date": one.place.date.isoformat() if is_dated else None,
        "time": tell_clock(one.time),
        "calibration_day": one.place.calibration_day,
        "n_named": sum(bool(words) for words in received.named.values()),
        "named": " ".join(sorted(named)),
        "warnings": " ".join(sorted(received.odd)) if is_used else "",
    }
