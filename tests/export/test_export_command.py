"""`isocenter export`: from a trial with names in its DICOM to files that others read, with and without these names."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom.small import NAMES
from export.exported_trial import RUN, TIMES, make_trial, measurements
from export.small_scan import need, validate
from export.test_parametric_map import EXPECTED
from typer.testing import CliRunner

from isocenter import audit, layout
from isocenter.cli import app
from isocenter.errors import AuditError, ConfigError, DicomError, IsocenterError
from isocenter.io.nifti import load_image

PREFIX = "alpha/sub-P01/ses-01/sub-P01_ses-01_run-1"
#: What tells who the patient is: each of the header's names, whole and in its words.
IDENTIFYING = {"PAT-0042", "20250310", *NAMES.values()} | {
    word for text in NAMES.values() for word in re.split(r"[^A-Za-z0-9]+", text) if len(word) > 4
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    here = os.getcwd()
    os.chdir(folder)
    try:
        make_trial(folder)
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def trial(made, tmp_path, monkeypatch):
    """A copy of the trial that a test may spoil; the working folder."""
    shutil.copytree(made, tmp_path / "trial")
    monkeypatch.chdir(tmp_path / "trial")
    return tmp_path / "trial"


def export(*arguments):
    """Run the command in the trial's folder; what it raised or printed."""
    back = os.getcwd()
    try:
        return CliRunner().invoke(app, ["export", ".", "--out", "../out", *arguments])
    finally:
        os.chdir(back)


def fail(error, *arguments) -> str:
    result = export(*arguments)
    assert isinstance(result.exception, error), result.output
    return str(result.exception)


def read(name):
    return pydicom.dcmread(f"../out/{PREFIX}{name}")


def texts(data) -> str:
    """Everything that an object says, private and nested elements too, and its file's meta header."""
    return "\n".join(str(element.value) for part in (data.file_meta, data) for element in part.iterall())


def test_maps_regions_and_report_leave_together(trial):
    result = export("--to", "sr")
    assert result.exit_code == 0, result.output
    assert "Wrote 4 files" in result.output
    assert "pseudonyms" in result.output
    found = sorted(path.relative_to("../out").as_posix() for path in Path("../out").rglob("*.dcm"))
    ends = ("_T1map", "_desc-T1map_dseg", "_desc-stderr_T1map", "_measurements")
    assert found == [f"{PREFIX}{end}.dcm" for end in ends]
    data = read("_T1map.dcm")
    pixels = np.frombuffer(data.FloatPixelData, "<f4")
    values = np.asarray(load_image(layout.fill(layout.MAP, **RUN, map="T1map")).dataobj, np.float32)
    assert sorted(pixels.tobytes()[i : i + 4] for i in range(0, 4 * pixels.size, 4)) == sorted(
        values.tobytes()[i : i + 4] for i in range(0, 4 * values.size, 4)
    )
    n_images = len(TIMES) * 3
    assert len(data.SourceImageSequence) == n_images


def test_nothing_tells_who_the_patient_is(trial):
    """Names, dates and UIDs of the source, sought in every element and in the bytes of every file."""
    assert export("--to", "sr").exit_code == 0
    originals = set()
    for path in Path("sites/alpha/dicom").iterdir():
        data = pydicom.dcmread(path, stop_before_pixels=True)
        keywords = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
        originals |= {str(data[keyword].value) for keyword in keywords}
    files = list(Path("../out").rglob("*.dcm"))
    assert len(files) == 4
    for path in files:
        data = pydicom.dcmread(path)
        said, raw = texts(data), path.read_bytes()
        for word in IDENTIFYING | originals:
            assert word.lower() not in said.lower(), (path.name, word)
            assert word.encode() not in raw, (path.name, word)
        assert (data.PatientID, data.PatientName, data.StudyID) == ("alpha-P01", "alpha-P01^", "01")
        assert data.PatientIdentityRemoved == "YES"
        assert data.StudyDate == data.PatientBirthDate == data.AccessionNumber == ""
    assert len({pydicom.dcmread(path).StudyInstanceUID for path in files}) == 1
    assert len({pydicom.dcmread(path).get("FrameOfReferenceUID") for path in files} - {None}) == 1


