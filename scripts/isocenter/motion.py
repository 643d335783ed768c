"""Rigid motion within a series: what it is in numbers, and how a volume is brought back. No ANTs here.

A motion is a (4, 4) matrix in RAS mm that maps a point of the head in the reference volume to where it lies in
another volume. Series are resampled once, from the scanner's samples, by that matrix.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from isocenter.interpolation import fit_bspline, sample_affine

#: Radius at which a rotation counts as displacement [mm] (Power 2012, doi 10.1016/j.neuroimage.2011.10.018).
HEAD_RADIUS = 50.0
#: A resampled sample is clipped when clipped neighbors hold more than this share of its linear weight. Cubic
#: interpolation reaches further, with weights below this share.
CLIPPED_SHARE = 0.05
#: What may vary over a series, as named in sidecars; what does stands in the motion table.
AXES = ("InversionTime", "EchoTime", "FlipAngle", "RepetitionTime", "RepetitionTimeExcitation")


def find_signal(data: np.ndarray) -> np.ndarray:
    """Which volumes of a series (x, y, z, n) hold anything: (n,) booleans, False where all samples are alike."""
    flat = np.nan_to_num(data.reshape(-1, data.shape[3]))
    return np.ptp(flat, axis=0) > 0


def find_foreground(data: np.ndarray) -> np.ndarray:
    """Where the object and its rim are: (x, y, z) booleans from a series (x, y, z, n) of magnitudes.

    The rim of air belongs to it: the edge of the head is what registration sees best. Volumes that hold nothing have
    no say.
    """
    holds = find_signal(data)
    mean = np.nan_to_num((data if holds.all() or not holds.any() else data[..., holds]).mean(axis=3))
    smooth = ndimage.gaussian_filter(mean, 1.0)
    inside = smooth > 0.2 * np.percentile(smooth, 98)
    return ndimage.binary_dilation(inside, iterations=2)


def choose_reference(data: np.ndarray, foreground: np.ndarray, inversion_time: np.ndarray | None) -> int:
    """The volume that the others are registered to.

    The longest inversion time, where all tissues have recovered and none is nulled; without inversion times the
    brightest volume.
    """
    if inversion_time is not None and np.size(inversion_time) == data.shape[3]:
        return int(np.argmax(inversion_time))
    return int(np.argmax([np.nanmedian(data[..., k][foreground]) for k in range(data.shape[3])]))


def center_of(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centroid of a mask: (3,) array [mm, RAS]."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]


def rigid_matrix(translation: np.ndarray, rotation: np.ndarray, center: np.ndarray) -> np.ndarray:
    """(4, 4) matrix of a rotation vector [rad] about `center` [mm] followed by a translation [mm]."""
    angle = float(np.linalg.norm(rotation))
    x, y, z = rotation / angle if angle > 0 else np.zeros(3)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix[:3, 3] = translation + center - matrix[:3, :3] @ center
    return matrix


def average_motion(matrices: Sequence[np.ndarray], center: np.ndarray) -> np.ndarray:
    """(4, 4) rigid matrix: the mean shift of `center` [mm] and the rotation nearest to the mean of rotations."""
    mean = np.mean(matrices, axis=0)
    u, _, vt = np.linalg.svd(mean[:3, :3])
    average = np.eye(4)
    average[:3, :3] = u @ vt
    average[:3, 3] = mean[:3, :3] @ center + mean[:3, 3] - average[:3, :3] @ center
    return average


def motion_parameters(matrix: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Translation of `center` [mm] and rotations about x, y, z [deg] of a rigid matrix: (6,) array.

    The rotation is Rz·Ry·Rx: turned about x first, then y, then z (RAS axes).
    """
    rotation = matrix[:3, :3]
    moved = rotation @ center + matrix[:3, 3] - center
    rx = np.arctan2(rotation[2, 1], rotation[2, 2])
    ry = -np.arcsin(np.clip(rotation[2, 0], -1, 1))
    rz = np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.concatenate([moved, np.degrees([rx, ry, rz])]) + 0.0  # no -0.0 in tables


def largest_displacement(matrix: np.ndarray, center: np.ndarray) -> float:
    """Translation plus rotation at `HEAD_RADIUS` [mm]: an upper bound of how far the head's surface moved."""
    parameters = motion_parameters(matrix, center)
    angle = np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))
    return float(np.linalg.norm(parameters[:3]) + HEAD_RADIUS * angle)


def framewise_displacement(parameters: np.ndarray) -> np.ndarray:
    """How far the head moved since the volume before [mm]; 0 for the first (Power 2012).

    parameters : (n, 6) array, three translations [mm] and three rotations [deg]
    """
    steps = np.abs(np.diff(parameters, axis=0))
    moved = steps[:, :3].sum(axis=1) + HEAD_RADIUS * np.radians(steps[:, 3:]).sum(axis=1)
    return np.concatenate([[0.0], moved])


def describe_motion(
    matrices: Sequence[np.ndarray], used: Sequence[str], center: np.ndarray, moved: np.ndarray | None = None
) -> dict[str, list]:
    """The columns of a motion table, a row a volume; the object's motion relative to the reference volume.

    Translations are those of its centroid; displacement is the upper bound of how far its surface moved. Of a
    deformable motion `moved`, (n, v, 3) [mm, RAS] of v points, translation is the median, displacement the 95th
    percentile, and there are no rotations.
    """
    if moved is not None:
        return _describe_deformation(moved, used)
    parameters = np.array([motion_parameters(m, center) for m in matrices]).reshape(-1, 6)
    names = ("tx_mm", "ty_mm", "tz_mm", "rx_deg", "ry_deg", "rz_deg")
    return {
        "volume": list(range(1, len(matrices) + 1)),
        **{name: parameters[:, i].tolist() for i, name in enumerate(names)},
        "displacement_mm": [largest_displacement(m, center) for m in matrices],
        "framewise_displacement_mm": framewise_displacement(parameters).tolist() if len(matrices) else [],
        "used": list(used),
    }


