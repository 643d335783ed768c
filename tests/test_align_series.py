"""The step that aligns a series: what it writes, what it keeps, and what it does with a bad series."""

import numpy as np
import pytest
from simulated_brain import (
    AFFINE,
    INVERSION_TIMES,
    REPETITION_TIME,
    fractions,
    inversion_series,
    random_motion,
    residual_displacement,
)

from align_series import align_series
from isocenter.errors import ConfigError
from isocenter.io.nifti import read_series, read_sidecar, write_image
from isocenter.io.outcome import read_exclusion
from isocenter.io.tables import read_table
from isocenter.registration import align_volumes

SATURATION = 620.0
REQUEST = {"model": "t1_inversion_recovery", "options": {}, "limit": 15.0, "seed": 1}


def write_raw(folder, data) -> list:
    paths = []
    for k, time in enumerate(INVERSION_TIMES):
        path = folder / f"sub-T01/ses-01/anat/sub-T01_ses-01_run-1_inv-{k + 1}_IRT1.nii.gz"
        sidecar = {"InversionTime": time, "RepetitionTime": REPETITION_TIME, "SaturationValue": SATURATION}
        write_image(path, data[..., k], AFFINE, sidecar)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    rng = np.random.default_rng(3)
    motions = [random_motion(rng, 1.5, 1.5) for _ in INVERSION_TIMES[:-1]] + [np.eye(4)]
    data = np.minimum(inversion_series(2, motions), SATURATION)
    paths = write_raw(folder, data)
    outputs = {
        "aligned": folder / "aligned_IRT1.nii.gz",
        "motion": folder / "motion.tsv",
        "figure": folder / "motion.png",
    }
    align_series(paths, **outputs, method="rigid", **REQUEST)
    return paths, outputs, data, motions


def test_motion_table_says_what_moved(aligned):
    _, outputs, _, motions = aligned
    table = read_table(outputs["motion"])
    assert list(table["volume"]) == list(range(1, 9))
    np.testing.assert_allclose(table["InversionTime"], INVERSION_TIMES)
    assert list(table["used"]) == ["registered"] * 7 + ["reference"]
    assert table["framewise_displacement_mm"].iloc[0] == 0
    assert (table["residual_after"] < table["residual_before"]).all()
    assert table[["residual_before", "residual_after"]].nunique().tolist() == [1, 1]
    # The turns are small: the skew part of the matrix is the turn, whatever the order about the axes.
    turns = np.degrees([[m[2, 1], m[0, 2], m[1, 0]] for m in motions])
    np.testing.assert_allclose(table[["rx_deg", "ry_deg", "rz_deg"]], turns, atol=0.35)


def test_the_series_comes_back_whole(aligned):
    paths, outputs, data, _ = aligned
    series = read_series([outputs["aligned"]])
    assert series.data.shape == data.shape
    np.testing.assert_allclose(series.acquisition["InversionTime"], INVERSION_TIMES)
    assert series.acquisition["RepetitionTime"] == REPETITION_TIME
    np.testing.assert_allclose(series.affine, AFFINE)
    np.testing.assert_array_equal(series.data[..., 7], data[..., 7])  # the reference is not resampled
    sources = read_sidecar(outputs["aligned"])["Sources"]
    assert sources[0] == f"bids:raw:sub-T01/ses-01/anat/{paths[0].name}"


def test_clipped_samples_are_still_told_apart(aligned):
    _, outputs, data, _ = aligned
    series = read_series([outputs["aligned"]])
    np.testing.assert_array_equal(series.saturation, SATURATION)
    before, after = (data >= SATURATION).mean(axis=(0, 1, 2)), series.clipped().mean(axis=(0, 1, 2))
    assert before.max() > 0.01
    assert (after[before > 0.01] >= before[before > 0.01]).all()
    assert np.nanmax(series.data) == SATURATION


def test_a_second_run_writes_the_same_bytes(aligned, tmp_path):
    paths, outputs, _, _ = aligned
    again = {
        "aligned": tmp_path / "aligned_IRT1.nii.gz",
        "motion": tmp_path / "motion.tsv",
        "figure": tmp_path / "motion.png",
    }
    align_series(paths, **again, method="rigid", **REQUEST)
    for name, path in outputs.items():
        assert again[name].read_bytes() == path.read_bytes()


def test_the_head_no_longer_moves(aligned):
    _, outputs, _, motions = aligned
    data = read_series([outputs["aligned"]]).data
    left = align_volumes(np.nan_to_num(data), AFFINE, inversion_time=INVERSION_TIMES).matrices
    was = [residual_displacement(np.eye(4), m, fractions(2)) for m in motions[:-1]]
    now = [residual_displacement(np.eye(4), m, fractions(2)) for m in left[:-1]]
    assert np.median(now) < 0.25 * np.median(was)


def test_method_none_copies(tmp_path):
    data = np.random.default_rng(0).uniform(0, 600, (8, 8, 4, 8)).astype(np.float32)
    paths = write_raw(tmp_path, data)
    out = {"aligned": tmp_path / "a.nii.gz", "motion": tmp_path / "m.tsv", "figure": tmp_path / "m.png"}
    align_series(paths, **out, method="none", **REQUEST)
    np.testing.assert_array_equal(read_series([out["aligned"]]).data, data)
    assert set(read_table(out["motion"])["used"]) == {"not aligned"}


def test_a_bad_series_becomes_a_reason(tmp_path):
    data = np.random.default_rng(0).uniform(0, 600, (8, 8, 4, 8)).astype(np.float32)
    paths = write_raw(tmp_path, data)
    write_image(paths[2], data[:-1, ..., 2], AFFINE, read_sidecar(paths[2]))
    out = {"aligned": tmp_path / "a.nii.gz", "motion": tmp_path / "m.tsv", "figure": tmp_path / "m.png"}
    align_series(paths, **out, method="rigid", **REQUEST)
    exclusion = read_exclusion(read_sidecar(out["aligned"]))
    assert exclusion.stage == "align"
    assert "differ in geometry" in exclusion.reason
    assert len(read_table(out["motion"])) == 0


def test_an_unknown_method_is_the_requests_fault(tmp_path):
    with pytest.raises(ConfigError, match="Unknown alignment method"):
        align_series([], aligned=tmp_path / "a", motion=tmp_path / "m", figure=tmp_path / "f", method="best", **REQUEST)
