"""The step that fits a map: files in, files out, and what becomes of a bad series."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.io.nifti import read_map, read_sidecar, write_image, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.volume import ParameterMap

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from fit_map import fit_map

TI = [0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0]
SETTINGS = {
    "model": "t1_inversion_recovery",
    "parameter": "T1",
    "unit": "s",
    "options": {"robust": "tukey"},
    "plausible_range": [0.01, 6.0],
}


def write_recovery(folder, **change):
    """A block of tissue in air, one file per inversion time; returns the files and the true T1."""
    rng = np.random.default_rng(4)
    truth = np.full((12, 12, 3), np.nan)
    truth[3:9, 3:9] = rng.uniform(0.6, 1.6, (6, 6, 3))
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": TI, "RepetitionTime": 4.5})
    signal = np.nan_to_num(bound.predict({"T1": truth, "M0": 1000.0, "inversion_efficiency": 0.95}))
    noisy = np.abs(signal + rng.normal(0, 5, signal.shape) + 1j * rng.normal(0, 5, signal.shape))
    paths = []
    for i, ti in enumerate(TI):
        path = folder / f"sub-x_ses-01_run-1_inv-{i + 1}_IRT1.nii.gz"
        sidecar = {"InversionTime": ti, "RepetitionTime": 4.5, "Manufacturer": "ACME", "SaturationValue": 4095.0}
        sidecar.update(change)
        sidecar = {key: value for key, value in sidecar.items() if value is not None}
        write_image(path, noisy[..., i].astype(np.float32), np.diag([4, 4, 7, 1.0]), sidecar)
        paths.append(path)
    return paths, truth


def outputs(folder):
    return {name: folder / f"{name}.nii.gz" for name in ("map", "stderr", "flag", "fit")}


def test_a_series_becomes_a_map_with_its_history(tmp_path):
    series, truth = write_recovery(tmp_path)
    files = outputs(tmp_path)
    fit_map(series, **files, **SETTINGS)
    found, sidecar = read_map(files["map"], files["stderr"], files["flag"])
    tissue = np.isfinite(truth)
    assert found.ok[tissue].all()
    assert (found.flag[~tissue] != Flag.OK).mean() > 0.95
    assert abs(np.median(found.value[tissue] / truth[tissue]) - 1) < 0.005
    assert sidecar["Units"] == "s"
    assert sidecar["Model"] == "t1_inversion_recovery"
    assert sidecar["Sources"] == [path.name for path in series]
    assert sidecar["InversionTimes"] == TI
    assert sidecar["RepetitionTime"] == 4.5
    assert sidecar["Manufacturer"] == "ACME"
    assert sidecar["Options"] == {"data": "magnitude", "window": 8.0, "robust": "tukey"}
    assert sidecar["EstimationReference"].endswith("10.1002/mrm.22497")
    layers = read_sidecar(files["fit"])["Parameters"]
    assert layers[:4] == ["T1", "M0", "inversion_efficiency", "residual"]
    assert nib.load(files["fit"]).shape == (12, 12, 3, len(layers))


def test_the_same_input_gives_the_same_bytes(tmp_path):
    series, _ = write_recovery(tmp_path)
    written = []
    for turn, threads in (("a", 1), ("b", 2)):
        files = outputs(tmp_path / turn)
        fit_map(series, **files, **SETTINGS, threads=threads)
        written.append([path.read_bytes() for path in files.values()])
    assert written[0] == written[1]


def test_implausible_values_are_flagged_out_of_range(tmp_path):
    series, truth = write_recovery(tmp_path)
    files = outputs(tmp_path)
    fit_map(series, **files, **{**SETTINGS, "plausible_range": [0.01, 1.0]})
    found, _ = read_map(files["map"], files["stderr"], files["flag"])
    high = np.nan_to_num(truth) > 1.05
    assert (found.flag[high] == Flag.OUT_OF_RANGE).all()
    assert np.isnan(found.value[high]).all()


@pytest.mark.parametrize(
    ("change", "settings", "reason"),
    [
        ({"InversionTime": None}, {}, "InversionTime"),
        ({}, {"model": "t1_by_magic"}, "t1_by_magic"),
        ({}, {"unit": "mm"}, "does not give T1 in mm"),
        ({"Outcome": {"stage": "align", "reason": "lost", "action": "find"}}, {}, "lost"),
    ],
)
def test_a_series_that_cannot_be_fitted_travels_on_as_a_reason(tmp_path, change, settings, reason):
    series, _ = write_recovery(tmp_path, **change)
    files = outputs(tmp_path)
    fit_map(series, **files, **{**SETTINGS, **settings})
    exclusion = read_exclusion(read_sidecar(files["map"]))
    assert reason in exclusion.reason
    assert exclusion.action
    assert read_exclusion(read_sidecar(files["fit"])) == exclusion
    assert np.isnan(nib.load(files["map"]).get_fdata()).all()
    assert all(path.exists() for path in files.values())


def test_a_truncated_file_is_an_exclusion_too(tmp_path):
    series, _ = write_recovery(tmp_path)
    series[3].write_bytes(series[3].read_bytes()[:50])
    files = outputs(tmp_path)
    fit_map(series, **files, **SETTINGS)
    assert read_exclusion(read_sidecar(files["map"])).stage == "fit"


def test_a_series_of_nothing_is_an_exclusion(tmp_path):
    series, _ = write_recovery(tmp_path)
    for path in series:
        image = nib.load(path)
        write_image(path, np.zeros(image.shape, np.float32), image.affine, json.loads(json.dumps(read_sidecar(path))))
    files = outputs(tmp_path)
    fit_map(series, **files, **SETTINGS)
    assert "No voxel could be fitted" in read_exclusion(read_sidecar(files["map"])).reason


def write_flip_angles(folder):
    """A block whose B1 is 0.8, one file per flip angle, and its map of B1; T1 is 1 s."""
    angles, shape, affine = [3.0, 6.0, 10.0, 15.0], (6, 6, 2), np.diag([4, 4, 7, 1.0])
    bound = models.get("t1_variable_flip_angle").bind({"FlipAngle": angles, "RepetitionTimeExcitation": 0.01})
    signal = np.zeros((12, 12, 2, 4))
    signal[3:9, 3:9] = bound.predict({"T1": np.ones(shape), "M0": 1e4, "B1": 0.8})
    paths = []
    for i, angle in enumerate(angles):
        path = folder / f"sub-x_ses-01_run-1_flip-{i + 1}_VFA.nii.gz"
        sidecar = {"FlipAngle": angle, "RepetitionTimeExcitation": 0.01}
        write_image(path, signal[..., i].astype(np.float32), affine, sidecar)
        paths.append(path)
    lent = [folder / f"sub-x_ses-01_run-1_{desc}TB1map.nii.gz" for desc in ("", "desc-stderr_", "desc-flag_")]
    value = np.full((12, 12, 2), 0.8)
    write_map(lent[0], ParameterMap(value, 0.01 * value, np.zeros(value.shape, np.uint8), affine, "1"), *lent[1:], {})
    return paths, lent


VFA = {
    "model": "t1_variable_flip_angle",
    "parameter": "T1",
    "unit": "s",
    "options": {},
    "plausible_range": [0.01, 6.0],
    "uses_maps": {"B1": "TB1map"},
}


def test_a_lent_map_is_used_and_named(tmp_path):
    series, (value, stderr, flag) = write_flip_angles(tmp_path)
    files = outputs(tmp_path)
    fit_map(series, [value], [stderr], [flag], **files, **VFA)
    found, sidecar = read_map(files["map"], files["stderr"], files["flag"])
    np.testing.assert_allclose(found.value[3:9, 3:9], 1.0, rtol=1e-4)
    assert sidecar["LentMaps"] == {"B1": "TB1map"}
    assert sidecar["Options"]["b1"] == "TB1map"


def test_a_map_that_is_wanted_and_absent_is_done_without_and_said(tmp_path):
    series, lent = write_flip_angles(tmp_path)
    for number, given in enumerate(([], lent)):
        if given:
            write_excluded_map(*lent, Exclusion("fit", "lost", "find it"), "1")
        files = outputs(tmp_path / str(number))
        fit_map(series, given[:1], given[1:2], given[2:], **files, **VFA)
        found, sidecar = read_map(files["map"], files["stderr"], files["flag"])
        assert np.nanmedian(found.value) == pytest.approx(0.64, rel=0.02)  # T1 goes with the square of B1
        assert sidecar["LentMaps"] == {"B1": "none"}
        assert sidecar["Options"]["b1"] == "none"


def test_a_derived_map_without_its_maps_is_an_exclusion(tmp_path):
    series, _ = write_flip_angles(tmp_path)
    files = outputs(tmp_path)
    settings = {**VFA, "model": "r2_prime", "parameter": "R2prime", "unit": "1/s", "uses_maps": {"T2": "T2map"}}
    fit_map(series, **files, **settings)
    assert "needs two maps" in read_exclusion(read_sidecar(files["map"])).reason
