"""A NIfTI grid as the planes of a DICOM object: the same voxels at the same places, patient axes LPS."""

from dataclasses import dataclass

import numpy as np

from isocenter.errors import DicomError, explain

#: Axes may be off a right angle by this, as float32 affines are; more is a shear, which DICOM cannot say.
MOST_SKEW = 1e-4
#: RAS to LPS.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Planes:
    """Where the planes of a grid lie.

    orientation : (6,) unit vectors along a row and down a column; positions : (n, 3) of each plane's first pixel [mm]
    spacing : between rows, between columns [mm]; step : between planes [mm]
    flips : axes of the grid that run backward in the planes
    """

    orientation: np.ndarray
    positions: np.ndarray
    spacing: tuple[float, float]
    step: float
    flips: tuple[int, ...]

    def stack(self, voxels: np.ndarray) -> np.ndarray:
        """(planes, rows, columns, …) array of a grid's (x, y, z, …) array."""
        return np.ascontiguousarray(np.swapaxes(np.flip(voxels, self.flips), 0, 2))


def find_planes(shape: tuple[int, ...], affine: np.ndarray, orientation: np.ndarray | None = None) -> Planes:
    """The planes (x, y) of a grid, one a step along z.

    shape : (x, y, z); affine : (4, 4) voxel to RAS+ mm; orientation : (6,) of the source's planes, whose rows and
    columns the planes then follow; without, or where the source lies athwart, they follow the patient's axes

    Raises DicomError where the grid's axes are no right angles.
    """
    lps = _FLIP @ np.asarray(affine, float)
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    if not np.all(np.isfinite(lps)) or np.any(lengths <= 0):
        raise DicomError(explain("An image has no geometry", expected="an affine with three axes", found=affine))
    axes = lps[:3, :3] / lengths
    skew = np.abs(axes.T @ axes - np.eye(3)).max()
    if skew > MOST_SKEW:
        raise DicomError(
            explain("The axes of an image are no right angles", expected=f"a skew of at most {MOST_SKEW}",
                    found=f"{skew:.2g}", remedy="DICOM cannot hold a sheared grid: resample the image")
        )  # fmt: skip
    flips = tuple(axis for axis in (0, 1) if _runs_backward(axes[:, axis], axis, orientation))
    for axis in flips:
        lps[:3, 3] += lps[:3, axis] * (shape[axis] - 1)
        lps[:3, axis] *= -1
        axes[:, axis] *= -1
    if np.linalg.det(axes) < 0:  # planes are counted along the normal of rows and columns
        flips = (*flips, 2)
        lps[:3, 3] += lps[:3, 2] * (shape[2] - 1)
        lps[:3, 2] *= -1
    positions = lps[:3, 3] + np.arange(shape[2])[:, None] * lps[:3, 2]
    return Planes(
        np.concatenate([axes[:, 0], axes[:, 1]]),
        positions,
        (float(lengths[1]), float(lengths[0])),
        float(lengths[2]),
        flips,
    )


def _runs_backward(axis: np.ndarray, number: int, orientation: np.ndarray | None) -> bool:
    if orientation is not None:
        along = float(axis @ orientation[3 * number : 3 * number + 3])
        if abs(along) > 0.99:
            return along < 0
    strongest = int(np.argmax(np.abs(axis)))
    usual = -1.0 if strongest == 2 else 1.0  # rows to the left or back, columns to the back or the feet
    return axis[strongest] * usual < 0
