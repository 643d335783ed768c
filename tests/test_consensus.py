"""Motion within a series found from the consensus of its volumes. No ANTs."""

import numpy as np
import pytest
from simulated_brain import (
    AFFINE,
    INVERSION_TIMES,
    fractions,
    inversion_series,
    random_motion,
    residual_displacement,
)

from isocenter.consensus import refine_motions
from isocenter.consensus.regression import BLOCK, _sum_products, sum_products
from isocenter.motion import find_foreground


@pytest.mark.parametrize("start", ["still", "near"])
def test_consensus_finds_motion_in_changing_contrast(start):
    rng = np.random.default_rng(5)
    motions = [random_motion(rng, 0.8, 0.8) for _ in INVERSION_TIMES[:-1]] + [np.eye(4)]
    data = inversion_series(2, motions)
    mask = find_foreground(data)
    first = [np.eye(4)] * 8
    if start == "near":  # as an ANTs registration leaves them: up to a millimeter off at the nulls
        first = [random_motion(rng, 0.6, 0.3) @ m for m in motions[:-1]] + [np.eye(4)]
    found, gains = refine_motions(data, AFFINE, first, mask, 7, steps=8)
    left = [residual_displacement(f, m, fractions(2)) for f, m in zip(found, motions, strict=True)]
    was = [residual_displacement(np.eye(4), m, fractions(2)) for m in motions]
    assert np.median(was[:-1]) > 0.8
    assert np.median(left) < 0.2
    assert max(left) < 0.5
    assert (gains[:-1] > 0).all()


def test_consensus_leaves_a_still_series_alone():
    data = inversion_series(2, [np.eye(4)] * 8)
    found, _ = refine_motions(data, AFFINE, [np.eye(4)] * 8, find_foreground(data), 7)
    assert max(residual_displacement(f, np.eye(4), fractions(2)) for f in found) < 0.15


@pytest.mark.parametrize("gap", [0, 1, 2, 7, 8, BLOCK])  # [samples] of 8 bytes; 2 is what the allocator puts between
@pytest.mark.parametrize("before", [0, 1, 2])
def test_sums_do_not_depend_on_where_arrays_lie(gap, before):
    """Compiled code may ask whether arrays lie apart before it sums on vector registers, and else sum in order."""
    rng = np.random.default_rng(0)
    count, voxels = 5, 3 * BLOCK + 238
    arrays = [rng.normal(size=(count, voxels)), rng.normal(size=voxels), np.ones(voxels)]
    expected = sum_products(*arrays)
    room = np.empty(arrays[before].size + gap + BLOCK)
    inside = room[: arrays[before].size].reshape(arrays[before].shape)
    inside[...] = arrays[before]
    arrays[before] = inside
    products, with_target = np.zeros((count, count)), np.zeros(count)
    _sum_products(*arrays, room[-BLOCK:], products, with_target)
    np.testing.assert_array_equal(with_target, expected[1])
    np.testing.assert_array_equal(np.tril(products), np.tril(expected[0]))
