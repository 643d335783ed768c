"""The source DICOM again, after intake: whom it names, when its files are still those that intake read."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from isocenter.dicom.headers import Image, read_header
from isocenter.dicom.index import list_images, read_images
from isocenter.dicom.values import read_text
from isocenter.errors import DicomError, explain

BRING_BACK = "bring the site's DICOM back as it was at intake, or run intake again (isocenter run) and then export"

#: Field of an indexed image: the element that its UID stands in.
UIDS = {"sop_uid": "SOPInstanceUID", "series_uid": "SeriesInstanceUID", "frame_of_reference": "FrameOfReferenceUID"}

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


@dataclass(frozen=True)
class Originals:
    """What the source DICOM of some series says. values : by keyword, absent and empty ones left out.

    uids : the UIDs of images, series and frames of reference as the index tells them, to what the files have
    """

    values: dict[str, str]
    uids: dict[str, str]


def read_originals(
    places: Places, index: dict[str, Any], series: Collection[str], keywords: Iterable[str]
) -> Originals:
    """The values of `keywords` that the source DICOM of some series agrees upon, and its UIDs.

    places : from :func:`find_files`; index : the intake's; series : UIDs as the index tells them

    Raises
    ------
    DicomError
        When a file is missing, is not what intake read (SHA-256), or the files name different persons or studies.
    """
    found: dict[str, str] | None = None
    uids: dict[str, str] = {}
    for image in _list_recorded(index, series):
        sop, digest = image.sop_uid, image.sha256
        blob = _read(places.get(digest))
        now = "no such file" if blob is None else hashlib.sha256(blob).hexdigest()
        if now != digest:
            raise DicomError(
                explain("A source DICOM file is not what intake read", where=f"instance {sop}",
                        expected=f"SHA-256 {digest}", found=now, remedy=BRING_BACK)
            )  # fmt: skip
        header = _read_header(blob)
        values = {keyword: value for keyword in keywords if (value := read_text(header, keyword))}
        if found is not None and values != found:
            differing = sorted(key for key in {*found, *values} if found.get(key) != values.get(key))
            raise DicomError(
                explain("The source files of one map name different persons or studies", where=f"instance {sop}",
                        expected="one person and one study", found=f"other values of {', '.join(differing)}",
                        remedy="correct the headers at the site, and run intake again")
            )  # fmt: skip
        found = values
        uids |= {getattr(image, name): read_text(header, keyword) for name, keyword in UIDS.items()}
    if not found:
        raise DicomError(
            explain("The intake's index holds none of the series", found=", ".join(sorted(series)), remedy=BRING_BACK)
        )
    uids.pop("", None)
    return Originals(found, uids)


def _list_recorded(index: dict[str, Any], series: Collection[str]) -> list[Image]:
    recorded = {(i.sop_uid, i.sha256): i for i in list_images(index) if i.series_uid in series and not i.problem}
    return [recorded[key] for key in sorted(recorded)]


def _read_header(blob: bytes) -> Dataset:
    with disable_value_validation():
        return read_header(Path(), blob)[0]  # the very bytes that were hashed


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None
