"""Good DICOM made bad, one way a case: what the tests of the intake hold every row and file against.

Each case is a function that spoils a site whose folder ``bad`` holds a multi-echo series of eight files, beside the
good one in ``good``. Its decorator says what becomes of it: words of the reason, and whether the series is used.
"""

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from dicom.small import N_COLUMNS, N_ROWS, header, save, write_classic, write_enhanced
from dicom.small_site import Site
from dicom.test_recognize import ECHOES
from pydicom.config import disable_value_validation
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

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


# Bytes ----------------------------------------------------------------------------------------------
@case("should hold 160 bytes, 110 are there")
def pixels_cut_off(site, paths):
    paths[3].write_bytes(paths[3].read_bytes()[:-50])


@case("truncated")
def cut_off_before_the_pixels(site, paths):
    content = paths[3].read_bytes()
    paths[3].write_bytes(content[: content.rindex(b"\xe0\x7f\x10\x00")])


@case("truncated|damaged")
def cut_off_within_the_header(site, paths):
    paths[3].write_bytes(paths[3].read_bytes()[:600])


@case("truncated|damaged")
def nothing_but_the_mark(site, paths):
    paths[3].write_bytes(paths[3].read_bytes()[:132])


@case("The file is empty")
def empty_file(site, paths):
    paths[3].write_bytes(b"")


@case("no DICOM file")
def zeros_of_the_same_size(site, paths):
    paths[3].write_bytes(bytes(paths[3].stat().st_size))


@case("no DICOM file", is_used=True)
def random_bytes(site, paths):
    (site.dicom / "noise").write_bytes(np.random.default_rng(1).bytes(5000))


@case("damaged|truncated|incomplete", is_used=True)
def random_bytes_after_the_mark(site, paths):
    (site.dicom / "noise").write_bytes(bytes(128) + b"DICM" + np.random.default_rng(2).bytes(5000))


@case("pixel data")
def bit_flipped_in_the_tag_of_the_pixels(site, paths):
    swap_bytes(paths[3], b"\xe0\x7f\x10\x00", b"\xe1\x7f\x10\x00")


@case("twice under one SOP Instance UID")
def bit_flipped_in_a_second_copy(site, paths):
    content = bytearray(paths[3].read_bytes())
    content[-7] ^= 4
    (site.dicom / "again").write_bytes(content)


@case("should hold|size|damaged")
def bit_flipped_in_the_number_of_rows(site, paths):
    swap_bytes(paths[3], b"\x28\x00\x10\x00US\x02\x00" + bytes([N_ROWS]), b"\x28\x00\x10\x00US\x02\x00\x8a")


