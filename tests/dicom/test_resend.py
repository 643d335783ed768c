"""Re-sent studies change nothing; corrected ones supersede, with a record of both; contradictions of one run do not."""

import json
import shutil

import pydicom
import pytest
from dicom.bad_inputs import set_elements
from dicom.small import header, uid, write_classic
from dicom.test_recognize import INVERSIONS, only

from isocenter.io.nifti import read_sidecar

NEW = ("SeriesInstanceUID", "SOPInstanceUID")


def resend(source, target, *, new_uids=False, **change):
    """The same images again, with elements changed and, if so, under new UIDs."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        dataset = pydicom.dcmread(path)
        for key in NEW if new_uids else ():
            setattr(dataset, key, uid("again", getattr(dataset, key)))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for key, value in change.items():
            setattr(dataset, key, value)
        dataset.save_as(target / path.name)


def used(table):
    return table[table.disposition == "used"]


def test_a_re_sent_study_changes_no_result_but_its_own_rows(site):
    write_classic(site.dicom / "b", header(), INVERSIONS)
    site.take_in()
    before = {name: stamp for name, stamp in site.files().items() if name.startswith("bids/")}
    shutil.copytree(site.dicom / "b", site.dicom / "a")  # sorted before the first
    table = site.take_in()
    assert {name: stamp for name, stamp in site.files().items() if name.startswith("bids/")} == before
    assert len(used(table)) == 1
    assert table.reason.str.contains("Duplicate upload: 8 images").sum() == 1


@pytest.mark.parametrize("folder", ["a", "z"])
def test_corrected_images_under_the_same_uids_supersede(site, folder):
    write_classic(site.dicom / "m", header(), INVERSIONS)
    old = only(site.take_in())
    assert read_sidecar(site.bids / old.files.split("|")[0])["RepetitionTime"] == 4.5
    resend(site.dicom / "m", site.dicom / folder, RepetitionTime="5000")
    table = site.take_in()
    row = only(used(table))
    assert read_sidecar(site.bids / row.files.split("|")[0])["RepetitionTime"] == 5.0
    record = only(table[table.disposition == "ignored"])
    assert record.reason.startswith("Superseded: 8 images arrived again, corrected")
    assert "SHA-256 over the old ones" in only(site.exclusions()).reason
    before = site.files()
    site.take_in()
    assert site.files() == before


def test_the_record_stays_when_the_old_images_are_gone_and_when_the_code_changes(site):
    write_classic(site.dicom / "m", header(), INVERSIONS)
    site.take_in()
    for path in (site.dicom / "m").iterdir():
        set_elements(path, RepetitionTime="5000")
    table = site.take_in()
    assert only(used(table)).n_files == 8
    reason = only(table[table.disposition == "ignored"]).reason
    assert reason.startswith("Superseded: 8 images")
    index = site.folder / "results/intake/index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"code": "older"}))
    again = site.take_in()
    assert only(again[again.disposition == "ignored"]).reason == reason


def test_corrected_series_under_new_uids_supersede(site):
    write_classic(site.dicom / "m", header(), INVERSIONS)
    first = only(site.take_in()).series_uid
    resend(site.dicom / "m", site.dicom / "corrected", new_uids=True, RepetitionTime="5000")
    table = site.take_in()
    row = only(used(table))
    assert row.series_uid != first
    assert read_sidecar(site.bids / row.files.split("|")[0])["RepetitionTime"] == 5.0
    record = only(table[table.disposition == "ignored"])
    assert record.series_uid == first
    assert f"corrected headers as series {row.series_uid}" in record.reason


def test_a_corrected_patient_moves_the_images(site):
    (site.folder / "participants.tsv").write_text(
        "participant_id\tkind\tsource_id\nP01\tpatient\tPAT-0042\nP02\tpatient\tPAT-0043\n"
    )
    write_classic(site.dicom / "m", header(), INVERSIONS)
    assert only(site.take_in()).participant_id == "P01"
    resend(site.dicom / "m", site.dicom / "corrected", PatientID="PAT-0043")
    table = site.take_in()
    assert only(used(table)).participant_id == "P02"
    assert [path.name for path in site.bids.glob("sub-*")] == ["sub-P02"]
    assert table.reason.str.contains("Superseded").sum() == 1


@pytest.mark.parametrize("new_uids", [False, True])
def test_contradicting_images_of_one_run_are_quarantined(site, new_uids):
    write_classic(site.dicom / "m", header(), INVERSIONS)
    resend(site.dicom / "m", site.dicom / "other", new_uids=new_uids, RepetitionTime="5000")
    table = site.take_in()
    assert set(table.disposition) == {"quarantined"}
    assert site.exclusions().action.str.contains("Ask the site which").all()
    assert not list(site.bids.glob("sub-*"))


def test_a_stopped_run_is_taken_up_where_it_stopped(site, monkeypatch):
    """A run that dies while it writes leaves whole files, and the next one ends as if nothing had been."""
    write_classic(site.dicom / "a", header(), INVERSIONS)
    write_classic(site.dicom / "b", header(date="20250324"), INVERSIONS)
    from isocenter.dicom import bids

    real, calls = bids.write_image, []

    def die_at_the_sixth(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(bids, "write_image", die_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        site.take_in()
    monkeypatch.setattr(bids, "write_image", real)
    site.take_in()
    resumed = {name: (site.folder / "results" / name).read_bytes() for name in site.files()}
    shutil.rmtree(site.folder / "results")
    site.take_in()
    assert {name: (site.folder / "results" / name).read_bytes() for name in site.files()} == resumed
