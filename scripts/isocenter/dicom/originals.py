"""The source DICOM again, after intake: whom it names, when its files are still those that intake read."""

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pydicom.config import disable_value_validation

from isocenter.dicom.headers import read_header
from isocenter.dicom.index import list_images, read_images
from isocenter.dicom.values import read_text
from isocenter.errors import DicomError, explain

BRING_BACK = "bring the site's DICOM back as it was at intake, or run intake again (isocenter run) and then export"


#: Where each file lies, by the SHA-256 that intake recorded: UIDs of the index may be told otherwise than in the file.
Places = dict[str, Path]


def find_files(source: Path, unpacked: Path, index: dict[str, Any]) -> Places:
    """Where the files of an intake's index lie now.

    source : folder of the site's DICOM; unpacked : where its archives are unpacked

    Raises DicomError when the folder is gone.
    """
    if not source.is_dir():
        raise DicomError(
            explain("The source DICOM is no longer there", where=str(source), expected="the folder that intake read",
                    remedy=BRING_BACK)
        )  # fmt: skip
    return {image.sha256: image.path for image in read_images(source, index, unpacked)[0]}


def read_identities(
    places: Places, index: dict[str, Any], series: Collection[str], keywords: Iterable[str]
) -> dict[str, str]:
    """The values of `keywords` that the source DICOM of some series agrees upon; absent and empty ones left out.

    places : from :func:`find_files`; index : the intake's; series : UIDs

    Raises
    ------
    DicomError
        When a file is missing, is not what intake read (SHA-256), or the files name different persons or studies.
    """
    found: dict[str, str] | None = None
    for sop, digest in _list_recorded(index, series):
        blob = _read(places.get(digest))
        now = "no such file" if blob is None else hashlib.sha256(blob).hexdigest()
        if now != digest:
            raise DicomError(
                explain("A source DICOM file is not what intake read", where=f"instance {sop}",
                        expected=f"SHA-256 {digest}", found=now, remedy=BRING_BACK)
            )  # fmt: skip
        values = _read_values(blob, keywords)
        if found is not None and values != found:
            differing = sorted(key for key in {*found, *values} if found.get(key) != values.get(key))
            raise DicomError(
                explain("The source files of one map name different persons or studies", where=f"instance {sop}",
                        expected="one person and one study", found=f"other values of {', '.join(differing)}",
                        remedy="correct the headers at the site, and run intake again")
            )  # fmt: skip
        found = values
    if not found:
        raise DicomError(
            explain("The intake's index holds none of the series", found=", ".join(sorted(series)), remedy=BRING_BACK)
        )
    return found


def _list_recorded(index: dict[str, Any], series: Collection[str]) -> list[tuple[str, str]]:
    return sorted({(i.sop_uid, i.sha256) for i in list_images(index) if i.series_uid in series and not i.problem})


def _read_values(blob: bytes, keywords: Iterable[str]) -> dict[str, str]:
    with disable_value_validation():
        header, _ = read_header(Path(), blob)  # the very bytes that were hashed
        values = {keyword: read_text(header, keyword) for keyword in keywords}
    return {keyword: value for keyword, value in values.items() if value}


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None
