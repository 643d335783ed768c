"""Zero identifying strings in a whole trial's outputs, from tables to pictures, logs and the audit trail."""

import json

import pydicom
import pytest
from dicom.seeded import BIRTH, DATE, EPOCH, Seeds, find_words
from end_to_end.conftest import Trial
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError

from isocenter import layout
from isocenter.recorded_run import run_recorded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A small trial whose traveler's DICOM names people in every element, file and folder, run and recorded."""
    trial, seeds = Trial(tmp_path_factory.mktemp("names")), Seeds()
    trial.simulate(sites=1, participants=1, sessions=1, workers=1)
    site = trial.directory / "sites" / "siteA"
    patient = seeds.word("PatientID")
    seeds.technical = ("ReceiveCoilName", "TransmitCoilName", "SoftwareVersions")
    for path in sorted(p for p in (site / "dicom").rglob("*") if p.is_file()):
        try:
            dataset = pydicom.dcmread(path)
        except InvalidDicomError:  # the simulated site sends notes too
            continue
        if "PHANTOM" in str(dataset.get("PatientID")):
            continue
        seeds.seed(dataset)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        with disable_value_validation():
            dataset.save_as(path)
        folder = path.parent.with_name(f"{path.parent.name} {seeds.word('folder')} {DATE}")
        folder.mkdir(exist_ok=True)
        path.rename(folder / f"{seeds.word('file')}_{path.name}")
    (site / "dicom" / f"{seeds.word('letter')}.txt").write_text(seeds.word("text of the letter"))
    table = site / "participants.tsv"
    table.write_text(table.read_text().replace("DEMO-T01", patient))
    outcome = run_recorded(trial.directory, cores=1)
    assert outcome.returncode == 0, "\n".join(outcome.tail)
    return trial, seeds


def test_the_seeded_person_was_measured(seeded):
    trial, seeds = seeded
    assert len(seeds.words) >= 30
    measured = trial.table(layout.MEASUREMENTS)
    assert measured.query("kind == 'traveler'")["value"].notna().any()
    assert (trial.directory / layout.AUDIT_LOG).is_file()
    assert (trial.directory / layout.REPORT).is_file()


def test_the_verdict_counts_the_files_that_named_people(seeded):
    trial, _ = seeded
    verdict = json.loads((trial.directory / layout.fill(layout.VERDICT, site="siteA")).read_text())
    (check,) = (check for check in verdict["checks"] if check["id"] == "names_at_arrival")
    scans = trial.table(layout.fill(layout.SCANS, site="siteA")).query("kind != 'phantom'")
    assert check["verdict"] == "warn"
    assert check["found"].startswith(f"in {int(scans['n_named'].sum())} of {int(scans['n_files'].sum())} files: ")
    assert "PatientName" in check["found"]
    assert scans["n_named"].sum() > 0.9 * scans["n_files"].sum()


@pytest.mark.parametrize("folder", ["results", ".snakemake"])
def test_no_name_is_in_any_output(seeded, folder):
    trial, seeds = seeded
    words = seeds.words | {"birth date": BIRTH, "epoch": EPOCH}
    if folder == "results":
        words |= {"study date": DATE, "study date, ISO": "2031-04-17"}
    assert (trial.directory / folder).is_dir()
    assert find_words(trial.directory / folder, words) == []
