"""Look-Locker against a simulated readout, known truth at several noise levels, and what has no T1."""

import numpy as np
import pytest
from scipy import stats

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, SidecarError
from isocenter.fitting import fit

MODEL = models.get("t1_look_locker")
TI = np.array([0.1, 0.18, 0.26, 1.1, 1.18, 2.1, 3.1, 4.1])
ACQUISITION = {"InversionTime": TI}
V = 8000


def draw(v=V, seed=4, **options):
    rng = np.random.default_rng(seed)
    bound = MODEL.bind(ACQUISITION, **options)
    t1 = rng.uniform(0.4, 2.0, v)
    truth = {"T1": t1, "T1star": t1 * rng.uniform(0.75, 0.95, v), "A": rng.uniform(900.0, 1100.0, v)}
    return bound, truth, rng


def coverage(found, name, truth):
    half = stats.t.ppf(0.975, np.maximum(found.freedom, 1)) * found.stderr[name]
    return np.mean(np.abs(found.value[name] - truth)[found.ok] < half[found.ok])


@pytest.mark.parametrize("efficiency", [1.0, 0.93])
def test_the_correction_gives_back_the_t1_of_a_simulated_readout(efficiency):
    """Spoiled pulses of 8 degrees every 5 ms after an inversion, pulse by pulse."""
    t1, m0, step, angle = 1.1, 1000.0, 0.005, np.deg2rad(8)
    mz = -efficiency * m0
    times, signal = [], []
    for k in range(1000):
        times.append(k * step)
        signal.append(mz * np.sin(angle))
        mz = m0 + (mz * np.cos(angle) - m0) * np.exp(-step / t1)
    chosen = np.array([20, 40, 60, 200, 240, 400, 600, 900])
    bound = MODEL.bind({"InversionTime": np.array(times)[chosen]}, efficiency=efficiency)
    found = fit(bound, np.abs(np.array(signal)[chosen]))
    # Between pulses the steady state is not quite one number: TR/T1 of error, here half a percent.
    assert found.value["T1"] == pytest.approx(t1, rel=0.006)
    expected = 1 / (1 / t1 - np.log(np.cos(angle)) / step)
    assert found.value["T1star"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("robust", [None, "tukey"])
@pytest.mark.parametrize("options", [{}, {"magnitude": False}, {"efficiency": 0.95}])
def test_without_noise_the_fit_is_exact(options, robust):
    bound, truth, _ = draw(500, **options)
    found = fit(bound, bound.predict(truth), robust=robust)
    assert found.ok.all()
    for name, true in truth.items():
        np.testing.assert_allclose(found.value[name], true, rtol=1e-6)


@pytest.mark.parametrize("magnitude", [True, False])
@pytest.mark.parametrize(("snr", "most"), [(50, 0.01), (100, 0.005), (300, 0.005)])
def test_bias_and_coverage(snr, most, magnitude):
    """Rician noise for magnitudes; the noise is the typical steady state over `snr`."""
    bound, truth, rng = draw(magnitude=magnitude)
    clean = bound.predict(truth)
    signal = clean + rng.normal(0, 1000 / snr, clean.shape)
    if magnitude:
        signal = np.hypot(signal, rng.normal(0, 1000 / snr, clean.shape))
    found = fit(bound, signal)
    assert found.ok.mean() > 0.999
    for name, true in truth.items():
        assert abs(np.mean((found.value[name] / true - 1)[found.ok])) < most, name
        assert 0.93 < coverage(found, name, true) < 0.97, name


def test_standard_errors_are_the_spread_of_repeats():
    bound, _, rng = draw(magnitude=False)
    clean = bound.predict({"T1": 1.2, "T1star": 1.0, "A": 1000.0})
    found = fit(bound, clean + rng.normal(0, 5.0, (V, TI.size)), sigma=5.0)
    for name in bound.names:
        assert np.median(found.stderr[name]) == pytest.approx(np.std(found.value[name]), rel=0.03)


def test_magnitude_and_signed_data_agree_far_from_the_null():
    bound, _, rng = draw()
    signed = MODEL.bind(ACQUISITION, magnitude=False)
    signal = signed.predict({"T1": 1.2, "T1star": 1.0, "A": 1000.0}) + rng.normal(0, 5.0, (200, TI.size))
    a, b = fit(bound, np.abs(signal)), fit(signed, signal)
    for name in bound.names:
        np.testing.assert_allclose(a.value[name], b.value[name], rtol=1e-6)
        np.testing.assert_allclose(a.stderr[name], b.stderr[name], rtol=1e-6)


@pytest.mark.parametrize("magnitude", [True, False])
def test_the_order_of_the_images_does_not_matter(magnitude):
    turn = np.array([3, 0, 7, 1, 6, 2, 5, 4])
    bound, truth, _ = draw(50, magnitude=magnitude)
    mixed = MODEL.bind({"InversionTime": TI[turn]}, magnitude=magnitude)
    found = fit(mixed, bound.predict(truth)[:, turn])
    np.testing.assert_allclose(found.value["T1"], truth["T1"], rtol=1e-6)


def test_the_efficiency_divides():
    bound, truth, _ = draw(10)
    signal = bound.predict(truth)
    corrected = fit(MODEL.bind(ACQUISITION, efficiency=0.9), signal)
    np.testing.assert_allclose(corrected.value["T1"], truth["T1"] / 0.9, rtol=1e-6)
    np.testing.assert_allclose(corrected.value["T1star"], truth["T1star"], rtol=1e-6)


def test_without_an_inversion_there_is_no_t1():
    """B/A of 0.5 (a saturation at best) and of 1: a flag, and never a negative T1."""
    signed = MODEL.bind(ACQUISITION, magnitude=False)
    decay = np.exp(-TI / 0.8)
    signal = 1000 * (1 - np.array([[0.5], [1.0], [0.9999], [2.0]]) * decay)
    for bound in (signed, MODEL.bind(ACQUISITION)):
        found = fit(bound, np.abs(signal) if bound is not signed else signal)
        assert (found.flag[:3] != Flag.OK).all()
        assert np.isnan(found.value["T1"][:3]).all()
    assert fit(signed, signal).flag.tolist() == [Flag.AT_BOUND] * 3 + [Flag.OK]


def test_noise_never_gives_a_negative_t1():
    rng = np.random.default_rng(6)
    for bound in (MODEL.bind(ACQUISITION), MODEL.bind(ACQUISITION, magnitude=False)):
        noise = rng.normal(0, 1.0, (4000, TI.size))
        found = fit(bound, np.abs(noise) if bound.options["magnitude"] else noise)
        assert np.nanmin(found.value["T1"]) > 0
        assert np.nanmin(found.value["A"]) > 0
        assert np.array_equal(np.isnan(found.value["T1"]), ~found.ok)


def test_a_falling_signal_is_no_recovery():
    found = fit(MODEL.bind(ACQUISITION, magnitude=False), -1000 * (1 - 1.9 * np.exp(-TI / 0.9)))
    assert found.flag == Flag.NO_SIGNAL


def test_what_the_inversion_times_cannot_see_is_flagged():
    bound = MODEL.bind(ACQUISITION, magnitude=False)
    found = fit(bound, bound.predict({"T1": [0.02, 1.0, 19.0], "T1star": [0.018, 0.9, 18.0], "A": 1000.0}))
    assert found.flag[1] == Flag.OK
    assert found.flag[0] == found.flag[2] == Flag.OUT_OF_RANGE


@pytest.mark.parametrize("options", [{"efficiency": 0.3}, {"efficiency": 1.2}, {"magnitude": "yes"}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match="t1_look_locker"):
        MODEL.bind(ACQUISITION, **options)


@pytest.mark.parametrize("value", [None, [-0.1, 0.2, 0.5, 1.0], "soon"])
def test_unusable_inversion_times_are_refused(value):
    with pytest.raises(SidecarError, match="InversionTime"):
        MODEL.bind({"InversionTime": value})
