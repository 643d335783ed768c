"""The template: an average head and its tissue maps, which ship inside nilearn. Nothing is downloaded.

MNI ICBM152 2009a, symmetric, skull-stripped (Fonov 2011, doi 10.1016/j.neuroimage.2010.07.033).
"""

import numpy as np
from scipy import ndimage

from isocenter.tissues import Template, average_blocks

#: The maps ship at 1 mm. Blocks of this many voxels are averaged: scans of 1 mm to several mm need no more.
BLOCK = 2
#: Voxels of air kept around the brain: its edge is what a registration sees best.
MARGIN = 3


def load_mni_template(block: int = BLOCK) -> Template:
    """The MNI152 template in voxels of `block` mm, cropped to the brain.

    Cerebrospinal fluid is what the brain's outline holds beyond gray and white matter: its map does not ship.
    """
    from nilearn import datasets  # imports for seconds; only this needs it

    head = datasets.load_mni152_template(resolution=1)
    image, gray, white = (
        np.asarray(volume.dataobj, dtype=np.float32)
        for volume in (
            head,
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
        )
    )
    # Averaged over people, the two may exceed one by rounding.
    excess = np.maximum(gray + white, 1)
    gray, white = gray / excess, white / excess
    brain = ndimage.binary_fill_holes((image > 0) | (gray + white > 0.5))
    fluid = np.where(brain, 1 - gray - white, 0).astype(np.float32)
    fine = {"image": image, "white_matter": white, "gray_matter": gray, "csf": fluid}
    coarse = {name: average_blocks(volume, block) for name, volume in fine.items()}
    affine = np.asarray(head.affine) @ _block_matrix(block)
    start, stop = _bounding_box(coarse["image"] > 0, MARGIN)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    affine[:3, 3] += affine[:3, :3] @ start
    coarse = {name: np.ascontiguousarray(volume[box]) for name, volume in coarse.items()}
    return Template(coarse.pop("image"), coarse, affine)


def _block_matrix(block: int) -> np.ndarray:
    matrix = np.diag([block, block, block, 1.0])
    matrix[:3, 3] = (block - 1) / 2
    return matrix


def _bounding_box(mask: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    where = np.argwhere(mask)
    return np.maximum(where.min(axis=0) - margin, 0), np.minimum(where.max(axis=0) + 1 + margin, mask.shape)
