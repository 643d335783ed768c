"""An image on a grid of equal steps along its own axes: fine voxels are averaged, coarse ones interpolated."""

import numpy as np


def resample_evenly(data: np.ndarray, spacing: np.ndarray, grid: float) -> np.ndarray:
    """(d-dimensional) array on points `grid` [mm] apart from the first voxel's center on; voxels without value are 0.

    Every new value is a mean with triangular weights as wide as the larger of the two steps, so that the noise of
    fine voxels falls and coarse ones are interpolated linearly.
    """
    from scipy import sparse  # slow to import; steps that find no phantom import this module, too

    out = fill_gaps(data)
    for axis in range(data.ndim):
        n, step = data.shape[axis], float(spacing[axis])
        points = np.arange(int(np.floor((n - 1) * step / grid + 1e-9)) + 1) * grid
        weights = np.maximum(0.0, 1.0 - np.abs(points[:, None] - np.arange(n) * step) / max(grid, step))
        weights /= weights.sum(axis=1, keepdims=True)
        first = np.ascontiguousarray(np.moveaxis(out, axis, 0))
        # Sparse: a few weights a point; and no threads of a matrix library, whose sums may differ by the bit.
        summed = sparse.csr_array(weights.astype(np.float32)) @ first.reshape(n, -1)
        out = np.moveaxis(summed.reshape(len(points), *first.shape[1:]), 0, axis)
    return np.ascontiguousarray(out)


def fill_gaps(data: np.ndarray) -> np.ndarray:
    """The image as float32, 0 where it has no value."""
    image = np.asarray(data, dtype=np.float32)
    # One sum tells whether there is any gap at all; most images have none.
    return image if np.isfinite(image.sum(dtype=np.float64)) else np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)


def to_bright_end(image: np.ndarray) -> np.ndarray:
    """The image in units of its bright end, the 99th percentile."""
    thin = image[tuple(slice(None, None, max(1, s // 128)) for s in image.shape)]
    return image / max(float(np.percentile(thin, 99)), 1e-12)
