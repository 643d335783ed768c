"""The volumes of a series as the consensus sees them: smoothed, brought back, and where they are compared."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from isocenter.interpolation import fit_bspline, sample_affine

#: Images are smoothed by this much [mm]: it widens the reach of derivatives and lowers noise.
SMOOTHING = 3.0
#: Smoothed images need no more than quadratic splines.
SPLINE_ORDER = 2
#: Fewer slices than this do not tell a motion through them.
FEWEST_SLICES = 4


def smooth_volumes(data: np.ndarray, affine: np.ndarray) -> list[np.ndarray]:
    """The volumes of a series (x, y, z, n), smoothed by `SMOOTHING`; not across a thin stack."""
    is_thin = np.array(data.shape[:3]) < FEWEST_SLICES
    sigma = np.where(is_thin, 0.0, SMOOTHING / np.linalg.norm(affine[:3, :3], axis=0))
    return [ndimage.gaussian_filter(np.nan_to_num(data[..., k]), sigma) for k in range(data.shape[3])]


def fit_splines(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Splines, to be fitted once and read at every step; in single precision, as a whole series of them is kept."""
    return [fit_bspline(image, SPLINE_ORDER).astype(np.float32) for image in images]


def bring_back(
    splines: Sequence[np.ndarray], affine: np.ndarray, matrices: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], np.ndarray]:
    """The volumes brought back, n of (x, y, z), and where all of them were measured."""
    moved = [
        sample_affine(spline, np.linalg.inv(affine) @ matrix @ affine, order=SPLINE_ORDER)
        for spline, matrix in zip(splines, matrices, strict=True)
    ]
    return [values for values, _ in moved], np.logical_and.reduce([inside for _, inside in moved])


def choose_samples(mask: np.ndarray) -> np.ndarray:
    """Where volumes are compared: every second voxel of a mask, as smoothed images hold no more than that.

    Without the outermost samples of each axis, whose slopes are one-sided.
    """
    chosen = mask.copy()
    for axis, n in enumerate(mask.shape):
        if n > 4:
            chosen[tuple(slice(None) if a != axis else [0, n - 1] for a in range(3))] = False
    x, y, z = np.ogrid[tuple(slice(n) for n in mask.shape)]
    return chosen & ((x + y + z) % 2 == 0)


def read_samples(images: Sequence[np.ndarray], use: np.ndarray) -> np.ndarray:
    """(n, voxels) float64 values of n volumes in the voxels in use."""
    return np.stack([image[use] for image in images]).astype(float)
