"""The step that measures regions: rows, calibration, and a reason for every row that is missing."""

import statistics
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from extract_rois import extract_rois
from isocenter.calibration import Calibration
from isocenter.entities import EXCLUSION_COLUMNS, Flag
from isocenter.io.nifti import read_labels, read_map, write_image, write_json, write_map
from isocenter.io.outcome import Exclusion, write_excluded_map
from isocenter.io.tables import read_table, write_table
from isocenter.rois import COLUMNS
from isocenter.volume import ParameterMap

SHAPE = (12, 12, 6)
TEXT = ("session", "run", "reason", "calibration", "calibrated_flag", "flags", "erosion", "transform_hash")
WHO = {
    "site": "siteA",
    "scanner": "siemens1",
    "participant_id": "T01",
    "kind": "traveler",
    "session": "01",
    "run": "1",
    "field_strength": 3.0,
}
ROIS = ["white_matter", "gray_matter", "csf"]
GAIN = Calibration("T1", "s", "gain", (0.0, 1.05), ((0, 0), (0, 1e-4)), (0.1, 2.0), 9, ("2026-01-12",))
REFUSED = Calibration.refuse("T1", "s", "no vial of the phantom could be used")


def write_run(folder, *, fluid=30):
    """A T1 map (white 0.8 s, gray 1.3 s, fluid 4 s; 1 % noise) with its labels; `fluid` voxels of fluid."""
    rng = np.random.default_rng(0)
    dseg = np.zeros(SHAPE, np.uint8)
    dseg[:6], dseg[6:10] = 1, 2
    dseg[10:].flat[:fluid] = 3
    value = np.choose(dseg, [1.0, 0.8, 1.3, 4.0]) * (1 + 0.01 * rng.standard_normal(SHAPE))
    flag = np.zeros(SHAPE, np.uint8)
    flag[0, 0] = Flag.CLIPPED
    value[flag > 0] = np.nan
    stderr = np.where(flag > 0, np.nan, 0.01 * np.choose(dseg, [1.0, 0.8, 1.3, 4.0]))
    paths = [folder / f"sub-T01_ses-01_run-1_{part}T1map.nii.gz" for part in ("", "desc-stderr_", "desc-flag_")]
    write_map(paths[0], ParameterMap(value, stderr, flag, np.eye(4), "s"), *paths[1:], {})
    labels = folder / "labels"
    write_image(labels / "T1map_dseg.nii.gz", dseg, np.eye(4))
    write_table(labels / "labels.tsv", pd.DataFrame({"index": [1, 2, 3], "name": ROIS}))
    came = {"T1map": {"Erosion": "1 voxel", "TransformHash": "0e1f"}}
    write_json(labels / "outcome.json", {"Outcome": None, "Labels": came})
    return paths, labels


def measure(folder, paths, labels, *, calibration=None, rois=ROIS):
    calibrations = []
    if calibration is not None:
        calibrations = [folder / "T1.json"]
        write_json(calibrations[0], calibration.to_dict())
    extract_rois(
        *([path] for path in paths),
        labels,
        calibrations,
        table=folder / "rois.tsv",
        exclusions=folder / "exclusions.tsv",
        biomarkers=["T1"],
        rois={"T1": rois},
        **WHO,
    )
    return read_table(folder / "rois.tsv", text=TEXT), read_table(folder / "exclusions.tsv", text=TEXT)


def test_rows_stand_raw_and_calibrated_side_by_side(tmp_path):
    table, exclusions = measure(tmp_path, *write_run(tmp_path), calibration=GAIN)
    assert list(table.columns) == list(COLUMNS)
    assert list(exclusions.columns) == list(EXCLUSION_COLUMNS)
    assert len(exclusions) == 0
    rows = table.set_index("roi")
    np.testing.assert_allclose(rows["raw_value"], [0.8, 1.3, 4.0], rtol=0.005)
    np.testing.assert_allclose(rows["value"], 1.05 * rows["raw_value"])
    # The calibration's own variance is in the standard error: 1 % of the value here.
    own = np.hypot(1.05 * rows["raw_stderr"], 0.01 * rows["raw_value"])
    np.testing.assert_allclose(rows["stderr"], own, rtol=1e-6)
    assert (rows["raw_stderr"] < 0.005 * rows["raw_value"]).all()
    assert list(rows["calibrated_flag"]) == ["", "", "beyond_calibration"]
    assert list(rows["calibration"]) == ["gain 2026-01-12"] * 3
    assert (rows.loc["white_matter", "n_voxels"], rows.loc["white_matter", "n_valid"]) == (432, 426)
    assert rows.loc["white_matter", "flags"] == "clipped 0.014"
    for key, value in WHO.items():
        assert (table[key] == value).all()


