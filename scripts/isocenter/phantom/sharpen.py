"""Each vial's own center: spheres sit loosely in their plates, up to 2 mm off the design."""

import numpy as np
from scipy import ndimage

from isocenter.phantom.even_grid import resample_evenly
from isocenter.phantom.round_score import RING, peaks_near, score_round

#: How far from where it was seen a center may move [mm], and the step of the search.
REACH = 2.5
STEP = 0.5
#: Spacing of the grid on which single spheres are looked at [mm].
FINE = 1.0


def sharpen_disks(planes: np.ndarray, points: np.ndarray, radius: float, grid: float) -> np.ndarray:
    """Each vial's own center [mm], within 2.5 mm of where the pattern puts it: spheres sit loosely in their plates.

    The wall of a vial is an edge in every image, whatever is inside and around: its center is where the circle of
    the best radius gathers the most edge. Where no circle stands out, the pattern's point stays.
    """
    edge = np.zeros(planes.shape[1:])
    for plane in planes:
        gradient = np.gradient(ndimage.gaussian_filter(plane, 0.7))
        edge += gradient[0] ** 2 + gradient[1] ** 2
    edge = np.sqrt(edge)
    shift = np.arange(-REACH, REACH + STEP / 2, STEP)
    angle = np.radians(np.arange(0.0, 360.0, 6.0))
    sharp = points.copy()
    for i, point in enumerate(points):
        gathered = np.zeros((len(shift), len(shift)))
        for r in np.arange(radius - 2.5, radius + 0.75, 0.5):
            u = point[0] + shift[:, None, None] + r * np.cos(angle)
            v = point[1] + shift[None, :, None] + r * np.sin(angle)
            u, v = np.broadcast_arrays(u, v)
            circle = ndimage.map_coordinates(edge, [u / grid, v / grid], order=1, mode="nearest").mean(axis=-1)
            gathered = np.maximum(gathered, circle)
        a, b = np.unravel_index(np.argmax(gathered), gathered.shape)
        inner = 0 < a < len(shift) - 1 and 0 < b < len(shift) - 1
        if inner and gathered[a, b] > 1.1 * np.median(gathered):
            sharp[i, 0] += shift[a] + STEP * vertex(gathered[a - 1 : a + 2, b])
            sharp[i, 1] += shift[b] + STEP * vertex(gathered[a, b - 1 : b + 2])
    return sharp


def sharpen_balls(
    images: np.ndarray, spacing: np.ndarray, points: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each sphere's own (n, 3) center [mm from the first voxel's center], within 2 mm, and its (n,) score there.

    images : (m, x, y, z) array, each in units of its bright end; spacing : (3,) array [mm]; points : (n, 3) array [mm]
    """
    size = np.array(images.shape[1:])
    fine, heights = np.array(points, dtype=float), np.zeros(len(points))
    reach = radius + RING + 2.5
    for i, point in enumerate(points):
        low = np.clip(np.floor((point - reach) / spacing).astype(int), 0, size - 1)
        high = np.clip(np.ceil((point + reach) / spacing).astype(int) + 1, 0, size)
        if (high - low < 3).any():
            continue
        crop = images[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
        even = np.stack([resample_evenly(image, spacing, FINE) for image in crop])
        score = score_round(even, radius, FINE)
        found, height = peaks_near(score, ((point - low * spacing) / FINE)[None], 2.0 / FINE)
        fine[i], heights[i] = found[0] * FINE + low * spacing, height[0]
    return fine, heights


def vertex(three: np.ndarray) -> float:
    """Where the parabola through three equally spaced samples has its top, from −0.5 to 0.5 of a step."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / bend, -0.5, 0.5)) if bend < 0 else 0.0
