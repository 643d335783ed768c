"""Alignment of a series whose contrast changes from volume to volume."""

from dataclasses import dataclass

import numpy as np

from isocenter import motion
from isocenter.consensus import FEWEST_VOLUMES, refine_motions
from isocenter.registration.engine import register_rigid

#: A motion larger than this within one series is taken for a failed registration [mm]: it is more than a head coil
#: lets a head move, and a scan with such a motion is lost anyway.
MOTION_LIMIT = 15.0


@dataclass(frozen=True)
class Alignment:
    """The motions of a series and what became of each volume.

    matrices : n (4, 4) arrays, reference point to point in volume k, RAS mm
    used : n words: ``reference``, ``registered``, or why the volume was left where it was
    center : (3,) array, the object's centroid in the reference volume [mm]
    """

    matrices: list[np.ndarray]
    used: list[str]
    reference: int
    center: np.ndarray


def align_volumes(
    data: np.ndarray,
    affine: np.ndarray,
    *,
    inversion_time: np.ndarray | None = None,
    limit: float = MOTION_LIMIT,
    seed: int = 1,
) -> Alignment:
    """Find the rigid motion of every volume of a series whose contrast changes.

    ANTs registers each volume to the reference volume by mutual information; then the consensus of all volumes
    refines the motions (:func:`isocenter.consensus.refine_motions`). A volume whose motion exceeds `limit`, or that
    fits the others no better for it, stays where it was.

    Parameters
    ----------
    data : (x, y, z, n) array
        Magnitudes.
    affine : (4, 4) array
        Voxel to RAS mm.
    inversion_time : (n,) array [s], optional
        When the series has them.
    limit : float
        Largest motion that is believed [mm].
    seed : int
        Of ANTs' sampling.
    """
    n = data.shape[3]
    mask = motion.find_foreground(data)
    center = motion.center_of(mask, affine)
    reference = motion.choose_reference(data, mask, inversion_time)
    fixed = data[..., reference]
    found = [
        np.eye(4) if k == reference else register_rigid(fixed, data[..., k], affine, mask=mask, seed=seed)
        for k in range(n)
    ]
    gains = np.zeros(n)
    if n >= FEWEST_VOLUMES:
        start = [m if motion.largest_displacement(m, center) <= limit else np.eye(4) for m in found]
        found, gains = refine_motions(data, affine, start, mask, reference)
    matrices, used = [], []
    for k, matrix in enumerate(found):
        if k == reference:
            word = "reference"
        elif motion.largest_displacement(matrix, center) > limit:
            word = f"left in place: motion beyond {limit:g} mm"
        elif gains[k] < 0:
            word = "left in place: fits the other volumes no better"
        else:
            word = "registered"
        matrices.append(matrix if word == "registered" else np.eye(4))
        used.append(word)
    return Alignment(matrices, used, reference, center)
