"""Which voxels of complex images hold signal, and their noise from the images themselves."""

import numpy as np
from scipy.ndimage import uniform_filter

#: The median of the magnitude of a normal variable with unit standard deviation.
_NORMAL_MEDIAN = 0.6745
#: Slices that are looked at, spread over the volume.
_MOST_SLICES = 9


def estimate_noise(signal: np.ndarray, mask: np.ndarray) -> float:
    """The standard deviation of one channel [a.u.] of complex or real images (x, y, z, n); NaN where it cannot be seen.

    From the differences across both diagonals of squares of four voxels in the first two axes: what is smooth
    cancels, noise does not. Donoho and Johnstone 1994, doi 10.1093/biomet/81.3.425, for the median as its scale.
    """
    slices = np.unique(np.linspace(0, signal.shape[2] - 1, _MOST_SLICES).astype(int))
    signal, mask = signal[:, :, slices], mask[:, :, slices]
    a = signal[:-1, :-1] - signal[1:, :-1] - signal[:-1, 1:] + signal[1:, 1:]
    whole = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]
    parts = [np.real(a[whole]), np.imag(a[whole])] if np.iscomplexobj(a) else [a[whole]]
    detail = np.concatenate([part.ravel() for part in parts]) / 2
    detail = detail[np.isfinite(detail)]
    return float(np.median(np.abs(detail)) / _NORMAL_MEDIAN) if detail.size else np.nan


def smooth_field(field: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Means of a field (x, y, z) [Hz] over 5 x 5 voxels of a mask in the first two axes; 0 outside."""
    size = (5, 5, 1)
    count = uniform_filter(mask.astype(float), size, mode="constant")
    total = uniform_filter(np.where(mask, field, 0.0), size, mode="constant")
    return np.where(mask, total / np.where(mask, count, 1.0), 0.0)


def find_signal(signal: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(...,) booleans: voxels of a mask where any of the samples (..., n) is finite and not zero."""
    found = np.zeros(signal.shape[:-1], bool)
    for i in range(signal.shape[-1]):
        found |= np.isfinite(signal[..., i]) & (signal[..., i] != 0)
    return found if mask is None else found & np.asarray(mask, dtype=bool)
