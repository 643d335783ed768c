"""Patlak: known truth at several SNRs, values below zero, backflux, a delay that is fitted."""

import numpy as np
import pytest
from scipy import stats

from isocenter import fitting, models
from isocenter.entities import Flag

MODEL = models.get("patlak")
TIMES = np.array(MODEL.example["FrameTimesStart"])
BOUND = MODEL.bind(MODEL.example)
DELAYED = MODEL.bind(MODEL.example, delay="fit")
RANGES = {"Ktrans": (0.005, 0.05), "vp": (0.02, 0.1), "delay": (1.0, 8.0)}
V = 4000


def draw(bound, snr):
    """Truth and signals; the SNR is that of the highest concentration of each curve."""
    rng = np.random.default_rng(11)
    truth = {name: rng.uniform(*RANGES[name], V) for name in bound.names}
    signal = bound.predict(truth)
    sigma = signal.max(axis=1, keepdims=True) / snr
    return truth, signal + sigma * rng.standard_normal(signal.shape)


def test_the_forward_model_is_the_integral_of_the_input():
    concentration = np.array(MODEL.example["ArterialInputFunction"])
    # For straight lines between the samples the trapezoidal rule is exact.
    area = np.concatenate([[0.0], np.cumsum((concentration[1:] + concentration[:-1]) / 2 * np.diff(TIMES) / 60)])
    np.testing.assert_allclose(BOUND.predict({"Ktrans": 0.02, "vp": 0.05}), 0.02 * area + 0.05 * concentration)


@pytest.mark.parametrize("bound", [BOUND, DELAYED], ids=["fixed", "fitted"])
def test_without_noise_the_fit_is_exact(bound):
    truth, signal = draw(bound, np.inf)
    fit = fitting.fit(bound, signal)
    assert fit.ok.all()
    for name in bound.names:
        np.testing.assert_allclose(fit.value[name], truth[name], rtol=1e-6)


@pytest.mark.parametrize("snr", [20, 50, 100, 200])
@pytest.mark.parametrize("bound", [BOUND, DELAYED], ids=["fixed", "fitted"])
def test_bias_and_coverage(bound, snr):
    truth, signal = draw(bound, snr)
    fit = fitting.fit(bound, signal)
    assert fit.ok.mean() > 0.99
    for name in bound.names:
        error = (fit.value[name] - truth[name])[fit.ok]
        assert abs(error.mean()) < 0.005 * truth[name].mean(), name
        reach = stats.t.ppf(0.975, fit.freedom[fit.ok]) * fit.stderr[name][fit.ok]
        assert 0.93 < np.mean(np.abs(error) < reach) < 0.97, name


def test_the_answer_is_that_of_linear_regression():
    _, signal = draw(BOUND, 30)
    columns = [BOUND.predict({"Ktrans": 1.0, "vp": 0.0}), BOUND.predict({"Ktrans": 0.0, "vp": 1.0})]
    expected, squares, *_ = np.linalg.lstsq(np.column_stack(columns), signal.T, rcond=None)
    fit = fitting.fit(BOUND, signal)
    np.testing.assert_allclose([fit.value["Ktrans"], fit.value["vp"]], expected, rtol=1e-9)
    normal = np.linalg.inv(np.array(columns) @ np.array(columns).T)
    np.testing.assert_allclose(fit.stderr["Ktrans"], np.sqrt(squares / 148 * normal[0, 0]), rtol=1e-9)


def test_without_leakage_the_mean_of_ktrans_is_zero():
    clean = BOUND.predict({"Ktrans": 0.0, "vp": 0.05})
    noise = np.random.default_rng(2).normal(0, 0.01, (4000, 150))
    fit = fitting.fit(BOUND, clean + noise)
    # Values below zero stay, so that a region's mean is not pushed up.
    assert fit.ok.mean() > 0.99
    assert 0.45 < np.mean(fit.value["Ktrans"] < 0) < 0.55
    assert abs(np.nanmean(fit.value["Ktrans"])) < 4 * np.nanstd(fit.value["Ktrans"]) / np.sqrt(4000)


def test_what_contradicts_the_model_is_flagged():
    signal = BOUND.predict({"Ktrans": [-0.1, 0.02, 0.02, 0.0], "vp": [0.1, -0.1, 1.3, 0.0]})
    noise = np.random.default_rng(4).normal(0, 0.01, signal.shape)
    expected = [Flag.AT_BOUND, Flag.AT_BOUND, Flag.AT_BOUND, Flag.NO_SIGNAL]
    assert fitting.fit(BOUND, signal + noise).flag.tolist() == expected


@pytest.mark.parametrize(("washout", "bias"), [(0.1, -0.045), (0.5, -0.20), (1.0, -0.35)])
def test_backflux_lowers_ktrans_as_the_card_says(washout, bias):
    model = models.get("extended_tofts")
    kep = washout / (TIMES[-1] / 60)
    signal = model.bind(MODEL.example).predict({"Ktrans": 0.01, "kep": kep, "vp": 0.03})
    found = fitting.fit(BOUND, signal).value["Ktrans"] / 0.01 - 1
    assert abs(found - bias) < 0.01
