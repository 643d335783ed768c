"""Are the pixels of a file all there, and what do they hold: found from its bytes, without decoding an image."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from isocenter.dicom.values import Header, read_text

PIXEL_DATA = (0x7FE0, 0x0010)
FLOAT_PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
#: A length that is not known beforehand: compressed pixel data, up to a delimiter.
UNDEFINED_LENGTH = 0xFFFFFFFF
#: Pixels are decompressed in memory: no more than this [bytes], and no more times their size unless they are small.
LARGEST_UNPACKED, HIGHEST_RATIO, SMALL = 2**31, 1000, 2**26
UNPACKED = "Send it again uncompressed (Explicit VR Little Endian, 1.2.840.10008.1.2.1), from the scanner or archive"
#: Transfer syntaxes that change values always: baseline and extended JPEG, near-lossless JPEG-LS. Others may.
LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"})
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"


#: From (1, n_pixels) to (n_slices, n_pixels of one) array.
Cut = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PixelReport:
    """What was found: a `problem` in plain words or "", and per frame the stored integers' statistics.

    minimum, maximum, total, at_ceiling : tuples of n_frames integers; empty when the pixels cannot be decoded here
    """

    problem: str
    minimum: tuple[int, ...] = ()
    maximum: tuple[int, ...] = ()
    total: tuple[int, ...] = ()
    at_ceiling: tuple[int, ...] = ()
    action: str = ""


def is_lossy(header: Header, syntax: str) -> bool:
    """Whether compression changed the values of pixels, now or on an earlier way, as far as the header tells."""
    return syntax in LOSSY or read_text(header, "LossyImageCompression") == "01"


def name_syntax(syntax: str) -> str:
    """A transfer syntax by its UID and name."""
    return f"{syntax or '(none)'} ({UID(syntax).name})" if syntax else "(none)"


def stored_ceiling(bits_stored: int, is_signed: bool) -> int:
    """The largest integer that a pixel can hold."""
    return 2 ** (bits_stored - 1) - 1 if is_signed else 2**bits_stored - 1


def report_pixels(blob: bytes, offset: int, dataset: Dataset, n_frames: int, cut: Cut | None = None) -> PixelReport:
    """Hold the pixel data of the file `blob` against its header; `offset` is where the element begins.

    cut : of a mosaic, its one image (1, n_pixels) to its slices
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax and syntax.type != "Transfer Syntax":
        found = syntax if re.fullmatch("[0-9.]{1,64}", syntax) else "no UID"
        return PixelReport(f"Transfer Syntax (0002,0010) is {found}, which DICOM does not know", action=UNPACKED)
    said = f"Transfer Syntax (0002,0010) says {syntax} ({syntax.name})" if syntax else ""
    if syntax and dataset.original_encoding[0] != syntax.is_implicit_VR:
        return PixelReport(f"{said}, and the elements are written in another", action=UNPACKED)
    is_implicit = bool(syntax is None or syntax.is_implicit_VR)
    order = ">" if syntax is not None and not syntax.is_little_endian else "<"
    head = blob[offset : offset + 12]
    if len(head) >= 8 and struct.unpack(order + "HH", head[:4]) in FLOAT_PIXELS:
        return PixelReport("The pixels are floats (7FE0,0008), (7FE0,0009): computed, and no scanner's image")
    if len(head) < 8 or struct.unpack(order + "HH", head[:4]) != PIXEL_DATA:
        return PixelReport("The file is truncated: its header is there, its pixel data (7FE0,0010) is not")
    if is_implicit:
        start, length = offset + 8, struct.unpack(order + "L", head[4:8])[0]
    elif len(head) == 12:
        start, length = offset + 12, struct.unpack(order + "L", head[8:12])[0]
    else:
        return PixelReport("The file is truncated at the start of its pixel data (7FE0,0010)")
    present = len(blob) - start
    is_compressed = bool(syntax and syntax.is_encapsulated)
    if is_compressed != (length == UNDEFINED_LENGTH):
        how = "not compressed" if is_compressed else "compressed"
        return PixelReport(f"{said}, and the pixel data (7FE0,0010) is {how}", action=UNPACKED)
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        bits = int(dataset.BitsAllocated)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        bits_stored = int(dataset.get("BitsStored", bits))
    except (AttributeError, TypeError, ValueError):
        return PixelReport("The image size (Rows, Columns, Bits Allocated) is missing in the header")
    if not 0 < bits_stored <= bits:
        return PixelReport(f"Bits Stored (0028,0101) is {bits_stored}, of {bits} that are allocated")
    expected = n_frames * rows * columns * samples * bits // 8
    if is_compressed:
        if blob.rfind(SEQUENCE_DELIMITER, start) < 0:
            return PixelReport(f"The file is truncated: its compressed pixel data has no end after {present} bytes")
        if expected <= 0 or expected > LARGEST_UNPACKED or expected > max(HIGHEST_RATIO * present, SMALL):
            return PixelReport(f"{said}: {present} bytes of it cannot hold the {expected} bytes of the image's size")
        return PixelReport("")
    if min(length, present) < expected or expected <= 0:
        return PixelReport(
            f"The file is truncated: its pixel data (7FE0,0010) should hold {expected} bytes, "
            f"{max(min(length, present), 0)} are there"
        )
    if bits not in (8, 16, 32) or samples != 1:
        return PixelReport("")
    is_signed = int(dataset.get("PixelRepresentation") or 0) == 1
    kind = np.dtype(f"{order}{'i' if is_signed else 'u'}{bits // 8}")
    stored = np.frombuffer(blob, kind, n_frames * rows * columns, start).reshape(n_frames, rows * columns)
    return summarize(cut(stored) if cut else stored, stored_ceiling(bits_stored, is_signed))


def summarize(stored: np.ndarray, ceiling: int) -> PixelReport:
    """Statistics per frame. stored : (n_frames, n_pixels) integer array."""
    return PixelReport(
        "",
        tuple(stored.min(axis=1).tolist()),
        tuple(stored.max(axis=1).tolist()),
        tuple(stored.sum(axis=1, dtype=np.int64).tolist()),
        tuple(np.count_nonzero(stored >= ceiling, axis=1).tolist()),
    )
