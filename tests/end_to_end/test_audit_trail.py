"""A trial's results hold; what was laid hands on is named; from each number the way leads to the DICOM."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from isocenter import audit, layout
from isocenter.cli import app
from isocenter.io.nifti import read_sidecar
from isocenter.recorded_run import record_run
from isocenter.stamps import find_source
from isocenter.verify_command import verify

NUMBER = ["siteA", "T01", "01", "1", "--biomarker", "T1", "--roi", "white_matter"]


def call(command, trial, *arguments):
    return CliRunner().invoke(app, [command, *arguments, "-d", str(trial.directory)])


def test_a_trial_is_recorded_and_holds_until_it_is_touched(copy_of_small):
    directory = copy_of_small.directory
    record_run(directory, {}, "the whole trial")
    assert verify(directory).findings == []
    table = directory / layout.MEASUREMENTS
    table.write_text(table.read_text().replace("white_matter", "white_matters", 1))
    gone = next(directory.glob("results/sites/siteB/derivatives/**/*_run-1_T1map.nii.gz"))
    gone.unlink()
    (directory / "results" / "trial" / "notes.txt").write_text("mine")
    ended = call("verify", copy_of_small)
    assert ended.exit_code == 1
    for words in (
        f"{layout.MEASUREMENTS}: changed",
        f"{gone.relative_to(directory)}: missing",
        "results/trial/notes.txt: extra",
        "3 findings",
    ):
        assert words in ended.output


def test_the_next_run_mends_what_it_makes_again_and_launders_nothing(copy_of_small, monkeypatch):
    directory = copy_of_small.directory
    record_run(directory, {}, "the whole trial")
    (directory / layout.REPORT).unlink()
    other = directory / layout.fill(layout.VERDICT, site="siteB")
    other.write_text(other.read_text() + "\n")
    monkeypatch.chdir(directory)
    assert call("run", copy_of_small, "--cores", "2").exit_code == 0
    assert [(f.path, f.what) for f in verify(directory).findings] == [(str(other.relative_to(directory)), "changed")]
    assert [entry.kind for entry in audit.read_log(directory)] == ["run", "run"]


def test_every_derived_image_says_what_it_was_made_from(small):
    for site in ("siteA", "siteB"):
        folder = small.directory / layout.fill(layout.DERIVATIVES, site=site)
        images = sorted(folder.rglob("*.nii.gz"))
        assert images
        for image in images:
            sidecar = read_sidecar(image)
            assert sidecar["GeneratedBy"][0]["CodeDigest"]
            assert sidecar["Sources"]
            for uri, digest in sidecar["SourceHashes"].items():
                source = small.directory / find_source(uri, site)
                assert hashlib.sha256(source.read_bytes()).hexdigest() == digest, (image, uri)
            if "_labels" not in str(image) and "Outcome" not in sidecar:
                assert sidecar["ReceiveCoilName"]
                assert sidecar["SoftwareVersions"]


def walk(node):
    yield node
    for source in node["sources"]:
        yield from walk(source)


def test_a_number_leads_to_its_dicom_and_its_phantom(small):
    ended = call("trace", small, *NUMBER, "--json")
    assert ended.exit_code == 0, ended.output
    nodes = list(walk(json.loads(ended.output)))
    whats = {node["what"] for node in nodes}
    assert {"row", "map", "labels", "aligned series", "raw file", "series", "DICOM file", "calibration"} <= whats
    row = nodes[0]["facts"]
    assert (row["site"], row["participant_id"], row["biomarker"], row["roi"]) == ("siteA", "T01", "T1", "white_matter")
    scans = small.table(layout.fill(layout.SCANS, site="siteA"))
    scans = scans[scans.disposition == "used"]  # a second upload has UIDs of its own, which lead nowhere
    own = scans[(scans.participant_id == "T01") & (scans.session == "01") & (scans.run == "1")]
    uids = {node["facts"]["series_uid"] for node in nodes if node["what"] == "series"}
    assert set(own[own.suffix == "IRT1"].series_uid) <= uids
    assert set(scans[(scans.kind == "phantom") & (scans.suffix == "IRT1")].series_uid) <= uids
    assert {node["state"] for node in nodes} <= {"", "as then"}
    sent = {
        hashlib.sha256(p.read_bytes()).hexdigest()
        for p in small.directory.glob("sites/siteA/dicom/**/*")
        if p.is_file()
    }
    assert {node["sha256"] for node in nodes if node["what"] == "DICOM file"} <= sent


def test_a_row_number_is_a_number_too(small):
    table = small.table(layout.MEASUREMENTS)
    ended = call("trace", small, str(len(table)))
    assert ended.exit_code == 0
    last = table.iloc[-1]
    assert f"participant_id: {last.participant_id}" in ended.output
    assert "series_uid" in ended.output


def test_a_source_that_changed_since_is_exit_1(copy_of_small):
    raw = next(copy_of_small.directory.glob("results/sites/siteA/bids/sub-T01/ses-01/anat/*run-1_inv-1_IRT1.nii.gz"))
    raw.write_bytes(raw.read_bytes() + b"\0")
    ended = call("trace", copy_of_small, *NUMBER)
    assert ended.exit_code == 1
    assert "(changed since)" in ended.output


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["siteA", "T01", "01", "1"], "biomarker: T1, T2"),
        (["siteA", "nobody", "01", "1", "-b", "T1", "-r", "white_matter"], "participant_id: "),
        (["0"], "expected: 1 to "),
        (["siteA"], "This names no number"),
    ],
)
def test_what_names_no_single_number_is_told(small, asked, words):
    ended = call("trace", small, *asked)
    assert words in str(ended.exception)
