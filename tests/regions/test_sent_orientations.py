"""Regions that a site sends on grids of their own: other orientations and voxels, oblique; NIfTI, DICOM-SEG, shapes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from isocenter.dicom.segmentation import read_segmentation
from isocenter.io.nifti import write_image
from isocenter.io.tables import write_table
from isocenter.motion import rigid_matrix
from isocenter.regions.shapes import draw_shape, voxel_centers
from isocenter.site_regions import place_sent

WAYS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
TURN = rigid_matrix(np.zeros(3), np.radians([12.0, -9.0, 20.0]), np.zeros(3))
SEGMENTATION = Path(__file__).parents[1] / "dicom/segmentations/binary.dcm"


def make_grid(axes, spacing, turn=None):
    """Shape and voxel-to-RAS matrix of a stack of 120 mm about the isocenter, by which way each array axis runs."""
    shape = tuple(round(120 / s) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = np.array([WAYS[letter] for letter in axes], float).T * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine if turn is None else turn @ affine


GRIDS = {
    "LAS": make_grid("LAS", (2.0, 2.0, 5.0)),
    "RAS": make_grid("RAS", (3.0, 2.0, 4.0)),
    "PSR": make_grid("PSR", (1.5, 1.5, 4.0)),
    "SLA": make_grid("SLA", (2.5, 1.5, 6.0)),
    "oblique": make_grid("LPS", (2.0, 2.0, 4.0), TURN),
}
BALLS = {"left_ball": (np.array([-22.0, 10.0, 5.0]), 24.0), "right_ball": (np.array([24.0, -14.0, -12.0]), 18.0)}


def off_center(points, name):
    return np.linalg.norm(points - BALLS[name][0], axis=-1)


@pytest.mark.parametrize("drawn", GRIDS)
@pytest.mark.parametrize("measured", ["LAS", "PSR", "oblique"])
def test_labels_keep_their_place_on_the_grid_of_a_map(tmp_path, drawn, measured):
    shape, affine = GRIDS[drawn]
    points = voxel_centers(shape, affine)
    labels = np.zeros(shape, np.int16)
    for number, (name, (_, radius)) in enumerate(BALLS.items(), start=1):
        labels[off_center(points, name) <= radius] = number
    size = abs(np.linalg.det(affine[:3, :3])) * np.bincount(labels.ravel())  # mm3
    write_image(tmp_path / "sub-1_IRT1_dseg.nii.gz", labels, affine)
    write_table(tmp_path / "sub-1_IRT1_dseg.tsv", pd.DataFrame({"index": [1, 2], "name": list(BALLS)}))
    shape, target = GRIDS[measured]
    found, _ = place_sent(sorted(tmp_path.iterdir()), "IRT1", shape, target, prefix="sub-1", source="site")
    points = voxel_centers(shape, target)
    edge = np.linalg.norm(affine[:3, :3], axis=0).max()
    half = edge * np.sqrt(3) / 2  # a voxel's center is this far from its corner
    for number, (name, (_, radius)) in enumerate(BALLS.items(), start=1):
        away = off_center(points, name)
        assert found[name][away < radius - half].all(), name
        assert not found[name][away > radius + half].any(), name
        assert found[name].sum() * abs(np.linalg.det(target[:3, :3])) == pytest.approx(size[number], rel=0.06), name
        np.testing.assert_allclose(points[found[name]].mean(axis=0), BALLS[name][0], atol=0.5 * edge)


@pytest.mark.parametrize("axes", ["PSR", "LSA", "oblique"])
def test_a_dicom_segmentation_may_be_of_any_orientation(tmp_path, axes):
    """The same frames as if the series had been scanned in another orientation: every voxel moves with them."""
    before, old = read_segmentation(SEGMENTATION)
    turn = TURN[:3, :3] if axes == "oblique" else np.array([WAYS[letter] for letter in axes], float).T
    turn = turn * np.linalg.det(turn)  # a rotation, not a mirror
    data = pydicom.dcmread(SEGMENTATION)
    lps = np.diag([-1.0, -1.0, 1.0]) @ turn @ np.diag([-1.0, -1.0, 1.0])
    for frame in (*data.PerFrameFunctionalGroupsSequence, *data.SharedFunctionalGroupsSequence):
        for item in frame.get("PlanePositionSequence", []):
            item.ImagePositionPatient = [*map(float, lps @ np.array(item.ImagePositionPatient, float))]
        for item in frame.get("PlaneOrientationSequence", []):
            cosines = np.array(item.ImageOrientationPatient, float).reshape(2, 3) @ lps.T
            item.ImageOrientationPatient = [*map(float, cosines.ravel())]
    data.save_as(tmp_path / "turned.dcm")
    after, new = read_segmentation(tmp_path / "turned.dcm")
    for (name, a), (same, b) in zip(before, after, strict=True):
        assert name == same
        places = [np.argwhere(m) @ grid[:3, :3].T + grid[:3, 3] for m, grid in ((a, old), (b, new))]
        expected, found = places[0] @ turn.T, places[1]
        order = [np.lexsort(np.round(p, 3).T) for p in (expected, found)]
        np.testing.assert_allclose(found[order[1]], expected[order[0]], atol=1e-4)


SHAPES = {
    "sphere": ({"shape": "sphere", "center": [5, -8, 12], "diameter": 50.0}, np.pi / 6 * 50**3),
    "box": ({"shape": "box", "center": [-10, 4, 6], "size": [40.0, 50.0, 36.0]}, 40.0 * 50 * 36),
    "cylinder": (
        {"shape": "cylinder", "center": [2, 3, -4], "axis": [1, 2, 2], "height": 40.0, "diameter": 44.0},
        np.pi * 22**2 * 40,
    ),
    "polygon": (
        {"shape": "polygon", "height": 30.0, "corners": [[-30, 0, -20], [30, 0, -20], [30, 0, 25], [-30, 0, 25]]},
        60.0 * 45 * 30,
    ),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", SHAPES)
def test_a_shape_has_its_volume_on_every_grid(kind, grid):
    shape, affine = GRIDS[grid]
    content, volume = SHAPES[kind]
    inside = draw_shape(content, voxel_centers(shape, affine))
    # Flat faces meet the grid where they like: a layer of voxels of 6 mm more or less in 30 mm.
    assert inside.sum() * abs(np.linalg.det(affine[:3, :3])) == pytest.approx(volume, rel=0.2)
    middle = content.get("center", np.mean(content.get("corners", [[0, 0, 0]]), axis=0))
    np.testing.assert_allclose(voxel_centers(shape, affine)[inside].mean(axis=0), middle, atol=3.1)
