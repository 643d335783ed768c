"""The files of a set must be of one study: a volume of another day shows another head, or the same elsewhere.

Study dates are not kept with the index, so the files are asked before they are converted.
"""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from isocenter.dicom.privacy import as_day
from isocenter.dicom.values import read_text
from isocenter.errors import DicomError, explain

#: Among the first elements of a header: nothing behind it is read.
STUDY_DATE = Tag(0x0008, 0x0020)
#: The element as little-endian transfer syntaxes write it, with or without its VR, and where to look for it [bytes].
PLAIN, HEAD = re.compile(rb"\x08\x00\x20\x00(?:DA\x08\x00|\x08\x00\x00\x00)(\d{8})"), 2048
REMEDY = "ask the site which images belong together, and send those of each study as series of their own"


def check_one_study_date(paths: Iterable[Path]) -> None:
    """Raise DicomError where the files tell more than one Study Date; how many and how far apart, never which."""
    days = Counter(day for path in sorted(set(paths)) if (day := _read_day(path)) is not None)
    if len(days) < 2:
        return
    first, *others = sorted(days)
    later = ", ".join(f"{days[day]} from {_count((day - first).days, 'day')} later" for day in others)
    raise DicomError(
        explain(
            "The images are of more than one study date",
            expected="one Study Date (0008,0020) in all images of the series",
            found=f"{len(days)} dates: {_count(days[first], 'image')} of the first, {later}",
            remedy=REMEDY,
        )
    )


def _read_day(path: Path) -> date | None:
    with path.open("rb") as file:
        known = PLAIN.search(file.read(HEAD))
        if known:  # ten times faster than reading elements one by one
            return as_day(known.group(1).decode())
        file.seek(0)
        header = read_partial(file, stop_when=_is_behind, force=True, specific_tags=[STUDY_DATE])
    return as_day(read_text(header, "StudyDate"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _is_behind(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag > STUDY_DATE
