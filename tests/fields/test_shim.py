"""Shim figures against distributions that are known, and of two real field maps."""

import numpy as np
import pytest
from scipy.stats import norm

from isocenter.errors import FitError
from isocenter.fields.shim import FEWEST_VOXELS, measure_shim

SHAPE = (40, 40, 20)


def test_a_normal_field_has_the_figures_of_a_normal_distribution():
    rng = np.random.default_rng(0)
    field = rng.normal(12.0, 30.0, SHAPE)
    found = measure_shim(field, np.ones(SHAPE, bool))
    assert found.n_voxels == field.size
    assert found.median == pytest.approx(12.0, abs=1)
    assert found.sd == pytest.approx(30.0, rel=0.02)
    assert found.range == pytest.approx(2 * norm.ppf(0.95) * 30.0, rel=0.02)
    # A peak that few voxels make is wavy: the half is crossed where a wave is.
    assert found.fwhm == pytest.approx(2 * np.sqrt(2 * np.log(2)) * 30.0, rel=0.05)


def test_the_width_of_a_lorentzian_is_its_own_and_its_tails_are_in_the_sd_alone():
    width = 20.0
    quantiles = (np.arange(32_000) + 0.5) / 32_000
    field = (width / 2 * np.tan(np.pi * (quantiles - 0.5))).reshape(SHAPE)
    found = measure_shim(field, np.ones(SHAPE, bool))
    assert found.fwhm == pytest.approx(width, rel=0.05)
    assert found.range == pytest.approx(width * np.tan(np.pi * 0.45), rel=0.01)
    assert found.sd > 10 * width


def test_the_highest_of_two_peaks_counts():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 10, 24_000), rng.normal(-400, 10, 8_000)])
    found = measure_shim(values.reshape(SHAPE), np.ones(SHAPE, bool))
    assert found.fwhm == pytest.approx(23.5, rel=0.1)
    assert found.range > 400


def test_voxels_outside_or_without_a_value_do_not_count():
    field = np.zeros(SHAPE)
    field[20:] = 500.0
    mask = np.zeros(SHAPE, bool)
    mask[:20] = True
    field[0] = np.nan
    found = measure_shim(field, mask)
    assert (found.n_voxels, found.sd, found.range, found.fwhm) == (19 * 40 * 20, 0.0, 0.0, 0.0)


def test_a_few_voxels_are_no_object():
    with pytest.raises(FitError, match="at least 100"):
        measure_shim(np.zeros((FEWEST_VOXELS - 1, 1, 1)), np.ones((FEWEST_VOXELS - 1, 1, 1), bool))
