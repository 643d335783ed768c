"""Finding a phantom's vials in a quantitative series, from the phantom's published geometry alone.

A vial is a disk that differs from its surroundings in at least some images of the series. A normalized
cross-correlation with a disk, blind to the sign of the contrast, is made for every image; the pattern of all vials
is then laid over the sum at every position and rotation. What the pattern cannot tell (it maps onto itself by half
a turn and by a mirror) the measured values tell: their rank order must be that of the reference. Rotation and
mirror are searched, so the phantom may lie either way in the scanner. Where the answer is not clear, it is refused.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from isocenter.errors import CalibrationError, explain
from isocenter.phantom.library import Geometry, VialReference
from isocenter.volume import ParameterMap, Series

#: Spacing of the grid on which disks are sought [mm].
GRID = 1.0
#: Images of a series that are looked at; more echoes of one train add time, not information.
MOST_IMAGES = 12
#: Steps of the rotation search [deg]; at 50 mm radius a step moves a vial by 1.7 mm, an eighth of a disk.
ROTATION_STEP = 2.0
#: A vial counts as seen where the mean squared correlation reaches this share (air and plain fluid stay below 0.1).
SEEN = 0.2
#: Of the vials this share must be seen, within `NEAR` of where the pattern puts them.
LEAST_SEEN = 0.75
NEAR = 3.0  # mm
#: The rank correlation that the right numbering must reach, and its lead over the next best. Real sessions give
#: 0.98–1.00 for the right one and at most 0.77 for the next (both arrays of the ISMRM/NIST phantom).
LEAST_RANK_CORRELATION = 0.90
LEAST_LEAD = 0.10
#: No scanner is this far off; another plate, whose order is the same, is (a factor of 2.7 for T2, 2.9 for T1).
MOST_RATIO = 1.6
#: Values at fewer vials than this cannot tell the numbering.
LEAST_VALUES = 8


@dataclass(frozen=True)
class VialLocations:
    """Where the vials lie in an image.

    vials : (n,) int array; voxels : (n, 3) array, sub-voxel indices; centers : (n, 3) array, RAS+ [mm]
    rotation : of the pattern in the plane of the first two voxel axes [deg]
    is_mirrored : whether the pattern runs the other way round in those axes
    residual : rms distance of the disks found from the pattern [mm]; n_seen : disks found
    rank_correlation, runner_up : of the values with the reference, for this numbering and the next best
    confidence : 0 to 1, the smaller of the share of vials seen and the lead of the numbering over the next
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


def locate_vials(
    series: Series, parameter_map: ParameterMap, geometry: Geometry, reference: list[VialReference]
) -> VialLocations:
    """Find and number the vials of one array in a series whose slices lie along the plate.

    Parameters
    ----------
    series : Series
        (x, y, z, n); one slice or several, the third axis across the plate.
    parameter_map : ParameterMap
        The map fitted to it, on the same grid; its values tell the numbering.
    geometry : Geometry
        Of the array.
    reference : list of VialReference
        What the vials should read.

    Raises
    ------
    CalibrationError
        The pattern is not found, or its numbering is ambiguous.
    """
    spacing = np.sqrt((series.affine[:3, :3] ** 2).sum(axis=0))
    pattern = geometry.centers[:, :2]
    radius = geometry.sphere_diameter / 2
    best = None
    for k in range(series.data.shape[2]):
        planes = _planes(series.data[:, :, k, :], spacing[:2])
        score = _disk_score(planes, radius)
        found = _lay_pattern(score, pattern)
        if best is None or found[0] > best[0]:
            best = (*found, k, score, planes)
    _, center, angle, k, score, planes = best
    pose, seen, residual = _refine(score, pattern, center, angle)
    n_seen = int(seen.sum())
    if n_seen < LEAST_SEEN * len(pattern):
        raise CalibrationError(
            explain(
                f"The vials of the {geometry.array} array are not found in the image",
                expected=f"at least {int(np.ceil(LEAST_SEEN * len(pattern)))} of {len(pattern)} disks in the pattern",
                found=f"{n_seen}",
                remedy="check that the slice cuts the plate and holds the whole phantom; look at the picture",
            )
        )
    points, numbering = _number(parameter_map, spacing, geometry, reference, pose, k)
    points = _sharpen(planes, points, radius)
    voxels = np.column_stack([points / spacing[:2], np.full(len(points), float(k))])
    lead = (numbering["rank_correlation"] - numbering["runner_up"]) / (2 * LEAST_LEAD)
    return VialLocations(
        vials=geometry.vials,
        voxels=voxels,
        centers=voxels @ series.affine[:3, :3].T + series.affine[:3, 3],
        residual=residual,
        n_seen=n_seen,
        confidence=float(min(n_seen / len(points), lead, 1.0)),
        **numbering,
    )


