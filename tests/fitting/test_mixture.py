"""The engine of PDFF magnitudes beside the general one, which fits any model."""

import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.fitting import batches, fit
from isocenter.fitting.direct import Direct
from isocenter.fitting.mixtures import Mixtures

ACQUISITIONS = {
    "6 echoes, 3 T": {"EchoTime": (0.0012 + 0.001 * np.arange(6)).tolist(), "MagneticFieldStrength": 3.0},
    "6 echoes, 1.5 T": {"EchoTime": (0.0012 + 0.0015 * np.arange(6)).tolist(), "MagneticFieldStrength": 1.5},
    "12 echoes, 3 T": {"EchoTime": (0.0011 + 0.0013 * np.arange(12)).tolist(), "MagneticFieldStrength": 3.0},
    "uneven echoes": {"EchoTime": [0.0011, 0.0019, 0.0031, 0.0038, 0.0056, 0.008], "MagneticFieldStrength": 3.0},
}


def draw(bound, count, snr, seed=3, fat=(0.0, 100.0)):
    rng = np.random.default_rng(seed)
    pdff, rate = rng.uniform(*fat, count), rng.uniform(0.0, 400.0, count)
    signal = bound.predict({"PDFF": pdff, "R2star": rate, "W": 1000 - 10 * pdff, "F": 10 * pdff})
    noise = rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape)
    return np.abs(signal + 1000 / snr * noise)


@pytest.fixture
def fit_generally(monkeypatch):
    """`fit` by the engine that knows nothing of the model."""

    def run(bound, signal, **options):
        with monkeypatch.context() as context:
            context.setattr(batches, "choose_engine", lambda b: Direct(b.separable, len(b.parameters)))
            return fit(bound, signal, **options)

    return run


@pytest.mark.parametrize("name", ACQUISITIONS)
@pytest.mark.parametrize("dominant", ["either", "water", "fat"])
@pytest.mark.parametrize("snr", [30.0, 100.0, 1000.0])
def test_no_optimum_is_worse_than_the_general_engines(name, dominant, snr, fit_generally):
    bound = models.get("pdff_magnitude").bind(ACQUISITIONS[name], dominant=dominant)
    assert isinstance(batches.choose_engine(bound), Mixtures)
    fat = {"either": (0.0, 100.0), "water": (0.0, 50.0), "fat": (50.0, 100.0)}[dominant]
    signal = draw(bound, 3000, snr, fat=fat)
    ours, general = fit(bound, signal), fit_generally(bound, signal)
    both = np.isfinite(ours.residual) & np.isfinite(general.residual)
    worse = both & (ours.residual > general.residual * (1 + 1e-6))
    # Of 100,000 voxels a few sit beside a valley that the coarse nodes do not show.
    assert worse.sum() <= 1
    # The rest of them lies lower here: the general engine follows one start.
    same = both & (np.abs(ours.residual / general.residual - 1) < 1e-7)
    assert same.mean() > 0.7
    assert np.array_equal(ours.flag[same], general.flag[same])
    good = same & ours.ok
    apart = np.abs(ours.value["PDFF"] - general.value["PDFF"])[good] / general.stderr["PDFF"][good]
    assert np.percentile(apart, 99) < 1e-5
    np.testing.assert_allclose(ours.stderr["PDFF"][good], general.stderr["PDFF"][good], rtol=1e-3)


@pytest.mark.parametrize("kind", ["tukey", "huber"])
def test_robust_fits_end_where_reweighting_ends(kind, fit_generally):
    """With a known noise both engines weigh on one scale; where both start on one side they agree."""
    bound = models.get("pdff_magnitude").bind(ACQUISITIONS["12 echoes, 3 T"], dominant="water")
    signal = draw(bound, 3000, 100.0, fat=(0.0, 40.0))
    signal[::3, 4] *= 1.5
    ours = fit(bound, signal, robust=kind, sigma=10.0)
    general = fit_generally(bound, signal, robust=kind, sigma=10.0)
    assert (ours.flag != general.flag).mean() < 0.005
    good = ours.ok & general.ok
    apart = np.abs(ours.value["PDFF"] - general.value["PDFF"])[good] / general.stderr["PDFF"][good]
    assert np.percentile(apart, 98) < 1e-4
    assert (ours.outliers[good] != general.outliers[good]).mean() < 0.01


@pytest.mark.parametrize("robust", [None, "tukey"])
def test_a_voxel_does_not_depend_on_its_neighbors(robust):
    bound = models.get("pdff_magnitude").bind(ACQUISITIONS["6 echoes, 3 T"])
    signal = draw(bound, 999, 60.0)
    signal[::7, 2] = np.nan
    order = np.random.default_rng(0).permutation(len(signal))
    # A known noise: a scale that is pooled depends on all voxels by design.
    whole = fit(bound, signal, robust=robust, sigma=16.0)
    shuffled = fit(bound, signal[order], robust=robust, sigma=16.0)
    alone = fit(bound, signal[500:501], robust=robust, sigma=16.0)
    for name in whole.value:
        assert np.array_equal(whole.value[name][order], shuffled.value[name], equal_nan=True)
        assert np.array_equal(whole.stderr[name][order], shuffled.stderr[name], equal_nan=True)
        assert np.array_equal(whole.value[name][500:501], alone.value[name], equal_nan=True)
    assert np.array_equal(whole.flag[order], shuffled.flag)


def test_two_optima_between_two_levels_are_both_found():
    """51 % and 60 % look alike, closer than the nodes are: without noise only one of them leaves nothing."""
    bound = models.get("pdff_magnitude").bind(ACQUISITIONS["6 echoes, 3 T"], dominant="fat")
    pdff = np.linspace(51.0, 61.0, 41)
    signal = bound.predict({"PDFF": pdff, "R2star": 40.0, "W": 1000 - 10 * pdff, "F": 10 * pdff})
    found = fit(bound, signal)
    assert np.all(found.residual < 1e-9 * 1000)
    assert np.all(found.flag == Flag.OK)
    np.testing.assert_allclose(found.value["PDFF"], pdff, atol=1e-4)
