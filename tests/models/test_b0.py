"""B0 of single voxels from the phase of echoes."""

import numpy as np
import pytest
from scipy.stats import t as student

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import SidecarError
from isocenter.fitting import fit

TWO = [0.00519, 0.00765]


def bind(**acquisition):
    return models.get("b0_dual_echo").bind(acquisition)


def test_the_phase_turns_by_b0_times_the_echo_time():
    signal = bind(EchoTime=TWO).predict({"B0": 50.0, "S0": 3.0, "phase": 90.0})
    np.testing.assert_allclose(signal, [3j * np.exp(2j * np.pi * 50 * t) for t in TWO])


@pytest.mark.parametrize("times", [TWO, [0.004, 0.008, 0.012], [0.012, 0.002, 0.003, 0.0071]])
def test_fields_within_half_a_period_are_exact(times):
    bound = bind(EchoTime=times)
    half = 0.5 / np.diff(np.sort(times)).min()
    truth = np.linspace(-0.99 * half, 0.99 * half, 41)
    signal = bound.predict({"B0": truth, "phase": 120.0, "S0": 5.0})
    np.testing.assert_allclose(fit(bound, signal).value["B0"], truth, atol=1e-9)
    np.testing.assert_allclose(fit(bound, np.angle(signal)).value["B0"], truth, atol=1e-9)


def test_a_phase_difference_is_one_image_with_two_echo_times():
    bound = bind(EchoTime1=TWO[0], EchoTime2=TWO[1])
    assert bound.n == 1
    phase = np.array([[0.5], [-2.0]])
    np.testing.assert_allclose(fit(bound, phase).value["B0"], phase[:, 0] / (2 * np.pi * 0.00246))


def test_an_echo_time_that_stands_alone_is_refused():
    with pytest.raises(SidecarError, match="EchoTime"):
        bind(EchoTime1=0.005)


@pytest.mark.parametrize("times", [TWO, [0.004, 0.008, 0.012], [0.002, 0.003, 0.0071, 0.012]])
@pytest.mark.parametrize("snr", [20, 100])
def test_standard_errors_with_known_noise(times, snr):
    bound = bind(EchoTime=times)
    clean = bound.predict({"B0": 30.0, "phase": 20.0, "S0": 100.0}) * np.exp(-np.array(times) / 0.02)
    rng = np.random.default_rng(4)
    sigma = 100.0 / snr
    noise = rng.standard_normal((20000, len(times), 2)) @ [1, 1j]
    found = fit(bound, clean + sigma * noise, sigma=sigma)
    error = found.value["B0"] - 30.0
    assert abs(error.mean()) < 0.05 * found.stderr["B0"].mean()
    assert 0.93 < np.mean(np.abs(error) < 1.96 * found.stderr["B0"]) < 0.97


def test_standard_errors_from_the_residuals_of_many_echoes():
    times = 0.002 * np.arange(1, 9)
    bound = bind(EchoTime=times)
    noise = np.random.default_rng(5).standard_normal((20000, 8, 2)) @ [1, 1j]
    found = fit(bound, bound.predict({"B0": 30.0, "S0": 100.0}) + 3 * noise)
    inside = np.abs(found.value["B0"] - 30.0) < student.ppf(0.975, 6) * found.stderr["B0"]
    assert 0.93 < inside.mean() < 0.97


def test_two_echoes_without_a_noise_have_no_standard_error():
    bound = bind(EchoTime=TWO)
    found = fit(bound, bound.predict({"B0": 30.0})[np.newaxis])
    assert found.ok.all()
    assert np.isnan(found.stderr["B0"][0])


def test_noise_is_not_a_field():
    noise = np.random.default_rng(6).standard_normal((1000, 2, 2)) @ [1, 1j]
    found = fit(bind(EchoTime=TWO), noise, sigma=1.0)
    assert np.mean(found.flag == Flag.NO_SIGNAL) > 0.9
