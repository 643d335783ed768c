"""An image on a grid of equal steps along its own axes: fine voxels are averaged, coarse ones interpolated."""

import numpy as np


def resample_evenly(data: np.ndarray, spacing: np.ndarray, grid: float) -> np.ndarray:
    """(d-dimensional) array on points `grid` [mm] apart from the first voxel's center on; voxels without value are 0.

    Every new value is a mean with triangular weights as wide as the larger of the two steps, so that the noise of
    fine voxels falls and coarse ones are interpolated linearly.
    """
    out = np.nan_to_num(np.asarray(data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    for axis in range(data.ndim):
        n, step = data.shape[axis], float(spacing[axis])
        points = np.arange(int(np.floor((n - 1) * step / grid + 1e-9)) + 1) * grid
        weights = np.maximum(0.0, 1.0 - np.abs(points[:, None] - np.arange(n) * step) / max(grid, step))
        weights /= weights.sum(axis=1, keepdims=True)
        out = np.moveaxis(np.tensordot(weights.astype(np.float32), out, (1, axis)), 0, axis)
    return out


def to_bright_end(image: np.ndarray) -> np.ndarray:
    """The image in units of its bright end, the 99th percentile."""
    thin = image[tuple(slice(None, None, max(1, s // 128)) for s in image.shape)]
    return image / max(float(np.percentile(thin, 99)), 1e-12)
