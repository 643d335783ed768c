"""Whom an object names: values of a header that nobody vouches for, and UIDs."""

import uuid

import pytest
from pydicom.dataset import Dataset

from isocenter.export.identity import Identity, make_uid, plain_text, pseudonym, real

HOSTILE = {
    "PatientName": "Å^Ω\\Second\x00\r\n<script>", "PatientID": "=cmd|'/c calc'!A0", "PatientBirthDate": "yesterday",
    "PatientSex": "unknown", "PatientAge": "../../x", "PatientSize": "tall", "PatientWeight": "1e999",
    "StudyDate": "20251399x", "StudyTime": "noon", "StudyInstanceUID": "1.2.3", "AccessionNumber": "A\\B",
}  # fmt: skip


def test_a_damaged_value_of_the_source_is_not_taken_over():
    made = Dataset()
    real(HOSTILE).put(made)
    assert made.PatientName == "Å^Ω Second <script>"
    assert made.PatientID == "=cmd|'/c calc'!A0"
    assert made.AccessionNumber == "A B"
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        assert made[keyword].value == ""
    assert not {"PatientAge", "PatientSize", "PatientWeight"} & set(made.dir())
    assert made.PatientIdentityRemoved == "NO"


@pytest.mark.parametrize("uid", ["../../x", "1.2.a", "1" * 65, ""])
def test_a_study_without_a_valid_uid_has_none(uid):
    assert "StudyInstanceUID" not in real({"StudyInstanceUID": uid}).values


def test_only_what_files_an_object_is_taken_over():
    assert real({"PatientAddress": "17 Marmalade Lane", "PatientID": "1"}) == Identity({"PatientID": "1"}, True)


def test_a_pseudonym_is_of_one_participant_and_session():
    uids = {pseudonym(*who).values["StudyInstanceUID"] for who in (("a", "1", "1"), ("a", "1", "2"), ("a", "11", ""))}
    assert len(uids) == 3
    assert pseudonym("a", "1", "1") == pseudonym("a", "1", "1")
    assert len(pseudonym("s" * 90, "p", "1").values["PatientID"]) == 64


def test_uids_are_valid_and_repeat():
    uid = make_uid("a", "b")
    assert uid == make_uid("a", "b") != make_uid("ab", "")
    assert len(uid) <= 44
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).variant == uuid.RFC_4122


@pytest.mark.parametrize(("text", "expected"), [("a\\b\r\n c\x00", "a b c"), ("é" * 40, "é" * 32), ("  ", "")])
def test_text_fits_one_value(text, expected):
    assert plain_text(text) == expected
