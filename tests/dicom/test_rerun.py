"""A second run changes nothing; a new session adds its own; nothing that names a person is written."""

import gzip
import os
import shutil

import pytest
from dicom.small import NAMES, header, write_classic
from dicom.test_recognize import ECHOES, INVERSIONS, only

from isocenter.dicom import bids


def test_second_run_writes_nothing(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    site.take_in()
    before = site.files()
    site.take_in()
    assert site.files() == before


def test_second_run_neither_reads_nor_converts(site, monkeypatch):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    site.take_in()
    monkeypatch.setattr(bids, "convert_set", None)
    monkeypatch.setattr("isocenter.dicom.index.read_image", None)
    assert only(site.take_in()).disposition == "used"


def test_touched_or_lost_index_changes_no_image(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    site.take_in()
    before = {name: time for name, time in site.files().items() if name.startswith("bids/")}
    (site.folder / "results/intake/index.json").unlink()
    for path in (site.dicom / "a").iterdir():
        os.utime(path, (1, 1))
    site.take_in()
    assert {name: time for name, time in site.files().items() if name.startswith("bids/")} == before


def test_new_session_leaves_the_first_alone(site):
    write_classic(site.dicom / "a", header(date="20250310"), INVERSIONS)
    site.take_in()
    before = site.files()
    write_classic(site.dicom / "b", header(date="20250324"), INVERSIONS)
    table = site.take_in()
    assert table.session.tolist() == ["01", "02"]
    assert table.day.tolist() == [0, 14]
    after = site.files()
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"intake/scans.tsv", "intake/index.json"}


def test_vanished_series_leaves_no_file(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    write_classic(site.dicom / "b", header(date="20250324"), INVERSIONS)
    site.take_in()
    shutil.rmtree(site.dicom / "b")
    site.take_in()
    assert [path.name for path in site.bids.glob("sub-P01/*")] == ["ses-01"]


def test_lost_image_comes_back(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    row = only(site.take_in())
    path = site.bids / row.files.split("|")[0]
    content = path.read_bytes()
    path.unlink()
    site.take_in()
    assert path.read_bytes() == content


def test_sessions_file_overrides_the_numbering(site):
    write_classic(site.dicom / "a", header(date="20250310"), INVERSIONS)
    write_classic(site.dicom / "b", header(date="20250311", ScanningSequence="SE"), ECHOES)
    (site.folder / "sessions.tsv").write_text(
        "participant_id\tdate\tsession\nP01\t2025-03-10\tbaseline\nP01\t2025-03-11\tbaseline\n"
    )
    table = site.take_in()
    assert set(table.session) == {"baseline"}
    assert set(table.run) == {"1"}


def test_dates_are_kept_for_phantoms_only(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    write_classic(site.dicom / "b", header(patient="PHANTOM-9"), INVERSIONS)
    table = site.take_in().set_index("participant_id")
    assert table.date.to_dict() == {"P01": "", "phantom1": "2025-03-10"}
    kept = site.take_in(dates="keep").set_index("participant_id")
    assert kept.date.to_dict() == {"P01": "2025-03-10", "phantom1": "2025-03-10"}


def test_unlisted_scanner_is_used_under_an_id_of_its_own(site):
    write_classic(site.dicom / "a", header(DeviceSerialNumber="A-99"), INVERSIONS)
    row = only(site.take_in())
    assert (row.disposition, row.scanner) == ("used", "unlistedA99")
    assert "site.yaml" in row.action


def test_nothing_that_names_a_person_is_written(site):
    """Every seeded value, whole and in its words, against the names and the bytes of every output."""
    base = header()
    write_classic(site.dicom / "Quillfeather_Zebulon" / "20250310", base, INVERSIONS)
    (site.dicom / "Quillfeather_Zebulon" / "PAT-0042 report.txt").write_text("no DICOM")
    paths = write_classic(site.dicom / "PAT-0042", header("bad", ScanningSequence="SE"), ECHOES)
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    write_classic(site.dicom / "Vexford", header("lost", patient="STRANGER-1"), INVERSIONS)
    site.take_in()
    words = {word for value in NAMES.values() for word in value.replace("^", " ").split() if len(word) > 5}
    words |= {*NAMES.values(), "PAT-0042", "STRANGER", "20250310", "2025-03-10"}
    words |= {"Marmalade", "Quillfeather", "Zebulon", "Oakapple"}
    words -= {"Doctor", "Doctor,"}
    for path in sorted((site.folder / "results").rglob("*")):
        name = path.relative_to(site.folder / "results").as_posix()
        content = b"" if path.is_dir() else path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        for word in words:
            assert word.lower() not in name.lower()
            assert word.lower().encode() not in content.lower(), f"{word} in {name}"


@pytest.mark.parametrize("name", ["participants.tsv"])
def test_bids_participants_hold_no_source_id(site, name):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    site.take_in()
    assert (site.bids / name).read_text() == "participant_id\tkind\nsub-P01\tpatient\nsub-phantom1\tphantom\n"


def test_days_for_a_calibration_tell_a_person_only_the_four_weeks(site):
    for name, patient, date in (
        ("a", "PHANTOM-9", "20250110"), ("b", "PAT-0042", "20250112"), ("c", "PAT-0042", "20250130"),
        ("d", "PAT-0042", "20250310"), ("e", "PHANTOM-9", "20250401"),
    ):  # fmt: skip
        write_classic(site.dicom / name, header(patient=patient, date=date), INVERSIONS)
    by_default = site.take_in()
    assert by_default.calibration_day.isna().all()
    table = site.take_in(by_date=True).set_index(["participant_id", "session"]).calibration_day
    assert table["phantom1"].tolist() == [0, 81]
    # The first session, day 2, is told as the middle of its 28 days; the others are 18 and 57 days later.
    assert table["P01"].tolist() == [14, 32, 71]
    exact = site.take_in(by_date=True, dates="keep").set_index("participant_id").calibration_day
    assert exact["P01"].tolist() == [2, 20, 59]