def test_identifiers_come_back_on_request_and_are_recorded(trial):
    before = len(audit.read_log(trial))
    reason = "to file the maps beside the scans"
    result = export("--to", "sr", "--with-identifiers", reason, "--by", "data office")
    assert result.exit_code == 0, result.output
    source = pydicom.dcmread(next(Path("sites/alpha/dicom").iterdir()), stop_before_pixels=True)
    for name in ("_T1map.dcm", "_desc-stderr_T1map.dcm", "_desc-T1map_dseg.dcm", "_measurements.dcm"):
        data = read(name)
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDate",
                        "AccessionNumber", "ReferringPhysicianName", "StudyDescription"):  # fmt: skip
            assert data[keyword].value == source[keyword].value, keyword
        assert data.PatientIdentityRemoved == "NO"
        # What the patient's record does not need stays behind all the same.
        assert not {"Thistlewood", "Vexford Infirmary", "17 Marmalade Lane"} & set(texts(data).split("\n"))
    assert read("_T1map.dcm").FrameOfReferenceUID == source.FrameOfReferenceUID
    referred = {ref.ReferencedSOPInstanceUID for ref in read("_T1map.dcm").SourceImageSequence}
    assert source.SOPInstanceUID in referred
    *_, entry = audit.read_log(trial)
    assert len(audit.read_log(trial)) == before + 1
    assert (entry.kind, entry.who, entry.why) == ("export", "data office", reason)
    assert entry.what == "export with the patients' identifiers: 2 maps of alpha P01"
    assert "manifest" not in entry.digests, "an export vouches for no result"
    assert audit.check_chain(trial) is None
    assert not any(word in json.dumps(entry.what) for word in IDENTIFYING)


@pytest.mark.parametrize("is_packed", [False, True], ids=["folder", "archive"])
def test_uids_that_hold_a_date_come_back_too(tmp_path, monkeypatch, is_packed):
    """Results tell such UIDs by their digests: objects with identifiers refer to the scans that the archive has."""
    (tmp_path / "trial").mkdir()
    monkeypatch.chdir(tmp_path / "trial")
    make_trial(tmp_path / "trial", has_dated_uids=True, is_packed=is_packed)
    folder = Path("sites/alpha/dicom")
    if is_packed:
        shutil.unpack_archive("sites/alpha/dicom/sent.zip", tmp_path / "unpacked")
        folder = tmp_path / "unpacked"
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    index = Path(layout.fill(layout.INTAKE_INDEX, site="alpha")).read_text()
    assert "1.2.840.99" not in index
    assert export("--to", "sr").exit_code == 0
    assert not any(b"1.2.840.99" in path.read_bytes() for path in Path("../out").rglob("*.dcm"))
    shutil.rmtree("../out")
    assert export("--to", "sr", "--with-identifiers", "a test").exit_code == 0
    data = read("_T1map.dcm")
    assert {ref.ReferencedSOPInstanceUID for ref in data.SourceImageSequence} == {one.SOPInstanceUID for one in files}
    assert {one.SeriesInstanceUID for one in data.ReferencedSeriesSequence} >= {files[0].SeriesInstanceUID}
    for name in ("_T1map.dcm", "_desc-T1map_dseg.dcm"):
        assert read(name).FrameOfReferenceUID == files[0].FrameOfReferenceUID
        assert read(name).StudyInstanceUID == files[0].StudyInstanceUID
    assert files[0].SOPInstanceUID in texts(read("_measurements.dcm"))


def test_identifiers_need_a_reason(trial):
    assert "has no reason" in fail(AuditError, "--to", "sr", "--with-identifiers", " ")
    assert not Path("../out").exists()


