"""The motions of a series from the consensus of its volumes."""

from collections.abc import Callable, Sequence

import numpy as np

from isocenter.consensus.regression import combine, contrast_terms, find_misfit, solve_robust
from isocenter.consensus.volumes import (
    FEWEST_SLICES,
    bring_back,
    choose_samples,
    fit_splines,
    read_samples,
    smooth_volumes,
)
from isocenter.motion import HEAD_RADIUS, center_of, largest_displacement, rigid_matrix

#: Most Gauss–Newton steps, and the update at which the motions have settled [mm].
STEPS = 5
SETTLED = 0.05
#: Fewer volumes than this have no consensus.
FEWEST_VOLUMES = 4

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
    smooth = smooth_volumes(data, affine)
    splines = fit_splines(smooth)
    sampled = choose_samples(mask)
    for _ in range(steps):
        images, everywhere = bring_back(splines, affine, matrices)
        use = sampled & everywhere
        values = read_samples(images, use)
        updates = [_regress_motion(images[k], values, k, use, affine, center, predict) for k in range(len(matrices))]
        matrices = [matrix @ update for matrix, update in zip(matrices, updates, strict=True)]
        frame = np.linalg.inv(matrices[reference])
        matrices = [matrix @ frame for matrix in matrices]
        if max(largest_displacement(update, center) for update in updates) < SETTLED:
            break
    images, everywhere = bring_back(splines, affine, matrices)
    use = sampled & everywhere
    values = read_samples(images, use)
    gains = np.array([_gain(values, smooth[k][use].astype(float), k, predict) for k in range(len(matrices))])
    return matrices, gains


def _regress_motion(image, values, k, use, affine, center, predict) -> np.ndarray:
    target, contrast, known = _contrast(values, k, predict)
    index = np.argwhere(use)[known]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    along = np.stack([_slope(image, axis)[tuple(index.T)] for axis in range(3)]).astype(float) / spacing[:, np.newaxis]
    gradient = combine(axes, along)
    arm = combine(affine[:3, :3], index.T.astype(float)) + (affine[:3, 3] - center)[:, np.newaxis]
    # Rotations act at the head's radius, so that all six terms are per millimeter.
    motions = np.concatenate([along, combine(axes.T, np.cross(arm, gradient, axis=0)) / HEAD_RADIUS])
    free = _free_motions(image.shape)
    found = np.zeros(6)
    found[free] = solve_robust(np.concatenate([contrast, motions[free]]), target)[len(contrast) :]
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


def _contrast(values, k, predict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (n, voxels) values: volume k, the terms that it is regressed on, and which of the voxels have both."""
    terms = contrast_terms(np.delete(values, k, axis=0))
    if predict is None:
        return values[k], terms, np.ones(values.shape[1], dtype=bool)
    expected = predict(values.T, k)
    known = np.isfinite(expected)
    scaled = expected[known] / max(float(np.std(expected[known])), np.finfo(float).tiny)
    return values[k, known], np.concatenate([terms[:, known], scaled[np.newaxis], scaled[np.newaxis] ** 2]), known


def _gain(values, unmoved, k, predict) -> float:
    target, contrast, known = _contrast(values, k, predict)
    moved, still = (find_misfit(contrast, v) for v in (target, unmoved[known]))
    return 1 - moved / max(still, np.finfo(float).tiny)
