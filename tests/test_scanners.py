"""A site with two scanners: each is read by its own phantom sessions, and none by the other's."""

import json

import numpy as np
import pandas as pd
import pytest

from calibrate_map import calibrate_map
from extract_rois import extract_rois
from fit_calibration import fit_calibration
from isocenter.calibration import Calibration
from isocenter.calibration.scanners import NO_SESSION, choose_curve
from isocenter.io.nifti import read_map, write_image, write_json, write_map
from isocenter.io.tables import read_table, write_table
from isocenter.phantom.sessions import VIAL_COLUMNS
from isocenter.quality.phantom import check_phantom
from isocenter.report.gather import _calibration_table
from isocenter.statistics.phantom_lines import assess_phantoms, check_vials
from isocenter.volume import ParameterMap

#: What each scanner reads of a true value.
GAINS = {"old": 1.05, "new": 0.95}
REFERENCES = np.array([0.06, 0.12, 0.25, 0.5, 0.9, 1.4, 1.9])
RULES = [{"id": "residual", "statistic": "rms_percent_residual", "maximum": 1.0, "severity": "fail", "remedy": "scan"}]


def write_vials(folder, scanner, session):
    """One session of a scanner: seven vials, 0.2 % noise."""
    rng = np.random.default_rng(len(scanner) + int(session))
    measured = GAINS[scanner] * REFERENCES * (1 + 0.002 * rng.standard_normal(len(REFERENCES)))
    same = {"session": session, "date": f"2026-01-{session}", "phantom": "drawn", "serial": "7", "biomarker": "T1",
            "unit": "s", "flag": "ok", "used": True, "reason": "", "scanner": scanner, "n_voxels": 50,
            **dict.fromkeys(("temperature_stderr", "thermometer_stderr", "common_stderr"), 0.0)}  # fmt: skip
    rows = pd.DataFrame(
        {
            "vial": np.arange(1, len(measured) + 1), "reference": REFERENCES, "reference_stderr": 0.005 * REFERENCES,
            "measured": measured, "stderr": 0.002 * measured, "bias_percent": 100 * (measured / REFERENCES - 1),
        }
    ).assign(**same).reindex(columns=list(VIAL_COLUMNS))  # fmt: skip
    path = folder / f"vials_{scanner}_{session}.tsv"
    write_table(path, rows)
    return path


def calibrate(folder, paths, scanners):
    fit_calibration(paths, calibration=folder / "T1.json", biomarker="T1", unit="s", forms=["none", "gain", "linear"],
                    scanners=scanners)  # fmt: skip
    return json.loads((folder / "T1.json").read_text(encoding="utf-8"))


@pytest.fixture
def two(tmp_path):
    """The calibration of a site with two scanners that were measured and one that was not."""
    paths = [write_vials(tmp_path, "old", "10"), write_vials(tmp_path, "new", "11"), write_vials(tmp_path, "old", "12")]
    return calibrate(tmp_path, paths, ["old", "new", "third"]), paths


def write_tissue(folder, gain):
    rng = np.random.default_rng(0)
    value = (gain * 0.8 * (1 + 0.01 * rng.standard_normal((12, 12, 6)))).astype(np.float32)
    paths = [folder / f"sub-T01_ses-01_run-1_{part}T1map.nii.gz" for part in ("", "desc-stderr_", "desc-flag_")]
    flag = np.zeros(value.shape, np.uint8)
    write_map(paths[0], ParameterMap(value, 0.01 * value, flag, np.eye(4), "s"), *paths[1:], {})
    labels = folder / "labels"
    write_image(labels / "T1map_dseg.nii.gz", np.ones(value.shape, np.uint8), np.eye(4))
    write_table(labels / "labels.tsv", pd.DataFrame({"index": [1], "name": ["tissue"]}))
    write_json(
        labels / "outcome.json", {"Outcome": None, "Labels": {"T1map": {"Erosion": "none", "TransformHash": "0e1f"}}}
    )
    return paths, labels


def measure(folder, scanner):
    """The row of tissue of 0.8 s and its exclusions, and its calibrated map with the sidecar."""
    paths, labels = write_tissue(folder, GAINS.get(scanner, 1.0))
    extract_rois(
        *([path] for path in paths), labels, [folder / "T1.json"], table=folder / "rois.tsv",
        exclusions=folder / "exclusions.tsv", biomarkers=["T1"], rois={"T1": ["tissue"]}, site="a", scanner=scanner,
        participant_id="T01", kind="traveler", session="01", run="1", field_strength=3.0,
    )  # fmt: skip
    outputs = {f"calibrated{name}": folder / f"c{name}.nii.gz" for name in ("", "_stderr", "_flag")}
    calibrate_map(*paths, folder / "T1.json", **outputs, scanner=scanner)
    row = read_table(folder / "rois.tsv", text=("calibration",)).iloc[0]
    return row, read_table(folder / "exclusions.tsv"), *read_map(*outputs.values())


