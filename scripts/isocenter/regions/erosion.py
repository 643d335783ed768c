"""Erosion: the rim of a region, where voxels hold two tissues, is left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from isocenter.errors import ConfigError, explain


@dataclass(frozen=True)
class Erosion:
    """How much of a region's rim is taken off: by voxels or by millimeters, or nothing.

    voxels : layers of voxels that touch by a face
    mm : a voxel stays where every voxel center within this distance is the region's; below one voxel nothing changes
    """

    voxels: int = 0
    mm: float = 0.0

    def __post_init__(self):
        if self.voxels and self.mm:
            raise ConfigError(
                explain("An erosion is given twice", expected="voxels or mm", found=f"{self.voxels} and {self.mm} mm")
            )

    @classmethod
    def from_dict(cls, content: dict[str, Any] | None) -> "Erosion":
        """From a block's key ``erosion``: ``{voxels: 1}``, ``{mm: 3}`` or nothing."""
        return cls(**(content or {}))

    def __str__(self) -> str:
        """As the rows say it: ``none``, ``1 voxel``, ``3 mm``."""
        if self.voxels:
            return f"{self.voxels} voxel{'s' if self.voxels > 1 else ''}"
        return f"{self.mm:g} mm" if self.mm else "none"

    def apply(self, region: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """What is left of a region, (x, y, z) booleans. The image's own edge is no border: tissue goes on beyond it."""
        if not region.any() or region.all():
            return region
        if self.voxels:
            return ndimage.binary_erosion(region, iterations=self.voxels, border_value=1)
        if self.mm:
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            return ndimage.distance_transform_edt(region, sampling=spacing) > self.mm
        return region
