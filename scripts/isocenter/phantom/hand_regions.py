"""Regions that a person drew, in the place of vials that were searched for."""

import numpy as np

from isocenter.errors import CalibrationError, explain
from isocenter.phantom.library import Geometry
from isocenter.phantom.locate import VialLocations
from isocenter.volume import Series

#: What a person drew: numbers (n,), places (n, 3), and whether these are voxels instead of RAS+ [mm].
DrawnVials = tuple[np.ndarray, np.ndarray, bool]


def take_regions(
    vials: np.ndarray, places: np.ndarray, series: Series, geometry: Geometry, *, in_voxels: bool
) -> VialLocations:
    """The locations that a person's (n, 3) `places` say, by vial number; nothing is searched and nothing moved.

    Parameters
    ----------
    vials : (n,) int array
        Numbers of the geometry; others may be missing.
    places : (n, 3) array
        RAS+ [mm], or voxel indices of the series if `in_voxels`.
    series : Series
        Where the regions lie.
    geometry : Geometry
        Of the array.
    in_voxels : bool
        What `places` are.

    Raises
    ------
    CalibrationError
        A vial that the array does not have, or a region outside the image.
    """
    order = np.argsort(vials, kind="stable")
    vials, places = np.asarray(vials, dtype=int)[order], np.asarray(places, dtype=float)[order]
    inverse = np.linalg.inv(series.affine)
    voxels = places if in_voxels else places @ inverse[:3, :3].T + inverse[:3, 3]
    shape = np.array(series.data.shape[:3])
    spacing = np.sqrt((series.affine[:3, :3] ** 2).sum(axis=0))
    # Across a slice a region may lie off its middle by as much as a vial's radius: the slice still cuts the vial.
    slack = np.array([0.5, 0.5, max(0.5, geometry.sphere_diameter / 2 / spacing[2])])
    for vial, voxel in zip(vials.tolist(), voxels, strict=True):
        if vial not in geometry.vials:
            raise CalibrationError(
                explain(
                    f"The {geometry.array} array has no vial {vial}",
                    expected=", ".join(map(str, geometry.vials.tolist())),
                    found=vial,
                    remedy="correct the file of regions",
                )
            )
        if (voxel < -slack).any() or (voxel > shape - 1 + slack).any():
            raise CalibrationError(
                explain(
                    f"The region of vial {vial} lies outside the image",
                    expected=f"voxel indices from 0 to {', '.join(str(s - 1) for s in shape)}",
                    found=", ".join(f"{v:.1f}" for v in voxel),
                    remedy="x, y, z are RAS+ millimeters: DICOM's x and y have the other sign; i, j, k count from 0",
                )
            )
    voxels = np.clip(voxels, 0, shape - 1)
    return VialLocations(
        vials=vials,
        voxels=voxels,
        centers=voxels @ series.affine[:3, :3].T + series.affine[:3, 3],
        rotation=np.nan,
        is_mirrored=False,
        residual=np.nan,
        n_seen=len(voxels),
        rank_correlation=np.nan,
        runner_up=np.nan,
        confidence=1.0,
        seen=np.ones(len(voxels), dtype=bool),
    )