def _planes(images: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(n, u, v) images on a 1 mm grid, each in units of its bright end; images : (x, y, m) array, spacing [mm]."""
    m = images.shape[2]
    chosen = np.unique(np.linspace(0, m - 1, min(m, MOST_IMAGES)).round().astype(int))
    extent = (np.array(images.shape[:2]) - 1) * spacing
    u, v = (np.arange(0.0, e + 1e-6, GRID) for e in extent)
    at = np.meshgrid(u / spacing[0], v / spacing[1], indexing="ij")
    planes = []
    for j in chosen:
        image = np.nan_to_num(np.asarray(images[:, :, j], dtype=float))
        plane = ndimage.map_coordinates(image, at, order=1, mode="nearest")
        planes.append(plane / max(np.percentile(plane, 99), 1e-12))
    return np.stack(planes)


def _disk_score(planes: np.ndarray, radius: float) -> np.ndarray:
    """(u, v) array, 0 to 1: how much each point of the grid looks like the center of a disk of `radius` [mm]."""
    inside, around = _disk_kernels(radius)
    n_in, n_around = inside.sum(), around.sum()
    count = n_in + n_around
    size = planes.shape[1:]
    shape = [fft.next_fast_len(s + inside.shape[0], real=True) for s in size]
    f_inside, f_around = (fft.rfft2(kernel, shape) for kernel in (inside, around))
    half = inside.shape[0] // 2

    def correlate(f_kernel, f_image):
        full = fft.irfft2(f_image * f_kernel, shape)
        return full[half : half + size[0], half : half + size[1]]

    total = np.zeros(size)
    for plane in planes:
        f_plane, f_square = fft.rfft2(plane, shape), fft.rfft2(plane**2, shape)
        sum_in, sum_around = correlate(f_inside, f_plane), correlate(f_around, f_plane)
        square = correlate(f_inside + f_around, f_square)
        variance = square / count - ((sum_in + sum_around) / count) ** 2
        between = (n_in * n_around / count**2) * (sum_in / n_in - sum_around / n_around) ** 2
        # The floor keeps air, whose noise has structure too, from looking like anything.
        total += between / (np.maximum(variance, 0) + 0.02**2)
    return total / len(planes)


def _disk_kernels(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The disk's inside and the ring around it; between them lies the wall, which may or may not show."""
    reach = int(np.ceil((radius + 3.5) / GRID))
    grid = np.arange(-reach, reach + 1) * GRID
    r = np.hypot(*np.meshgrid(grid, grid, indexing="ij"))
    return (r <= radius - 2.5).astype(float), ((r >= radius + 0.5) & (r <= radius + 3.5)).astype(float)


def _lay_pattern(score: np.ndarray, pattern: np.ndarray) -> tuple[float, np.ndarray, float]:
    """The pattern's best place: mean score under the vials, (2,) center [mm] and angle [deg].

    Half a turn is enough: the pattern is its own image after half a turn, which the values tell apart later.
    """
    coarse = ndimage.uniform_filter(score, 3)[::2, ::2]
    step = 2 * GRID
    reach = int(np.ceil(np.abs(pattern).max() * np.sqrt(2) / step)) + 1
    shape = [fft.next_fast_len(s + 2 * reach) for s in coarse.shape]
    f_score = fft.rfft2(coarse, shape)
    best = (-np.inf, np.zeros(2), 0.0)
    for angle in np.arange(0.0, 180.0, ROTATION_STEP):
        points = np.rint(_turn(pattern, angle) / step).astype(int)
        kernel = np.zeros(shape)
        # Correlation: a vial at +p is read at center + p, so the kernel holds it at −p (wrapped).
        np.add.at(kernel, (-points[:, 0] % shape[0], -points[:, 1] % shape[1]), 1.0)
        laid = fft.irfft2(f_score * fft.rfft2(kernel), shape)[: coarse.shape[0], : coarse.shape[1]]
        peak = np.unravel_index(np.argmax(laid), laid.shape)
        value = laid[peak] / len(pattern)
        if value > best[0] + 1e-12:
            best = (float(value), np.array(peak) * step, float(angle))
    return best


def _refine(score, pattern, center, angle):
    """Least squares of the rigid pattern on the sub-grid peaks near its vials, a few rounds."""
    seen = np.zeros(len(pattern), bool)
    for reach in (5.0, 4.0, NEAR, NEAR):
        predicted = _turn(pattern, angle) + center
        peaks, heights = _peaks_near(score, predicted, reach)
        seen = heights >= SEEN
        if seen.sum() < 4:
            return (center, angle), seen, np.inf
        center, angle = _fit_rigid(pattern[seen], peaks[seen])
    predicted = _turn(pattern, angle) + center
    distance = np.hypot(*(peaks - predicted).T)
    seen &= distance <= NEAR
    center, angle = _fit_rigid(pattern[seen], peaks[seen])
    residual = float(np.sqrt((((_turn(pattern, angle) + center - peaks)[seen]) ** 2).sum(axis=1).mean()))
    return (center, angle), seen, residual


def _peaks_near(score, points, reach):
    """The highest score within `reach` [mm] of each point, by a parabola to a fraction of the grid."""
    peaks, heights = np.array(points, dtype=float), np.zeros(len(points))
    r = int(np.ceil(reach / GRID))
    for i, (u, v) in enumerate(np.rint(points / GRID).astype(int)):
        if not (r < u < score.shape[0] - r - 1 and r < v < score.shape[1] - r - 1):
            continue
        window = score[u - r : u + r + 1, v - r : v + r + 1]
        a, b = np.unravel_index(np.argmax(window), window.shape)
        cu, cv = u - r + a, v - r + b
        heights[i] = score[cu, cv]
        peaks[i] = (
            (cu + _vertex(score[cu - 1 : cu + 2, cv])) * GRID,
            (cv + _vertex(score[cu, cv - 1 : cv + 2])) * GRID,
        )
    return peaks, heights


def _vertex(three: np.ndarray) -> float:
    """Where the parabola through three equally spaced samples has its top, from −0.5 to 0.5 of a step."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def _fit_rigid(pattern: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    """Rotation [deg] and center [mm] that bring (n, 2) `pattern` nearest to `points`."""
    p, q = pattern - pattern.mean(axis=0), points - points.mean(axis=0)
    angle = np.arctan2((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum(), (p * q).sum())
    angle = float(np.degrees(angle))
    return points.mean(axis=0) - _turn(pattern.mean(axis=0), angle), angle


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    """(…, 2) points turned by `angle` [deg]."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return points @ np.array([[c, s], [-s, c]])


def _sharpen(planes: np.ndarray, points: np.ndarray, radius: float) -> np.ndarray:
    """Each vial's own center [mm], within 2.5 mm of where the pattern puts it: spheres sit loosely in their plates.

    The wall of a vial is an edge in every image, whatever is inside and around: its center is where the circle of
    the best radius gathers the most edge. Where no circle stands out, the pattern's point stays.
    """
    edge = np.zeros(planes.shape[1:])
    for plane in planes:
        gradient = np.gradient(ndimage.gaussian_filter(plane, 0.7))
        edge += gradient[0] ** 2 + gradient[1] ** 2
    edge = np.sqrt(edge)
    reach, step = 2.5, 0.5
    shift = np.arange(-reach, reach + step / 2, step)
    angle = np.radians(np.arange(0.0, 360.0, 6.0))
    sharp = points.copy()
    for i, point in enumerate(points):
        gathered = np.zeros((len(shift), len(shift)))
        for r in np.arange(radius - 2.5, radius + 0.75, 0.5):
            u = point[0] + shift[:, None, None] + r * np.cos(angle)
            v = point[1] + shift[None, :, None] + r * np.sin(angle)
            u, v = np.broadcast_arrays(u, v)
            circle = ndimage.map_coordinates(edge, [u / GRID, v / GRID], order=1, mode="nearest").mean(axis=-1)
            gathered = np.maximum(gathered, circle)
        a, b = np.unravel_index(np.argmax(gathered), gathered.shape)
        inner = 0 < a < len(shift) - 1 and 0 < b < len(shift) - 1
        if inner and gathered[a, b] > 1.1 * np.median(gathered):
            sharp[i, 0] += shift[a] + step * _vertex(gathered[a - 1 : a + 2, b])
            sharp[i, 1] += shift[b] + step * _vertex(gathered[a, b - 1 : b + 2])
    return sharp


def _number(
    parameter_map: ParameterMap,
    spacing: np.ndarray,
    geometry: Geometry,
    reference: list[VialReference],
    pose: tuple[np.ndarray, float],
    k: int,
) -> tuple[np.ndarray, dict[str, float | bool]]:
    """The vials' (n, 2) points [mm], numbered by the rank order of the values, and how sure that is."""
    from scipy.stats import rankdata

    center, angle = pose
    pattern = geometry.centers[:, :2]
    expected = {r.vial: r.value for r in reference if r.flag == "ok"}
    candidates = []
    for is_mirrored in (False, True):
        for extra in (0.0, 180.0):
            # The pattern is symmetric about its y axis: the mirrored one lies under the same disks.
            seen_as = pattern * np.array([-1.0, 1.0]) if is_mirrored else pattern
            points = _turn(seen_as, angle + extra) + center
            values = np.array([_crude_value(parameter_map, p, spacing, k) for p in points])
            usable = np.array([v in expected for v in geometry.vials.tolist()]) & np.isfinite(values)
            if usable.sum() < LEAST_VALUES:
                raise CalibrationError(
                    explain(
                        "Too few vials have a value: their numbering cannot be told",
                        expected=f"at least {LEAST_VALUES}",
                        found=int(usable.sum()),
                        remedy="check the fit of the phantom series",
                    )
                )
            known = np.array([expected[v] for v in geometry.vials[usable].tolist()])
            correlation = _correlate(rankdata(values[usable]), rankdata(known))
            ratio = float(np.exp(np.median(np.log(np.maximum(values[usable], 1e-9) / known))))
            candidates.append((correlation, is_mirrored, (angle + extra) % 360.0, points, ratio))
    candidates.sort(key=lambda c: -c[0])
    (first, is_mirrored, rotation, points, ratio), runner_up = candidates[0], candidates[1][0]
    if first < LEAST_RANK_CORRELATION or first - runner_up < LEAST_LEAD:
        raise CalibrationError(
            explain(
                f"The numbering of the {geometry.array} vials is ambiguous",
                expected=f"a rank correlation of {LEAST_RANK_CORRELATION} or more with the reference, "
                f"{LEAST_LEAD} above the next best",
                found=f"{first:.2f} and {runner_up:.2f}",
                remedy="check the phantom's serial and which plate the slice cuts",
            )
        )
    if not 1 / MOST_RATIO <= ratio <= MOST_RATIO:
        raise CalibrationError(
            explain(
                f"The values are not those of the {geometry.array} vials",
                expected=f"a median within a factor of {MOST_RATIO} of the reference",
                found=f"a factor of {ratio:.2f}",
                remedy="check which plate the slice cuts, the phantom's serial and the unit of the times",
            )
        )
    told = {
        "rotation": float(rotation),
        "is_mirrored": is_mirrored,
        "rank_correlation": first,
        "runner_up": runner_up,
    }
    return points, told


def _correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; 0 where one side does not vary."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def _crude_value(parameter_map: ParameterMap, point: np.ndarray, spacing: np.ndarray, k: int) -> float:
    """Median of the map within 4 mm of a point [mm] of slice `k`; NaN when less than a third of it has a value."""
    plane, ok = parameter_map.value[:, :, k], parameter_map.ok[:, :, k]
    i, j = np.ogrid[: plane.shape[0], : plane.shape[1]]
    near = (i * spacing[0] - point[0]) ** 2 + (j * spacing[1] - point[1]) ** 2 <= 4.0**2
    good = near & ok
    return float(np.median(plane[good])) if near.any() and good.sum() * 3 >= near.sum() else np.nan
