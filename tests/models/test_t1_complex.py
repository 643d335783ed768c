"""Inversion recovery of real and complex data: the sign is in the data and is not searched."""

import numpy as np
import pytest
from scipy import stats

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError
from isocenter.fitting import fit

MODEL = models.get("t1_inversion_recovery")
TI = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.0])
ACQUISITION = {"InversionTime": TI, "RepetitionTime": 4.5}
V = 8000


def draw(kind, v=V, seed=5):
    rng = np.random.default_rng(seed)
    bound = MODEL.bind(ACQUISITION, data=kind)
    truth = {
        "T1": rng.uniform(0.4, 2.0, v),
        "M0": rng.uniform(900.0, 1100.0, v),
        "inversion_efficiency": rng.uniform(0.85, 1.0, v),
    }
    phase = {"phase": rng.uniform(-np.pi, np.pi, v)} if kind == "complex" else {}
    return bound, truth, bound.predict({**truth, **phase}), rng


def add_noise(clean, sigma, rng):
    noise = rng.normal(0, sigma, clean.shape)
    return clean + noise + (1j * rng.normal(0, sigma, clean.shape) if np.iscomplexobj(clean) else 0)


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("robust", [None, "tukey"])
def test_without_noise_the_fit_is_exact(kind, robust):
    bound, truth, clean, _ = draw(kind, 300)
    found = fit(bound, clean, robust=robust)
    assert found.ok.all()
    for name, true in truth.items():
        np.testing.assert_allclose(found.value[name], true, rtol=1e-6)


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize(("snr", "most"), [(50, 0.01), (100, 0.005), (300, 0.005)])
def test_bias_and_coverage(kind, snr, most):
    bound, truth, clean, rng = draw(kind)
    found = fit(bound, add_noise(clean, 1000 / snr, rng))
    assert found.ok.mean() > 0.999
    for name, true in truth.items():
        assert abs(np.mean((found.value[name] / true - 1)[found.ok])) < most, name
        half = stats.t.ppf(0.975, np.maximum(found.freedom, 1)) * found.stderr[name]
        assert 0.93 < np.mean((np.abs(found.value[name] - true) < half)[found.ok]) < 0.97, name


def test_freedom_counts_both_parts_of_complex_samples():
    bound, _, clean, rng = draw("complex", 20)
    # T1 and two complex amplitudes; voxels of long T1, whose samples all lie in the window.
    assert fit(bound, add_noise(clean, 5.0, rng)).freedom.max() == 2 * TI.size - 5


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_standard_errors_are_the_spread_of_repeats(kind):
    bound, _, _, rng = draw(kind, 1)
    truth = {"T1": 1.2, "M0": 1000.0, "inversion_efficiency": 0.95, **({"phase": 0.7} if kind == "complex" else {})}
    clean = np.broadcast_to(bound.predict(truth), (V, TI.size))
    found = fit(bound, add_noise(clean, 5.0, rng), sigma=5.0)
    for name in bound.names:
        assert np.median(found.stderr[name]) == pytest.approx(np.std(found.value[name]), rel=0.03)


def test_near_the_null_the_sign_in_the_data_beats_the_search():
    """Where samples straddle the null at low signal to noise, magnitudes are biased and signed data are not."""
    truth = {"T1": 1.0, "M0": 1000.0, "inversion_efficiency": 0.95}
    times = np.array([0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.2, 3.0])
    rng = np.random.default_rng(8)
    clean = {k: MODEL.bind({"InversionTime": times}, data=k) for k in ("magnitude", "real")}
    noise = rng.normal(0, 50, (2, V, times.size))
    real = clean["real"].predict(truth) + noise[0]
    spread = {}
    for kind, signal in (("real", real), ("magnitude", np.hypot(real, noise[1]))):
        found = fit(clean[kind], signal)
        spread[kind] = abs(np.nanmedian(found.value["T1"]) - 1.0)
    assert spread["real"] < 0.01
    assert spread["magnitude"] > 2 * spread["real"]


def test_real_data_may_have_either_sign():
    bound, _, clean, rng = draw("real", 100)
    signal = add_noise(clean, 5.0, rng)
    up, down = fit(bound, signal), fit(bound, -signal)
    for name in bound.names:
        np.testing.assert_allclose(up.value[name], down.value[name], rtol=1e-9)
        np.testing.assert_allclose(up.stderr[name], down.stderr[name], rtol=1e-9)
    assert (up.value["M0"] > 0).all()


def test_a_common_phase_changes_nothing():
    bound, truth, _, rng = draw("complex", 100)
    signal = add_noise(bound.predict(truth), 5.0, rng)
    plain, turned = fit(bound, signal), fit(bound, signal * np.exp(2.2j))
    for name in bound.names:
        np.testing.assert_allclose(turned.value[name], plain.value[name], rtol=1e-6)
        np.testing.assert_allclose(turned.stderr[name], plain.stderr[name], rtol=1e-5)


def test_complex_data_tell_t1_as_well_as_real_data_of_known_phase():
    """The free phase costs next to nothing: the second channel pays for its own parameters."""
    truth = {"T1": 1.0, "M0": 1000.0, "inversion_efficiency": 0.95}
    error = {
        kind: fit(bound := MODEL.bind(ACQUISITION, data=kind), bound.predict(truth), sigma=10.0).stderr["T1"]
        for kind in ("real", "complex")
    }
    assert error["complex"] == pytest.approx(error["real"], rel=1e-6)


def test_the_window_counts_inversion_times_not_channels():
    """At T1 of 30 ms only four inversion times lie within 8 T1: too few to be refitted alone."""
    bound = MODEL.bind({"InversionTime": [0.03, 0.06, 0.12, 0.2, 1.0, 2.0, 3.0]}, data="complex")
    assert bound.separable.window_least == 10
    signal = bound.predict({"T1": 0.03, "M0": 100.0, "inversion_efficiency": 0.9})
    assert fit(bound, signal).freedom == 14 - 5


def test_the_short_repetition_time_keeps_its_meaning():
    """Without TR the same samples give the same T1 and another M0 and efficiency."""
    _, truth, clean, _ = draw("complex", 50)
    found = fit(MODEL.bind({"InversionTime": TI}, data="complex"), clean)
    np.testing.assert_allclose(found.value["T1"], truth["T1"], rtol=1e-6)
    e = np.exp(-4.5 / truth["T1"])
    k = truth["inversion_efficiency"]
    np.testing.assert_allclose(found.value["M0"], truth["M0"] * (1 + k * e), rtol=1e-6)
    np.testing.assert_allclose(found.value["inversion_efficiency"], (1 + k) / (1 + k * e) - 1, rtol=1e-6)


def test_the_kind_of_data_must_fit_the_option():
    with pytest.raises(FitError, match="kind of signal"):
        fit(MODEL.bind(ACQUISITION, data="complex"), np.ones((2, 8)))
    with pytest.raises(FitError, match="kind of signal"):
        fit(MODEL.bind(ACQUISITION, data="real"), np.ones((2, 8), complex))
    with pytest.raises(ConfigError, match="data: magnitude, real, complex"):
        MODEL.bind(ACQUISITION, data="phase")


def test_noise_is_not_taken_for_a_recovery():
    bound, _, _, rng = draw("complex", 1)
    signal = add_noise(np.zeros((500, TI.size), complex), 1.0, rng)
    found = fit(bound, signal)
    assert np.array_equal(np.isnan(found.value["T1"]), ~found.ok)
    assert fit(bound, np.zeros(TI.size, complex)).flag == Flag.NO_SIGNAL
