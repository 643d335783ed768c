"""B0 over volumes: unwrapping against truth and against scikit-image, and two real scans."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from isocenter import models
from isocenter.fields import estimate_noise, fit_volume, unwrap_field

DATA = Path(__file__).parents[2] / "../shared/data"
#: Siemens writes phase in 4096 steps a turn; the rescaled number 4096 is half a turn.
HALF_TURN = 4096.0


def make_field(size=32):
    x, y, z = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = x**2 + y**2 + z**2 < 0.9
    return 300 * x + 150 * np.sin(3 * y) + 200 * z**2, inside


@pytest.mark.parametrize("snr", [100, 5])
def test_unwrapping_gives_the_true_field_back(snr):
    truth, inside = make_field()
    period = 200.0
    rng = np.random.default_rng(0)
    turns = np.exp(2j * np.pi * truth / period) + (rng.standard_normal((*truth.shape, 2)) @ [1, 1j]) / snr
    field = np.angle(turns) / (2 * np.pi) * period
    found = unwrap_field(field, period, np.abs(turns), inside)
    periods = np.round((found - truth)[inside] / period)
    assert np.mean(periods == np.median(periods)) > (0.9999 if snr == 100 else 0.99)
    assert np.isnan(found[~inside]).all()
    assert abs(np.nanmedian(found)) <= period / 2


def test_regions_that_do_not_touch_are_centered_each():
    field = np.zeros((9, 4, 4))
    field[:4], field[5:] = 80.0, -90.0
    mask = np.ones(field.shape, bool)
    mask[4] = False
    found = unwrap_field(field + 200, 200.0, np.ones(field.shape), mask)
    np.testing.assert_allclose(found[mask], field[mask])


def test_weak_voxels_do_not_lead_strong_ones_astray():
    # A wall of noise with a gap: the two sides are joined through the gap, not through the wall.
    truth, _ = make_field(24)
    rng = np.random.default_rng(1)
    magnitude = np.ones(truth.shape)
    magnitude[11:13, :, 4:] = 0.01
    field = truth + np.where(magnitude < 1, rng.uniform(-100, 100, truth.shape), 0)
    wrapped = field - 200 * np.round(field / 200)
    found = unwrap_field(wrapped, 200.0, magnitude, np.ones(truth.shape, bool))
    periods = np.round((found - truth)[magnitude == 1] / 200)
    assert np.all(periods == periods[0])


@pytest.mark.parametrize("times", [[0.00519, 0.00765], [0.004, 0.008, 0.012], [0.003, 0.0052, 0.0091]])
def test_b0_of_a_volume(times):
    truth, inside = make_field()
    bound = models.get("b0_dual_echo").bind({"EchoTime": times})
    strength = np.where(inside, 100.0, 0.0)
    rng = np.random.default_rng(2)
    clean = bound.predict({"B0": truth, "S0": strength, "phase": 60.0})
    signal = clean + rng.standard_normal((*clean.shape, 2)) @ [1, 1j]
    found = fit_volume(bound, signal, mask=inside, sigma=1.0)
    error = (found.value["B0"] - truth)[inside]
    period = 1 / np.diff(times).min()
    error -= period * np.round(np.median(error) / period)
    assert 0.93 < np.mean(np.abs(error) < 1.96 * found.stderr["B0"][inside]) < 0.97


def test_noise_is_measured_in_the_images():
    truth, inside = make_field()
    bound = models.get("b0_dual_echo").bind({"EchoTime": [0.00519, 0.00765]})
    rng = np.random.default_rng(3)
    clean = bound.predict({"B0": 0.2 * truth, "S0": 100.0})
    signal = clean + 2 * (rng.standard_normal((*clean.shape, 2)) @ [1, 1j])
    assert estimate_noise(signal, inside) == pytest.approx(2.0, rel=0.1)
    found = fit_volume(bound, signal, mask=inside)
    expected = np.sqrt(2) * 0.02 / (2 * np.pi * 0.00246)
    assert np.nanmedian(found.stderr["B0"]) == pytest.approx(expected, rel=0.1)


def test_b0_of_a_multi_echo_gradient_echo():
    nibabel = pytest.importorskip("nibabel")
    if not (DATA / "multi_echo_gre/Mag.nii.gz").exists():
        pytest.skip(f"the real data are not here: {DATA / 'multi_echo_gre'}")
    magnitude, phase = (
        np.asarray(nibabel.load(DATA / f"multi_echo_gre/{name}.nii.gz").dataobj, dtype=float)
        for name in ("Mag", "Phase")
    )
    # The file's numbers are in arbitrary units over one whole turn.
    signal = magnitude * np.exp(1j * np.pi * phase / np.abs(phase).max())
    mask = np.ones(magnitude.shape[:3], bool)
    three = fit_volume(models.get("b0_dual_echo").bind({"EchoTime": [0.004, 0.008, 0.012]}), signal, mask=mask)
    two = fit_volume(models.get("b0_dual_echo").bind({"EchoTime": [0.004, 0.008]}), signal[..., :2], mask=mask)
    field = three.value["B0"]
    assert three.ok.mean() > 0.999
    # A shimmed brain: tens of Hz, and no jump of a period (250 Hz) is left between neighbors.
    assert 10 < field.std() < 100
    assert abs(np.median(field)) < 100
    jumps = sum(np.sum(np.abs(np.diff(field, axis=axis)) > 125) for axis in range(3))
    assert jumps <= 2
    # The third echo confirms what the first two say.
    assert np.median(np.abs(two.value["B0"] - field)) < 3.0
    unwrap_phase = pytest.importorskip("skimage.restoration").unwrap_phase
    other = unwrap_phase(np.angle(signal[..., 1] * np.conj(signal[..., 0]))) / (2 * np.pi * 0.004)
    periods = np.round((other - two.value["B0"]) / 250)
    assert np.mean(periods == np.median(periods)) > 0.9999


def test_b0_of_a_vendors_phase_difference():
    archive = DATA / "field_map/siemens_gre_field_dicom.tar.gz"
    if not archive.exists():
        pytest.skip(f"the real data are not here: {archive}")
    pydicom = pytest.importorskip("pydicom")
    with tarfile.open(archive) as files:
        members = [m for m in files if m.name.endswith(".dcm")]
        headers = [pydicom.dcmread(io.BytesIO(files.extractfile(m).read())) for m in members]

    def stack(kind, echo):
        chosen = [h for h in headers if kind in h.ImageType and float(h.EchoTime) == echo]
        chosen.sort(key=lambda h: float(h.SliceLocation))
        slope, intercept = (float(h) for h in (chosen[0].get("RescaleSlope", 1), chosen[0].get("RescaleIntercept", 0)))
        return slope * np.stack([h.pixel_array for h in chosen], axis=-1).astype(float) + intercept

    magnitude = np.sqrt(stack("M", 5.19) * stack("M", 7.65))
    signal = magnitude * np.exp(1j * np.pi * stack("P", 7.65) / HALF_TURN)
    mask = magnitude > 0.15 * np.percentile(magnitude, 99)
    bound = models.get("b0_dual_echo").bind({"EchoTime1": 0.00519, "EchoTime2": 0.00765})
    found = fit_volume(bound, signal[..., np.newaxis], mask=mask)
    field = found.value["B0"][mask]
    assert np.isfinite(field).mean() > 0.98
    # A shimmed object at 3 T: most of it within a part per million (128 Hz), continuous over space.
    assert abs(np.nanmedian(field)) < 100
    low, high = np.nanpercentile(field, [5, 95])
    assert 10 < high - low < 400
    jumps = sum(np.nansum(np.abs(np.diff(found.value["B0"], axis=axis)) > 203) for axis in range(3))
    assert jumps < 0.001 * mask.sum()
    assert 0 < np.nanmedian(found.stderr["B0"]) < 5
