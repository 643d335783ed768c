"""Splines of our own against scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from isocenter.errors import RegistrationError
from isocenter.interpolation import PAD, fit_bspline, sample_affine
from isocenter.motion import rigid_matrix

SHAPES = [(24, 20, 9), (16, 18, 2), (20, 17, 1), (3, 4, 5)]


def _motion(shape, size=1.0):
    center = (np.array(shape) - 1) / 2
    return rigid_matrix(size * np.array([1.3, -0.7, 0.4]), size * np.array([0.05, -0.03, 0.1]), center)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_values_are_those_of_scipy(shape, order):
    data = np.random.default_rng(3).normal(100, 30, shape).astype(np.float32)
    voxel = _motion(shape)
    values, inside = sample_affine(fit_bspline(data, order), voxel, order=order)
    expected = ndimage.affine_transform(data, voxel[:3, :3], voxel[:3, 3], order=order, mode="nearest")
    np.testing.assert_allclose(values[inside], expected[inside], rtol=2e-6, atol=1e-4)
    assert inside.any()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_without_motion_the_samples_come_back(order):
    data = np.random.default_rng(4).normal(0, 1, (7, 8, 6)).astype(np.float32)
    values, inside = sample_affine(fit_bspline(data, order), np.eye(4), order=order)
    np.testing.assert_allclose(values, data, atol=1e-6)
    assert inside.all()


def test_half_a_voxel_beyond_the_samples_is_inside():
    shift = np.eye(4)
    shift[0, 3] = 0.5
    data = np.ones((5, 4, 3), dtype=np.float32)
    _, inside = sample_affine(fit_bspline(data), shift)
    assert inside.all()
    shift[0, 3] = 0.51
    values, inside = sample_affine(fit_bspline(data), shift, outside=-7.0)
    assert not inside[-1].any()
    assert inside[:-1].all()
    np.testing.assert_allclose(values[-1], -7.0)
    np.testing.assert_allclose(values[:-1], 1.0, rtol=1e-6)


def test_a_volume_that_left_the_grid_holds_nothing_of_it():
    far = np.eye(4)
    far[:3, 3] = 1e12, -1e12, 40
    values, inside = sample_affine(fit_bspline(np.ones((5, 4, 3))), far, outside=np.nan)
    assert np.isnan(values).all()
    assert not inside.any()
    # Without a fill it is the nearest sample, however far away the place is.
    values, _ = sample_affine(fit_bspline(np.ones((5, 4, 3))), far)
    np.testing.assert_allclose(values, 1.0, rtol=1e-6)


@pytest.mark.parametrize("order", [2, 3])
def test_the_samples_go_on_beyond_the_edges(order):
    """Coefficients are those of a volume whose outermost samples are repeated so often that its ends do not count."""
    data = np.random.default_rng(5).normal(0, 1, (6, 5, 4))
    wide = 40
    expected = ndimage.spline_filter(np.pad(data, wide, mode="edge"), order, mode="mirror")
    cut = tuple(slice(wide - PAD, n - wide + PAD) for n in expected.shape)
    np.testing.assert_allclose(fit_bspline(data, order), expected[cut], atol=1e-12)


def test_single_precision_coefficients_give_the_same_within_their_rounding():
    data = np.random.default_rng(6).normal(100, 30, (9, 8, 7))
    spline, voxel = fit_bspline(data, 2), _motion(data.shape)
    exact, _ = sample_affine(spline, voxel, order=2)
    rounded, _ = sample_affine(spline.astype(np.float32), voxel, order=2)
    np.testing.assert_allclose(rounded, exact, rtol=3e-6)


def test_a_motion_that_is_not_finite_is_refused():
    voxel = np.eye(4)
    voxel[1, 3] = np.nan
    with pytest.raises(RegistrationError, match="finite motion"):
        sample_affine(fit_bspline(np.ones((4, 4, 4))), voxel)
