"""The rows of a site's two tables: one a series, and one whatever is not used."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from isocenter.dicom.arrivals import DIGITS, digest_contents
from isocenter.dicom.bids import name_phase
from isocenter.dicom.deidentify import PathTeller
from isocenter.dicom.group import Duplicate, Member, Series
from isocenter.dicom.headers import Image
from isocenter.dicom.recognize import NOT_NEEDED, Recognition
from isocenter.dicom.sets import AcquisitionSet
from isocenter.entities import Disposition, Kind
from isocenter.io.outcome import EXCLUSION_COLUMNS

SCAN_COLUMNS = (
    "series_uid", "participant_id", "kind", "session", "run", "suffix", "disposition", "reason", "action", "scanner",
    "field_strength", "n_files", "files", "day", "date", "time", "calibration_day",
    "n_named", "named", "warnings",
)  # fmt: skip
STAGE = "intake"


@dataclass
class Intake:
    """What a run of the intake found: rows of the two tables, and the next index.

    paths : code of a file, as the tables tell it, to its path as it came, which may name a person
    """

    scans: list[dict[str, Any]] = field(default_factory=list)
    exclusions: list[dict[str, Any]] = field(default_factory=list)
    index: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

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


def find_scanner(series: Series, site: dict[str, Any]) -> tuple[str, str]:
    """The scanner's id in site.yaml and "", or an id made from its serial number and what to do about it.

    A scanner that nobody listed is still a scanner: its data are used, under an id of their own, so that they are
    never counted as another's.
    """
    return label_scanner(series.description.serial, site)


def label_scanner(serial: str, site: dict[str, Any]) -> tuple[str, str]:
    """The same by a scanner's serial number."""
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


def scan_row(
    one: Series,
    recognition: Recognition,
    acquisition: AcquisitionSet | None,
    place: Place,
    site: dict[str, Any],
    dates: str,
) -> dict[str, Any]:
    """The row of a series in ``scans.tsv``."""
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
        "time": tell_clock(one.time),
        "calibration_day": place.calibration_day,
        **_tell_names([*one.images, *one.damaged], _warn_of(one, acquisition) if is_used else ""),
    }


def _warn_of(one: Series, acquisition: AcquisitionSet | None) -> str:
    """What makes a series that is used look as if it had not arrived whole, or were of several scans."""
    words = [word for word, number in (("gaps", one.n_missing), ("flat", one.n_flat)) if number]
    return " ".join([*words, *(acquisition.warnings if acquisition is not None else ())])


def _tell_names(images: Sequence[Image], warning: str = "") -> dict[str, Any]:
    """How many files say who a person is, by which elements, and what they, or their series, warn of."""
    return {
        "n_named": sum(bool(image.names) for image in images),
        "named": " ".join(dict.fromkeys(word for image in images for word in image.names.split())),
        "warnings": " ".join(sorted({*warning.split(), *(word for i in images for word in i.warnings.split())})),
    }


def _is_of(series: Series, members: list[Member]) -> bool:
    return any(member.image.series_uid == series.uid for member in members)


def duplicate_row(copy: Duplicate, by_series, places, teller: PathTeller, dates: str) -> dict[str, Any]:
    """The row of files that arrived more than once."""
    place = places.get(copy.uid, Place())
    acquisition = by_series.get(copy.uid)
    folder = teller.tell(copy.images[0].relative)
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
        "time": tell_clock(min(image.time for image in copy.images)),
        **_tell_names(copy.images),
    }


def superseded_row(one: Series, replaced: list[str], place: Place, dates: str) -> dict[str, Any]:
    """The row of images whose corrected ones arrived later under the same UIDs: it tells of both."""
    new = digest_contents(image.sha256[:DIGITS] for image in one.images)
    is_dated = place.date is not None and (place.kind == Kind.PHANTOM or dates == "keep")
    return dict.fromkeys(SCAN_COLUMNS, None) | {
        "series_uid": one.uid,
        "participant_id": place.participant,
        "kind": place.kind,
        "session": place.session,
        "disposition": str(Disposition.IGNORED),
        "reason": f"Superseded: {len(replaced)} images arrived again, corrected, under the same UIDs (SHA-256 over the "
        f"old ones {digest_contents(replaced)}, over the series as it is used {new})",
        "action": "Nothing: the corrected images are used",
        "n_files": len(replaced),
        "day": place.day,
        "date": place.date.isoformat() if is_dated else None,
        "time": tell_clock(one.time),
    }


def exclusion_row(site: str, row: dict[str, Any], series: str, reason: str, action: str) -> dict[str, Any]:
    """A row of ``exclusions.tsv`` about a series, or about a file by its path as it may be told."""
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


def tell_clock(seconds: float) -> str:
    """A time of day [s after midnight] as HH:MM:SS; after the next one it begins again."""
    whole = int(seconds)
    return f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
