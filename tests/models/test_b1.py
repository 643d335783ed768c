"""B1 by the double-angle method and by actual flip angle imaging: against Bloch, with honest errors and flags."""

import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import SidecarError
from isocenter.fitting import fit

DOUBLE = {"FlipAngle": [60.0, 120.0]}
ACTUAL = {"FlipAngle": 60.0, "RepetitionTimeExcitation": [0.02, 0.1]}


def steady_state(b1, t1, m0, angle, times):
    """Repeat pulse, TR1, pulse, TR2 with perfect spoiling until nothing changes: the signals after both pulses."""
    a = np.deg2rad(angle) * b1
    m = m0
    for _ in range(2000):
        first = m * np.sin(a)
        m = m0 + (m * np.cos(a) - m0) * np.exp(-times[0] / t1)
        second = m * np.sin(a)
        m = m0 + (m * np.cos(a) - m0) * np.exp(-times[1] / t1)
    return np.array([first, second])


@pytest.mark.parametrize("b1", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("t1", [0.25, 1.0, 4.0])
def test_the_exact_signals_of_actual_flip_angle_imaging_are_a_bloch_steady_state(b1, t1):
    times = ACTUAL["RepetitionTimeExcitation"]
    bound = models.get("b1_actual_flip_angle").bind(ACTUAL)
    found = bound.predict({"B1": b1, "S0": 500.0 * times[0] / t1, "T1": t1})
    np.testing.assert_allclose(found, steady_state(b1, t1, 500.0, 60.0, times), rtol=1e-10)


@pytest.mark.parametrize(("t1", "bias"), [(1.0, -0.002), (0.25, -0.011)])
def test_actual_flip_angle_imaging_is_biased_by_relaxation_as_its_card_says(t1, bias):
    bound = models.get("b1_actual_flip_angle").bind(ACTUAL)
    signal = steady_state(1.0, t1, 500.0, 60.0, ACTUAL["RepetitionTimeExcitation"])
    assert fit(bound, signal[np.newaxis]).value["B1"][0] == pytest.approx(1 + bias, abs=0.0005)


def test_double_angle_signals_are_sines():
    found = models.get("b1_double_angle").bind(DOUBLE).predict({"B1": 0.9, "S0": 10.0})
    np.testing.assert_allclose(found, [10 * np.sin(np.deg2rad(54)), 10 * np.sin(np.deg2rad(108))])


@pytest.mark.parametrize(("name", "acquisition"), [("b1_double_angle", DOUBLE), ("b1_actual_flip_angle", ACTUAL)])
def test_the_order_of_the_images_does_not_matter(name, acquisition):
    key = next(key for key, value in acquisition.items() if isinstance(value, list))
    turned = {**acquisition, key: acquisition[key][::-1]}
    truth = {"B1": np.array([0.7, 1.1]), "S0": 30.0}
    bound, other = models.get(name).bind(acquisition), models.get(name).bind(turned)
    np.testing.assert_allclose(other.predict(truth), bound.predict(truth)[..., ::-1])
    found = fit(other, other.predict(truth))
    np.testing.assert_allclose(found.value["B1"], truth["B1"], rtol=1e-10)


@pytest.mark.parametrize(("name", "acquisition"), [("b1_double_angle", DOUBLE), ("b1_actual_flip_angle", ACTUAL)])
@pytest.mark.parametrize("b1", [0.8, 1.0, 1.15])
def test_values_and_standard_errors_of_noisy_images(name, acquisition, b1):
    bound = models.get(name).bind(acquisition)
    truth = {"B1": b1, "S0": 100.0}
    clean = bound.predict(truth)
    # The noise is 1 % of the stronger image.
    sigma = 0.01 * clean.max()
    noise = np.random.default_rng(3).standard_normal((20000, 2))
    found = fit(bound, clean + sigma * noise, sigma=sigma)
    assert found.ok.all()
    for key, value in truth.items():
        error = found.value[key] - value
        assert abs(error.mean()) < 0.005 * value, key
        assert 0.93 < np.mean(np.abs(error) < 1.96 * found.stderr[key]) < 0.97, key


@pytest.mark.parametrize(
    ("name", "acquisition", "signal"),
    [
        ("b1_double_angle", DOUBLE, [1.0, 2.1]),
        ("b1_double_angle", DOUBLE, [1.0, -2.1]),
        ("b1_actual_flip_angle", ACTUAL, [1.0, 1.1]),
        ("b1_actual_flip_angle", ACTUAL, [1.0, 5.5]),
        ("b1_actual_flip_angle", ACTUAL, [1.0, -1.1]),
    ],
)
def test_ratios_that_no_angle_has_are_out_of_range(name, acquisition, signal):
    found = fit(models.get(name).bind(acquisition), np.array([signal]))
    assert found.flag[0] == Flag.OUT_OF_RANGE
    assert np.isnan(found.value["B1"][0])


@pytest.mark.parametrize(("name", "acquisition"), [("b1_double_angle", DOUBLE), ("b1_actual_flip_angle", ACTUAL)])
def test_no_signal_is_said(name, acquisition):
    found = fit(models.get(name).bind(acquisition), np.array([[0.0, 0.0], [0.0, 1.0]]))
    assert list(found.flag) == [Flag.NO_SIGNAL, Flag.NO_SIGNAL]


def test_complex_images_keep_the_sign_that_magnitudes_lose():
    bound = models.get("b1_double_angle").bind(DOUBLE)
    truth = {"B1": 1.7, "S0": 10.0}  # 102 degrees: the double angle's signal is negative
    clean = bound.predict(truth)[np.newaxis]
    assert fit(bound, clean * np.exp(0.7j)).value["B1"][0] == pytest.approx(1.7)
    assert fit(bound, np.abs(clean)).value["B1"][0] == pytest.approx((180 - 102) / 60)


@pytest.mark.parametrize("angles", [[60.0, 100.0], [30.0, 60.0, 120.0], [60.0]])
def test_angles_that_are_not_one_and_two_are_refused(angles):
    with pytest.raises(SidecarError, match="FlipAngle"):
        models.get("b1_double_angle").bind({"FlipAngle": angles})


@pytest.mark.parametrize(
    "wrong", [{"RepetitionTimeExcitation": [0.02, 0.1, 0.2]}, {"FlipAngle": [30.0, 60.0]}, {"FlipAngle": None}]
)
def test_actual_flip_angle_imaging_takes_two_times_and_one_angle(wrong):
    with pytest.raises(SidecarError, match=next(iter(wrong))):
        models.get("b1_actual_flip_angle").bind({**ACTUAL, **wrong})