def varying_values(acquisition: Mapping[str, Any], n: int) -> dict[str, Any]:
    """What varies over the n volumes of a series, for the rows of its motion table."""
    return {key: acquisition[key] for key in AXES if np.shape(acquisition.get(key)) == (n,)}


def _describe_deformation(moved: np.ndarray, used: Sequence[str]) -> dict[str, list]:
    middle = np.median(moved, axis=1)
    parameters = np.column_stack([middle, np.full_like(middle, np.nan)])
    names = ("tx_mm", "ty_mm", "tz_mm", "rx_deg", "ry_deg", "rz_deg")
    steps = np.linalg.norm(np.diff(moved, axis=0), axis=-1)
    return {
        "volume": list(range(1, len(moved) + 1)),
        **{name: parameters[:, i].tolist() for i, name in enumerate(names)},
        "displacement_mm": np.percentile(np.linalg.norm(moved, axis=-1), 95, axis=1).tolist(),
        "framewise_displacement_mm": [0.0, *np.percentile(steps, 95, axis=1).tolist()],
        "used": list(used),
    }


def resample(
    data: np.ndarray, matrix: np.ndarray, affine: np.ndarray, *, order: int = 3, outside: float = np.nan
) -> np.ndarray:
    """One volume as it would be had the head not moved: (x, y, z) float32 array.

    Cubic B-spline; up to half a voxel beyond the outermost samples they are repeated, further out is `outside`.

    Parameters
    ----------
    data : (x, y, z) array
        The volume; NaN counts as 0.
    matrix : (4, 4) array
        Reference point to point in `data`, RAS mm.
    affine : (4, 4) array
        Voxel to RAS mm, of both grids.
    order : int
        Of the spline: 3 cubic, 2 quadratic, 1 linear.
    outside : float
        What a sample beyond the volume is.
    """
    if np.array_equal(matrix, np.eye(4)):
        return np.asarray(data, dtype=np.float32)
    voxel = np.linalg.inv(affine) @ matrix @ affine
    spline = fit_bspline(np.nan_to_num(np.asarray(data, dtype=np.float32)), order)
    return sample_affine(spline, voxel, order=order, outside=outside)[0]


def warp(
    data: np.ndarray, moved: np.ndarray, spacing: np.ndarray, *, order: int = 3, outside: float = np.nan
) -> np.ndarray:
    """One volume as it would be had its points not moved: (x, y, z) float32 array.

    data : (x, y, z) array, NaN counts as 0; moved : (x, y, z, 3) array [mm, along the voxel axes]; spacing : (3,) [mm];
    order, outside : as in `resample`
    """
    if not moved.any():
        return np.asarray(data, dtype=np.float32)
    position = np.indices(data.shape, dtype=np.float32) + np.moveaxis(moved / spacing, -1, 0)
    values = ndimage.map_coordinates(np.nan_to_num(np.asarray(data, np.float32)), position, order=order, mode="nearest")
    inside = np.ones(data.shape, dtype=bool)
    for axis, n in enumerate(data.shape):
        inside &= (position[axis] >= -0.5) & (position[axis] <= n - 0.5)
    return np.where(inside, values, np.float32(outside)).astype(np.float32)


def resample_series(
    data: np.ndarray,
    saturation: np.ndarray,
    matrices: Sequence[np.ndarray],
    affine: np.ndarray,
    moved: np.ndarray | None = None,
) -> np.ndarray:
    """Every volume brought back to the reference, each interpolated once: (x, y, z, n) float32 array.

    A sample that a clipped one has touched is set to the saturation value, so that the fit still leaves it out; no
    other sample reaches that value. Magnitudes stay non-negative.

    moved : (n, x, y, z, 3) array [mm, along the voxel axes], optional: a deformable motion in place of the matrices
    """
    out = np.empty(data.shape, dtype=np.float32)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)

    def bring(volume: np.ndarray, k: int, **how) -> np.ndarray:
        if moved is not None:
            return warp(volume, moved[k], spacing, **how)
        return resample(volume, matrices[k], affine, **how)

    for k, matrix in enumerate(matrices):
        volume = data[..., k]
        is_still = np.array_equal(matrix, np.eye(4)) if moved is None else not moved[k].any()
        if is_still:
            out[..., k] = volume
            continue
        values = bring(volume, k)
        if np.nanmin(volume) >= 0:
            values = np.maximum(values, np.float32(0))
        if np.isfinite(saturation[k]):
            limit = _float32_at_least(saturation[k])
            values = np.minimum(values, np.nextafter(limit, np.float32(0)))
            share = bring((volume >= saturation[k]).astype(np.float32), k, order=1, outside=0.0)
            values[share > CLIPPED_SHARE] = limit
        out[..., k] = values
    return out


def _float32_at_least(value: float) -> np.float32:
    rounded = np.float32(value)
    return rounded if rounded >= value else np.nextafter(rounded, np.float32(np.inf))
