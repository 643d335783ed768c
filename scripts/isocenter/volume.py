"""Images as the science sees them: arrays with geometry, acquisition and unit, no files."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import SidecarError
from isocenter.units import check_unit


@dataclass(frozen=True)
class Volume:
    """One scalar image.

    data : (x, y, z) array; affine : (4, 4) array, voxel to RAS+ millimetres (NIfTI convention).
    """

    data: np.ndarray
    affine: np.ndarray
    unit: str = "arbitrary"

    def __post_init__(self):
        check_unit(self.unit)


@dataclass(frozen=True)
class Series:
    """Volumes along one acquisition axis.

    data : (x, y, z, n) array [a.u.], the acquisition axis last
    affine : (4, 4) array, voxel to RAS+ millimetres
    acquisition : BIDS sidecar keys; what varies over the series is an (n,) array, what does not is a scalar
    saturation : (n,) array, the signal at and above which a sample is clipped (inf: never)
    """

    data: np.ndarray
    affine: np.ndarray
    acquisition: dict[str, Any]
    saturation: np.ndarray = field(default_factory=lambda: np.array([np.inf]))

    def __post_init__(self):
        if self.data.ndim != 4:
            raise SidecarError(f"A series needs (x, y, z, n) data; found {self.data.shape}")

    @property
    def n(self) -> int:
        """How many volumes."""
        return self.data.shape[3]

    def clipped(self) -> np.ndarray:
        """(x, y, z, n) booleans: samples at or above the saturation value of their volume."""
        return self.data >= self.saturation


@dataclass(frozen=True)
class ParameterMap:
    """A fitted or calibrated quantity: value, its standard error and why a voxel has none.

    value, stderr : (x, y, z) arrays [unit], NaN where the flag is not ok; flag : (x, y, z) uint8
    """

    value: np.ndarray
    stderr: np.ndarray
    flag: np.ndarray
    affine: np.ndarray
    unit: str

    def __post_init__(self):
        check_unit(self.unit)
        if not (self.value.shape == self.stderr.shape == self.flag.shape):
            raise SidecarError(
                f"value, stderr and flag differ in shape: {self.value.shape}, {self.stderr.shape}, {self.flag.shape}"
            )

    @property
    def ok(self) -> np.ndarray:
        """(x, y, z) booleans: voxels that hold a value."""
        return self.flag == Flag.OK
