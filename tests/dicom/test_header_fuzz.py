"""Whatever the bytes of a file are, reading it ends in an image or a reason, and so does all that follows from it."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
import pytest
from dicom.small import header, write_classic, write_enhanced
from dicom.test_recognize import ECHOES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless

from isocenter.dicom.copies import find_copies
from isocenter.dicom.group import group_series
from isocenter.dicom.headers import read_image
from isocenter.dicom.index import _pack, _unpack
from isocenter.dicom.recognize import recognize_all
from isocenter.dicom.sets import form_sets
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.dicom.walk import Found

CAREFUL = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@cache
def seeds() -> dict[str, bytes]:
    """Good files of every kind."""
    with TemporaryDirectory(prefix="isocenter-fuzz-") as name:
        folder = Path(name)
        classic = write_classic(folder / "classic", header("se", ScanningSequence="SE"), ECHOES[:1], n_slices=1)[0]
        philips = header(manufacturer="Philips Medical Systems")
        multi = write_enhanced(folder / "enhanced", philips, [10.0, 20.0, 30.0], kind="SE", n_slices=1)
        packed = pydicom.dcmread(classic)
        packed.compress(RLELossless)
        packed.save_as(folder / "packed")
        return {
            "classic": classic.read_bytes(),
            "enhanced": multi.read_bytes(),
            "packed": (folder / "packed").read_bytes(),
        }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def follow(path: Path, content: bytes) -> None:
    """Read a file, keep it in the index, group, recognize and form sets of it, beside an intact twin."""
    path.write_bytes(content)
    found = Found(path, "file", len(content), 0)
    image = read_image(found)
    if image is None:
        return
    assert isinstance(image.problem, str)
    assert bool(image.problem) == bool(image.action) or not image.problem
    kept = json.loads(json.dumps(_pack(image), allow_nan=False))
    assert _unpack(found, kept) == image
    twin = replace(image, sop_uid=image.sop_uid + ".1", relative="twin")
    series, _, strays = group_series([image, twin])
    assert bool(image.problem) == (image in strays) or strays
    find_copies(series)
    recognized = recognize_all(series, list(SUFFIXES))
    form_sets([one for one in series if recognized[one.uid].suffix in SUFFIXES], recognized)


@pytest.mark.parametrize("kind", ["classic", "enhanced", "packed"])
@CAREFUL
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12))
def test_bytes_changed_anywhere(kind, changes, path):
    content = bytearray(seeds()[kind])
    for place, byte in changes:
        content[int(place * len(content))] = byte
    follow(path, bytes(content))


@pytest.mark.parametrize("kind", ["classic", "enhanced", "packed"])
@CAREFUL
@given(place=st.floats(0, 1), middle=st.binary(max_size=40), skip=st.integers(0, 60))
def test_bytes_put_in_or_taken_out(kind, place, middle, skip, path):
    content = seeds()[kind]
    at = int(place * len(content))
    follow(path, content[:at] + middle + content[at + skip :])


@CAREFUL
@given(content=st.binary(max_size=400), has_mark=st.booleans())
def test_any_bytes(content, has_mark, path):
    follow(path, (bytes(128) + b"DICM" if has_mark else b"\x08\x00\x05\x00") + content)


NUMBERS = ("EchoTime", "RepetitionTime", "FlipAngle", "InversionTime", "RescaleSlope", "MagneticFieldStrength",
           "NumberOfFrames", "SliceThickness", "AcquisitionTime", "StudyDate", "SeriesNumber")  # fmt: skip
TEXTS = ("PatientID", "Manufacturer", "ImageType", "ScanningSequence", "SequenceName", "SeriesInstanceUID",
         "SOPInstanceUID", "Modality", "DeviceSerialNumber", "SpecificCharacterSet", "MRAcquisitionType")  # fmt: skip


@CAREFUL
@given(
    keyword=st.sampled_from(NUMBERS + TEXTS),
    text=st.one_of(
        st.binary(max_size=16),
        st.floats(width=64).map(lambda number: repr(number).encode()[:16]),
        st.integers().map(lambda number: str(number).encode()[:16]),
        st.sampled_from([b"1e308", b"-1e308", b"nan", b"inf", b"1\\2\\3", b"\\", b"../..", b"\xff\xfe", b"9" * 16]),
    ),
)
def test_any_value_of_an_element(keyword, text, path):
    with pydicom.config.disable_value_validation():
        path.write_bytes(seeds()["classic"])
        dataset = pydicom.dcmread(path)
        mark = "0" * (16 if len(text) > 8 else 8)
        value = text.ljust(len(mark), b" ")[:16]
        dataset.add(pydicom.DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", mark))
        dataset.save_as(path)
    content = path.read_bytes()
    tag = pydicom.tag.Tag(pydicom.datadict.tag_for_keyword(keyword))
    at = content.index(tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + b"LO")
    right = pydicom.datadict.dictionary_VR(tag).encode()
    follow(path, content[: at + 4] + right + content[at + 6 : at + 8] + value + content[at + 8 + len(mark) :])
