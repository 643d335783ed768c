"""Rigid motion within a series: what it is in numbers, and how a volume is brought back. No ANTs here.

A motion is a (4, 4) matrix in RAS mm that maps a point of the head in the reference volume to where it lies in
another volume. Series are resampled once, from the scanner's samples, by that matrix.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

#: Radius at which a rotation counts as displacement [mm] (Power 2012, doi 10.1016/j.neuroimage.2011.10.018).
HEAD_RADIUS = 50.0
#: A resampled sample is clipped when clipped neighbors hold more than this share of its linear weight. Cubic
#: interpolation reaches further, with weights below this share.
CLIPPED_SHARE = 0.05
#: The refinement: principal components of the other volumes, smoothing [mm], most steps, and the update at which
#: it has settled [mm].
COMPONENTS = 3
SMOOTHING = 3.0
REFINEMENTS = 5
SETTLED = 0.05
#: Rows of a block in products over voxels.
GRAM_BLOCK = 256
#: Fewer volumes than this have no consensus to refine by.
FEWEST_VOLUMES = 4


def find_foreground(data: np.ndarray) -> np.ndarray:
    """Where the object and its rim are: (x, y, z) booleans from a series (x, y, z, n) of magnitudes.

    The rim of air belongs to it: the edge of the head is what registration sees best.
    """
    mean = np.nan_to_num(data.mean(axis=3))
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


def describe_motion(matrices: Sequence[np.ndarray], used: Sequence[str], center: np.ndarray) -> dict[str, list]:
    """The columns of a motion table, a row a volume; the head's motion relative to the reference volume.

    Translations are those of the head's centroid; displacement is the upper bound of how far its surface moved.
    """
    parameters = np.array([motion_parameters(m, center) for m in matrices]).reshape(-1, 6)
    names = ("tx_mm", "ty_mm", "tz_mm", "rx_deg", "ry_deg", "rz_deg")
    return {
        "volume": list(range(1, len(matrices) + 1)),
        **{name: parameters[:, i].tolist() for i, name in enumerate(names)},
        "displacement_mm": [largest_displacement(m, center) for m in matrices],
        "framewise_displacement_mm": framewise_displacement(parameters).tolist() if len(matrices) else [],
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
        Of the spline: 3 cubic, 1 linear.
    outside : float
        What a sample beyond the volume is.
    """
    if np.array_equal(matrix, np.eye(4)):
        return np.asarray(data, dtype=np.float32)
    voxel = np.linalg.inv(affine) @ matrix @ affine
    values = ndimage.affine_transform(
        np.nan_to_num(np.asarray(data, dtype=np.float32)), voxel[:3, :3], voxel[:3, 3], order=order, mode="nearest"
    )
    values[~_is_inside(data.shape, voxel)] = outside
    return values


def _is_inside(shape: Sequence[int], voxel: np.ndarray) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    inside = np.ones(tuple(shape), dtype=bool)
    for axis, n in enumerate(shape):
        position = sum(voxel[axis, j] * grid[j] for j in range(3)) + voxel[axis, 3]
        inside &= (position >= -0.5) & (position <= n - 0.5)
    return inside


def resample_series(
    data: np.ndarray, saturation: np.ndarray, matrices: Sequence[np.ndarray], affine: np.ndarray
) -> np.ndarray:
    """Every volume brought back to the reference, each interpolated once: (x, y, z, n) float32 array.

    A sample that a clipped one has touched is set to the saturation value, so that the fit still leaves it out; no
    other sample reaches that value. Magnitudes stay non-negative.
    """
    out = np.empty(data.shape, dtype=np.float32)
    for k, matrix in enumerate(matrices):
        volume = data[..., k]
        if np.array_equal(matrix, np.eye(4)):
            out[..., k] = volume
            continue
        values = resample(volume, matrix, affine)
        if np.nanmin(volume) >= 0:
            values = np.maximum(values, np.float32(0))
        if np.isfinite(saturation[k]):
            limit = _float32_at_least(saturation[k])
            values = np.minimum(values, np.nextafter(limit, np.float32(0)))
            share = resample((volume >= saturation[k]).astype(np.float32), matrix, affine, order=1, outside=0.0)
            values[share > CLIPPED_SHARE] = limit
        out[..., k] = values
    return out


def _float32_at_least(value: float) -> np.float32:
    rounded = np.float32(value)
    return rounded if rounded >= value else np.nextafter(rounded, np.float32(np.inf))


