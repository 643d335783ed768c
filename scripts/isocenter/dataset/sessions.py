"""When the images of a BIDS dataset were acquired, and which session of the trial that makes."""

import csv
import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isocenter.dataset.names import Name
from isocenter.dicom.people import Roster

#: No table of scans is larger [bytes].
LARGEST = 2**22


@dataclass(frozen=True)
class Visit:
    """A session as the trial numbers it. day : since the participant's first; both None where no table tells."""

    session: str
    day: int | None = None
    date: datetime.date | None = None


def read_times(root: Path, name: Name) -> dict[str, datetime.datetime]:
    """Path below `root` to acquisition time, from the ``scans.tsv`` of a file's session; what is no time is left out.

    BIDS lets dates be shifted: only their differences are used of people.
    """
    parts = [f"{key}-{name.get(key)}" for key in ("sub", "ses") if name.get(key)]
    folder = root.joinpath(*parts)
    path = folder / f"{'_'.join(parts)}_scans.tsv"
    times = {}
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST:
            return {}
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                time = _as_time(row.get("acq_time") or "")
                if time is not None:
                    times["/".join([*parts, row.get("filename") or ""])] = time
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return times


def _as_time(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        return None


def number_sessions(
    visits: Iterable[tuple[str, str, datetime.date | None]], roster: Roster
) -> dict[tuple[str, str], Visit]:
    """(participant, label of its session in the dataset) to the trial's session.

    By date where every session of a participant has one, else in the order of the labels.
    """
    people: dict[str, dict[str, datetime.date | None]] = {}
    for participant, label, date in visits:
        known = people.setdefault(participant, {})
        dates = [day for day in (known.get(label), date) if day is not None]
        known[label] = min(dates, default=None)
    numbered = {}
    for participant, dates in people.items():
        is_dated = None not in dates.values()
        order = sorted(dates, key=lambda label: (dates[label] if is_dated else 0, _natural(label)))
        first = min(dates.values()) if is_dated else None
        for number, label in enumerate(order, start=1):
            date = dates[label]
            stated = roster.sessions.get((participant, date)) if date else None
            day = (date - first).days if is_dated else None
            numbered[participant, label] = Visit(stated or f"{number:02d}", day, date)
    return numbered


def _natural(label: str) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", label)]
