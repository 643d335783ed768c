"""Rigid motion within a series from the consensus of its volumes, with or without a signal model; no ANTs here.

In a series whose contrast changes, what one volume looks like is a function of what the others look like in the same
place. Motion is what breaks that function, so it is found by mending it. A signal model knows one such function.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from isocenter.motion import HEAD_RADIUS, center_of, is_inside, largest_displacement, rigid_matrix

#: Principal components of the other volumes from which a volume is predicted.
COMPONENTS = 3
#: Images are smoothed by this much [mm]: it widens the reach of derivatives and lowers noise.
SMOOTHING = 3.0
#: Smoothed images need no more than quadratic splines.
SPLINE_ORDER = 2
#: Most Gauss–Newton steps, and the update at which the motions have settled [mm].
STEPS = 5
SETTLED = 0.05
#: Fewer volumes than this have no consensus.
FEWEST_VOLUMES = 4
#: Fewer slices than this do not tell a motion through them.
FEWEST_SLICES = 4
#: A volume of which the others explain this share is their object; one of which they explain less than the other is
#: mostly noise. Between them it must follow the others better where it lies than wherever else it might.
AGREES, STRANGE = 0.5, 0.1
#: How many other places are tried, and how far they lie away at least [mm].
PLACES, FAR = 20, 15.0
#: Rows of a block in products over voxels.
GRAM_BLOCK = 256

#: What a signal model expects of volume k from samples (v, n) of all: (v,) array, NaN where it cannot say.
Predict = Callable[[np.ndarray, int], np.ndarray]


def refine_motions(
    data: np.ndarray,
    affine: np.ndarray,
    matrices: Sequence[np.ndarray],
    mask: np.ndarray,
    reference: int,
    *,
    predict: Predict | None = None,
    steps: int = STEPS,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Refine the motions of a series by the consensus of its volumes.

    Each volume, smoothed, is regressed over voxels on a quadratic polynomial of the others' first principal
    components, *together* with its own six derivatives by rigid motion (Gauss–Newton). The polynomial gives any
    contrast, nulled tissue included, without a signal model; fitting the motion beside it keeps it from explaining
    the motion away. Similarity to one reference volume has no such freedom: where a tissue is nulled, its optimum
    lies up to a millimeter from the truth. With `predict` the volume is also regressed on what a signal model expects
    of it from the other volumes (model-driven registration), which holds where the tissues are too many for a
    polynomial.

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
    predict : callable, optional
        Volume k from the others by the signal model.
    steps : int
        Most Gauss–Newton steps.

    Returns
    -------
    matrices : n (4, 4) arrays
        In a stack of fewer than `FEWEST_SLICES` slices without motion through them.
    gains : (n,) array
        Share of each volume's mean square misfit to the others that its motion, against none, takes away [1].
    """
    center = center_of(mask, affine)
    matrices = list(matrices)
    # Splines are fitted once; each step only evaluates them.
    is_thin = np.array(data.shape[:3]) < FEWEST_SLICES
    sigma = np.where(is_thin, 0.0, SMOOTHING / np.linalg.norm(affine[:3, :3], axis=0))
    smooth = [ndimage.gaussian_filter(np.nan_to_num(data[..., k]), sigma) for k in range(len(matrices))]
    splines = [ndimage.spline_filter(image, SPLINE_ORDER, output=np.float32, mode="mirror") for image in smooth]
    sampled = _every_second(_without_ends(mask))
    for _ in range(steps):
        images, everywhere = _move_all(splines, affine, matrices)
        use = sampled & everywhere
        updates = [_regress_motion(images, k, use, affine, center, predict) for k in range(len(matrices))]
        matrices = [matrix @ update for matrix, update in zip(matrices, updates, strict=True)]
        frame = np.linalg.inv(matrices[reference])
        matrices = [matrix @ frame for matrix in matrices]
        if max(largest_displacement(update, center) for update in updates) < SETTLED:
            break
    images, everywhere = _move_all(splines, affine, matrices)
    use = sampled & everywhere
    gains = np.array([_gain(images, smooth[k], k, use, predict) for k in range(len(matrices))])
    return matrices, gains


def find_followers(
    data: np.ndarray, affine: np.ndarray, matrices: Sequence[np.ndarray], mask: np.ndarray
) -> np.ndarray:
    """Which volumes of a series follow the others where they were brought back to: (n,) booleans.

    A volume that holds no signal, or another object, is told a motion like any other: some place fits its noise best.
    What the polynomial of the others (:func:`refine_motions`) explains of its variance, smoothed, is next to nothing
    then, and no less elsewhere.

    data, affine, matrices, mask : as in :func:`refine_motions`, of any two volumes or more
    """
    is_thin = np.array(data.shape[:3]) < FEWEST_SLICES
    sigma = np.where(is_thin, 0.0, SMOOTHING / np.linalg.norm(affine[:3, :3], axis=0))
    smooth = [ndimage.gaussian_filter(np.nan_to_num(data[..., k]), sigma) for k in range(len(matrices))]
    splines = [ndimage.spline_filter(image, SPLINE_ORDER, output=np.float32, mode="mirror") for image in smooth]
    images, everywhere = _move_all(splines, affine, matrices)
    sampled = _every_second(_without_ends(mask))
    use = sampled & everywhere if (sampled & everywhere).any() else sampled
    follows = np.ones(len(matrices), bool)
    if not use.any():
        return follows
    values = images[use].astype(float)
    for k in range(len(matrices)):
        contrast = _contrast_terms(np.delete(values, k, axis=1))
        share = _explained(contrast, values[:, k])
        if share < AGREES:
            elsewhere = [
                _explained(contrast, np.roll(images[..., k], place, axis=(0, 1, 2))[use].astype(float))
                for place in _list_places(data.shape[:3], affine)
            ]
            follows[k] = share > max([STRANGE, *elsewhere])
    return follows


