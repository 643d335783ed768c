"""ADC: against the table of tissues of a community collection, directions, b-range, bad input."""

import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, SidecarError
from isocenter.fitting import fit
from isocenter.fitting.maps import fit_series
from isocenter.volume import Series

MODEL = models.get("adc_monoexponential")
#: Three orthogonal directions, as on every clinical scanner.
AXES = np.eye(3)


def diffusion_series(tensors, b_values, directions, sigma=0.0, seed=1):
    """Signals (v, 1, 1, n) of tensors (v, 3, 3) [mm2/s], S0 = 1000; magnitudes with noise."""
    encoding = np.einsum("n,ni,nj->nij", b_values, directions, directions)
    signal = 1000 * np.exp(-np.einsum("nij,vij->vn", encoding, tensors))
    rng = np.random.default_rng(seed)
    if sigma:
        signal = np.hypot(signal + rng.normal(0, sigma, signal.shape), rng.normal(0, sigma, signal.shape))
    acquisition = {
        "DiffusionBValue": np.asarray(b_values),
        "DiffusionGradientOrientation": np.asarray(directions).tolist(),
    }
    return Series(signal[:, np.newaxis, np.newaxis].astype(np.float32), np.eye(4), acquisition)


def trace_scheme(*b_values):
    """One volume without diffusion weighting, then three directions per b-value."""
    b = np.concatenate([[0.0], np.repeat(b_values, 3)])
    return b, np.concatenate([np.zeros((1, 3)), np.tile(AXES, (len(b_values), 1))])


def fit_all(series, **options):
    return fit_series(series, "adc_monoexponential", options, 1, mask=np.ones(series.data.shape[:3], bool))


FIBERS = np.diag([1.7e-3, 0.3e-3, 0.3e-3])[np.newaxis]


def test_directions_average_to_the_trace():
    series = diffusion_series(FIBERS, *trace_scheme(500.0, 1000.0))
    _, found = fit_all(series)
    assert found.value["ADC"].ravel() == pytest.approx(FIBERS[0].trace() / 3, rel=1e-5)
    assert found.value["S0"].ravel() == pytest.approx(1000, rel=1e-5)


def test_fitting_every_direction_as_a_sample_reads_low_in_fibers():
    """The mean of exponentials lies above the exponential of the mean: why averaging is the default."""
    series = diffusion_series(FIBERS, *trace_scheme(500.0, 1000.0))
    _, found = fit_all(series, average=False)
    assert found.value["ADC"].ravel()[0] < 0.9 * FIBERS[0].trace() / 3


def pulls(tensor, sigma=10.0):
    """Errors over standard errors of 4000 voxels whose noise is known."""
    series = diffusion_series(np.repeat(tensor, 4000, axis=0), *trace_scheme(400.0, 800.0), sigma=sigma)
    prepared = MODEL.prepare(series, {})
    found = fit(MODEL.bind(prepared.acquisition), prepared.data[:, 0, 0], sigma=sigma)
    return (found.value["ADC"] - tensor[0].trace() / 3) / found.stderr["ADC"]


def test_standard_errors_of_averages_cover_the_truth():
    """With the noise of one image known, the pull has unit variance: averages are weighed by their volumes."""
    pull = pulls(0.8e-3 * np.eye(3)[np.newaxis])
    # The standard deviation of 4000 pulls is known to 1.1 %: three times that.
    assert pull.std() == pytest.approx(1.0, abs=0.034)
    assert abs(pull.mean()) < 0.1


def test_standard_errors_in_fibers_are_somewhat_small():
    """The card says it: the weak direction makes the geometric mean noisier than the number of its volumes tells."""
    sizes = np.array([np.exp(-0.8 * d) for d in (1.7, 0.3, 0.3)])
    worst = np.sqrt(np.mean(sizes**-2.0)) * np.prod(sizes) ** (1 / 3)
    assert 1.0 < pulls(FIBERS).std() < worst


def test_averaging_costs_nothing_in_precision():
    """In isotropic tissue the average over directions is as precise as the fit of all volumes, to first order."""
    tensors = np.repeat(0.8e-3 * np.eye(3)[np.newaxis], 4000, axis=0)
    series = diffusion_series(tensors, *trace_scheme(400.0, 800.0), sigma=10.0)
    spread = [fit_all(series, average=is_on)[1].value["ADC"].std() for is_on in (True, False)]
    assert spread[0] == pytest.approx(spread[1], rel=0.02)


def test_repeats_of_one_direction_and_trace_images_stay_samples():
    tensors = np.repeat(0.8e-3 * np.eye(3)[np.newaxis], 2, axis=0)
    b = np.array([0.0, 0.0, 500.0, 500.0, 1000.0, 1000.0])
    same = np.tile([[0.0, 0.6, 0.8]], (6, 1)) * (1 - 2 * (np.arange(6) % 2))[:, np.newaxis]
    for directions in (same, np.zeros((6, 3))):
        series = diffusion_series(tensors, b, directions)
        assert MODEL.prepare(series, {}) is series


