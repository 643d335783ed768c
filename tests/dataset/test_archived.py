"""BIDS datasets in archives, and datasets that are sent again."""

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dataset.sent import recovery, write_image, write_recovery
from dicom.seeded import find_words
from dicom.small import header, write_classic
from dicom.test_recognize import INVERSIONS, only

from isocenter.io.nifti import read_series
from isocenter.io.tables import read_table

PEOPLE = "participant_id\tkind\tsource_id\nP01\tpatient\tsub-01\nP02\tpatient\tsub-02\nphantom1\tphantom\tsub-ph\n"


@pytest.fixture
def sent(site):
    (site.folder / "participants.tsv").write_text(PEOPLE)
    return site


def pack(folder: Path, path: Path, start: str = "") -> Path:
    """An archive of everything below `folder`, whose entries begin with `start`."""
    files = [one for one in sorted(folder.rglob("*")) if one.is_file()]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for one in files:
                archive.write(one, start + one.relative_to(folder).as_posix())
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            for one in files:
                archive.add(one, start + one.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize(
    ("name", "start"),
    [("sent.zip", ""), ("sent.tar.gz", "./"), ("sent.tgz", "Upload of Monday/site/"), ("sent.tar", "study/")],
)
def test_a_dataset_in_an_archive_is_taken_in_like_a_folder(sent, tmp_path, name, start):
    write_recovery(tmp_path / "made")
    pack(tmp_path / "made", sent.dicom / name, start)
    row = only(sent.take_in())
    assert (row.disposition, row.suffix, row.session, row.run) == ("used", "IRT1", "01", "1"), row.reason
    assert len(sent.exclusions()) == 0
    series = read_series([sent.bids / file for file in row.files.split("|")])
    np.testing.assert_array_equal(series.data, recovery().astype(np.float32))
    before = sent.files()
    sent.take_in()
    assert sent.files() == before
    (sent.dicom / name).unlink()
    assert len(sent.take_in()) == 0
    assert not list(sent.bids.glob("sub-*"))
    assert not (sent.folder / ".unpacked").exists()


def test_dicom_and_a_dataset_share_an_archive_and_a_dataset_is_known_without_its_description(sent, tmp_path):
    write_recovery(tmp_path / "made" / "nifti")
    (tmp_path / "made" / "nifti" / "dataset_description.json").unlink()
    write_classic(tmp_path / "made" / "dicom", header(patient="sub-ph"), INVERSIONS)
    (tmp_path / "made" / "letter.doc").write_text("no image")
    pack(tmp_path / "made", sent.dicom / "both.zip")
    table = sent.take_in()
    assert table.participant_id.tolist() == ["P01", "phantom1"]
    assert table.disposition.tolist() == ["used", "used"]
    assert sent.exclusions().path.tolist() == ["both.zip/letter.doc"]


def test_hostile_entries_of_a_dataset_are_rows(sent, tmp_path):
    """No name but a plain one is given to a file, and none outside of the archive's own folder."""
    write_recovery(tmp_path / "made")
    path = pack(tmp_path / "made", sent.dicom / "sent.zip")
    hostile = ["../../escaped.json", "/etc/escaped.json", "sub-01/anat/a b_IRT1.nii.gz", "sub-01/$(touch escaped).json",
               "sub-01/anat", "sub-01/ses-a/anat/sub-01_ses-a_inv-1_IRT1.json/x", "sub-01/-rf.json"]  # fmt: skip
    with zipfile.ZipFile(path, "a") as archive:
        for name in hostile:
            archive.writestr(name, b"{}")
        link = zipfile.ZipInfo("sub-01/ses-a/anat/sub-01_ses-a_inv-9_IRT1.nii.gz")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("dataset_description.json", "{}")
    row = only(sent.take_in())
    assert row.disposition == "used", row.reason
    rows = sent.exclusions()
    assert len(rows) == 8, rows[["path", "reason"]].to_dict("records")
    assert (rows.action != "").all()
    assert not list(tmp_path.rglob("*escaped*"))
    laid = [one for one in (sent.folder / ".unpacked").rglob("*") if "named" in one.parts]
    assert not any(one.is_symlink() for one in laid)
    assert (
        sent.folder / ".unpacked" / laid[0].relative_to(sent.folder / ".unpacked").parts[0]
    ).stat().st_mode & 0o77 == 0


def test_the_names_of_an_archived_dataset_are_not_told(sent, tmp_path):
    write_recovery(tmp_path / "made", description="Quillfeather")
    (tmp_path / "made" / "Quillfeather_letter.pdf").write_text("Quillfeather")
    pack(tmp_path / "made", sent.dicom / "Quillfeather.zip", "Quillfeather 19470923/")
    assert only(sent.take_in()).disposition == "used"
    assert find_words(sent.folder / "results", {"name": "Quillfeather", "born": "19470923"}) == []
    told = read_table(sent.folder / ".arrived.txt", text=("file", "path"))
    assert told.path.str.contains("Quillfeather 19470923/Quillfeather_letter.pdf").any()


# Sent again -----------------------------------------------------------------------------------------------
def test_a_dataset_that_is_sent_again_changes_nothing(sent, tmp_path):
    """As a folder, in an archive, recompressed and under another session's name."""
    paths = write_recovery(sent.dicom / "first")
    first = only(sent.take_in())
    pack(sent.dicom / "first", sent.dicom / "again.zip")
    write_recovery(sent.dicom / "renamed", ses="b", run="2")
    table = sent.take_in()
    used = table[table.disposition == "used"]
    assert used.series_uid.tolist() == [first.series_uid]
    assert used[["session", "run", "files"]].to_numpy().tolist() == [[first.session, first.run, first.files]]
    copies = table[table.disposition == "ignored"]
    assert copies.reason.tolist() == [f"A second copy of the images of {first.series_uid}"] * 2
    assert len(sent.exclusions()) == 2
    shutil.rmtree(paths[0].parents[2])  # the first copy leaves: the next one stands for it
    assert (sent.take_in().disposition == "used").sum() == 1


def test_a_corrected_dataset_supersedes_with_a_record_of_both(sent):
    write_recovery(sent.dicom / "first", FlipAngle=80)
    old = only(sent.take_in())
    write_recovery(sent.dicom / "second", FlipAngle=90)
    table = sent.take_in().set_index("disposition")
    assert table.loc["used", "session"] == "01"
    assert table.loc["ignored", "series_uid"] == old.series_uid
    assert table.loc["ignored", "reason"] == (
        f"Superseded: its images arrived again, corrected, as {table.loc['used', 'series_uid']}"
    )
    sidecar = json.loads((sent.bids / table.loc["used", "files"].split("|")[0].replace(".nii.gz", ".json")).read_text())
    assert sidecar["FlipAngle"] == 90
    shutil.rmtree(sent.dicom / "first")
    table = sent.take_in()
    assert sorted(table.disposition) == ["ignored", "used"]
    assert table.reason.str.contains("stood under these names before").sum() == 1


def test_images_that_were_replaced_in_place_leave_a_record(sent):
    write_recovery(sent.dicom, t1=0.9)
    sent.take_in()
    write_recovery(sent.dicom, t1=1.1)
    for _ in range(2):
        table = sent.take_in()
        assert sorted(table.disposition) == ["ignored", "used"]
        row = table[table.disposition == "ignored"].iloc[0]
        assert row.reason.startswith("Superseded: other images or values stood under these names before")
    series = read_series([sent.bids / file for file in table[table.disposition == "used"].files.iloc[0].split("|")])
    np.testing.assert_array_equal(series.data, recovery(1.1).astype(np.float32))


def test_two_contents_of_one_delivery_are_refused(sent):
    write_recovery(sent.dicom / "one", t1=0.9)
    write_recovery(sent.dicom / "two", t1=1.1)
    table = sent.take_in()
    assert table.disposition.tolist() == ["quarantined"] * 2
    assert table.session.tolist() == ["01", "01"]
    assert table.reason.str.contains("has the same names and other images or values").all()
    assert not list(sent.bids.glob("sub-*"))


def test_the_images_of_one_subject_under_another_are_refused(sent):
    write_recovery(sent.dicom, sub="01")
    write_recovery(sent.dicom, sub="02")
    table = sent.take_in()
    assert table.disposition.tolist() == ["quarantined"] * 2
    assert table.reason.str.contains("under another subject").all()


def test_a_repeat_that_was_scanned_is_no_copy(sent):
    write_recovery(sent.dicom, run="1")
    paths = write_recovery(sent.dicom, run="2")
    for k, path in enumerate(paths):
        write_image(path, recovery(seed=5)[..., k], None)
    assert sorted(sent.take_in().run) == ["1", "2"]