def test_a_row_says_how_its_voxels_lie_and_where_its_label_came_from(tmp_path):
    paths, labels = write_run(tmp_path)
    table, _ = measure(tmp_path, paths, labels)
    row = table.set_index("roi").loc["gray_matter"]
    value = read_map(*paths)[0].value
    voxels = value[read_labels(labels / "T1map_dseg.nii.gz")[0] == 2].astype(float)
    expected = {
        "raw_median": statistics.median(voxels),
        "raw_mean": statistics.fmean(voxels),
        "raw_sd": statistics.stdev(voxels),
    }
    deciles = statistics.quantiles(voxels, n=20, method="inclusive")
    expected |= {"raw_p10": deciles[1], "raw_p90": deciles[17], "raw_iqr": deciles[14] - deciles[4]}
    for column, number in expected.items():
        assert row[column] == pytest.approx(number, rel=1e-6), column
    assert row["raw_median"] == row["raw_value"]
    assert 0.5 * len(voxels) < row["n_effective"] <= len(voxels)
    assert 0 < row["interior"] < 1
    assert 0 < abs(row["lean"]) < 0.01 * row["raw_value"]
    assert (row["erosion"], row["transform_hash"]) == ("1 voxel", "0e1f")


def test_a_region_may_be_the_union_of_several_numbers(tmp_path):
    paths, labels = write_run(tmp_path)
    names = [(1, "white_matter"), (2, "gray_matter"), (1, "brain"), (2, "brain")]
    write_table(labels / "labels.tsv", pd.DataFrame(names, columns=["index", "name"]))
    table, _ = measure(tmp_path, paths, labels, rois=["white_matter", "gray_matter", "brain"])
    counts = table.set_index("roi")["n_voxels"]
    assert counts["brain"] == counts["white_matter"] + counts["gray_matter"]


def test_a_refused_calibration_leaves_the_raw_value_and_a_reason(tmp_path):
    table, exclusions = measure(tmp_path, *write_run(tmp_path), calibration=REFUSED)
    assert table["value"].isna().all()
    assert table["raw_value"].notna().all()
    assert table["calibration"].str.startswith("refused: no vial").all()
    assert list(exclusions["stage"]) == ["calibrate"]
    assert "no vial of the phantom could be used" in exclusions["reason"][0]


def test_a_biomarker_that_wants_no_calibration_is_taken_as_measured(tmp_path):
    table, exclusions = measure(tmp_path, *write_run(tmp_path))
    np.testing.assert_array_equal(table["value"], table["raw_value"])
    assert set(table["calibration"]) == {"not wanted"}
    assert len(exclusions) == 0


def test_a_region_of_few_voxels_is_a_reason(tmp_path):
    table, exclusions = measure(tmp_path, *write_run(tmp_path, fluid=19), calibration=GAIN)
    assert list(table["roi"]) == ROIS[:2]
    assert list(exclusions["stage"]) == ["regions"]
    assert exclusions["reason"][0].startswith("csf holds 19 voxels with a value")


def test_a_region_that_no_label_has_is_a_reason(tmp_path):
    table, exclusions = measure(tmp_path, *write_run(tmp_path), rois=["white_matter", "putamen"])
    assert list(table["roi"]) == ["white_matter"]
    assert "no region putamen" in exclusions["reason"][0]


@pytest.mark.parametrize("where", ["map", "labels"])
def test_a_scan_that_was_left_out_before_stays_a_reason(tmp_path, where):
    paths, labels = write_run(tmp_path)
    gone = Exclusion("fit", "InversionTime is missing: (0018,0082)", "Ask the site")
    if where == "map":
        write_excluded_map(*paths, gone, "s")
    else:
        write_json(labels / "outcome.json", {"Outcome": asdict(gone)})
    table, exclusions = measure(tmp_path, paths, labels, calibration=GAIN)
    assert len(table) == 0
    assert list(table.columns) == list(COLUMNS)
    row = exclusions.iloc[0]
    assert (row["stage"], row["reason"], row["action"]) == ("fit", gone.reason, gone.action)
    assert (row["site"], row["participant_id"], row["session"], row["run"]) == ("siteA", "T01", "01", "1")
    assert (row["biomarker"], row["series"]) == ("T1", paths[0].name)


def test_a_broken_map_does_not_stop_the_step(tmp_path):
    paths, labels = write_run(tmp_path)
    paths[1].write_bytes(b"no image")
    table, exclusions = measure(tmp_path, paths, labels, calibration=GAIN)
    assert len(table) == 0
    assert list(exclusions["stage"]) == ["regions"]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"From": "phantom", "Reason": "the smallest residual"}, "pulses: phantom"),
        ({"From": "configured", "Reason": "no train; none at all"}, "pulses: configured (no train, none at all)"),
    ],
)
def test_a_row_says_whose_pulses_its_fit_took(tmp_path, own, words):
    paths, labels = write_run(tmp_path)
    parameter_map, _ = read_map(*paths)
    write_map(paths[0], parameter_map, *paths[1:], {"Pulses": own})
    table, _ = measure(tmp_path, paths, labels)
    assert set(table["lent_maps"]) == {words}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"State": "corrected", "Reason": "", "ReadoutFrom": "header"}, "b0: B0map"),
        ({"State": "corrected", "Reason": "", "ReadoutFrom": "site"}, "b0: B0map (readout as the site states it)"),
        ({"State": "uncorrected", "Reason": "no; none", "ReadoutFrom": "header"}, "b0: uncorrected (no, none)"),
    ],
)
def test_a_row_says_what_corrected_its_series(tmp_path, told, words):
    paths, labels = write_run(tmp_path)
    parameter_map, _ = read_map(*paths)
    write_map(paths[0], parameter_map, *paths[1:], {"Distortion": {"FieldMap": "B0map", **told}})
    table, _ = measure(tmp_path, paths, labels)
    assert set(table["lent_maps"]) == {words}