@pytest.mark.parametrize("scanner", GAINS)
def test_each_scanner_is_corrected_by_its_own_curve(tmp_path, two, scanner):
    row, exclusions, calibrated, sidecar = measure(tmp_path, scanner)
    assert row["raw_value"] == pytest.approx(GAINS[scanner] * 0.8, rel=0.003)
    assert row["value"] == pytest.approx(0.8, rel=0.005)
    assert np.median(calibrated.value) == pytest.approx(0.8, rel=0.005)
    assert not sidecar["Calibration"]["refused"]
    assert sidecar["Calibration"]["coefficients"][1] == pytest.approx(1 / GAINS[scanner], rel=0.005)
    assert len(exclusions) == 0


@pytest.mark.parametrize("scanner", ["third", "unknown to the site", ""])
def test_a_scanner_without_a_phantom_session_is_refused(tmp_path, two, scanner):
    row, exclusions, calibrated, sidecar = measure(tmp_path, scanner)
    assert np.isnan(row["value"])
    assert row["raw_value"] == pytest.approx(0.8, rel=0.003)
    assert row["calibration"] == f"refused: {NO_SESSION}"
    assert NO_SESSION in exclusions["reason"].iloc[0]
    assert sidecar["Calibration"]["refused"]
    assert sidecar["Calibration"]["reason"] == NO_SESSION
    assert np.median(calibrated.value) == pytest.approx(0.8, rel=0.003)  # as measured


def test_sessions_of_one_scanner_tell_nothing_of_the_other(tmp_path, two):
    content, paths = two
    alone = calibrate(tmp_path, [path for path in paths if "old" in path.name], ["old"])
    assert content["scanners"]["old"] == alone
    assert content["scanners"]["old"]["dates"] == ["2026-01-10", "2026-01-12"]
    # Whoever does not know of scanners gets no curve rather than a mixture.
    assert Calibration.from_dict(content).refused


def test_a_site_with_one_scanner_keeps_the_file_that_it_had(tmp_path):
    """The id of the only scanner changes nothing, nor does a file that was written before there were any."""
    path = write_vials(tmp_path, "old", "10")
    named, unnamed = calibrate(tmp_path, [path], ["old"]), calibrate(tmp_path, [path], [])
    assert named == unnamed
    assert "scanners" not in named
    assert choose_curve(named, "any") == Calibration.from_dict(named)
    assert choose_curve(named, "any").coefficients[1] == pytest.approx(1 / 1.05, rel=0.003)


def test_a_scanner_whose_vials_failed_says_so(tmp_path):
    good, bad = write_vials(tmp_path, "old", "10"), write_vials(tmp_path, "new", "11")
    write_table(bad, read_table(bad).assign(used=False, flag="failed", reason="the series was empty"))
    curves = calibrate(tmp_path, [good, bad], ["old", "new"])["scanners"]
    assert not curves["old"]["refused"]
    assert "the series was empty" in curves["new"]["reason"]


def test_checks_and_report_show_each_scanner(two):
    content, paths = two
    rows = [row for path in paths for row in read_table(path, text=("session", "serial", "scanner")).to_dict("records")]
    checks = check_phantom(rows, [content], RULES)
    calibrations = {c.scope: str(c.verdict) for c in checks if c.id == "calibration"}
    assert calibrations == {"T1 old": "pass", "T1 new": "pass", "T1 third": "fail"}
    residuals = [c for c in checks if c.id == "residual"]
    assert len(residuals) == 3
    # Each session against its own scanner's curve: the other's would leave 10 %.
    assert all(c.verdict == "pass" for c in residuals)
    table = _calibration_table({("a", "T1"): content})
    assert table["scanner"].tolist() == ["old", "new", "third"]
    assert table["refused"].tolist() == [False, False, True]


def test_linearity_is_calibrated_scanner_by_scanner(two):
    _, paths = two
    vials = pd.concat([read_table(path).assign(site="a") for path in paths], ignore_index=True)
    lines = assess_phantoms(check_vials(vials, {"a": 3.0}), with_calibrated=True)
    calibrated = next(line for line in lines if line.stage == "calibrated")
    assert calibrated.linearity.slope == pytest.approx(1.0, abs=0.01)
    assert set(calibrated.linearity.flags) >= {"leave_one_session_out", "leave_one_vial_out"}
