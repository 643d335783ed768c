"""The myocardium in short axis: its ring from contours, and the segments of the American Heart Association.

A slice is divided around the cavity's center, from the anterior insertion of the right ventricle toward the septum:
six segments of 60° in basal and middle slices, four of 90° in apical ones, and the apex as the seventeenth (Cerqueira
2002, doi 10.1161/hc0402.102975).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isocenter.errors import ConfigError, explain
from isocenter.regions.erosion import Erosion
from isocenter.regions.shapes import find_centroid, inside_polygon, voxel_centers

MYOCARDIUM = "myocardium"
#: From the anterior insertion toward the septum and on: segments 2 to 6 and 1, 8 to 12 and 7.
SIXTHS = ("anteroseptal", "inferoseptal", "inferior", "inferolateral", "anterolateral", "anterior")
#: Segments 14 to 16 and 13; the septal one begins 15° behind the insertion, so that it is centered on the septum.
QUARTERS, QUARTERS_START = ("septal", "inferior", "lateral", "anterior"), 15.0
LEVELS = ("basal", "mid", "apical", "apex")


@dataclass(frozen=True)
class ShortAxisSlice:
    """One slice of the left ventricle. All places are RAS+ [mm].

    level : basal, mid, apical or apex
    anterior_insertion : (3,) array, where the right ventricle's wall meets the septum in front
    inferior_insertion : (3,) array, the other one, or None
    endocardium, epicardium : (n, 3) arrays, contours in order around, or None where a mask was sent
    """

    level: str
    anterior_insertion: np.ndarray
    inferior_insertion: np.ndarray | None = None
    endocardium: np.ndarray | None = None
    epicardium: np.ndarray | None = None


def segment_heart(
    slices: Sequence[ShortAxisSlice],
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    erosion: Erosion | None = None,
) -> dict[str, np.ndarray]:
    """The myocardium and its segments on a map's grid: name to (x, y, z) booleans.

    Parameters
    ----------
    slices : sequence of ShortAxisSlice
        Each lies in another slice (third axis) of the grid.
    shape, affine
        Of the map's grid; (4, 4) array, voxel to RAS+ mm.
    mask : (x, y, z) booleans, optional
        The myocardium, where slices have no contours.
    erosion : Erosion
        Of the ring in its plane, before it is divided.

    Returns
    -------
    ``myocardium``, ``basal_anterior``, ``basal_anteroseptal`` … ``apical_lateral`` and ``apex``, as far as there are
    slices for them
    """
    rest, planes, walls, centers = erosion or Erosion(), _find_planes(slices, shape, affine), [], []
    for one, k in zip(slices, planes, strict=True):
        points = _points_of(shape, affine, k)
        walls.append(_draw_wall(one, points, affine, mask[:, :, [k]] if mask is not None else None))
        centers.append(_find_center(one, points, walls[-1]))
    normal = _base_to_apex(slices, centers, affine)
    regions = {MYOCARDIUM: np.zeros(shape, bool)}
    for one, k, wall, center in zip(slices, planes, walls, centers, strict=True):
        parts = _divide(one, _points_of(shape, affine, k), center, normal, rest.apply(wall, affine))
        for name, part in parts.items():
            regions.setdefault(name, np.zeros(shape, bool))[:, :, [k]] |= part
            regions[MYOCARDIUM][:, :, [k]] |= part
    return regions


def _draw_wall(one: ShortAxisSlice, points: np.ndarray, affine: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if one.epicardium is not None:
        thick = 2 * float(np.linalg.norm(affine[:3, 2]))
        wall = inside_polygon(one.epicardium, points, thick)
        return wall & ~inside_polygon(one.endocardium, points, thick) if one.endocardium is not None else wall
    if mask is None or not mask.any():
        raise ConfigError(
            explain(
                f"A {one.level} slice has no myocardium",
                expected="an epicardium contour, or a mask of the myocardium in this slice",
                found="neither",
                remedy="draw the contours, or send the mask as _dseg.nii.gz beside the file",
            )
        )
    return mask


def _find_center(one: ShortAxisSlice, points: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """The cavity's center, (3,) array [mm]: of its area, for neither a contour's corners nor a wall are spread evenly.

    What the wall encloses is the cavity where no endocardium was drawn; one that encloses nothing has its own center.
    """
    if one.endocardium is not None:
        return find_centroid(one.endocardium)
    cavity = ndimage.binary_fill_holes(wall[:, :, 0]) & ~wall[:, :, 0]
    return points[cavity[..., np.newaxis] if cavity.any() else wall].mean(axis=0)


def _divide(one: ShortAxisSlice, points, center, normal, wall) -> dict[str, np.ndarray]:
    """The segments of one slice: by the angle around `center` from the anterior insertion toward the septum."""
    if one.level == "apex":
        return {"apex": wall}
    start = one.anterior_insertion - center
    start = start - (start @ normal) * normal
    start = start / np.linalg.norm(start)
    toward = np.cross(normal, start)
    angle = np.degrees(np.arctan2((points - center) @ toward, (points - center) @ start)) % 360
    names, first = (QUARTERS, QUARTERS_START) if one.level == "apical" else (SIXTHS, 0.0)
    number = ((angle - first) // (360 / len(names))).astype(int) % len(names)
    return {f"{one.level}_{name}": wall & (number == i) for i, name in enumerate(names)}


def _base_to_apex(slices: Sequence[ShortAxisSlice], centers: Sequence[np.ndarray], affine: np.ndarray) -> np.ndarray:
    """The unit normal of the slices that points to the apex. Around it the septum follows the anterior insertion.

    It follows from where slices of different levels lie, else from the inferior insertion. Nothing else tells it.
    """
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    depth = [(LEVELS.index(one.level), float(one.anterior_insertion @ normal)) for one in slices]
    first, last = min(depth), max(depth)
    if first[0] != last[0]:
        return normal if last[1] > first[1] else -normal
    for one, center in zip(slices, centers, strict=True):
        if one.inferior_insertion is not None:
            turn = np.cross(one.anterior_insertion - center, one.inferior_insertion - center) @ normal
            return normal if turn > 0 else -normal
    raise ConfigError(
        explain(
            "It cannot be told on which side of the insertion the septum lies",
            expected="slices of two levels, or inferior_insertion in one of them",
            found=f"{slices[0].level} slices only",
            remedy="add the inferior insertion of the right ventricle",
        )
    )


def _find_planes(slices: Sequence[ShortAxisSlice], shape: tuple[int, int, int], affine: np.ndarray) -> list[int]:
    """The index along the third axis at which each slice was drawn."""
    inverse = np.linalg.inv(affine)
    found: list[int] = []
    for one in slices:
        k = float(inverse[2, :3] @ one.anterior_insertion + inverse[2, 3])
        if not -0.5 <= k <= shape[2] - 0.5:
            raise ConfigError(
                explain(
                    f"A {one.level} slice lies outside the series",
                    expected=f"an insertion between slices 0 and {shape[2] - 1}",
                    found=f"slice {k:.1f}",
                    remedy="x, y, z are RAS+ millimeters: DICOM's x and y have the other sign",
                )
            )
        if round(k) in found:
            raise ConfigError(explain("Two slices of a heart lie in one slice of the series", found=f"slice {k:.1f}"))
        found.append(min(max(round(k), 0), shape[2] - 1))
    return found


def _points_of(shape: tuple[int, int, int], affine: np.ndarray, k: int) -> np.ndarray:
    """(x, y, 1, 3) array [mm]: where the voxels of one slice lie."""
    return voxel_centers((*shape[:2], 1), affine) + k * affine[:3, 2]
