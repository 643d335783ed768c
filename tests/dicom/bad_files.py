"""Damaged bytes, false transfer syntaxes, hostile texts and names, files that are none, documents of a site."""

import os
from pathlib import Path

import numpy as np
import pydicom
from dicom.bad_inputs import TEXT_ELEMENTS, case, claim_syntax, enter_alike, set_elements, swap_bytes
from dicom.small import N_ROWS
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless


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


@case("An archive of a kind that is not unpacked", is_used=True)
def archive_of_another_kind(site, paths):
    (site.dicom / "sent.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))


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
    "participants_with_a_column_twice": (
        "participants.tsv", b"participant_id\tkind\tkind\tsource_id\nP01\tpatient\tPAT-0042\n", "more than once",
    ),
    "participant_of_no_kind": ("participants.tsv", b"participant_id\tkind\tsource_id\nP01\tghost\tA\n", "kind"),
    "session_like_a_path": ("sessions.tsv", b"participant_id\tdate\tsession\nP01\t2025-03-10\t../../x\n", "label"),
    "session_without_a_date": ("sessions.tsv", b"participant_id\tdate\tsession\nP01\tMonday\t01\n", "date"),
}  # fmt: skip
