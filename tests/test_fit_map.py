"""The step that fits a map: files in, files out, and what becomes of a bad series."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.io.nifti import read_map, read_sidecar, write_image
from isocenter.io.outcome import read_exclusion

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
    assert sidecar["InversionTime"] == TI
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
