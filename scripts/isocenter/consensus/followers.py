"""Which volumes of a series follow the others at all."""

from collections.abc import Sequence

import numpy as np

from isocenter.consensus.regression import contrast_terms, find_misfit
from isocenter.consensus.volumes import bring_back, choose_samples, fit_splines, read_samples, smooth_volumes

#: A volume of which the others explain this share is their object; one of which they explain less than the other is
#: mostly noise. Between them it must follow the others better where it lies than wherever else it might.
AGREES, STRANGE = 0.5, 0.1
#: How many other places are tried, and how far they lie away at least [mm].
PLACES, FAR = 20, 15.0


def find_followers(
    data: np.ndarray, affine: np.ndarray, matrices: Sequence[np.ndarray], mask: np.ndarray
) -> np.ndarray:
    """Which volumes of a series follow the others where they were brought back to: (n,) booleans.

    A volume that holds no signal, or another object, is told a motion like any other: some place fits its noise best.
    What the polynomial of the others (:func:`isocenter.consensus.refine_motions`) explains of its variance, smoothed,
    is next to nothing then, and no less elsewhere.

    data, affine, matrices, mask : as in `refine_motions`, of any two volumes or more
    """
    images, everywhere = bring_back(fit_splines(smooth_volumes(data, affine)), affine, matrices)
    sampled = choose_samples(mask)
    use = sampled & everywhere if (sampled & everywhere).any() else sampled
    follows = np.ones(len(matrices), bool)
    if not use.any():
        return follows
    values = read_samples(images, use)
    for k in range(len(matrices)):
        contrast = contrast_terms(np.delete(values, k, axis=0))
        share = _explained(contrast, values[k])
        if share < AGREES:
            elsewhere = [
                _explained(contrast, np.roll(images[k], place, axis=(0, 1, 2))[use].astype(float))
                for place in _list_places(data.shape[:3], affine)
            ]
            follows[k] = share > max([STRANGE, *elsewhere])
    return follows


def _explained(contrast: np.ndarray, values: np.ndarray) -> float:
    """The share of the variance of (voxels,) values that the terms explain."""
    return 1 - find_misfit(contrast, values) / max(float(np.var(values)), np.finfo(float).tiny)


def _list_places(shape: Sequence[int], affine: np.ndarray) -> list[tuple[int, ...]]:
    """Shifts by whole voxels, round the edge, that lie `FAR` away or more; the same ones for every series of a size."""
    rng, spacing = np.random.default_rng(1), np.linalg.norm(affine[:3, :3], axis=0)
    shifts = rng.integers(0, np.asarray(shape), (10 * PLACES, 3))
    nearest = np.minimum(shifts, np.asarray(shape) - shifts) * spacing
    return [tuple(int(s) for s in shift) for shift in shifts[np.linalg.norm(nearest, axis=1) >= FAR][:PLACES]]
