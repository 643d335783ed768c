"""A thigh on Dixon images: muscle and subcutaneous fat, from what is water, what is fat and what is neither.

The limb is where there is signal, with what it encloses. Inside it, water-dominant voxels (fat fraction below 50 %)
that hang together are muscle; fat-dominant voxels outside the muscle compartment and connected with the skin are
subcutaneous. Fat between and inside muscles, marrow and cortical bone are neither. The threshold is that between water
and fat, not one between healthy and infiltrated muscle: it takes no part in what is measured as long as muscle holds
less fat than water.
"""

import numpy as np
from scipy import ndimage

from isocenter.errors import RegistrationError, explain

MUSCLE, SUBCUTANEOUS = "thigh_muscle", "subcutaneous_fat"
#: Between water-dominant and fat-dominant [percent].
DIVIDE = 50.0
#: Signal below this share of the limb's typical one is air or cortical bone: noise reaches a few percent.
SIGNAL_SHARE = 0.3
#: A limb fills more of an image than what lies above this percentile of its signal.
BRIGHT = 98.0
#: Parts of the limb or of a muscle with a cross-section below this are vessels, skin or noise [mm2].
LEAST_AREA = 200.0
#: What closes the gaps between muscles when the compartment is outlined [mm].
GAP = 6.0


def divide_thigh(pdff: np.ndarray, water: np.ndarray, fat: np.ndarray, affine: np.ndarray) -> dict[str, np.ndarray]:
    """Muscle and subcutaneous fat: name to (x, y, z) booleans. Slices (third axis) are axial, one thigh or two in each.

    Parameters
    ----------
    pdff : (x, y, z) array [percent]
        NaN where nothing was fitted.
    water, fat : (x, y, z) arrays
        Amplitudes [arbitrary].
    affine : (4, 4) array
        Voxel to mm.
    """
    signal = np.nan_to_num(water, nan=0.0) + np.nan_to_num(fat, nan=0.0)
    filled = signal[signal > 0]
    # Most of an image may be air, with values where its noise was fitted; the brightest of it is tissue.
    typical = np.median(filled[filled > np.percentile(filled, BRIGHT) / 2]) if filled.size else 0.0
    tissue = signal > SIGNAL_SHARE * typical
    area = float(np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1])))
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    fraction = np.nan_to_num(pdff, nan=0.0)
    muscle, rim = np.zeros(pdff.shape, bool), np.zeros(pdff.shape, bool)
    for k in range(pdff.shape[2]):
        limb = ndimage.binary_fill_holes(_large_parts(tissue[:, :, k], LEAST_AREA / area))
        inside = limb & tissue[:, :, k] & np.isfinite(pdff[:, :, k])
        own = _large_parts(inside & (fraction[:, :, k] < DIVIDE), LEAST_AREA / area)
        compartment = ndimage.binary_fill_holes(_close(own, GAP, spacing)) & limb
        outer = inside & (fraction[:, :, k] >= DIVIDE) & ~compartment
        muscle[:, :, k] = own
        rim[:, :, k] = _large_parts(outer, LEAST_AREA / area)
    if not muscle.any():
        raise RegistrationError(
            explain(
                "No muscle can be told in these Dixon images",
                expected=f"a part of {LEAST_AREA:g} mm² or more with a fat fraction below {DIVIDE:g} % in some slice",
                found="none",
                remedy="look at the map: is it a thigh, and did water and fat swap?",
            )
        )
    return {MUSCLE: muscle, SUBCUTANEOUS: rim}


def _large_parts(mask: np.ndarray, least: float) -> np.ndarray:
    """The connected parts of an (x, y) mask with at least so many voxels."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sizes >= least
    keep[0] = False
    return keep[labels]


def _close(mask: np.ndarray, gap: float, spacing: np.ndarray) -> np.ndarray:
    """An (x, y) mask with gaps up to `gap` [mm] closed."""
    if not mask.any():
        return mask
    pad = np.ceil(gap / spacing).astype(int) + 1
    wide = np.pad(mask, [(p, p) for p in pad])
    grown = ndimage.distance_transform_edt(~wide, sampling=spacing) <= gap / 2
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > gap / 2
    return closed[pad[0] : -pad[0], pad[1] : -pad[1]] | mask
