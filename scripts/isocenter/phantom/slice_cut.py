"""How much of each vial's region lies inside its sphere, where a single or thick slice cuts a plate of spheres.

A slice that misses a sphere's middle cuts a small circle out of it, and what is measured there holds the fluid around
it, which moves T1 and T2 by any amount and smoothly enough to look like a good fit. The plate is flat, so that a slice
lies at a distance from every sphere that a plane tells: its tilt and offset come from the geometry scan, or, without
one, from how the brightness falls from the middle of the vials to their walls.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from isocenter.phantom.library import Geometry
from isocenter.phantom.locate import VialLocations
from isocenter.volume import Series

#: A region of which less than this share lies inside its sphere does not count: the rest is wall and fluid.
#: In simulated slices of 6 mm, tilted by up to 10 degrees, T1 of what is left out errs by up to 80 %, of what is kept
#: by 2 % and noise.
LEAST_INSIDE = 0.95
#: Rays and radii on which the brightness around a vial is read [deg, mm]; how far beyond its edge.
RAYS = np.radians(np.arange(0.0, 360.0, 6.0))
STEP = 0.5
FINE = 0.1
BEYOND = 4.0
#: Distances between the slice and a sphere's middle that are looked at [mm].
DEPTH_STEP = 0.5
#: Tilts of the slice against the plate [deg] and directions about the axis [deg] that are tried; the best one's
#: neighborhood is then looked at in steps that are a fifth as wide.
TILTS = np.arange(0.0, 18.1, 1.5)
DIRECTIONS = np.arange(0.0, 360.0, 15.0)
OFFSETS = 1.0  # mm
#: Images that are looked at, and vials that are needed to tell the plane.
MOST_IMAGES = 8
LEAST_VIALS = 6
WALL_AT = 1.0  # mm from its outer edge
#: A plane off the spheres' middles must explain the brightness better than none by this share.
CLEARLY = 0.1


def mark_cut(series: Series, geometry: Geometry, locations: VialLocations) -> VialLocations:
    """The locations with what the slice leaves of every region inside its sphere.

    Without a change where that is not known: tubes, a definition that tells no wall, regions that are balls in thin
    slices, images that are clipped or hold too few vials.
    """
    spacing = np.sqrt((series.affine[:3, :3] ** 2).sum(axis=0))
    is_disk = series.data.shape[2] == 1 or spacing[2] >= geometry.roi_diameter / 2
    if geometry.wall is None or geometry.roi_length or not is_disk:
        return locations
    depths = find_depths(series, locations.voxels, geometry)
    if depths is None:
        return locations
    inside = share_inside(
        depths, _thickness(series), geometry.sphere_diameter / 2 - geometry.wall, geometry.roi_diameter / 2
    )
    return replace(locations, depths=depths, inside=inside)


def is_cut(locations: VialLocations) -> np.ndarray:
    """(n,) booleans: vials whose region does not lie inside; none where that is not known."""
    return np.zeros(len(locations.vials), bool) if locations.inside is None else locations.inside < LEAST_INSIDE


def share_inside(depths: np.ndarray, thickness: float, radius: float, roi_radius: float) -> np.ndarray:
    """(n,) share of each region that lies inside its sphere.

    depths : (n,) distances of the spheres' middles from the middle of the slice; thickness : of the slice; radius :
    inside of a sphere; roi_radius : of the disk that is measured, all [mm]
    """
    r = (np.arange(40) + 0.5) / 40 * roi_radius
    return np.array([np.average(_chord(r, d, thickness, radius), weights=r) for d in np.abs(depths)])


def find_depths(series: Series, voxels: np.ndarray, geometry: Geometry) -> np.ndarray | None:
    """(n,) distances [mm] of the spheres' middles from the slice, without sign; None where the images do not tell.

    voxels : (n, 3) the vials' centers, in the slice in which they are measured
    """
    spacing = np.sqrt((series.affine[:3, :3] ** 2).sum(axis=0))
    radius = geometry.sphere_diameter / 2
    r = np.arange(0.0, radius + BEYOND, STEP)
    profiles = _read_profiles(series, voxels, spacing, r)
    # An image tells something of a vial where its middle and its wall are neither clipped nor outside.
    told = np.isfinite(profiles[:, :, r <= radius - WALL_AT]).all(axis=2)
    if told.any(axis=1).sum() < LEAST_VIALS:
        return None
    thickness = _thickness(series)
    depths = np.arange(0.0, radius + thickness / 2 + DEPTH_STEP, DEPTH_STEP)
    blur = 0.5 * float(spacing[:2].max())
    radii = (radius - geometry.wall, radius)
    cost = np.array([_misfit(profiles, told, r, _shapes(r, d, thickness, radii, blur)) for d in depths])
    plane = (voxels[:, :2] - voxels[:, :2].mean(axis=0)) * spacing[:2]
    tried = _list_planes(TILTS, DIRECTIONS, np.arange(0.0, depths[-1], OFFSETS))
    _, (tilt, direction, offset) = _best_plane(cost, plane, tried)
    near = np.linspace(-1.0, 1.0, 11)
    fine = _list_planes(tilt + near * TILTS[1], direction + near * DIRECTIONS[1], offset + near * OFFSETS)
    left, best = _best_plane(cost, plane, fine)
    if left > (1 - CLEARLY) * float(cost[0].sum()):
        return np.zeros(len(voxels))
    return np.abs(_plane_depths(best[None], plane)[0])


def _list_planes(tilts, directions, offsets) -> np.ndarray:
    """(p, 3) tilt [deg], direction [deg] and offset [mm]."""
    return np.stack(np.meshgrid(tilts, directions, offsets, indexing="ij"), axis=-1).reshape(-1, 3)


def _plane_depths(planes: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """(p, n) signed distances [mm] of the spheres at (n, 2) places [mm] from the slice."""
    angle = np.radians(planes[:, 1])
    slope = np.tan(np.radians(planes[:, :1])) * np.column_stack([np.cos(angle), np.sin(angle)])
    return slope @ plane.T + planes[:, 2:]


def _best_plane(cost: np.ndarray, plane: np.ndarray, planes: np.ndarray) -> tuple[float, np.ndarray]:
    """What the best of (p, 3) planes leaves, and that plane. cost : (depths, vials)"""
    own = np.minimum(np.abs(_plane_depths(planes, plane)) / DEPTH_STEP, len(cost) - 1.001)
    low = own.astype(int)
    part, vials = own - low, np.arange(cost.shape[1])
    total = (cost[low, vials] * (1 - part) + cost[low + 1, vials] * part).sum(axis=1)
    best = int(np.argmin(total))
    return float(total[best]), planes[best]


def _thickness(series: Series) -> float:
    """Of a slice [mm]; slices may lie further apart than they are thick."""
    told = np.asarray(series.acquisition.get("SliceThickness", np.nan), dtype=float)
    spacing = float(np.sqrt((series.affine[:3, 2] ** 2).sum()))
    return min(spacing, float(told)) if told.ndim == 0 and told > 0 else spacing


def _chord(r: np.ndarray, depth: float, thickness: float, radius: float) -> np.ndarray:
    """Share of the slice's thickness that lies inside a sphere at distances `r` from its axis."""
    half = np.sqrt(np.maximum(radius**2 - r**2, 0.0))
    top, bottom = np.minimum(depth + thickness / 2, half), np.maximum(depth - thickness / 2, -half)
    return np.maximum(top - bottom, 0.0) / thickness


