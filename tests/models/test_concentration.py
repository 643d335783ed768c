"""Signal to concentration and back: both ways agree, the Bloch steady state, samples that nothing explains."""

import numpy as np
import pytest

from isocenter.errors import FitError, SidecarError
from isocenter.models.concentration import concentration_from_signal, signal_from_concentration

SEQUENCE = {"relaxivity": 4.5, "repetition_time": 0.004, "flip_angle": 15.0}
FRAMES = slice(2, 10)


def curves(shape=(3, 4), n=60, seed=0):
    rng = np.random.default_rng(seed)
    concentration = rng.uniform(-0.02, 6.0, (*shape, n))
    concentration[..., :10] = 0.0
    return concentration, rng.uniform(0.3, 3.0, shape), rng.uniform(0.8, 1.2, shape), rng.uniform(50, 5000, shape)


def test_there_and_back_with_maps_of_t1_b1_and_m0():
    concentration, t1, b1, m0 = curves()
    signal = signal_from_concentration(concentration, t1=t1, b1=b1, m0=m0, **SEQUENCE)
    found = concentration_from_signal(signal, baseline=FRAMES, t1=t1, b1=b1, **SEQUENCE)
    np.testing.assert_allclose(found, concentration, rtol=0, atol=1e-9)


def test_the_signal_equals_pulses_that_are_repeated_until_nothing_changes():
    t1, tr, angle, r1, c = 1.4, 0.004, np.deg2rad(15.0), 4.5, 0.8
    rate = 1 / t1 + r1 * c
    m = 1.0
    for _ in range(5000):
        m = 1 - (1 - m * np.cos(angle)) * np.exp(-tr * rate)
    found = signal_from_concentration(np.array([c]), t1=t1, m0=7.0, **SEQUENCE)
    np.testing.assert_allclose(found, 7.0 * m * np.sin(angle), rtol=1e-10)


def test_the_baseline_may_be_a_mask_and_leaves_out_other_frames():
    concentration, t1, _, m0 = curves()
    signal = signal_from_concentration(concentration, t1=t1, m0=m0, **SEQUENCE)
    # The way to the steady state: wrong if it counted.
    signal[..., :2] *= 1.5
    mask = np.zeros(60, dtype=bool)
    mask[FRAMES] = True
    found = concentration_from_signal(signal, baseline=mask, t1=t1, **SEQUENCE)
    np.testing.assert_allclose(found[..., 2:], concentration[..., 2:], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found, concentration_from_signal(signal, baseline=FRAMES, t1=t1, **SEQUENCE))


def test_samples_that_no_concentration_explains_are_nan():
    signal = np.full((5, 12), 100.0)
    signal[0, 11] = 5000.0  # more than complete recovery gives
    signal[1, :] = 0.0  # no baseline
    signal[3, 5] = np.nan
    signal[4, :] = -100.0  # an upside-down voxel
    t1 = np.array([1.4, 1.4, np.nan, 1.4, 1.4])
    found = concentration_from_signal(signal, baseline=slice(0, 3), t1=t1, **SEQUENCE)
    assert np.isnan(found[0]).tolist() == [False] * 11 + [True]
    assert np.isnan(found[[1, 2, 4]]).all()
    assert np.isnan(found[3]).tolist() == [i == 5 for i in range(12)]


def test_noise_around_the_baseline_keeps_its_sign_and_mean():
    rng = np.random.default_rng(1)
    clean = signal_from_concentration(np.zeros(400), t1=1.4, m0=1000.0, **SEQUENCE)
    found = concentration_from_signal(
        clean + rng.normal(0, clean[0] / 100, (500, 400)), baseline=slice(0, 200), t1=1.4, **SEQUENCE
    )
    assert (found < 0).any()
    assert abs(found[:, 200:].mean()) < 0.1 * found.std()


def test_a_wrong_t1_is_a_wrong_concentration_about_in_proportion():
    concentration = np.concatenate([np.zeros(10), np.full(20, 0.2)])
    signal = signal_from_concentration(concentration, t1=1.4, m0=1000.0, **SEQUENCE)
    found = concentration_from_signal(signal, baseline=slice(0, 10), t1=1.4 * 1.1, **SEQUENCE)
    assert found[-1] / 0.2 == pytest.approx(1 / 1.1, rel=0.03)


@pytest.mark.parametrize("baseline", [slice(70, 80), np.zeros(60, dtype=bool)])
def test_a_baseline_without_frames_is_refused(baseline):
    with pytest.raises(FitError, match="no frame"):
        concentration_from_signal(np.ones(60), baseline=baseline, t1=1.4, **SEQUENCE)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("repetition_time", 0.0, "RepetitionTimeExcitation"),
        ("flip_angle", 200.0, "FlipAngle"),
        ("flip_angle", np.nan, "FlipAngle"),
        ("relaxivity", -4.5, "relaxivity"),
    ],
)
def test_unusable_sequences_are_refused(key, value, message):
    with pytest.raises(SidecarError, match=message):
        concentration_from_signal(np.ones(60), baseline=FRAMES, t1=1.4, **{**SEQUENCE, key: value})
    with pytest.raises(SidecarError, match=message):
        signal_from_concentration(np.ones(60), t1=1.4, **{**SEQUENCE, key: value})