def refine_motions(
    data: np.ndarray,
    affine: np.ndarray,
    matrices: Sequence[np.ndarray],
    mask: np.ndarray,
    reference: int,
    *,
    steps: int = REFINEMENTS,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Refine the motions of a series by the consensus of its volumes.

    Each volume, smoothed, is regressed over voxels on a quadratic polynomial of the others' first principal
    components, *together* with its own six derivatives by rigid motion (Gauss–Newton). The polynomial gives any
    contrast, nulled tissue included, without a signal model; fitting the motion beside it keeps it from explaining
    the motion away. Similarity to one reference volume has no such freedom: where a tissue is nulled, its optimum
    lies up to a millimeter from the truth.

    Parameters
    ----------
    data : (x, y, z, n) array
        Magnitudes, n of `FEWEST_VOLUMES` or more.
    affine : (4, 4) array
        Voxel to RAS mm.
    matrices : n (4, 4) arrays
        Where to start: reference point to point in volume k, RAS mm.
    mask : (x, y, z) booleans
        Where the object and its rim are.
    reference : int
        The volume that stays in place.
    steps : int
        Most Gauss–Newton steps.

    Returns
    -------
    matrices : n (4, 4) arrays
    gains : (n,) array
        Share of each volume's mean square residual that its motion, against none, takes away [1].
    """
    center = center_of(mask, affine)
    matrices = list(matrices)
    for _ in range(steps):
        images = _smooth_all(data, affine, matrices)
        updates = [_regress_motion(images, k, mask, affine, center) for k in range(len(matrices))]
        matrices = [matrix @ update for matrix, update in zip(matrices, updates, strict=True)]
        frame = np.linalg.inv(matrices[reference])
        matrices = [matrix @ frame for matrix in matrices]
        if max(largest_displacement(update, center) for update in updates) < SETTLED:
            break
    images = _smooth_all(data, affine, matrices)
    unmoved = _smooth_all(data, affine, [np.eye(4)] * len(matrices))
    gains = np.array([_gain(images, unmoved, k, mask) for k in range(len(matrices))])
    return matrices, gains


def _smooth_all(data: np.ndarray, affine: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    sigma = SMOOTHING / np.linalg.norm(affine[:3, :3], axis=0)
    volumes = [np.nan_to_num(resample(data[..., k], matrix, affine)) for k, matrix in enumerate(matrices)]
    return np.stack([ndimage.gaussian_filter(volume, sigma) for volume in volumes], axis=3)


def _regress_motion(images, k, mask, affine, center) -> np.ndarray:
    inside = _without_end_slices(mask)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    slopes = [slope[inside] for slope in np.gradient(images[..., k])]
    gradient = _combine(np.stack(slopes, axis=1) / spacing, (affine[:3, :3] / spacing).T)
    arm = _combine(np.argwhere(inside).astype(float), affine[:3, :3].T) + affine[:3, 3] - center
    # Rotations act at the head's radius, so that all six columns are per millimeter.
    motions = np.column_stack([gradient, np.cross(arm, gradient) / HEAD_RADIUS])
    contrast = _contrast_terms(np.delete(images, k, axis=3)[inside])
    found = _solve_robust(np.column_stack([contrast, motions]), images[..., k][inside].astype(float))[-6:]
    return rigid_matrix(-found[:3], -found[3:] / HEAD_RADIUS, center)


def _gain(images, unmoved, k, mask) -> float:
    inside = _without_end_slices(mask)
    contrast = _contrast_terms(np.delete(images, k, axis=3)[inside])
    squares = []
    for volume in (images[..., k], unmoved[..., k]):
        target = volume[inside].astype(float)
        squares.append(np.mean((target - _combine(contrast, _solve_robust(contrast, target))) ** 2))
    return 1 - squares[0] / max(squares[1], np.finfo(float).tiny)


def _without_end_slices(mask: np.ndarray) -> np.ndarray:
    """The mask without the outermost samples of each axis: what lies beyond them is repeated, not measured."""
    inside = mask.copy()
    for axis, n in enumerate(mask.shape):
        if n > 4:
            inside[tuple(slice(None) if a != axis else [0, n - 1] for a in range(3))] = False
    return inside


def _contrast_terms(others: np.ndarray) -> np.ndarray:
    """(voxels, terms) polynomial of the other volumes, (voxels, volumes), by their principal components."""
    others = others.astype(float)
    scaled = (others - others.mean(axis=0)) / max(float(others.std()), np.finfo(float).tiny)
    _, vectors = np.linalg.eigh(_gram(scaled, scaled))
    components = _combine(scaled, vectors[:, ::-1][:, :COMPONENTS])
    rows, columns = np.triu_indices(components.shape[1])
    return np.column_stack([np.ones(len(others)), components, components[:, rows] * components[:, columns]])


def _solve_robust(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares, then once more with Cauchy weights: edges that moved must not shape the contrast."""
    weight = np.ones(len(target))
    both = np.column_stack([design, target])
    for last in (False, True):
        products = _gram(design * weight[:, np.newaxis], both)
        normal, right = products[:, :-1], products[:, -1]
        scale = np.sqrt(np.diag(normal)) + np.finfo(float).tiny
        normal = normal / np.outer(scale, scale) + 1e-7 * np.eye(len(normal))
        solution = np.linalg.solve(normal, right / scale) / scale
        if not last:
            residual = target - _combine(design, solution)
            spread = 2 * 1.4826 * np.median(np.abs(residual)) + np.finfo(float).tiny
            weight = 1 / (1 + (residual / spread) ** 2)
    return solution


# Products over all voxels, the same to the bit whatever the number of BLAS threads: a threaded product sums in
# another order, and on a busy machine takes a hundred times as long.
def _gram(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """firstᵀ · second of (voxels, p) and (voxels, q), in blocks too small for BLAS to share among threads."""
    blocks = -(-len(first) // GRAM_BLOCK)
    stacked = []
    for matrix in (first, second):
        padded = np.zeros((blocks * GRAM_BLOCK, matrix.shape[1]))
        padded[: len(matrix)] = matrix
        stacked.append(padded.reshape(blocks, GRAM_BLOCK, matrix.shape[1]))
    return (stacked[0].transpose(0, 2, 1) @ stacked[1]).sum(axis=0)


def _combine(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(voxels, p) · (p,) or (p, q), without BLAS."""
    return np.einsum("ij,j...->i...", columns, weights, optimize=False)
