"""The template's tissue maps, which ship with nilearn; nothing is downloaded."""

from functools import cache

import numpy as np

from isocenter.simulation.head import Tissues, sharpen_tissues

#: The maps ship at 1 mm; blocks of this many voxels are averaged.
BLOCK = 2


@cache
def load_tissues() -> Tissues:
    """The MNI152 gray- and white-matter maps and brain mask (Fonov 2011, doi 10.1016/j.neuroimage.2010.07.033)."""
    from nilearn import datasets  # takes seconds, and only the simulation needs it

    images = [
        load(resolution=1)
        for load in (
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
            datasets.load_mni152_brain_mask,
        )
    ]
    affine = images[0].affine @ np.diag([BLOCK, BLOCK, BLOCK, 1.0])
    affine[:3, 3] += (images[0].affine[:3, :3] @ np.full(3, (BLOCK - 1) / 2)).ravel()
    return sharpen_tissues(*(_average_blocks(np.asarray(i.dataobj, dtype=np.float32)) for i in images), affine)


def _average_blocks(fine: np.ndarray) -> np.ndarray:
    counts = [n // BLOCK for n in fine.shape]
    cut = fine[tuple(slice(n * BLOCK) for n in counts)]
    return cut.reshape(counts[0], BLOCK, counts[1], BLOCK, counts[2], BLOCK).mean(axis=(1, 3, 5))
