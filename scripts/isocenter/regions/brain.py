"""The regions of a brain: tissues, and what an atlas divides them into."""

from collections.abc import Sequence

import numpy as np

from isocenter.regions.atlas_region import DEEP, AtlasRegion
from isocenter.regions.erosion import Erosion
from isocenter.tissues import THRESHOLDS, divide_tissues

#: The union of the parts that are `DEEP`, and gray matter without them.
DEEP_GRAY, CORTICAL_GRAY = "deep_gray_matter", "cortical_gray_matter"


def divide_brain(
    probabilities: dict[str, np.ndarray],
    affine: np.ndarray,
    *,
    thresholds: dict[str, float] = THRESHOLDS,
    erosion: Erosion | None = None,
    atlas: np.ndarray | None = None,
    atlas_regions: Sequence[AtlasRegion] = (),
) -> dict[str, np.ndarray]:
    """The regions of a brain: name to (x, y, z) booleans; regions of an atlas overlap tissues.

    Parameters
    ----------
    probabilities : name to (x, y, z) array [1]
        Of each tissue.
    affine : (4, 4) array
        Voxel to mm.
    thresholds : name to float
        As in :func:`isocenter.tissues.divide_tissues`; 0 keeps the hard labels.
    erosion : Erosion
        Of each tissue, before an atlas divides it: a border between lobes is no border of tissue.
    atlas : (x, y, z) int array, optional
        The atlas' labels on this grid.
    atlas_regions : sequence of AtlasRegion
        What they are.
    """
    erosion = erosion or Erosion()
    regions = {name: erosion.apply(r, affine) for name, r in divide_tissues(probabilities, thresholds).items()}
    if atlas is None:
        return regions
    deep = np.isin(atlas, [region.index for region in atlas_regions if region.part == DEEP])
    divided = {CORTICAL_GRAY: regions["gray_matter"] & ~deep, DEEP_GRAY: np.zeros(deep.shape, bool)}
    for region in atlas_regions:
        own = atlas == region.index
        own = own & regions[region.tissue] if region.tissue else erosion.apply(own, affine)
        divided[region.name] = divided.get(region.name, False) | own
        if region.part == DEEP:
            divided[DEEP_GRAY] = divided[DEEP_GRAY] | own
    return regions | divided