def test_repeats_without_a_record_of_directions_count_as_directions():
    series = diffusion_series(FIBERS, *trace_scheme(500.0, 1000.0))
    del series.acquisition["DiffusionGradientOrientation"]
    assert fit_all(series)[1].value["ADC"].ravel() == pytest.approx(FIBERS[0].trace() / 3, rel=1e-5)


def test_b_values_that_vary_with_the_direction_are_one_shell():
    b, directions = trace_scheme(500.0, 1000.0)
    b = b + np.where(b > 0, np.tile([0.0, 4.0, -3.0, 2.0, 0.0, 1.0, 5.0], 1), 0)
    prepared = MODEL.prepare(diffusion_series(FIBERS, b, directions), {})
    np.testing.assert_allclose(prepared.acquisition["DiffusionBValue"], [0, b[1:4].mean(), b[4:].mean()])
    bound = MODEL.bind(prepared.acquisition)
    found = fit(bound, prepared.data[:, 0, 0])
    # The mean exponent is not exactly mean b times mean ADC when b and direction go together: 0.3 % here.
    assert found.value["ADC"] == pytest.approx(FIBERS[0].trace() / 3, rel=0.005)


def test_a_clipped_direction_takes_its_b_value_out():
    series = diffusion_series(FIBERS, *trace_scheme(300.0, 600.0, 1000.0))
    data = series.data.copy()
    data[..., 2] = 4095.0
    clipped = Series(data, series.affine, series.acquisition, np.full(10, 4095.0))
    found = fit_all(clipped)[1]
    assert found.value["ADC"].ravel() == pytest.approx(FIBERS[0].trace() / 3, rel=1e-5)


def test_two_b_values_of_many_directions_are_refused_with_the_way_out():
    series = diffusion_series(FIBERS, *trace_scheme(1000.0))
    with pytest.raises(ConfigError, match="average to false"):
        fit_all(series)
    assert fit_all(series, average=False)[1].ok.all()


def test_a_rician_likelihood_of_averages_is_refused():
    series = diffusion_series(FIBERS, *trace_scheme(500.0, 1000.0))
    with pytest.raises(FitError, match="Rician"):
        fit_all(series, noise="rician")


def test_the_range_of_b_is_kept_recorded_and_predicts_all():
    b = np.array([0.0, 50.0, 200.0, 500.0, 1000.0, 3000.0])
    bound = MODEL.bind({"DiffusionBValue": b}, b_min=200, b_max=1000)
    np.testing.assert_array_equal(bound.acquisition["FittedBValue"], [200, 500, 1000])
    assert bound.options["b_min"] == 200
    signal = bound.predict({"ADC": 1e-3, "S0": 500.0})
    assert signal.shape == (6,)
    signal[[0, 1, 5]] = 7777.0
    found = fit(bound, signal)
    assert found.value["ADC"] == pytest.approx(1e-3, rel=1e-6)
    assert found.residual == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("acquisition", "options", "error", "match"),
    [
        ({}, {}, SidecarError, "DiffusionBValue"),
        ({"DiffusionBValue": [0, 500, -1]}, {}, SidecarError, "negative"),
        ({"DiffusionBValue": [0, 500, 1000]}, {"b_min": 200}, ConfigError, "Too few"),
        ({"DiffusionBValue": [0, 500, 500, 500]}, {"b_min": 200}, ConfigError, "Too few"),
        ({"DiffusionBValue": [0, 500, 1000]}, {"b_max": "high"}, ConfigError, "b_max"),
        ({"DiffusionBValue": [0, 500, 1000]}, {"b_max": True}, ConfigError, "b_max"),
    ],
)
def test_bad_requests(acquisition, options, error, match):
    with pytest.raises(error, match=match):
        MODEL.bind(acquisition, **options)


@pytest.mark.parametrize("b", [[0, 1000, 2000], [0, 0, 0, 1000, 2000], [2000, 0, 1000, 0, 2000, 1000]])
def test_a_decay_that_is_over_at_the_first_b_value_is_flagged(b):
    """Whether b = 0 was acquired once or often: only ever one value of b has signal."""
    bound = models.get("adc_monoexponential").bind({"DiffusionBValue": b})
    signal = bound.predict({"ADC": np.array([1.0e-3, 9.5e-3]), "S0": 1000.0})
    found = fit(bound, signal)
    assert found.flag[0] == Flag.OK
    assert found.flag[1] == Flag.OUT_OF_RANGE


@pytest.mark.parametrize("noise", ["gaussian", "magnitude"])
def test_a_decay_that_vanishes_in_the_noise_is_not_given_the_rate_of_the_noise(noise):
    bound = models.get("adc_monoexponential").bind({"DiffusionBValue": [0, 0, 300, 600, 1000, 1000]})
    signal = bound.predict({"ADC": np.repeat([1e-3, 3e-3, 0.04], 2000), "S0": 1000.0})
    rng = np.random.default_rng(1)
    parts = signal + rng.normal(0, 10, signal.shape), rng.normal(0, 10, signal.shape)
    found = fit(bound, parts[0] if noise == "gaussian" else np.hypot(*parts))
    assert found.ok[:4000].all()
    # A voxel in a hundred may show a sample that stands out by chance.
    assert (found.flag[4000:] != Flag.OK).mean() > 0.95
