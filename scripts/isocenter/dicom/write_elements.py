"""DICOM elements as bytes (explicit VR, little endian), quickly.

pydicom encodes what stands once in a series; the few short elements that change from image to image are put
together by hand, for a trial holds ten thousand images and more.
"""

import struct
from functools import cache
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import ExplicitVRLittleEndian

#: Written into each file's meta header, for lack of a scanner's own.
IMPLEMENTATION_UID = "2.25.80302813137786398554742050926734630921"
IMPLEMENTATION_NAME = "ISOCENTER_SIM"
PIXEL_DATA = 0x7FE00010
ITEM = 0xFFFEE000
#: VRs whose length takes four bytes, after two that are kept free.
LONG = frozenset({"OB", "OW", "SQ", "UN", "UT"})


def encode_element(element: DataElement) -> bytes:
    """Any element, by pydicom."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, ["iso8859"])
    return buffer.getvalue()


def encode_dataset(dataset: Dataset) -> dict[int, bytes]:
    """The elements of a data set by tag."""
    return {int(element.tag): encode_element(element) for element in dataset}


def encode_value(tag: int, vr: str, value: Any) -> bytes:
    """One short element by hand: text in any string VR, float in FL and FD, bytes in OW and SQ."""
    if vr == "FL":
        content = struct.pack("<f", value)
    elif vr == "FD":
        content = struct.pack("<d", value)
    elif isinstance(value, bytes):
        content = value
    else:
        content = ("\\".join(map(str, value)) if isinstance(value, list) else str(value)).encode("latin-1")
    if len(content) % 2:
        content += b"\0" if vr in ("UI", "OB", "OW") else b" "
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    size = struct.pack("<HI", 0, len(content)) if vr in LONG else struct.pack("<H", len(content))
    return head + size + content


def encode_item(elements: dict[int, bytes]) -> bytes:
    """One item of a sequence from its elements by tag."""
    content = b"".join(elements[tag] for tag in sorted(elements))
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


@cache
def look_up(keyword: str) -> tuple[int, str]:
    """Tag and VR of a standard element."""
    tag = tag_for_keyword(keyword)
    return tag, dictionary_VR(tag)


class Encoder:
    """Encodes the images of a series: the elements that never change only once."""

    def __init__(self, constant: Dataset):
        self._constant = encode_dataset(constant)

    def encode(self, varying: dict[str, Any], private: dict[tuple[int, str], Any], pixels: bytes) -> bytes:
        """All bytes of one file. varying : values by keyword; private : by (tag, VR); pixels : of the image."""
        elements = dict(self._constant)
        for keyword, value in varying.items():
            tag, vr = look_up(keyword)
            elements[tag] = encode_value(tag, vr, value)
        for (tag, vr), value in private.items():
            elements[tag] = encode_value(tag, vr, value)
        elements[PIXEL_DATA] = encode_value(PIXEL_DATA, "OW", pixels)
        return encode_file(varying["SOPClassUID"], varying["SOPInstanceUID"], elements)


def encode_file(sop_class: str, sop_instance: str, elements: dict[int, bytes]) -> bytes:
    """A whole file: preamble, file meta information, elements in the order of their tags."""
    meta = b"".join(
        [
            encode_value(0x00020001, "OB", b"\x00\x01"),
            encode_value(0x00020002, "UI", sop_class),
            encode_value(0x00020003, "UI", sop_instance),
            encode_value(0x00020010, "UI", ExplicitVRLittleEndian),
            encode_value(0x00020012, "UI", IMPLEMENTATION_UID),
            encode_value(0x00020013, "SH", IMPLEMENTATION_NAME),
        ]
    )
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    return b"\0" * 128 + b"DICM" + length + meta + b"".join(elements[tag] for tag in sorted(elements))