def test_identifiers_are_refused_when_a_source_file_has_changed(trial):
    path = sorted(Path("sites/alpha/dicom").iterdir())[0]
    data = pydicom.dcmread(path)
    data.PatientName = "Somebody^Else"
    status = path.stat()
    data.save_as(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    text = fail(DicomError, "--to", "parametric-map", "--with-identifiers", "why not")
    assert "not what intake read" in text
    assert "SHA-256" in text
    assert "Somebody" not in text
    assert not list(Path("../out").rglob("*.dcm"))
    assert [entry.kind for entry in audit.read_log(trial)] == ["run"]
    assert export("--to", "parametric-map").exit_code == 0  # pseudonyms need no source


def test_identifiers_are_refused_when_the_source_is_gone(trial):
    shutil.rmtree("sites/alpha/dicom")
    assert "no longer there" in fail(DicomError, "--to", "sr", "--with-identifiers", "why not")
    assert export("--to", "sr").exit_code == 0


def test_the_report_says_what_the_table_says(trial):
    """Read back with pydicom alone: every number of the table, by quantity, statistic and unit."""
    assert export("--to", "sr").exit_code == 0
    report, segmentation, fitted = read("_measurements.dcm"), read("_desc-T1map_dseg.dcm"), read("_T1map.dcm")
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (groups,) = [item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    table = measurements().set_index("roi")
    assert len(groups.ContentSequence) == len(table) == 2
    columns = {
        "373099004": "raw_median", "373098007": "raw_mean", "386136009": "raw_sd", "130614": "raw_iqr",
        "371890005": "raw_p10", "371887004": "raw_p90", "standard-error": "raw_stderr",
    }  # fmt: skip
    for number, group in enumerate(groups.ContentSequence, start=1):
        by_name = {}
        for item in group.ContentSequence:
            by_name.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item)
        roi = by_name["Tracking Identifier"][0].TextValue.removeprefix("T1 ")
        row, seen = table.loc[roi], set()
        for item in by_name["T1"]:
            (measured,) = item.MeasuredValueSequence
            assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "s"
            inside = {one.ConceptNameCodeSequence[0].CodeMeaning: one for one in item.ContentSequence}
            column = columns[inside["Derivation"].ConceptCodeSequence[0].CodeValue]
            assert inside["Measurement Method"].ConceptCodeSequence[0].CodeMeaning == "As fitted, not calibrated"
            assert float(measured.NumericValue) == pytest.approx(row[column], rel=1e-9)
            (source,) = inside["Source of Measurement"].ReferencedSOPSequence
            assert source.ReferencedSOPInstanceUID == fitted.SOPInstanceUID
            seen.add(column)
        assert seen == set(columns.values())
        counts = {"Voxels of the region": "n_voxels", "Voxels of the region that hold a value": "n_valid"}
        for name, column in counts.items():
            assert float(by_name[name][0].MeasuredValueSequence[0].NumericValue) == row[column]
        volume = float(by_name["Volume"][0].MeasuredValueSequence[0].NumericValue)
        assert volume == pytest.approx(row["n_voxels"] * 2.0 * 2.0 * 5.0)
        (source,) = by_name["Source Series for Segmentation"]
        assert source.UID in {series.SeriesInstanceUID for series in segmentation.ReferencedSeriesSequence}
        (segment,) = by_name["Referenced Segment"][0].ReferencedSOPSequence
        assert segment.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert segment.ReferencedSegmentNumber == number
        expected = {"white_matter": "389080008", "gray_matter": "389081007"}[roi]
        assert by_name["Finding Site"][0].ConceptCodeSequence[0].CodeValue == expected
        own = segmentation.SegmentSequence[number - 1]
        assert own.SegmentLabel == roi
        assert own.TrackingUID == by_name["Tracking Unique Identifier"][0].UID


def test_segments_are_the_regions_that_were_measured(trial):
    """Read back by the project's own reader of DICOM-SEG, which knows nothing of the writer."""
    from isocenter.dicom.segmentation import read_segmentation
    from isocenter.io.nifti import read_labels
    from isocenter.rois import place_labels

    assert export("--to", "sr").exit_code == 0
    found, affine = read_segmentation(Path(f"../out/{PREFIX}_desc-T1map_dseg.dcm"))
    labels, target = read_labels(layout.fill(layout.LABELS, **RUN) / "T1map_dseg.nii.gz")
    for number, (name, mask) in enumerate(found, start=1):
        placed = place_labels(mask.astype(np.int16), affine, labels.shape, target)
        np.testing.assert_array_equal(placed == 1, labels == number, err_msg=name)


def test_a_region_that_was_changed_since_is_left_out(trial):
    path = layout.fill(layout.LABELS, **RUN) / "labels.tsv"
    path.write_text("index\tname\n2\twhite_matter\n1\tgray_matter\n")
    result = export("--to", "sr")
    assert "A region is not the one that was measured" in result.output
    assert "Wrote 2 files" in result.output


@pytest.mark.parametrize("identified", [False, True], ids=["pseudonym", "identifiers"])
def test_other_readers_take_the_files(trial, identified):
    """dciodvfy finds no error; dcmtk dumps each object and renders the report."""
    dsrdump = need("dsrdump")
    assert export("--to", "sr", *(["--with-identifiers", "a test"] if identified else [])).exit_code == 0
    for path in Path("../out").rglob("*.dcm"):
        complaints = validate(path)
        assert [line for line in complaints if not any(word in line for word in EXPECTED)] == [], path.name
        done = subprocess.run([need("dcmdump"), str(path)], capture_output=True, check=False, timeout=60)
        assert done.returncode == 0
        assert b"E: " not in done.stderr
    report = f"../out/{PREFIX}_measurements.dcm"
    done = subprocess.run([dsrdump, report], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    for value in measurements()["raw_median"]:
        assert f'"T1")="{value:.9g}" (s,UCUM,"second")' in done.stdout


# BIDS ------------------------------------------------------------------------------------------------
def validate_bids(folder: Path) -> list[dict]:
    """The errors that the official validator finds in a dataset; it needs no network for it."""
    program = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run(
        [program, str(folder), "--format", "json"], capture_output=True, text=True, check=False, timeout=300
    )
    found = json.loads(done.stdout)["issues"]["issues"]
    assert found, "the validator always recommends something"
    return [issue for issue in found if issue["severity"] == "error"]


def test_the_official_validator_finds_no_error(trial):
    assert export("--to", "bids").exit_code == 0
    for dataset in ("bids", "derivatives/isocenter"):
        assert validate_bids(Path("../out/alpha", dataset)) == []
    # The results are valid as they stand, too.
    assert validate_bids(layout.fill(layout.DERIVATIVES, site="alpha")) == []
    # And the validator is no rubber stamp: a map under a name that nobody ignores.
    base = Path("../out/alpha/derivatives/isocenter/sub-P01/ses-01/anat")
    shutil.copy(base / "sub-P01_ses-01_run-1_T1map.nii.gz", base / "sub-P01_run-1_ses-01_T9map.nii.gz")
    assert validate_bids(Path("../out/alpha/derivatives/isocenter"))


def test_links_of_an_exported_dataset_lead_to_its_sources(trial):
    assert export("--to", "bids").exit_code == 0
    base = Path("../out/alpha/derivatives/isocenter")
    description = json.loads((base / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "Isocenter"
    checked = 0
    for path in base.rglob("*.json"):
        content = json.loads(path.read_text())
        for uri in content.get("Sources", []):
            _, dataset, inside = uri.split(":", 2)
            root = base / description["DatasetLinks"][dataset] if dataset else base
            assert (root / inside).is_file(), uri
            checked += 1
    assert checked >= 3 * len(TIMES)
    assert (base / "sub-P01/ses-01/anat/sub-P01_ses-01_run-1_desc-T1map_dseg.tsv").read_text().splitlines() == [
        "index\tname", "1\twhite_matter", "2\tgray_matter",
    ]  # fmt: skip
    assert (base / "participants.tsv").read_text() == "participant_id\tkind\nsub-P01\tpatient\n"


def test_bids_takes_no_identifiers(trial):
    assert "BIDS holds no" in fail(ConfigError, "--to", "bids", "--with-identifiers", "x")


# What is refused -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--participant", "P99"), "no such participant; expected: P01; found: P99"),
        (("--site", "../alpha"), "no such site; expected: alpha; found: ../alpha"),
        (("--biomarker", "T3"), "no such biomarker"),
        (("--out", "results/export"), "An export cannot lie there"),
        (("--out", "sites/alpha/dicom/out"), "An export cannot lie there"),
        (("--out", "config"), "is not empty"),
    ],
)
@pytest.mark.parametrize("form", ["bids", "sr"])
def test_a_request_that_makes_no_sense_is_told(trial, form, arguments, expected):
    assert expected in fail(ConfigError, "--to", form, *arguments)


def test_a_selection_without_maps_is_told(trial):
    assert "holds no map" in fail(DicomError, "--to", "parametric-map", "--biomarker", "T2")


def test_a_folder_that_is_no_trial_is_told(tmp_path):
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--to", "sr", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, IsocenterError)
    assert "no trial folder" in str(result.exception)