def _read_profiles(series: Series, voxels, spacing, r) -> np.ndarray:
    """(v, m, k) mean brightness at the distances `r` from each vial's middle; NaN where it is clipped or cut off."""
    chosen = np.unique(np.linspace(0, series.n - 1, min(series.n, MOST_IMAGES)).round().astype(int))
    out = np.full((len(voxels), len(chosen), len(r)), np.nan)
    for v, voxel in enumerate(voxels):
        k = int(np.clip(np.rint(voxel[2]), 0, series.data.shape[2] - 1))
        at = [voxel[i] + r[:, None] * trig / spacing[i] for i, trig in enumerate((np.cos(RAYS), np.sin(RAYS)))]
        for m, j in enumerate(chosen):
            image = np.abs(series.data[:, :, k, j]).astype(float)
            read = ndimage.map_coordinates(image, at, order=1, mode="constant", cval=np.nan)
            out[v, m] = np.where((read < series.saturation[j]).all(axis=1), read.mean(axis=1), np.nan)
    return out


def _shapes(r: np.ndarray, depth: float, thickness: float, radii: tuple[float, float], blur: float) -> np.ndarray:
    """(2, k) shares of inside and outside at the distances `r` from the middle, as pixels blur them."""
    fine = np.arange(0.0, r[-1] + 1.0, FINE)
    shares = np.stack([_chord(fine, depth, thickness, radii[0]), 1 - _chord(fine, depth, thickness, radii[1])])
    blurred = ndimage.gaussian_filter1d(shares, blur / FINE, axis=1, mode="mirror")
    return blurred[:, np.rint(r / FINE).astype(int)]


def _misfit(profiles: np.ndarray, told: np.ndarray, r: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """(v,) share of the power of the profiles that inside, wall and outside leave, over the images that tell."""
    f, g = shapes
    seen = np.isfinite(profiles)
    weight = np.where(seen, np.maximum(r, STEP / 2), 0.0)
    value = np.where(seen, profiles, 0.0)
    ff, gg, fg = ((weight * x).sum(axis=2) for x in (f * f, g * g, f * g))
    left = []
    for sign in (1.0, -1.0):
        # A magnitude hides that the fluid may be of the other sign: then it is turned beyond its darkest point.
        darkest = np.argmin(np.where(seen, profiles, np.inf), axis=2)
        turned = np.where(np.arange(len(r)) > darkest[..., None], sign, 1.0) * value
        fy, gy = ((weight * x * turned).sum(axis=2) for x in (f, g))
        det = ff * gg - fg**2
        safe = det > 1e-6 * ff * gg
        a = np.where(safe, gg * fy - fg * gy, fy) / np.where(safe, det, np.maximum(ff, 1e-12))
        b = np.where(safe, ff * gy - fg * fy, 0.0) / np.where(safe, det, 1.0)
        rest = turned - a[..., None] * f - b[..., None] * g
        left.append((weight * rest**2).sum(axis=2))
    share = np.minimum(*left) / np.maximum((weight * value**2).sum(axis=2), 1e-12)
    return np.where(told, share, 0.0).sum(axis=1) / np.maximum(told.sum(axis=1), 1)