def _explained(contrast: np.ndarray, values: np.ndarray) -> float:
    """The share of the variance of (voxels,) values that the terms explain."""
    rest = values - _combine(contrast, _solve_robust(contrast, values))
    return 1 - float(np.mean(rest**2)) / max(float(np.var(values)), np.finfo(float).tiny)


def _list_places(shape: Sequence[int], affine: np.ndarray) -> list[tuple[int, ...]]:
    """Shifts by whole voxels, round the edge, that lie `FAR` away or more; the same ones for every series of a size."""
    rng, spacing = np.random.default_rng(1), np.linalg.norm(affine[:3, :3], axis=0)
    shifts = rng.integers(0, np.asarray(shape), (10 * PLACES, 3))
    nearest = np.minimum(shifts, np.asarray(shape) - shifts) * spacing
    return [tuple(int(s) for s in shift) for shift in shifts[np.linalg.norm(nearest, axis=1) >= FAR][:PLACES]]


def _move_all(splines, affine, matrices) -> tuple[np.ndarray, np.ndarray]:
    """The volumes brought back, (x, y, z, n), and where all of them were measured."""
    images = np.empty((*splines[0].shape, len(splines)), dtype=np.float32)
    everywhere = np.ones(splines[0].shape, dtype=bool)
    for k, (spline, matrix) in enumerate(zip(splines, matrices, strict=True)):
        voxel = np.linalg.inv(affine) @ matrix @ affine
        images[..., k] = ndimage.affine_transform(
            spline, voxel[:3, :3], voxel[:3, 3], order=SPLINE_ORDER, mode="mirror", prefilter=False
        )
        everywhere &= is_inside(spline.shape, voxel)
    return images, everywhere


def _regress_motion(images, k, use, affine, center, predict) -> np.ndarray:
    values, contrast, known = _contrast(images, k, use, predict)
    index = np.argwhere(use)[known]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    slopes = [_slope(images[..., k], axis)[tuple(index.T)] for axis in range(3)]
    along = np.stack(slopes, axis=1) / spacing
    gradient = _combine(along, axes.T)
    arm = _combine(index.astype(float), affine[:3, :3].T) + affine[:3, 3] - center
    # Rotations act at the head's radius, so that all six columns are per millimeter.
    motions = np.column_stack([along, _combine(np.cross(arm, gradient), axes) / HEAD_RADIUS])
    free = _free_motions(images.shape)
    found = np.zeros(6)
    found[free] = _solve_robust(np.column_stack([contrast, motions[:, free]]), values)[contrast.shape[1] :]
    return rigid_matrix(-axes @ found[:3], -axes @ found[3:] / HEAD_RADIUS, center)


def _free_motions(shape: Sequence[int]) -> np.ndarray:
    """Which shifts along and turns about the three voxel axes a stack can tell: (6,) booleans."""
    thin = np.array(shape[:3]) < FEWEST_SLICES
    # A turn about an axis moves points along the two others.
    turns = [not (thin[(axis + 1) % 3] or thin[(axis + 2) % 3]) for axis in range(3)]
    return np.concatenate([~thin, turns])


def _slope(image: np.ndarray, axis: int) -> np.ndarray:
    """The derivative along an axis [1/voxel]; zero along one of a single sample."""
    return np.gradient(image, axis=axis) if image.shape[axis] > 1 else np.zeros_like(image)


def _contrast(images, k, use, predict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volume k at the voxels in use, the terms that it is regressed on, and which of the voxels have both."""
    values = images[use].astype(float)
    terms = _contrast_terms(np.delete(values, k, axis=1))
    if predict is None:
        return values[:, k], terms, np.ones(len(values), dtype=bool)
    expected = predict(values, k)
    known = np.isfinite(expected)
    scaled = expected[known] / max(float(np.std(expected[known])), np.finfo(float).tiny)
    return values[known, k], np.column_stack([terms[known], scaled, scaled**2]), known


def _gain(images, unmoved, k, use, predict) -> float:
    values, contrast, known = _contrast(images, k, use, predict)
    squares = []
    for target in (values, unmoved[use][known].astype(float)):
        squares.append(np.mean((target - _combine(contrast, _solve_robust(contrast, target))) ** 2))
    return 1 - squares[0] / max(squares[1], np.finfo(float).tiny)


def _without_ends(mask: np.ndarray) -> np.ndarray:
    """The mask without the outermost samples of each axis, whose slopes are one-sided."""
    inside = mask.copy()
    for axis, n in enumerate(mask.shape):
        if n > 4:
            inside[tuple(slice(None) if a != axis else [0, n - 1] for a in range(3))] = False
    return inside


def _every_second(mask: np.ndarray) -> np.ndarray:
    """A checkerboard of the mask: smoothed images hold no more than that."""
    x, y, z = np.ogrid[tuple(slice(n) for n in mask.shape)]
    return mask & ((x + y + z) % 2 == 0)


def _contrast_terms(others: np.ndarray) -> np.ndarray:
    """(voxels, terms) polynomial of the other volumes, (voxels, volumes), by their principal components."""
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
