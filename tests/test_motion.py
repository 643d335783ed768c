"""Rigid motion in numbers: parameters and resampling."""

import numpy as np
from simulated_brain import AFFINE, SHAPE, fractions

from isocenter import motion


def test_parameters_describe_the_matrix():
    center = np.array([10.0, -20.0, 30.0])
    turn = motion.rigid_matrix(np.array([1.0, 2.0, 3.0]), np.radians([0, 0, 10.0]), center)
    np.testing.assert_allclose(motion.motion_parameters(turn, center), [1, 2, 3, 0, 0, 10], atol=1e-9)
    turn = motion.rigid_matrix(np.zeros(3), np.radians([-7.0, 0, 0]), center)
    np.testing.assert_allclose(motion.motion_parameters(turn, center), [0, 0, 0, -7, 0, 0], atol=1e-9)
    np.testing.assert_allclose(turn @ [*center, 1], [*center, 1])
    np.testing.assert_allclose(turn[:3, :3] @ turn[:3, :3].T, np.eye(3), atol=1e-12)


def test_framewise_displacement_is_powers():
    # 1 mm and 1 degree at 50 mm: 1 + 50·π/180 (Power 2012, doi 10.1016/j.neuroimage.2011.10.018).
    parameters = np.array([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]], float)
    np.testing.assert_allclose(motion.framewise_displacement(parameters), [0, 1 + 50 * np.pi / 180, 0])


def test_resampling_brings_a_moved_head_back():
    moved_by = motion.rigid_matrix(np.array([2.0, -1.0, 1.5]), np.radians([1.0, -1.0, 2.0]), np.zeros(3))
    still, moved = fractions(2)[0], fractions(2, moved_by)[0]
    back = motion.resample(moved, moved_by, AFFINE)
    inner = np.isfinite(back)
    assert inner.mean() > 0.8
    before, after = (np.sqrt(np.mean((a - still)[inner] ** 2)) for a in (moved, back))
    assert after < 0.3 * before


def test_samples_from_beyond_the_volume_are_no_samples():
    up = motion.rigid_matrix(np.array([0, 0, 9.0]), np.zeros(3), np.zeros(3))
    back = motion.resample(np.ones(SHAPE), up, AFFINE)
    assert np.isnan(back[:, :, -1]).all()
    assert np.isfinite(back[:, :, :-2]).all()


def test_a_clipped_sample_stays_clipped_and_no_other_becomes_it():
    rng = np.random.default_rng(0)
    data = rng.uniform(100, 4000, (*SHAPE, 2)).astype(np.float32)
    data[20:30, 20:30, 4:8, 1] = 4095
    moved = motion.rigid_matrix(np.array([1.3, 0.7, 2.0]), np.radians([0, 0, 1.0]), np.zeros(3))
    out = motion.resample_series(data, np.array([4095.0, 4095.0]), [np.eye(4), moved], AFFINE)
    np.testing.assert_array_equal(out[..., 0], data[..., 0])
    clipped = out[..., 1] >= 4095
    touched = motion.resample((data[..., 1] >= 4095).astype(np.float32), moved, AFFINE, order=1, outside=0)
    np.testing.assert_array_equal(clipped, touched > motion.CLIPPED_SHARE)
    assert np.nanmax(out[..., 1]) == 4095
    assert np.nanmin(out[..., 1]) >= 0


def test_saturation_that_float32_cannot_hold_still_counts():
    data = np.full((*SHAPE, 1), 0.1, np.float32)
    data[25:30, 25:30, 5:7] = 1.0
    small = motion.rigid_matrix(np.array([0.1, 0, 0]), np.zeros(3), np.zeros(3))
    saturation = np.array([1.0 - 1e-9])
    out = motion.resample_series(data, saturation, [small], AFFINE)
    assert np.count_nonzero(out[..., 0].astype(float) >= saturation[0]) >= 25 * 2


def test_reference_is_the_longest_inversion_time_or_the_brightest():
    data = np.ones((*SHAPE, 3)) * [1.0, 3.0, 2.0]
    everywhere = np.ones(SHAPE, bool)
    assert motion.choose_reference(data, everywhere, np.array([3.0, 0.1, 1.0])) == 0
    assert motion.choose_reference(data, everywhere, None) == 1