@case("should hold|size|damaged|truncated")
def bit_flipped_in_a_length(site, paths):
    swap_bytes(paths[3], b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00US\x02\x40")


@case("no DICOM file", is_used=True)
def page_with_a_script(site, paths):
    (site.dicom / "index.html").write_text("<script>alert(1)</script>")


@case("no DICOM file", is_used=True)
def photograph(site, paths):
    (site.dicom / "photo.jpg").write_bytes(b"\xff\xd8\xff" + bytes(300))


# Transfer syntaxes ----------------------------------------------------------------------------------
@case("1.2.840.10008.1.2 ")
def implicit_claimed(site, paths):
    for path in paths:
        claim_syntax(path, "1.2.840.10008.1.2")


@case("1.2.840.10008.1.2.2|damaged|truncated|incomplete")
def big_endian_claimed(site, paths):
    for path in paths:
        claim_syntax(path, "1.2.840.10008.1.2.2")


@case("1.2.840.10008.1.2.5 .*not compressed")
def compression_claimed(site, paths):
    for path in paths:
        claim_syntax(path, RLELossless)


@case("1.2.840.10008.1.2.1 .*compressed")
def compression_concealed(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
        claim_syntax(path, "1.2.840.10008.1.2.1")


@case("1.2.840.10008.1.2.1.99")
def deflated_bomb(site, paths):
    dataset = pydicom.dcmread(paths[0])
    dataset.PixelData = bytes(200_000_000)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(paths[0])
    assert paths[0].stat().st_size < 300_000


@case("1.2.3.4.5")
def unknown_syntax(site, paths):
    for path in paths:
        claim_syntax(path, "1.2.3.4.5")


@case("1.2.840.10008.1.2.4.80")
def compressed_noise(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([np.random.default_rng(3).bytes(100)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.save_as(path)


@case("1.2.840.10008.1.2.5")
def run_lengths_of_noise(site, paths):
    compress_noise(paths[3])


@case("1.2.840.10008.1.2.5 .*bytes")
def gigantic_image_in_a_few_run_lengths(site, paths):
    compress_noise(paths[3], Rows=65535, Columns=65535, NumberOfFrames="1000")


def compress_noise(path: Path, **elements) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([np.random.default_rng(3).bytes(100)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    for key, value in elements.items():
        setattr(dataset, key, value)
    dataset.save_as(path)


# Absent elements ------------------------------------------------------------------------------------
enter_alike("{}_absent", r"\(0020,000E\) is missing", {"SeriesInstanceUID": {"SeriesInstanceUID": None}})
enter_alike("{}_absent", r"\(0008,0018\) is missing", {"SOPInstanceUID": {"SOPInstanceUID": None}})
enter_alike("{}_absent", r"\(0010,0020\)", {"PatientID": {"PatientID": None}})
enter_alike("{}_absent_in_one", r"\(0010,0020\)", {"PatientID": {"PatientID": None}}, first=True)
enter_alike(
    "{}_absent",
    r"\(0008,0020\) is missing",
    {"StudyDate": {"StudyDate": None, "SeriesDate": None, "AcquisitionDate": None}},
)
enter_alike("{}_absent", r"\(0018,0081\) is missing", {"EchoTime": {"EchoTime": None}})
enter_alike("{}_absent_in_one", r"\(0018,0081\) is missing", {"EchoTime": {"EchoTime": None}}, first=True)
enter_alike("{}_absent", "Rows, Columns", {"Rows": {"Rows": None}, "BitsAllocated": {"BitsAllocated": None}})
enter_alike(
    "{}_absent",
    r"Image Position \(0020,0032\)",
    {key: {key: None} for key in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")},
)
enter_alike("{}_absent", "pixel data", {"PixelData": {"PixelData": None}})
enter_alike("{}_absent", "Not an MR image", {"Modality": {"Modality": None}})
enter_alike("{}_absent", "Gradient echo|gradient echo|Not recognized", {"ScanningSequence": {"ScanningSequence": None}})


@case(r"\(0018,0082\) is missing")
def inversion_time_absent(site, paths):
    for path in paths:
        set_elements(path, ScanningSequence=["SE", "IR"])


# Absurd values --------------------------------------------------------------------------------------
enter_alike(
    "echo_time_{}",
    r"\(0018,0081\)",
    {"negative": {"EchoTime": "-7"}, "zero": {"EchoTime": "0"}, "of_a_year": {"EchoTime": "3.2e10"}},
    first=True,
)
enter_alike(
    "repetition_time_{}",
    r"\(0018,0080\)",
    {"negative": {"RepetitionTime": "-4500"}, "of_a_year": {"RepetitionTime": "3.2e10"}},
)
enter_alike("flip_angle_{}", r"\(0018,1314\)", {"gigantic": {"FlipAngle": "1e9"}, "negative": {"FlipAngle": "-90"}})
enter_alike(
    "pixel_spacing_{}",
    r"\(0028,0030\)",
    {
        "zero": {"PixelSpacing": [0, 0]},
        "negative": {"PixelSpacing": [-2, 2]},
        "of_a_kilometer": {"PixelSpacing": ["1e6", "1e6"]},
    },
)
enter_alike(
    "position_{}",
    r"\(0020,0032\)",
    {"beyond_the_moon": {"ImagePositionPatient": ["1e300", "0", "0"]}, "of_two": {"ImagePositionPatient": [1, 2]}},
    first=True,
)
enter_alike(
    "orientation_{}",
    r"\(0020,0037\)",
    {
        "zero": {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        "skew": {"ImageOrientationPatient": [1, 0, 0, 0.9, 0.4359, 0]},
        "gigantic": {"ImageOrientationPatient": ["1e9", 0, 0, 0, "1e9", 0]},
    },
)
enter_alike(
    "slope_{}",
    r"\(0028,1053\)",
    {"gigantic": {"RescaleSlope": "1e300", "RescaleIntercept": "0"}},
)
enter_alike("field_{}", r"\(0018,0087\)", {"gigantic": {"MagneticFieldStrength": "30000"}})
enter_alike("rows_{}", "should hold|size", {"gigantic": {"Rows": 65535, "Columns": 65535}, "zero": {"Rows": 0}})
enter_alike(
    "frames_{}",
    "should hold|frames",
    {"gigantic": {"NumberOfFrames": "2000000000"}, "negative": {"NumberOfFrames": "-3"}},
    first=True,
)
enter_alike("bits_{}", r"\(0028,0101\)", {"zero": {"BitsStored": 0}, "sixty": {"BitsStored": 60}})
enter_alike(
    "date_{}",
    r"\(0008,0020\)",
    {"impossible": dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate"), "20259999")},
)
enter_alike(
    "clock_{}",
    "",
    {"no_number": {"AcquisitionTime": "1015nan"}, "infinite": {"AcquisitionTime": "1015inf"}},
    is_used=True,
)


@case(r"\(0018,0081\)")
def echo_time_is_text(site, paths):
    with disable_value_validation():
        set_elements(paths[0], EchoTime="1234")
    swap_bytes(paths[0], b"\x18\x00\x81\x00DS\x04\x001234", b"\x18\x00\x81\x00DS\x04\x00soon")


@case(r"\(0018,0081\)")
def echo_time_is_not_finite(site, paths):
    set_elements(paths[0], EchoTime="1234")
    swap_bytes(paths[0], b"\x18\x00\x81\x00DS\x04\x001234", b"\x18\x00\x81\x00DS\x04\x00nan ")


@case(r"\(0018,0082\)")
def inversion_time_negative(site, paths):
    for number, path in enumerate(paths):
        set_elements(path, ScanningSequence=["SE", "IR"], InversionTime=str(-100 * (number // 2 + 1)))


@case("2 frames")
def frames_without_a_description(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.NumberOfFrames = "2"
        dataset.PixelData = dataset.PixelData * 2
        dataset.save_as(path)


@case(r"\(0028,0002\)")
def color_image(site, paths):
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = dataset.PixelData * 3
        dataset.save_as(path)


# Mix-ups --------------------------------------------------------------------------------------------
@case("twice under one SOP Instance UID")
def images_under_one_uid(site, paths):
    set_elements(paths[1], SOPInstanceUID=pydicom.dcmread(paths[0]).SOPInstanceUID)


@case("2 Patient IDs")
def patient_swapped_in_one_image(site, paths):
    set_elements(paths[-1], PatientID="PHANTOM-9")


@case("2 Patient IDs")
def patient_swapped_in_a_second_copy(site, paths):
    dataset = pydicom.dcmread(paths[0])
    dataset.PatientID = "PHANTOM-9"
    save(dataset, site.dicom / "again")


@case("participants.tsv")
def patient_of_another_site(site, paths):
    for path in paths:
        set_elements(path, PatientID="PAT-7777")


@case("2 scanners")
def scanners_of_two_sites_in_one_series(site, paths):
    set_elements(paths[-1], DeviceSerialNumber="A-99")


@case("unlike size")
def image_of_another_series(site, paths):
    dataset = pydicom.dcmread(paths[0])
    dataset.Rows = N_ROWS - 2
    dataset.PixelData = dataset.PixelData[: (N_ROWS - 2) * N_COLUMNS * 2]
    dataset.save_as(paths[0])


@case("orientations")
def orientations_mixed(site, paths):
    for path in paths[1::2]:
        set_elements(path, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])


@case("1 of 2 slices")
def slice_missing_of_one_echo(site, paths):
    paths[3].unlink()


@case("unevenly spaced")
def slice_missing_of_all_echoes(site, paths):
    for path in paths:
        path.unlink()
    for path in write_bad(site, n_slices=5)[2::5]:
        path.unlink()


@case("2 echo times: T2 needs 3")
def echoes_missing(site, paths):
    for path in paths[4:]:
        path.unlink()


# Enhanced files -------------------------------------------------------------------------------------
def write_multi_frame(site, paths) -> Path:
    for path in paths:
        path.unlink()
    base = header("bad", time="120000", manufacturer="Philips Medical Systems")
    return write_enhanced(site.dicom / "bad" / "one", base, [10.0, 20.0, 30.0, 40.0], kind="SE")


@case("8 frames and describes 7")
def frame_description_missing(site, paths):
    path = write_multi_frame(site, paths)
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(path)


@case("8 frames and describes 0")
def no_frame_described(site, paths):
    set_elements(write_multi_frame(site, paths), PerFrameFunctionalGroupsSequence=[])


@case("should hold")
def multi_frame_cut_off(site, paths):
    path = write_multi_frame(site, paths)
    path.write_bytes(path.read_bytes()[:-200])


@case("should hold|frames")
def frames_beyond_counting(site, paths):
    set_elements(write_multi_frame(site, paths), NumberOfFrames="2147483647")


# Strings --------------------------------------------------------------------------------------------
def fill_texts(paths: list[Path], text: str) -> None:
    for path in paths:
        set_elements(path, **dict.fromkeys(TEXT_ELEMENTS, text))


@case("", is_used=True)
def texts_like_paths(site, paths):
    fill_texts(paths, "../../../../tmp/escaped")


@case("", is_used=True)
def texts_like_scripts(site, paths):
    fill_texts(paths, "<script>alert(1)</script>")


@case("", is_used=True)
def texts_like_formulas(site, paths):
    fill_texts(paths, "=HYPERLINK(1)")


@case("", is_used=True)
def texts_like_shell_commands(site, paths):
    fill_texts(paths, "$(touch escaped); `touch escaped`")


@case("", is_used=True)
def texts_with_control_characters(site, paths):
    fill_texts(paths, "a\tb\x1b[31m\x00c\nd")


@case("", is_used=True)
def texts_not_utf8(site, paths):
    fill_texts(paths, "xxxxxxxx")
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"xxxxxxxx", b"\xff\xfe\xc3\x28\xa0\xed\xa0\x80"))


@case("", is_used=True)
def texts_in_an_unknown_character_set(site, paths):
    for path in paths:
        set_elements(path, SpecificCharacterSet="KLINGON 1", PatientName="Müller")


@case("", is_used=True)
def text_of_megabytes(site, paths):
    rng = np.random.default_rng(4)
    text = " ".join(rng.integers(0, 10**9, 300_000).astype(str))
    set_elements(paths[0], PatientComments=text)


for label, bad_uid in {
    "path": "../../../../tmp/escaped",
    "formula": "=1+1",
    "script": "<script>alert(1)</script>",
    "endless": "1." * 400 + "1",
}.items():
    enter_alike("uid_like_a_{}", r"\(0020,000E\) is no UID", {label: {"SeriesInstanceUID": bad_uid}})
    enter_alike("image_uid_like_a_{}", r"\(0008,0018\) is no UID", {label: {"SOPInstanceUID": bad_uid}}, first=True)


# Names and kinds of files ---------------------------------------------------------------------------
@case("leads out", is_used=True)
def link_to_a_file_outside(site, paths):
    (site.folder / "secret").write_bytes(paths[0].read_bytes())
    (site.dicom / "link").symlink_to(site.folder / "secret")


@case("leads out|not followed", is_used=True)
def link_to_a_folder_outside(site, paths):
    (site.dicom / "link").symlink_to(site.folder)


@case("leads nowhere", is_used=True)
def link_to_nothing(site, paths):
    (site.dicom / "link").symlink_to(site.dicom / "never")


@case("not followed|leads nowhere", is_used=True)
def link_to_itself(site, paths):
    (site.dicom / "link").symlink_to(site.dicom / "link")


@case("no plain file", is_used=True)
def pipe(site, paths):
    os.mkfifo(site.dicom / "pipe")


@case("no DICOM file", is_used=True)
def name_not_utf8(site, paths):
    with open(os.fsencode(site.dicom) + b"/caf\xe9", "wb") as file:
        file.write(b"no image")


@case("no DICOM file", is_used=True)
def name_of_two_lines(site, paths):
    (site.dicom / "a\nb\tc").write_text("no image")


@case("no DICOM file", is_used=True)
def name_like_a_formula(site, paths):
    (site.dicom / "=cmd|'calc'!A1").write_text("no image")
    (site.dicom / "@SUM(1)").write_text("no image either")


@case("no DICOM file", is_used=True)
def name_like_a_script(site, paths):
    (site.dicom / "<img src=x onerror=alert(1)>").write_text("no image")


@case("larger than", is_used=True)
def file_of_a_terabyte(site, paths):
    with open(site.dicom / "huge", "wb") as file:
        file.truncate(2**40)


@case("damaged|truncated|incomplete|nests", is_used=True)
def sequences_without_end(site, paths):
    nested = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    (site.dicom / "deep").write_bytes(paths[0].read_bytes()[:400].split(b"\x08\x00")[0] + nested)


# What a site writes ---------------------------------------------------------------------------------
#: Whole sites that cannot be taken in: the file that is spoiled, its content, and the reason.
DOCUMENTS: dict[str, tuple[str, bytes, str]] = {
    "yaml_that_makes_objects": ("site.yaml", b'site: !!python/object/apply:os.system ["touch escaped"]\n', "YAML"),
    "yaml_of_aliases": ("site.yaml", b"a: &a [1, 1]\nsite: *a\n", "alias"),
    "yaml_not_utf8": ("site.yaml", b"site: caf\xe9\n", "UTF-8"),
    "yaml_cut_off": ("site.yaml", b"site: alpha\nscanners:\n  - {id: sc", "YAML"),
    "yaml_empty": ("site.yaml", b"", "empty"),
    "participants_not_utf8": ("participants.tsv", b"participant_id\tkind\tsource_id\nP01\tpatient\t\xe9\n", "TSV"),
    "participant_like_a_path": ("participants.tsv", b"participant_id\tkind\tsource_id\n../x\tpatient\tA\n", "label"),
    "participant_like_a_script": (
        "participants.tsv", b"participant_id\tkind\tsource_id\n<script>\tpatient\tA\n", "label",
    ),
    "participant_like_a_formula": ("participants.tsv", b"participant_id\tkind\tsource_id\n=1+1\tpatient\tA\n", "label"),
    "participants_of_one_id": (
        "participants.tsv",
        b"participant_id\tkind\tsource_id\nP01\tpatient\tPAT-0042\nP02\tpatient\tPAT-0042\n",
        "two participants",
    ),
    "participants_without_a_column": ("participants.tsv", b"participant_id\tkind\nP01\tpatient\n", "source_id"),
    "participant_of_no_kind": ("participants.tsv", b"participant_id\tkind\tsource_id\nP01\tghost\tA\n", "kind"),
    "session_like_a_path": ("sessions.tsv", b"participant_id\tdate\tsession\nP01\t2025-03-10\t../../x\n", "label"),
    "session_without_a_date": ("sessions.tsv", b"participant_id\tdate\tsession\nP01\tMonday\t01\n", "date"),
}  # fmt: skip

FORMULA = re.compile(r"^[=+@\t\r]|^-[^0-9.]")
