"""Breathing within a series: every volume brought to what the signal model says it should look like.

Model-driven registration (Buonaccorsi 2007, doi 10.1002/mrm.21405; for MOLLI Xue 2012, doi 10.1002/mrm.23153): fit,
predict, register each volume to its prediction, by turns. A volume is predicted from a fit without it, where there are
volumes enough: a fit that has learned the motion would hold it where it is.
"""

import numpy as np

from isocenter.consensus import FEWEST_SLICES
from isocenter.motion import warp
from isocenter.registration.engine import register_deformable
from isocenter.series_model import Bind, predict_volume

#: Turns of fitting and registering, and the median change of displacements inside the mask [mm] at which they settle.
ROUNDS = 4
SETTLED = 0.1


def deform_by_model(
    data: np.ndarray,
    spacing: np.ndarray,
    mask: np.ndarray,
    reference: int | None,
    bind: Bind,
    *,
    rounds: int = ROUNDS,
    seed: int = 1,
) -> np.ndarray:
    """Find the displacements that bring the volumes of a series to its signal model.

    Parameters
    ----------
    data : (x, y, z, n) array
        The volumes as measured; NaN where there is no sample.
    spacing : (3,) array [mm]
        Of the voxels.
    mask : (x, y, z) booleans
        Where the object is.
    reference : int, optional
        The volume that stays in place; without one all move to the mean position that the fits settle on.
    bind : callable
        The model bound to the acquisition of the volumes with the given numbers.
    rounds : int
        Most turns.
    seed : int
        Of ANTs' sampling.

    Returns
    -------
    (n, x, y, z, 3) array [mm, along the voxel axes]: where a reference point lies in volume k, less the point.
        Slices of a stack of fewer than `FEWEST_SLICES` are registered one by one, and nothing moves through them.
    """
    n = data.shape[3]
    moved = np.zeros((n, *data.shape[:3], 3))
    for _ in range(rounds):
        still = np.stack([warp(data[..., k], moved[k], spacing, order=1) for k in range(n)], axis=3)
        before = moved.copy()
        for k in range(n):
            if k == reference:
                continue
            target = _predict(still, mask, k, bind)
            moved[k] = _register(target, data[..., k], spacing, mask, seed)
        change = np.median(np.linalg.norm(moved - before, axis=-1)[:, mask])
        if change < SETTLED:
            break
    return moved


def _predict(still: np.ndarray, mask: np.ndarray, k: int, bind: Bind) -> np.ndarray:
    """Volume k (x, y, z) from a robust fit of the others; as it is where they cannot be fitted."""
    expected = np.nan_to_num(still[..., k]).astype(np.float32)
    found = predict_volume(bind, still[mask], k, robust="tukey" if still.shape[3] > 6 else None)
    values = expected[mask]
    expected[mask] = np.where(np.isfinite(found), found, values)
    return expected


def _register(target, volume, spacing, mask, seed) -> np.ndarray:
    if volume.shape[2] >= FEWEST_SLICES:
        return register_deformable(target, volume, spacing, mask=mask, seed=seed)
    moved = np.zeros((*volume.shape, 3))
    for z in range(volume.shape[2]):
        moved[:, :, z, :2] = register_deformable(
            target[..., z], volume[..., z], spacing[:2], mask=mask[..., z], seed=seed
        )
    return moved
