"""Geometric regions in the scanner's millimeters: spheres, cylinders, boxes, and polygons with a height."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, explain

#: A polygon's corners may lie this far off its plane [mm].
FLATNESS = 1.0


def voxel_centers(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """(x, y, z, 3) array [mm]: where the voxels of a grid lie."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def draw_shape(shape: Mapping[str, Any], points: np.ndarray) -> np.ndarray:
    """Which points (..., 3) [RAS+ mm] lie inside a shape: (...) booleans.

    Parameters
    ----------
    shape : mapping
        As ``workflow/schemas/shapes.schema.yaml`` describes: ``shape`` (sphere, cylinder, box, polygon) with
        ``center``, ``diameter``, ``height``, ``axis``, ``size`` or ``corners`` [mm].
    points : (..., 3) array [mm]
        RAS+, such as the centers of voxels.
    """
    kind = shape["shape"]
    if kind == "polygon":
        return inside_polygon(np.asarray(shape["corners"], float), points, float(shape["height"]))
    offset = points - np.asarray(shape["center"], float)
    if kind == "sphere":
        return np.sum(offset**2, axis=-1) <= (shape["diameter"] / 2) ** 2
    if kind == "box":
        return np.all(np.abs(offset) <= np.asarray(shape["size"], float) / 2, axis=-1)
    if kind == "cylinder":
        axis = np.asarray(shape["axis"], float)
        axis = axis / np.linalg.norm(axis)
        along = offset @ axis
        across = np.sum(offset**2, axis=-1) - along**2
        return (np.abs(along) <= shape["height"] / 2) & (across <= (shape["diameter"] / 2) ** 2)
    raise ConfigError(explain("Unknown shape", expected="sphere, cylinder, box or polygon", found=kind))


def inside_polygon(corners: np.ndarray, points: np.ndarray, height: float) -> np.ndarray:
    """Which points lie within a flat polygon, and within half its `height` [mm] of its plane: (...) booleans.

    corners : (n, 3) array [mm], in order around; points : (..., 3) array [mm]
    """
    center = corners.mean(axis=0)
    if len(corners) < 3:
        raise ConfigError(explain("A polygon has too few corners", expected="3 or more", found=len(corners)))
    _, spread, axes = np.linalg.svd(corners - center)
    if spread[1] < 1e-6 * max(spread[0], 1e-12):
        raise ConfigError(explain("The corners of a polygon lie on one line", found=corners.tolist()))
    off = float(np.abs((corners - center) @ axes[2]).max())
    if off > FLATNESS:
        raise ConfigError(
            explain(
                "The corners of a polygon do not lie in one plane",
                expected=f"within {FLATNESS:g} mm",
                found=f"{off:.1f} mm",
                remedy="draw it in one slice",
            )
        )
    local = points - center
    flat = np.abs(local @ axes[2]) <= height / 2
    x, y = local @ axes[0], local @ axes[1]
    a = (corners - center) @ axes[:2].T
    b = np.roll(a, -1, axis=0)
    crossings = np.zeros(x.shape, np.int64)
    for (x0, y0), (x1, y1) in zip(a, b, strict=True):
        if y0 != y1:  # a ray along +x crosses this edge
            meets = (y0 > y) != (y1 > y)
            crossings += meets & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return flat & (crossings % 2 == 1)


def find_centroid(corners: np.ndarray) -> np.ndarray:
    """The center of a flat polygon's area: (3,) array [mm]. Its corners' mean is another where they are not even.

    corners : (n, 3) array [mm], in order around
    """
    middle = corners.mean(axis=0)
    spokes = corners - middle
    doubled = np.cross(spokes, np.roll(spokes, -1, axis=0))  # of each triangle with the middle, twice its area
    normal = doubled.sum(axis=0)
    size = float(np.linalg.norm(normal))
    if size == 0:
        return middle
    areas = doubled @ (normal / size)
    return middle + areas @ (spokes + np.roll(spokes, -1, axis=0)) / (3 * areas.sum())
