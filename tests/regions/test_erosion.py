"""Erosion of regions by layers of voxels or by millimeters."""

import numpy as np
import pytest

from isocenter.errors import ConfigError
from isocenter.regions.erosion import Erosion

AFFINE = np.diag([2.0, 2.0, 6.0, 1.0])


def ball(radius=10.0, shape=(31, 31, 11)):
    x, y, z = (np.arange(n) - n // 2 for n in shape)
    return (2 * x[:, None, None]) ** 2 + (2 * y[None, :, None]) ** 2 + (6 * z[None, None, :]) ** 2 <= radius**2


def test_nothing_is_the_default():
    region = ball()
    assert Erosion.from_dict({}) == Erosion()
    np.testing.assert_array_equal(Erosion().apply(region, AFFINE), region)
    assert str(Erosion()) == "none"


def test_a_layer_is_what_touches_by_a_face():
    box = np.zeros((9, 9, 9), bool)
    box[2:7, 2:7, 2:7] = True
    found = Erosion(voxels=1).apply(box, AFFINE)
    assert found.sum() == 27
    assert found[3:6, 3:6, 3:6].all()
    assert str(Erosion(voxels=1)) == "1 voxel"
    assert str(Erosion(voxels=2)) == "2 voxels"


@pytest.mark.parametrize("mm", [1.0, 2.0, 3.0, 5.0])
def test_millimeters_keep_what_lies_deep_enough(mm):
    region = ball(20.0)
    outside = np.argwhere(~region) * [2, 2, 6]
    for voxel in np.argwhere(region)[::37]:
        nearest = np.sqrt(((outside - voxel * [2, 2, 6]) ** 2).sum(axis=1)).min()
        assert Erosion(mm=mm).apply(region, AFFINE)[tuple(voxel)] == (nearest > mm)


def test_less_than_a_voxel_changes_nothing():
    region = ball(20.0)
    np.testing.assert_array_equal(Erosion(mm=1.9).apply(region, AFFINE), region)


@pytest.mark.parametrize("erosion", [Erosion(voxels=2), Erosion(mm=5.0)], ids=str)
def test_the_edge_of_the_image_is_no_rim(erosion):
    slab = np.zeros((12, 12, 1), bool)
    slab[3:9] = True
    found = erosion.apply(slab, AFFINE)
    assert found.any()
    assert found.all(axis=1).any(axis=0).all(), "columns reach both edges of the image"
    full = np.ones((4, 4, 4), bool)
    assert erosion.apply(full, AFFINE).all()
    assert not erosion.apply(~full, AFFINE).any()


def test_both_at_once_are_refused():
    with pytest.raises(ConfigError, match="given twice"):
        Erosion.from_dict({"voxels": 1, "mm": 2.0})
