"""How alike images are: edges count, contrast and shading do not, and chance is told from gain."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from isocenter.fields.likeness import compare_likeness

SHAPE, SPACING = (48, 48, 16), np.array([3.0, 3.0, 4.0])


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    regions = np.digitize(gaussian_filter(rng.standard_normal(SHAPE), (4, 4, 2)) * 20, [-0.7, 0.0, 0.7])
    one = np.array([100.0, 60.0, 140.0, 20.0])[regions]
    other = np.array([30.0, 200.0, 80.0, 120.0])[regions]  # another contrast of the same regions
    noise = rng.normal(0, 4, (2, *SHAPE))
    return one + noise[0], other + noise[1]


def test_edges_at_their_place_are_more_alike_than_moved_ones(images):
    one, other = images
    found = compare_likeness(shift(one, (0, 1.5, 0), mode="nearest"), one, other, np.ones(SHAPE, bool), SPACING)
    assert found.is_more
    assert not found.is_less
    back = compare_likeness(one, shift(one, (0, 1.5, 0), mode="nearest"), other, np.ones(SHAPE, bool), SPACING)
    assert back.is_less


def test_shading_is_not_heard(images):
    one, other = images
    shaded = one * np.linspace(0.7, 1.3, SHAPE[1])[None, :, None]
    found = compare_likeness(one, shaded, other, np.ones(SHAPE, bool), SPACING)
    assert abs(found.now - found.was) < 0.03 * found.was


def test_noise_is_no_gain():
    """Of images that have nothing in common, one is taken to be more alike about as often as 2 SE say: 2 %."""
    rng = np.random.default_rng(1)
    told = []
    for _ in range(60):
        first, second, other = (gaussian_filter(rng.standard_normal(SHAPE), 1) for _ in range(3))
        told.append(compare_likeness(first, second, other, np.ones(SHAPE, bool), SPACING).is_more)
    assert np.mean(told) <= 0.1


def test_too_little_is_not_compared(images):
    one, other = images
    mask = np.zeros(SHAPE, bool)
    mask[:5, :5, :5] = True
    found = compare_likeness(one, one, other, mask, SPACING)
    assert np.isnan([found.was, found.now, found.stderr]).all()
    assert not found.is_more
    assert not found.is_less


def test_voxels_without_a_value_do_not_count(images):
    one, other = images
    lost = one.copy()
    lost[20:30] = np.nan
    found = compare_likeness(one, lost, other, np.ones(SHAPE, bool), SPACING)
    assert found.was == pytest.approx(found.now, abs=1e-6)
