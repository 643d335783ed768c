"""What is damaged, doubled or mixed up: a row with a reason, and the rest goes on."""

import os
import shutil

import pydicom
import pytest
from dicom.small import header, save, uid, write_classic
from dicom.test_recognize import ECHOES, INVERSIONS, only


def test_truncated_file_quarantines_its_series_and_stops_nothing_else(site):
    paths = write_classic(site.dicom / "a", header("ir"), INVERSIONS)
    write_classic(site.dicom / "b", header("se", ScanningSequence="SE", time="120000"), ECHOES)
    paths[3].write_bytes(paths[3].read_bytes()[:-50])
    table = site.take_in().set_index("suffix")
    assert table.disposition.to_dict() == {"IRT1": "quarantined", "MESE": "used"}
    assert "truncated" in table.reason["IRT1"]
    rows = site.exclusions()
    row = rows[rows.series == "a/image004"].iloc[0]
    assert "should hold 160 bytes, 110 are there" in row.reason
    assert "Send the file again" in row.action


@pytest.mark.parametrize("keep", [0.15, 0.5, 0.8])
def test_file_cut_off_within_its_header(site, keep):
    paths = write_classic(site.dicom / "a", header("ir"), INVERSIONS)
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: int(len(content) * keep)])
    table = site.take_in()
    assert "used" not in set(table.disposition)
    assert "a/image001" in set(site.exclusions().series)


def test_truncated_twin_of_an_intact_file_costs_only_itself(site):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS)
    (site.dicom / "broken copy").write_bytes(paths[0].read_bytes()[:-50])
    assert only(site.take_in()).disposition == "used"
    assert only(site.exclusions()).path == "broken copy"


def test_files_that_are_no_dicom(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    (site.dicom / "notes.txt").write_text("coil 3 was noisy")
    (site.dicom / "photo.jpg").write_bytes(b"\xff\xd8\xff" + bytes(200))
    (site.dicom / "empty").write_bytes(b"")
    (site.dicom / ".DS_Store").write_bytes(b"junk")
    for folder in ("x", "y", "z"):
        (site.dicom / folder).mkdir()
        (site.dicom / folder / "VERSION").write_text("the same in every folder")
    assert only(site.take_in()).disposition == "used"
    reasons = site.exclusions().set_index("path").reason.to_dict()
    assert reasons == {
        "notes.txt": "This is no DICOM file",
        "photo.jpg": "This is no DICOM file",
        "empty": "The file is empty",
        "x/VERSION": "This is no DICOM file (nor are 2 more files of the same content)",
    }


def test_random_bytes_after_the_mark_are_a_row(site):
    (site.dicom / "liar").write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 4)
    assert len(site.take_in()) == 0
    assert only(site.exclusions()).path == "liar"


def test_gigantic_dimensions_in_a_small_file(site):
    paths = write_classic(site.dicom / "a", header(), [{"InversionTime": "50"}], n_slices=1)
    dataset = pydicom.dcmread(paths[0])
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(paths[0])
    assert only(site.take_in()).disposition == "quarantined"


def test_duplicate_upload_is_ignored(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    shutil.copytree(site.dicom / "a", site.dicom / "b" / "again")
    table = site.take_in()
    assert table.disposition.tolist() == ["ignored", "used"]
    row = table.iloc[0]
    assert row.reason.startswith("Duplicate upload: 8 images")
    assert (row.participant_id, row.run, row.suffix) == ("P01", "1", "IRT1")
    assert only(site.exclusions()).reason == row.reason


def test_second_copy_under_new_uids_is_ignored(site):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS)
    (site.dicom / "b").mkdir()
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = uid(dataset.SOPInstanceUID, "again")
        dataset.SeriesInstanceUID = uid(dataset.SeriesInstanceUID, "again")
        save(dataset, site.dicom / "b" / path.name)
    table = site.take_in()
    assert sorted(table.disposition) == ["ignored", "used"]
    assert set(table.run) == {"", "1"}


def test_unlike_images_under_one_uid_are_quarantined(site):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS)
    dataset = pydicom.dcmread(paths[0])
    dataset.PixelData = bytes(len(dataset.PixelData))
    save(dataset, site.dicom / "other")
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert "(0008,0018)" in row.reason


def test_missing_slice_is_found(site):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS, n_slices=3)
    paths[4].unlink()
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert row.reason == "Inversion time 0.2 s has 2 of 3 slices"


def test_unknown_patient_is_quarantined(site):
    write_classic(site.dicom / "a", header(patient="STRANGER-1"), INVERSIONS)
    row = only(site.take_in())
    assert (row.disposition, row.participant_id) == ("quarantined", "")
    assert "participants.tsv" in row.action
    assert "STRANGER" not in row.reason + row.action


def test_two_patients_in_one_series(site):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS)
    dataset = pydicom.dcmread(paths[-1])
    dataset.PatientID = "PHANTOM-9"
    dataset.save_as(paths[-1])
    row = only(site.take_in())
    assert (row.disposition, row.participant_id) == ("quarantined", "")
    assert "2 Patient IDs" in row.reason


def test_absent_study_date(site):
    base = header(StudyDate=None, SeriesDate=None, AcquisitionDate=None)
    write_classic(site.dicom / "a", base, INVERSIONS)
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert "(0008,0020)" in row.reason


def test_links_out_of_the_tree_are_not_followed(site, tmp_path):
    secret = tmp_path / "elsewhere"
    write_classic(secret, header(), INVERSIONS)
    (site.dicom / "way out").symlink_to(secret)
    (site.dicom / "one file").symlink_to(secret / "image001")
    assert len(site.take_in()) == 0
    assert set(site.exclusions().path) == {"way out", "one file"}


def test_a_folder_that_may_not_be_read_is_a_row(site, monkeypatch):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    write_classic(site.dicom / "locked", header("b", time="110000"), INVERSIONS)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert only(site.take_in()).disposition == "used"
    row = only(site.exclusions())
    assert (row.path, row.reason) == ("locked", "The folder cannot be read: Permission denied")
