"""Every image that a step writes says what it was made from and by, with hashes."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

import fit_map
from isocenter import __version__, provenance, stamps, step
from isocenter.io.nifti import read_sidecar, write_image

SITE = "results/sites/siteA"
RAW = Path(f"{SITE}/bids/sub-T01/ses-01/anat")
MADE = Path(f"{SITE}/derivatives/isocenter/sub-T01/ses-01/anat")
TIMES = [0.05, 0.4, 1.0, 3.0]
#: What a header told, of which the model takes the inversion time alone.
HEADER = {
    "MagneticFieldStrength": 3.0, "RepetitionTime": 5.0, "EchoTime": 0.007, "FlipAngle": 90.0,
    "ReceiveCoilName": "Head_20", "TransmitCoilName": "Body", "NonlinearGradientCorrection": False,
    "SoftwareVersions": "syngo MR E11", "PatientPosition": "HFS",
}  # fmt: skip


@pytest.fixture
def raw(tmp_path, monkeypatch) -> list[Path]:
    """An inversion recovery series in a trial's folder, one file a time."""
    monkeypatch.chdir(tmp_path)
    files = []
    for k, time in enumerate(TIMES, start=1):
        signal = np.full((4, 4, 1), 1000 * abs(1 - 2 * np.exp(-time / 0.9)), np.float32)
        files.append(RAW / f"sub-T01_ses-01_run-1_inv-{k}_IRT1.nii.gz")
        write_image(files[-1], signal, np.eye(4), {**HEADER, "InversionTime": time})
    return files


@pytest.fixture
def fitted(raw, monkeypatch) -> dict[str, Path]:
    """The outputs of `fit_map`, run as a step."""
    names = {"map": "T1map", "stderr": "desc-stderr_T1map", "flag": "desc-flag_T1map", "fit": "desc-fit_T1map"}
    outputs = {key: MADE / f"sub-T01_ses-01_run-1_{name}.nii.gz" for key, name in names.items()}
    words = ["--model", "t1_inversion_recovery", "--parameter", "T1", "--unit", "s", "--options", "{}"]
    words += ["--plausible-range", "[0.01, 10]", "--series", *map(str, raw)]
    words += [word for key, path in outputs.items() for word in (f"--{key}", str(path))]
    monkeypatch.setattr(sys, "argv", ["fit_map", *words])
    with pytest.raises(SystemExit) as ended:
        step.run_step(fit_map.fit_map, {})
    assert ended.value.code == 0
    return outputs


def test_sources_are_named_with_their_hashes(fitted, raw):
    for path in fitted.values():
        sidecar = read_sidecar(path)
        uris = [f"bids:raw:sub-T01/ses-01/anat/{file.name}" for file in raw]
        assert sidecar["Sources"] == uris
        assert sidecar["SourceHashes"] == {
            uri: hashlib.sha256(file.read_bytes()).hexdigest() for uri, file in zip(uris, raw, strict=True)
        }


def test_code_and_environment_are_told(fitted):
    (made,) = read_sidecar(fitted["map"])["GeneratedBy"]
    assert made == {
        "Name": "Isocenter",
        "Version": __version__,
        "Description": "fit_map",
        "CodeDigest": provenance.code_digest("fit_map", models=("t1_inversion_recovery",)),
        "EnvironmentLockSHA256": hashlib.sha256(provenance.LOCK.read_bytes()).hexdigest(),
    }


def test_model_unit_and_acquisition_stand_beside_every_image(fitted):
    for name in ("map", "stderr", "flag", "fit"):
        sidecar = read_sidecar(fitted[name])
        assert sidecar["Model"] == "t1_inversion_recovery"
        assert {key: sidecar[key] for key in HEADER if key != "PatientPosition"} == {
            key: value for key, value in HEADER.items() if key != "PatientPosition"
        }
        assert sidecar["InversionTimes"] == TIMES  # BIDS takes one number only under InversionTime
        assert "InversionTime" not in sidecar
        assert sidecar["SkullStripped"] is False
    assert read_sidecar(fitted["map"])["Units"] == read_sidecar(fitted["stderr"])["Units"] == "s"
    assert read_sidecar(fitted["flag"])["Levels"]["0"] == "ok"


def test_a_map_that_could_not_be_made_says_from_what(raw, tmp_path):
    """It carries its reason, and no acquisition that it has no values of."""
    excluded = MADE / "sub-T01_ses-01_run-1_T1map.nii.gz"
    write_image(excluded, np.full((1, 1, 1), np.nan, np.float32), np.eye(4), {"Outcome": {"stage": "fit"}})
    stamps.stamp_outputs("fit_map", raw, raw, [excluded], code="abc")
    sidecar = read_sidecar(excluded)
    assert len(sidecar["SourceHashes"]) == 4
    assert "RepetitionTime" not in sidecar
    assert sidecar["Outcome"] == {"stage": "fit"}


def test_what_a_step_says_itself_stays(raw):
    made = MADE / "sub-T01_ses-01_run-1_desc-fit_T1map.nii.gz"
    write_image(made, np.zeros((1, 1, 1), np.float32), np.eye(4), {"EchoTime": 0.5, "Parameters": ["T1"]})
    stamps.stamp_outputs("fit_map", raw, raw, [made], code="abc")
    assert read_sidecar(made)["EchoTime"] == 0.5
    assert read_sidecar(made)["Parameters"] == ["T1"]


def test_a_stamp_is_the_same_to_the_byte(raw):
    made = MADE / "sub-T01_ses-01_run-1_T1map.nii.gz"
    contents = []
    for _ in range(2):
        write_image(made, np.zeros((1, 1, 1), np.float32), np.eye(4), {"Units": "s"})
        stamps.stamp_outputs("fit_map", raw, raw, [made], code="abc")
        contents.append(made.with_name(made.name.replace(".nii.gz", ".json")).read_bytes())
    assert contents[0] == contents[1]


def test_a_folder_of_labels_is_stamped_file_by_file(raw):
    folder = MADE / "sub-T01_ses-01_run-1_labels"
    write_image(folder / "T1map_dseg.nii.gz", np.zeros((1, 1, 1), np.int16), np.eye(4))
    (folder / ".snakemake_timestamp").touch()
    stamps.stamp_outputs("transfer_labels", raw[:1], [*raw, folder], [folder], code="abc")
    assert read_sidecar(folder / "T1map_dseg.nii.gz")["GeneratedBy"][0]["Description"] == "transfer_labels"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (f"{SITE}/bids/sub-T01/ses-01/anat/a_IRT1.nii.gz", "bids:raw:sub-T01/ses-01/anat/a_IRT1.nii.gz"),
        (f"{SITE}/derivatives/isocenter/sub-T01/a_T1map.nii.gz", "bids::sub-T01/a_T1map.nii.gz"),
        (f"{SITE}/calibration/T1.json", "bids:site:calibration/T1.json"),
        ("results/template/T1w.nii.gz", "bids:trial:results/template/T1w.nii.gz"),
        ("sites/siteA/rois/a_dseg.nii.gz", "bids:trial:sites/siteA/rois/a_dseg.nii.gz"),
    ],
)
def test_a_source_is_named_and_found_again(path, uri):
    assert stamps.name_source(Path(path)) == uri
    assert stamps.find_source(uri, "siteA") == Path(path)


def test_no_folder_of_the_machine_gets_into_a_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stamps.name_source(tmp_path / "config" / "a.yaml") == "bids:trial:config/a.yaml"
    assert stamps.name_source(Path("/elsewhere/person/atlas.nii.gz")) == "atlas.nii.gz"
