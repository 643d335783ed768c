"""Siemens mosaics: all slices of a volume side by side in one image, told apart by the private CSA header.

The header's own position is that of the corner of the large image, as if its center were the slice's.
Reference: nibabel.org/nibabel/dicom/dicom_mosaic.html; the CSA format as nibabel reads it.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

with warnings.catch_warnings():  # it calls itself experimental; what it reads is held against dcm2niix afterwards
    warnings.simplefilter("ignore", UserWarning)
    from nibabel.nicom import csareader

from isocenter.dicom.values import Header, as_number, find_private, read_number, read_numbers, read_words

#: No scanner makes volumes of more slices in one mosaic.
MOST_SLICES = 400
#: How far the normal of the CSA header may be from that of the image's axes.
NORMAL_TOLERANCE = 1e-3
SEND_PRIVATE = "Send the series again with its private elements (0029,10xx), or as one image a slice"


class MosaicError(ValueError):
    """Why the slices of a mosaic cannot be told apart."""


@dataclass(frozen=True)
class Mosaic:
    """A mosaic of n_side × n_side tiles. positions : of the first pixel of each slice [mm, DICOM patient axes]."""

    n_side: int
    n_rows: int
    n_columns: int
    positions: tuple[tuple[float, ...], ...]

    def cut(self, stored: np.ndarray) -> np.ndarray:
        """(n_slices, n_rows * n_columns) array from the pixels of the whole image, slice by slice."""
        tiles = stored.reshape(self.n_side, self.n_rows, self.n_side, self.n_columns).swapaxes(1, 2)
        return np.ascontiguousarray(tiles).reshape(self.n_side**2, -1)[: len(self.positions)]


class SliceView:
    """One slice of a mosaic: the file's own elements, at the slice's place."""

    def __init__(self, header: Header, position: tuple[float, ...]):
        self._header, self._position = header, position

    def get(self, key: Any, default: Any = None) -> Any:
        """The value behind a keyword, or the element behind a private tag."""
        return self._position if key == "ImagePositionPatient" else self._header.get(key, default)


def is_mosaic(header: Header) -> bool:
    """Whether Image Type (0008,0008) says so."""
    return "MOSAIC" in read_words(header, "ImageType")


def read_mosaic(header: Header) -> Mosaic:
    """Where the slices of a mosaic stand; MosaicError when the header does not tell."""
    csa = _read_csa(header)
    number = as_number(csareader.get_n_mosaic(csa))
    count = int(number) if number is not None else 0
    if not 0 < count <= MOST_SLICES:
        raise MosaicError(f"NumberOfImagesInMosaic of its CSA header is {count}")
    public = as_number(find_private(header, 0x0019, "SIEMENS MR HEADER", 0x0A))
    if public is not None and int(public) != count:
        raise MosaicError(f"its CSA header says {count} slices, and (0019,100A) {int(public)}")
    n_side = math.isqrt(count - 1) + 1
    rows, columns = (int(read_number(header, key) or 0) for key in ("Rows", "Columns"))
    if not rows or rows % n_side or columns % n_side:
        raise MosaicError(f"an image of {columns} × {rows} holds no {n_side} × {n_side} tiles")
    return Mosaic(n_side, rows // n_side, columns // n_side, _place_slices(header, csa, n_side, count))


def _place_slices(header: Header, csa: dict, n_side: int, count: int) -> tuple[tuple[float, ...], ...]:
    corner = read_numbers(header, "ImagePositionPatient", 3)
    axes = read_numbers(header, "ImageOrientationPatient", 6)
    spacing = read_numbers(header, "PixelSpacing", 2)
    gap = read_number(header, "SpacingBetweenSlices")
    if None in (corner, axes, spacing, gap):
        raise MosaicError(
            "Image Position (0020,0032), Image Orientation (0020,0037), Pixel Spacing (0028,0030) or Spacing Between "
            "Slices (0018,0088) is missing or no place"
        )
    right, down = np.array(axes[:3]), np.array(axes[3:])
    try:
        normal = csareader.get_slice_normal(csa)
    except ValueError:
        normal = None
    across = np.cross(right, down)
    if normal is None or abs(abs(float(normal @ across)) - 1) > NORMAL_TOLERANCE:
        raise MosaicError("SliceNormalVector of its CSA header is missing, or not that of the image's axes")
    n_rows, n_columns = (int(read_number(header, key) or 0) // n_side for key in ("Rows", "Columns"))
    # Half of what the large image is wider than a slice, and half of what it is taller.
    shift = right * spacing[1] * n_columns * (n_side - 1) / 2 + down * spacing[0] * n_rows * (n_side - 1) / 2
    first = np.array(corner) + shift
    return tuple(tuple(float(v) for v in first + k * gap * normal) for k in range(count))


def _read_csa(header: Header) -> dict:
    element = find_private(header, 0x0029, "SIEMENS CSA HEADER", 0x10)
    content = getattr(element, "value", element)
    if not isinstance(content, bytes) or not content:
        raise MosaicError("its CSA header (0029,1010) is missing")
    try:
        return csareader.read(content)
    except Exception as error:  # the reader raises whatever a broken header makes it stumble over
        raise MosaicError(f"its CSA header (0029,1010) is damaged ({type(error).__name__})") from None
