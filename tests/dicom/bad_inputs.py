"""Good DICOM made bad, one way a case: what the tests of the intake hold every row and file against.

Each case is a function that spoils a site whose folder ``bad`` holds a multi-echo series of eight files, beside the
good one in ``good``. Its decorator says what becomes of it: words of the reason, and whether the series is used.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydicom
from dicom.small import header, write_classic
from dicom.small_site import Site
from dicom.test_recognize import ECHOES
from pydicom.config import disable_value_validation

#: Elements that hold what a person typed.
TEXT_ELEMENTS = (
    "PatientName", "PatientAddress", "PatientComments", "ReferringPhysicianName", "OperatorsName", "InstitutionName",
    "StationName", "AccessionNumber", "StudyDescription", "SeriesDescription", "ProtocolName", "SequenceName",
    "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "ReceiveCoilName",
    "TransmitCoilName", "ScanOptions", "PatientPosition", "StudyID",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One bad input. reason : pattern of the row that must be there, "" for none; is_used : whether the series is."""

    spoil: Callable[[Site, list[Path]], None]
    reason: str
    is_used: bool = False


CASES: dict[str, Case] = {}


def case(reason: str, *, is_used: bool = False):
    """Enter a function among the cases."""

    def enter(spoil):
        CASES[spoil.__name__] = Case(spoil, reason, is_used)
        return spoil

    return enter


def enter_alike(pattern: str, reason: str, values: dict[str, dict], *, is_used: bool = False, first: bool = False):
    """Cases that set elements of every file of the series, or of the `first` alone."""
    for name, elements in values.items():

        def spoil(site, paths, elements=elements):
            for path in paths[:1] if first else paths:
                set_elements(path, **elements)

        CASES[pattern.format(name)] = Case(spoil, reason, is_used)


def write_bad(site: Site, *, n_slices: int = 2, **elements) -> list[Path]:
    """The series that a case spoils."""
    base = header("bad", time="120000", **{"ScanningSequence": "SE", **elements})
    return write_classic(site.dicom / "bad", base, ECHOES, n_slices=n_slices)


def set_elements(path: Path, **elements) -> None:
    """Set elements of a file, absent ones by None, whatever the standard says of their values."""
    with disable_value_validation():
        dataset = pydicom.dcmread(path)
        for key, value in elements.items():
            if value is None:
                delattr(dataset, key)
            else:
                setattr(dataset, key, value)
        dataset.save_as(path)


def swap_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def claim_syntax(path: Path, syntax: str) -> None:
    """Another transfer syntax in the file's meta header; not a byte of the data set changes."""
    content = path.read_bytes()
    at = content.index(b"\x02\x00\x10\x00UI")
    length = struct.unpack("<H", content[at + 6 : at + 8])[0]
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    size = struct.unpack("<L", content[140:144])[0] + len(text) - length
    new = content[:140] + struct.pack("<L", size) + content[144 : at + 6] + struct.pack("<H", len(text)) + text
    path.write_bytes(new + content[at + 8 + length :])
