"""What stands beside the images of a series: b-values and directions, phases; read, never guessed."""

import numpy as np
import pytest

from isocenter.errors import SidecarError
from isocenter.fit_command import ALL_VOXELS, fit_files, read_options
from isocenter.io.nifti import read_sidecar, write_image
from isocenter.io.series import read_parts

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def write_diffusion(folder, bval="0 300 600 1000\n", sidecar=None):
    b = np.array([0, 300, 600, 1000])
    data = np.zeros((6, 6, 2, 4), np.float32)
    data[1:5, 1:5] = 1000 * np.exp(-b * 0.9e-3)
    data += np.random.default_rng(2).uniform(0, 1, data.shape).astype(np.float32)
    path = folder / "sub-1_dwi.nii.gz"
    write_image(path, data, AFFINE, sidecar)
    if bval is not None:
        (folder / "sub-1_dwi.bval").write_text(bval)
    return path


def test_b_values_beside_the_image(tmp_path):
    path = write_diffusion(tmp_path)
    options = read_options(["b_min=300", "average=false"])
    outcome = fit_files("adc_monoexponential", [path], tmp_path / "maps", options=options)
    assert outcome.parameters[0].median == pytest.approx(0.9e-3, rel=0.005)
    sidecar = read_sidecar(tmp_path / "maps" / "sub-1_ADCmap.nii.gz")
    assert sidecar["Units"] == "mm2/s"
    assert sidecar["FittedBValue"] == [300, 600, 1000]
    assert sidecar["Options"]["b_min"] == 300
    assert "*_ADCmap.*" in (tmp_path / "maps" / ".bidsignore").read_text().splitlines()


def test_directions_beside_the_image_are_read(tmp_path):
    path = write_diffusion(tmp_path)
    (tmp_path / "sub-1_dwi.bvec").write_text("0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    found = read_parts([path]).acquisition
    np.testing.assert_array_equal(found["DiffusionGradientOrientation"], [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("bval", "sidecar", "match"),
    [
        (None, {"EchoTime": 0.08}, "needs DiffusionBValue"),
        ("0 300 600\n", {}, "1 row of 4 numbers"),
        ("0 300 many 1000\n", {}, "unreadable"),
        (None, None, "sidecar is missing"),
        (None, {"DiffusionBValue": [0, 500, 1000]}, "expected: 4 numbers"),
    ],
)
def test_b_values_are_never_guessed(tmp_path, bval, sidecar, match):
    path = write_diffusion(tmp_path, bval, sidecar)
    with pytest.raises(SidecarError, match=match):
        fit_files("adc_monoexponential", [path], tmp_path / "maps")


def test_magnitude_and_phase_make_a_complex_series(tmp_path):
    rng = np.random.default_rng(1)
    truth = (rng.normal(size=(3, 3, 2, 2)) + 1j * rng.normal(size=(3, 3, 2, 2))).astype(np.complex64)
    paths = []
    for i in (1, 0):
        for part, image in (("mag", np.abs), ("phase", np.angle)):
            paths.append(tmp_path / f"sub-1_echo-{i + 1}_part-{part}_MEGRE.nii.gz")
            write_image(paths[-1], image(truth[..., i]), AFFINE, {"EchoTime": 0.005 * (i + 1)})
    series = read_parts(paths)
    np.testing.assert_allclose(series.data, truth, atol=1e-6)
    np.testing.assert_allclose(series.acquisition["EchoTime"], [0.005, 0.01])
    with pytest.raises(SidecarError, match="pair up"):
        read_parts(paths[:3])
    write_image(paths[1], 100 * np.angle(truth[..., 1]), AFFINE, {"EchoTime": 0.01})
    with pytest.raises(SidecarError, match="radians"):
        read_parts(paths)


def test_phases_alone_make_radians(tmp_path):
    path = tmp_path / "sub-1_phasediff.nii.gz"
    sidecar = {"EchoTime1": 0.00492, "EchoTime2": 0.00738, "Manufacturer": "Siemens"}
    stored = np.array([-4096, -2048, 0, 4094], np.float32).reshape(2, 2, 1)
    write_image(path, stored, AFFINE, sidecar)
    np.testing.assert_allclose(read_parts([path]).data, np.pi * stored[..., np.newaxis] / 4096, atol=1e-6)
    outcome = fit_files("b0_dual_echo", [path], tmp_path / "maps", mask=ALL_VOXELS, sigma=0.01)
    assert outcome.parameters[0].unit == "Hz"
