"""The vials of a phantom in another series of the same session, and the signal that each of them gives.

Vials are found once an array; where the phantom was not moved, they lie at the same millimeters in every series.
"""

import numpy as np

from isocenter.phantom.library import Geometry
from isocenter.phantom.measure import vial_region
from isocenter.volume import Series


def find_voxels(centers: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(v, 3) sub-voxel indices of the centers (v, 3), RAS+ [mm], in a grid with `affine`."""
    return (centers - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def list_regions(series: Series, centers: np.ndarray, geometry: Geometry) -> list[np.ndarray]:
    """One (x, y, z) mask of booleans a vial: the voxels of its region around its center."""
    size = geometry.roi_diameter, geometry.roi_length
    shape = series.data.shape[:3]
    return [vial_region(shape, series.affine, voxel, *size) for voxel in find_voxels(centers, series.affine)]


def mean_signals(series: Series, regions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(v, n) mean signals [a.u.], complex of complex images, and (v, n) booleans, where a voxel of the vial is clipped.

    A mean with clipped voxels is too low, so those samples are for the eye only: the fit leaves them out.
    """
    kind = complex if np.iscomplexobj(series.data) else float
    means = np.full((len(regions), series.n), np.nan, dtype=kind)
    clipped = np.zeros((len(regions), series.n), bool)
    for i, region in enumerate(regions):
        samples = series.data[region].astype(kind)
        if samples.size:
            means[i] = samples.mean(axis=0)
            size = np.abs(samples) if kind is complex else samples
            clipped[i] = (size >= series.saturation).any(axis=0)
    return means, clipped
