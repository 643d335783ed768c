"""T2* with its rate, against an independent fit, and R2' with its error."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError
from isocenter.fitting import fit
from isocenter.models.r2_prime import subtract_r2
from isocenter.volume import ParameterMap

TE = 0.004 * np.arange(1, 13)
MODEL = models.get("t2star_multi_echo")


def test_time_and_rate_equal_two_independent_fits():
    """scipy's curve_fit, once in T2* and once in R2*: values and standard errors of both."""
    rng = np.random.default_rng(3)
    bound = MODEL.bind({"EchoTime": TE})
    signal = bound.predict({"T2star": 0.025, "S0": 800.0}) + rng.normal(0, 8, TE.size)
    found = fit(bound, signal)
    forms = {
        "T2star": (lambda te, t, s: s * np.exp(-te / t), 0.02),
        "R2star": (lambda te, r, s: s * np.exp(-te * r), 50),
    }
    for name, (form, start) in forms.items():
        best, covariance = curve_fit(form, TE, signal, p0=(start, 700.0), xtol=1e-12, ftol=1e-12)
        assert found.value[name] == pytest.approx(best[0], rel=1e-6)
        assert found.stderr[name] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-4)
        assert found.value["S0"] == pytest.approx(best[1], rel=1e-6)


def test_with_an_offset_the_names_stay_with_their_numbers():
    bound = MODEL.bind({"EchoTime": TE}, offset=True)
    truth = {"T2star": np.array([0.01, 0.02]), "S0": 500.0, "offset": np.array([20.0, 40.0])}
    found = fit(bound, bound.predict(truth))
    assert found.parameters == ("T2star", "R2star", "S0", "offset")
    assert found.units == ("s", "1/s", "arbitrary", "arbitrary")
    for name, value in {**truth, "R2star": np.array([100.0, 50.0])}.items():
        np.testing.assert_allclose(found.value[name], np.broadcast_to(value, 2), rtol=1e-5)


def test_a_rician_floor_lengthens_a_plain_fit_and_not_a_rician_one():
    rng = np.random.default_rng(5)
    te = 0.004 * np.arange(1, 17)
    bound = MODEL.bind({"EchoTime": te})
    clean = bound.predict({"T2star": np.full(3000, 0.012), "S0": 200.0})
    noisy = np.hypot(clean + rng.normal(0, 10, clean.shape), rng.normal(0, 10, clean.shape))
    plain, rician = (fit(bound, noisy, noise=noise, sigma=10.0) for noise in ("gaussian", "rician"))
    assert np.nanmedian(plain.value["T2star"]) > 1.1 * 0.012
    assert np.nanmedian(rician.value["T2star"]) == pytest.approx(0.012, rel=0.01)


def make_map(value, stderr, flag, unit, affine=None):
    shape = (len(value), 1, 1)
    arrays = (
        np.reshape(np.asarray(a, dtype), shape) for a, dtype in ((value, float), (stderr, float), (flag, np.uint8))
    )
    return ParameterMap(*arrays, np.eye(4) if affine is None else affine, unit)


def test_r2_prime_and_its_error():
    star = make_map([50.0, 50.0, np.nan, 50.0, 10.0], [1.0, 1.0, np.nan, 1.0, 1.0], [0, 0, 3, 0, 0], "1/s")
    t2 = make_map([0.1, 0.05, 0.1, np.nan, 0.05], [0.01, 0.002, 0.01, np.nan, 0.001], [0, 0, 0, 2, 0], "s")
    found = subtract_r2(star, t2)
    np.testing.assert_allclose(found.value.ravel()[:2], [40, 30])
    np.testing.assert_allclose(found.stderr.ravel()[:2], [np.hypot(1, 1.0), np.hypot(1, 0.8)])
    # T2* longer than T2 by ten standard errors is impossible.
    assert found.flag.ravel().tolist() == [Flag.OK, Flag.OK, Flag.AT_BOUND, Flag.NO_SIGNAL, Flag.OUT_OF_RANGE]
    assert np.isnan(found.value.ravel()[2:]).all()
    assert np.isnan(found.stderr.ravel()[2:]).all()
    assert found.unit == "1/s"


def test_the_error_of_r2_prime_agrees_with_a_simulation():
    rng = np.random.default_rng(8)
    n = 20000
    star, t2 = 60 + rng.normal(0, 2, n), 0.08 + rng.normal(0, 0.002, n)
    found = subtract_r2(
        make_map(star, np.full(n, 2.0), np.zeros(n), "1/s"), make_map(t2, np.full(n, 0.002), np.zeros(n), "s")
    )
    # A standard deviation from 20000 draws is known to 0.5 %; the curvature of 1/T2 adds as much.
    assert found.value.std() == pytest.approx(np.median(found.stderr), rel=0.02)


def test_r2_prime_takes_a_rate_as_well_and_nothing_else():
    star = make_map([50.0], [1.0], [0], "1/s")
    rate = make_map([10.0], [0.5], [0], "1/s")
    assert subtract_r2(star, rate).value.item() == pytest.approx(40)
    with pytest.raises(ConfigError, match="rate"):
        subtract_r2(make_map([0.02], [0.001], [0], "s"), rate)
    with pytest.raises(FitError, match="grids"):
        subtract_r2(star, make_map([10.0], [0.5], [0], "1/s", affine=np.diag([2.0, 2, 2, 1])))
