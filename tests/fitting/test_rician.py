"""The Rician likelihood: its pieces, and that it takes away the bias of the noise floor."""

import numpy as np
import pytest
from scipy import special, stats

from isocenter import models
from isocenter.fitting import fit
from isocenter.fitting.rician import bessel_ratio, tabulate_information


def test_bessel_ratio():
    x = np.concatenate([[0.0], np.geomspace(1e-6, 1e4, 400)])
    expected = special.ive(1, x) / special.ive(0, x)
    np.testing.assert_allclose([bessel_ratio(v) for v in x], expected, rtol=2e-9)


def test_information_by_simulation():
    """The variance of the score, over 400,000 draws, at a few signals."""
    rng = np.random.default_rng(1)
    table = tabulate_information()
    for a in (0.5, 1.0, 2.0, 5.0):
        y = stats.rice(a).rvs(400_000, random_state=rng)
        score = y * special.ive(1, a * y) / special.ive(0, a * y) - a
        assert table[round(a / 0.02)] == pytest.approx(score.var(), rel=0.01)
    assert table[-1] == pytest.approx(1.0, abs=5e-4)
    assert table[0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("is_sigma_known", [True, False])
def test_the_noise_floor_no_longer_lengthens_t2(is_sigma_known):
    """T2 20 ms in a train to 160 ms, SNR 50 at time zero: the last ten echoes are noise."""
    bound = models.get("t2_multi_echo").bind({"EchoTime": 0.01 * np.arange(1, 17)})
    rng = np.random.default_rng(2)
    clean = np.broadcast_to(bound.predict({"T2": 0.02, "S0": 1000.0}), (6000, 16))
    noisy = np.abs(clean + rng.normal(0, 20, clean.shape) + 1j * rng.normal(0, 20, clean.shape))
    plain = fit(bound, noisy)
    found = fit(bound, noisy, noise="rician", sigma=20.0 if is_sigma_known else None)
    assert np.median(plain.value["T2"]) > 1.03 * 0.02
    assert np.nanmedian(found.value["T2"]) == pytest.approx(0.02, rel=0.005 if is_sigma_known else 0.03)
    if is_sigma_known:
        z = (found.value["T2"] - 0.02) / found.stderr["T2"]
        assert np.mean(np.abs(z[found.ok]) <= 1.96) == pytest.approx(0.95, abs=0.015)
        assert found.ok.mean() > 0.999


def test_far_from_the_floor_it_is_least_squares():
    """Every sample at 40 times the noise or more, where the information is that of Gaussian noise within 0.1 %."""
    bound = models.get("t2_multi_echo").bind({"EchoTime": 0.01 * np.arange(1, 9)})
    rng = np.random.default_rng(3)
    clean = np.broadcast_to(bound.predict({"T2": 0.08, "S0": 1000.0}), (500, 8))
    noisy = np.abs(clean + rng.normal(0, 5, clean.shape) + 1j * rng.normal(0, 5, clean.shape))
    plain, found = fit(bound, noisy, sigma=5.0), fit(bound, noisy, noise="rician", sigma=5.0)
    np.testing.assert_allclose(found.value["T2"], plain.value["T2"], rtol=1e-3)
    np.testing.assert_allclose(found.stderr["T2"], plain.stderr["T2"], rtol=1e-3)
