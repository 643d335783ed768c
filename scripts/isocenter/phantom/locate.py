"""Finding a phantom's vials in a quantitative series, from the phantom's published geometry alone.

A vial is round and differs from its surroundings in at least some images of the series. How round every point is, blind
to the sign of the contrast, is scored for every image; the pattern of all vials is then laid over the score at every
position, rotation and mirror. Where too few vials differ from their surroundings, as water in water does not, their
walls are looked for instead. In a stack of thin slices vials are balls and the plate may be tilted; in single or thick
slices they are disks. What the pattern cannot tell (it maps onto itself by half a turn and by mirrors) the measured
values tell: their rank order must be that of the reference. Where the answer is not clear, it is refused.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.errors import CalibrationError, explain
from isocenter.phantom.even_grid import fill_gaps, resample_evenly, to_bright_end
from isocenter.phantom.library import Geometry, VialReference
from isocenter.phantom.numbering import Numbering, number_vials
from isocenter.phantom.place_pattern import NEAR, SEEN, Found, place_pattern, refine
from isocenter.phantom.round_score import score_round
from isocenter.phantom.sharpen import sharpen_balls, sharpen_disks
from isocenter.phantom.symmetry import Placement, find_symmetries, fit_placement
from isocenter.volume import ParameterMap, Series

#: Spacing of the grids on which disks and balls are sought [mm].
DISK_GRID = 1.0
BALL_GRID = 2.0
COARSE_GRID = 2.0  # to choose among many slices
#: Images of a series that are looked at; more echoes of one train add time, not information.
MOST_DISK_IMAGES = 8
MOST_BALL_IMAGES = 3
#: Of the vials this share must be seen, within `NEAR` of where the pattern puts them.
LEAST_SEEN = 0.75
#: Slices at most this share of a vial's diameter apart show it as a ball, if the stack holds at least `BALLS_DEEP`.
THIN = 0.35
BALLS_DEEP = 1.5
#: A mean score in space from which the slices need no look: tubes and poor images stay below 0.3, balls are near 0.9.
CLEAR = 0.5
#: Places that are held against the values: a stack may cut several plates.
MOST_PLATES = 3


@dataclass(frozen=True)
class VialLocations:
    """Where the vials lie in an image.

    vials : (n,) int array; voxels : (n, 3) array, sub-voxel indices; centers : (n, 3) array, RAS+ [mm]
    rotation : of the pattern in the plane of the first two voxel axes [deg]
    is_mirrored : whether the pattern runs the other way round in those axes
    residual : rms distance of the vials seen from the pattern [mm]; n_seen : vials seen
    rank_correlation, runner_up : of the values with the reference, for this numbering and the next best
    confidence : 0 to 1, the smaller of the share of vials seen and the lead of the numbering over the next
    seen : (n,) booleans, the vials that were seen; the others lie where the pattern puts them
    depths : (n,) distances of the vials' middles from the slice [mm]; inside : (n,) shares of their regions that lie
        inside them; None where neither is known (:mod:`slice_cut`)
    """

    vials: np.ndarray
    voxels: np.ndarray
    centers: np.ndarray
    rotation: float
    is_mirrored: bool
    residual: float
    n_seen: int
    rank_correlation: float
    runner_up: float
    confidence: float
    seen: np.ndarray | None = None
    depths: np.ndarray | None = None
    inside: np.ndarray | None = None


@dataclass(frozen=True)
class _Plate:
    """A place of the pattern [mm from the first voxel's center] and the images that its centers are sharpened on."""

    found: Found
    images: np.ndarray
    slice: int | None  # None: in space
    by_wall: bool = False


def locate_vials(
    series: Series,
    parameter_map: ParameterMap,
    geometry: Geometry,
    reference: list[VialReference],
    *,
    centers: np.ndarray | None = None,
) -> VialLocations:
    """Find and number the vials of one array.

    Parameters
    ----------
    series : Series
        (x, y, z, n); one slice or several along the plate, or thin slices any way round.
    parameter_map : ParameterMap
        The map fitted to it, on the same grid; its values tell the numbering.
    geometry : Geometry
        Of the array.
    reference : list of VialReference
        What the vials should read.
    centers : (n, 3) array, optional
        Where a geometry scan of the same session saw the vials, RAS+ [mm], in the geometry's order. The vials are then
        sought within a few millimeters of there, and the values must agree with this numbering.

    Raises
    ------
    CalibrationError
        The pattern is not found, or its numbering is ambiguous.
    """
    spacing = np.sqrt((series.affine[:3, :3] ** 2).sum(axis=0))
    near = NEAR * max(1.0, geometry.sphere_diameter / 20.0)
    if centers is None:
        plates = _find_plates(series, spacing, geometry, near)
    else:
        plates = _follow(series, spacing, geometry, near, np.asarray(centers, dtype=float))
    least = int(np.ceil(LEAST_SEEN * len(geometry.vials)))
    seen = [p for p in plates if p.found.n_seen >= least]
    if not seen and centers is None:
        walls = _plates_in_slices(series, spacing, geometry, near, by_wall=True)
        plates, seen = [*plates, *walls], [p for p in walls if p.found.n_seen >= least]
    if not seen:
        raise CalibrationError(
            explain(
                f"The vials of the {geometry.array} array are not found in the image",
                expected=f"at least {least} of {len(geometry.vials)} round vials in the pattern",
                found=max((p.found.n_seen for p in plates), default=0),
                remedy="check that the slice cuts the plate and holds the whole phantom; look at the picture",
            )
        )
    told, refused = [], []
    for plate in seen:
        try:
            told.append((plate, _number(parameter_map, spacing, geometry, reference, plate)))
        except CalibrationError as error:
            refused.append(error)
    if not told:
        raise refused[0]
    if len(told) > 1:
        raise CalibrationError(
            explain(
                f"Several plates look like the {geometry.array} array",
                expected="one whose values are in the reference's order and range",
                found=f"{len(told)}",
                remedy="give the geometry scan of the session, or a hand-made ROI file",
            )
        )
    plate, numbering = told[0]
    if centers is not None and not _agrees(plate, numbering, geometry):
        raise CalibrationError(
            explain(
                f"The geometry scan and the values disagree about the numbering of the {geometry.array} vials",
                expected="the order of the values under the geometry scan's numbering",
                found=f"a rank correlation of {numbering.rank_correlation:.2f} under another",
                remedy="check that the phantom was not moved between the scans",
            )
        )
    return _locations(series, spacing, geometry, plate, numbering)


def _find_plates(series: Series, spacing: np.ndarray, geometry: Geometry, near: float) -> list[_Plate]:
    """Places where the pattern may lie, in space where the slices are thin enough, else in the slices."""
    depth = series.data.shape[2] * spacing[2]
    least = int(np.ceil(LEAST_SEEN * len(geometry.vials)))
    if spacing[2] <= THIN * geometry.sphere_diameter and depth >= BALLS_DEEP * geometry.sphere_diameter:
        in_space = _plates_in_space(series, spacing, geometry, near)
        if in_space and in_space[0].found.score >= CLEAR and in_space[0].found.n_seen >= least:
            return in_space
        in_slices = _plates_in_slices(series, spacing, geometry, near)
        return max(in_space, in_slices, key=lambda ps: (ps[0].found.n_seen, ps[0].found.score) if ps else (0, 0.0))
    return _plates_in_slices(series, spacing, geometry, near)


def _plates_in_space(series, spacing, geometry, near) -> list[_Plate]:
    images, score = _ball_score(series, spacing, geometry)
    pattern = geometry.centers - np.array([0.0, 0.0, geometry.centers[:, 2].mean()])
    found = place_pattern(score, BALL_GRID, pattern, near=near, most=MOST_PLATES)
    return [_Plate(f, images, None) for f in found]


def _ball_score(series, spacing, geometry) -> tuple[np.ndarray, np.ndarray]:
    chosen = _spread(series.n, MOST_BALL_IMAGES)
    images = np.stack([to_bright_end(fill_gaps(series.data[..., j])) for j in chosen])
    even = np.stack([resample_evenly(image, spacing, BALL_GRID) for image in images])
    return images, score_round(even, geometry.sphere_diameter / 2, BALL_GRID)


def _plates_in_slices(series, spacing, geometry, near, *, by_wall: bool = False) -> list[_Plate]:
    """The best slice, and slices that are clearly other plates: all looked at coarsely, those few in full."""
    pattern = geometry.centers[:, :2]
    slices = range(series.data.shape[2])
    if len(slices) > MOST_PLATES:
        coarse = []
        for k in slices:
            _, score = _disk_score(series, spacing, geometry, k, COARSE_GRID, MOST_BALL_IMAGES, by_wall)
            coarse += [(f.n_seen, f.score, k) for f in _place_coarsely(score, pattern, near)]
        kept: list[int] = []
        for _, _, k in sorted(coarse, key=lambda c: (-c[0], -c[1], c[2])):
            apart = [abs(k - other) * spacing[2] for other in kept]
            if all(a > 1.5 * geometry.sphere_diameter for a in apart) and len(kept) < MOST_PLATES:
                kept.append(k)
        slices = kept
    plates = []
    for k in slices:
        images, score = _disk_score(series, spacing, geometry, k, DISK_GRID, MOST_DISK_IMAGES, by_wall)
        plates += [_Plate(f, images, k, by_wall) for f in place_pattern(score, DISK_GRID, pattern, near=near)]
    plates.sort(key=lambda p: (-p.found.n_seen, -p.found.score))
    # Neighboring slices show the same plate: the best of them stands for it.
    return [p for i, p in enumerate(plates) if all(_is_apart(p, q, spacing, geometry) for q in plates[:i])]


def _place_coarsely(score, pattern, near) -> list[Found]:
    return place_pattern(score, COARSE_GRID, pattern, near=near, most_peaks=3 * len(pattern))


def _is_apart(plate: _Plate, other: _Plate, spacing, geometry) -> bool:
    return abs(plate.slice - other.slice) * spacing[2] > 1.5 * geometry.sphere_diameter


def _disk_score(series, spacing, geometry, k: int, grid: float, most: int, by_wall: bool = False):
    images = np.moveaxis(series.data[:, :, k, _spread(series.n, most)], -1, 0)
    images = np.stack([to_bright_end(resample_evenly(image, spacing[:2], grid)) for image in images])
    return images, score_round(images, geometry.sphere_diameter / 2, grid, by_wall=by_wall)


def _spread(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _follow(series, spacing, geometry, near, centers) -> list[_Plate]:
    """The pattern where a geometry scan predicts it, refined on the series."""
    inverse = np.linalg.inv(series.affine)
    voxels = centers @ inverse[:3, :3].T + inverse[:3, 3]
    thin = spacing[2] <= THIN * geometry.sphere_diameter
    if thin and series.data.shape[2] * spacing[2] >= BALLS_DEEP * geometry.sphere_diameter:
        pattern = geometry.centers - np.array([0.0, 0.0, geometry.centers[:, 2].mean()])
        start = fit_placement(pattern, voxels * spacing, is_mirrored=None)
        images, score = _ball_score(series, spacing, geometry)
        return [_Plate(refine(score, BALL_GRID, pattern, start, near), images, None)]
    pattern = geometry.centers[:, :2]
    k = int(np.clip(np.rint(np.median(voxels[:, 2])), 0, series.data.shape[2] - 1))
    across = float(np.abs(np.median(voxels[:, 2]) - k) * spacing[2])
    if across > 0.5 * geometry.sphere_diameter + 0.5 * spacing[2]:
        raise CalibrationError(
            explain(
                f"The slices do not cut the {geometry.array} plate",
                expected="a slice within a vial's radius of the plate, by the geometry scan",
                found=f"{across:.0f} mm away",
                remedy="check which plate the series was planned on",
            )
        )
    start = fit_placement(pattern, voxels[:, :2] * spacing[:2], is_mirrored=None)
    images, score = _disk_score(series, spacing, geometry, k, DISK_GRID, MOST_DISK_IMAGES)
    return [_Plate(refine(score, DISK_GRID, pattern, start, near), images, k)]


def _number(parameter_map, spacing, geometry, reference, plate: _Plate) -> Numbering:
    flat = geometry.centers[:, :2]
    base = plate.found.placement
    candidates = [base.after(_in_space(s) if plate.slice is None else s) for s in find_symmetries(flat, NEAR)]

    def to_voxels(placement: Placement) -> np.ndarray:
        return _voxels(placement(_pattern(geometry, plate)), spacing, plate)

    return number_vials(parameter_map, spacing, geometry, reference, candidates, to_voxels)


def _in_space(flat: Placement) -> Placement:
    turn, shift = np.eye(3), np.zeros(3)
    turn[:2, :2], shift[:2] = flat.turn, flat.shift
    return Placement(turn, shift)


def _pattern(geometry: Geometry, plate: _Plate) -> np.ndarray:
    if plate.slice is not None:
        return geometry.centers[:, :2]
    return geometry.centers - np.array([0.0, 0.0, geometry.centers[:, 2].mean()])


def _voxels(points: np.ndarray, spacing: np.ndarray, plate: _Plate) -> np.ndarray:
    if plate.slice is None:
        return points / spacing
    return np.column_stack([points / spacing[:2], np.full(len(points), float(plate.slice))])


def _agrees(plate: _Plate, numbering: Numbering, geometry: Geometry) -> bool:
    pattern = _pattern(geometry, plate)
    apart = np.linalg.norm(plate.found.placement(pattern) - numbering.placement(pattern), axis=1)
    return bool(apart.max() < geometry.sphere_diameter / 2)


def _locations(series, spacing, geometry, plate: _Plate, numbering: Numbering) -> VialLocations:
    """The vials' own centers, in the numbering's order."""
    radius = geometry.sphere_diameter / 2
    points = numbering.placement(_pattern(geometry, plate))
    apart = np.linalg.norm(points[:, None] - plate.found.points[None], axis=2).argmin(axis=1)
    seen = plate.found.seen[apart]
    if plate.slice is None:
        fine, heights = sharpen_balls(plate.images, spacing, plate.found.points[apart], radius)
        points = np.where((heights >= SEEN)[:, None] & seen[:, None], fine, points)
    elif plate.by_wall:
        points = np.where(seen[:, None], plate.found.points[apart], points)
    else:
        # Where no vial was seen, an edge near by is something else's.
        points = np.where(seen[:, None], sharpen_disks(plate.images, points, radius, DISK_GRID), points)
    voxels = _voxels(points, spacing, plate)
    turn = numbering.placement.turn
    return VialLocations(
        vials=geometry.vials,
        voxels=voxels,
        centers=voxels @ series.affine[:3, :3].T + series.affine[:3, 3],
        rotation=float(np.degrees(np.arctan2(-turn[0, 1], turn[1, 1])) % 360.0),
        is_mirrored=bool(np.linalg.det(turn[:2, :2]) < 0),
        residual=plate.found.residual,
        n_seen=plate.found.n_seen,
        rank_correlation=numbering.rank_correlation,
        runner_up=numbering.runner_up,
        confidence=float(min(plate.found.n_seen / len(points), numbering.lead)),
        seen=seen,
    )
