"""How alike two images of unlike contrast are."""

import numpy as np

#: Bins of the joint histogram along each axis.
_BINS = 48


def measure_likeness(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """Normalized mutual information of two images in a mask: 1 unrelated, 2 the same but for contrast.

    (H(a) + H(b)) / H(a, b), Studholme 1999, doi 10.1016/S0031-3203(98)00091-0; gray values by rank, so that no bright
    voxel takes the bins of the others. NaN where fewer voxels than bins are shared.

    Parameters
    ----------
    one, other : (...,) arrays
        Of one shape.
    mask : (...,) booleans
        Where they are compared; voxels that are not finite in either are left out.
    """
    inside = mask & np.isfinite(one) & np.isfinite(other)
    if np.count_nonzero(inside) < _BINS**2:
        return np.nan
    joint = np.zeros((_BINS, _BINS))
    np.add.at(joint, (_rank(one[inside]), _rank(other[inside])), 1.0)
    joint /= joint.sum()
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / _entropy(joint.ravel())


def _rank(values: np.ndarray) -> np.ndarray:
    """The bin of each value, bins holding about equally many."""
    edges = np.quantile(values, np.arange(1, _BINS) / _BINS)
    return np.searchsorted(edges, values, side="right")


def _entropy(share: np.ndarray) -> float:
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())
