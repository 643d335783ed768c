"""Where a map of one scan lies on another scan of the same session: by the scanner, or by both scans' magnitudes."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform

from isocenter import motion
from isocenter.errors import RegistrationError
from isocenter.fields.likeness import compare_likeness
from isocenter.registration.engine import RIGID_FINE, register_rigid
from isocenter.volume import Volume

#: A head that lay still is found within this share of the mean edge of a voxel of the coarser scan: less is no motion,
#: but the registration's own error. Six still heads on voxels of 6.4 mm were found within 0.5 to 1.1 mm.
STILL = 0.2
#: Fewer slices than this tell nothing of a motion through them.
FEWEST_SLICES = 4
#: Voxels of an image that its outermost centers may be away: rounding, and half a slice where there is one only.
_AT, _THIN = 1e-6, 0.5


@dataclass(frozen=True)
class Placement:
    """How a scan lies on another.

    matrix : (4, 4) array, a point of the series to the same point of the object in the map's scan, RAS mm
    how : ``scanner`` or ``registered``; why : in a sentence
    displacement : how far the object's surface moved, at most [mm]
    """

    matrix: np.ndarray
    how: str
    why: str
    displacement: float

    def describe(self) -> dict:
        """The placement for a sidecar."""
        return {"Placement": self.how, "PlacementReason": self.why, "DisplacementMillimeters": self.displacement,
                "Transform": np.round(self.matrix, 6).tolist()}  # fmt: skip


def place_by_scanner(why: str) -> Placement:
    """No motion: one position in the scanner is one point of the object."""
    return Placement(np.eye(4), "scanner", why, 0.0)


def regrid(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """(x, y, z) array: an image on another grid of the same scanner coordinates, linear; 0 outside of it.

    A single slice reaches half its thickness to either side, which is all there is of it. Along other axes an image
    ends at its last centers: repeated half a voxel further, it would draw a placement along thick slices.
    """
    voxel = np.linalg.inv(volume.affine) @ affine
    found = affine_transform(
        np.nan_to_num(volume.data.astype(float)),
        voxel[:3, :3],
        voxel[:3, 3],
        output_shape=shape,
        order=1,
        mode="nearest",
    )
    return np.where(_is_within(volume, shape, affine, _THIN), found, 0.0)


def place_scan(
    image: np.ndarray,
    affine: np.ndarray,
    magnitude: Volume,
    *,
    start: np.ndarray | None = None,
    limit: float = 15.0,
    seed: int = 1,
) -> Placement:
    """Find where the scan of a map lies on a series, by the magnitudes of both.

    A registration is believed where it found more than is its own error, at most `limit` [mm], and surely makes the
    edges of the two images more alike than the scanner's coordinates do.

    Parameters
    ----------
    image : (x, y, z) array
        A volume of the series.
    affine : (4, 4) array
        Voxel to RAS mm.
    magnitude : Volume
        Of the map's scan, on any grid.
    start : (4, 4) array, optional
        A placement to start from, as `Placement.matrix`; the scanner's coordinates by default.
    limit : float
        Largest motion that is believed [mm].
    seed : int
        Of ANTs' sampling.
    """
    if min(image.shape[2], magnitude.data.shape[2]) < FEWEST_SLICES:
        return place_by_scanner(f"fewer than {FEWEST_SLICES} slices tell no motion")
    start = np.eye(4) if start is None else start
    mask = motion.find_foreground(image[..., np.newaxis])
    center = motion.center_of(mask, affine) if mask.any() else np.zeros(3)
    moving = regrid(magnitude, image.shape, start @ affine)
    # Beyond the map's field of view there is an edge that is none of the object's.
    covered = mask & is_covered(magnitude, image.shape, start @ affine)
    if not moving[covered].any():
        return place_by_scanner("the two scans do not overlap")
    try:
        found = register_rigid(image, moving, affine, mask=covered, stages=RIGID_FINE, seed=seed)
    except RegistrationError as error:
        return place_by_scanner(f"registration failed: {str(error).splitlines()[0]}")
    matrix = start @ found
    far = motion.largest_displacement(matrix, center)
    still = STILL * max(np.linalg.norm(one[:3, :3], axis=0).mean() for one in (affine, magnitude.affine))
    if far <= still:
        return place_by_scanner(f"registration found {far:.1f} mm, which is no motion (up to {still:.1f} mm)")
    if far > limit:
        return place_by_scanner(f"registration found {far:.0f} mm, beyond the {limit:g} mm that are believed")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    both = mask & is_covered(magnitude, image.shape, affine) & is_covered(magnitude, image.shape, matrix @ affine)
    there, moved = (regrid(magnitude, image.shape, place @ affine) for place in (np.eye(4), matrix))
    alike = compare_likeness(image, image, (there, moved), both, spacing)
    words = f"{alike.was:.4f} to {alike.now:.4f} ± {alike.stderr:.4f}"
    if not alike.is_more:
        return place_by_scanner(f"registration found {far:.1f} mm and made the scans no more alike ({words})")
    return Placement(matrix, "registered", f"the scans became more alike ({words})", far)


def is_covered(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """(x, y, z) booleans: the voxels of a grid that lie within another image's outermost centers."""
    return _is_within(volume, shape, affine, _AT)


def _is_within(volume: Volume, shape: tuple[int, int, int], affine: np.ndarray, single: float) -> np.ndarray:
    """The same; along axes of one voxel up to `single` [voxels] beside its center."""
    voxel = np.linalg.inv(volume.affine) @ affine
    index = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij", sparse=True)
    inside = np.ones(shape, dtype=bool)
    for axis, n in enumerate(volume.data.shape):
        place = sum(voxel[axis, j] * index[j] for j in range(3)) + voxel[axis, 3]
        margin = single if n == 1 else _AT
        inside &= (place >= -margin) & (place <= n - 1 + margin)
    return inside
