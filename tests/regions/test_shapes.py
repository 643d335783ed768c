"""Geometric regions against their volumes and against points that are known to lie inside."""

import numpy as np
import pytest

from isocenter.errors import ConfigError
from isocenter.regions.shapes import draw_shape, inside_polygon, voxel_centers

#: An oblique grid of 1 mm: shapes are the scanner's, whatever the slices do.
TURN = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN
AFFINE[:3, 3] = TURN @ [-30.0, -30.0, -30.0] + [5.0, -3.0, 2.0]
POINTS = voxel_centers((61, 61, 61), AFFINE)
CENTER = [5.0, -3.0, 2.0]


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        ({"shape": "sphere", "center": CENTER, "diameter": 30.0}, np.pi / 6 * 30**3),
        (
            {"shape": "cylinder", "center": CENTER, "diameter": 20.0, "height": 24.0, "axis": [1.0, 2.0, -0.5]},
            np.pi * 100 * 24,
        ),
        ({"shape": "box", "center": CENTER, "size": [10.0, 20.0, 30.0]}, 6000.0),
        (
            {
                "shape": "polygon",
                "height": 12.0,
                "corners": [[-5, -13, 2], [15, -13, 2], [15, 7, 2], [5, -3, 2], [-5, 7, 2]],
            },
            12.0 * 300,
        ),
    ],
    ids=lambda value: value["shape"] if isinstance(value, dict) else "",
)
def test_a_shape_has_its_volume_and_its_middle(shape, volume):
    inside = draw_shape(shape, POINTS)
    assert np.count_nonzero(inside) == pytest.approx(volume, rel=0.02)
    if shape["shape"] != "polygon":
        np.testing.assert_allclose(POINTS[inside].mean(axis=0), CENTER, atol=0.1)


def test_a_cylinder_lies_along_its_axis():
    shape = {"shape": "cylinder", "center": [0, 0, 0], "diameter": 4.0, "height": 20.0, "axis": [0, 3, 0]}
    points = np.array([[0, 9.9, 0], [0, 10.1, 0], [1.9, 0, 0], [2.1, 0, 0], [0, -9.9, 1.9]])
    assert draw_shape(shape, points).tolist() == [True, False, True, False, True]


def test_a_notch_of_a_polygon_is_outside():
    corners = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [5, 2, 0], [0, 10, 0.0]])
    points = np.array([[1, 1, 0], [5, 1, 0], [5, 5, 0], [9, 7, 0], [1, 1, 0.9], [1, 1, 1.1]])
    assert inside_polygon(corners, points, 2.0).tolist() == [True, True, False, True, True, False]


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ([[0, 0, 0], [10, 0, 0], [10, 10, 5], [0, 10, 0]], "one plane"),
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], "on one line"),
    ],
)
def test_corners_that_are_no_polygon_are_refused(corners, words):
    with pytest.raises(ConfigError, match=words):
        inside_polygon(np.array(corners, float), POINTS, 1.0)
