"""How much each point of an image looks like the center of a disk or a ball of a given radius."""

from functools import lru_cache

import numpy as np
from scipy import ndimage

#: Half the thickness of what is looked at around the edge [mm]: inside it and around it lies what is compared. Between
#: them lies the wall, which may or may not show.
WALL = 2.5
GAP = 0.5
RING = 3.5
#: Variance of plain noise, in squares of the bright end: it keeps air, whose noise has structure, from looking round.
FLOOR = 0.02**2
#: Where the wall may lie, and what is looked at beyond it, from the vial's edge [mm]: a definition may give the
#: diameter inside of the wall or outside of it.
WALL_SPAN = (-1.5, 1.5)
BEYOND = (2.0, 4.5)


def score_round(images: np.ndarray, radius: float, grid: float, *, by_wall: bool = False) -> np.ndarray:
    """Share of the variance near each point that is a difference between inside and around, 0 to 1, blind to its sign.

    Parameters
    ----------
    images : (m, u, v) or (m, u, v, w) array
        On a grid of equal steps; each in units of its bright end.
    radius : float
        Of the disk or ball [mm].
    grid : float
        Step [mm].
    by_wall : bool
        Instead the share that is a difference between the wall and what lies on both sides of it: a vial of water in
        water differs from its surroundings by nothing else.

    Returns
    -------
    (u, v) or (u, v, w) array
        Mean over the images.
    """
    from scipy import fft  # slow to import; steps that find no phantom import this module, too

    size = images.shape[1:]
    shape, reach, n_in, n_around, f_inside, f_around = _spectra(radius, grid, size, by_wall)
    count = n_in + n_around
    crop = tuple(slice(reach // 2, reach // 2 + s) for s in size)
    total = np.zeros(size)
    for image in images:
        image = np.asarray(image, dtype=np.float32 if images.ndim == 4 else np.float64)
        f_image = fft.rfftn(image, shape)
        sum_in = fft.irfftn(f_image * f_inside, shape)[crop]
        sum_around = fft.irfftn(f_image * f_around, shape)[crop]
        square = fft.irfftn(fft.rfftn(image**2, shape) * (f_inside + f_around), shape)[crop]
        variance = square / count - ((sum_in + sum_around) / count) ** 2
        between = (n_in * n_around / count**2) * (sum_in / n_in - sum_around / n_around) ** 2
        total += between / (np.maximum(variance, 0) + FLOOR)
    return total / len(images)


@lru_cache(maxsize=16)
def _spectra(radius: float, grid: float, size: tuple[int, ...], by_wall: bool = False):
    """The padded shape, the kernels' reach and weights, and the spectra of inside and around, for images of a size."""
    from scipy import fft

    inside, around = (_wall_kernels if by_wall else _kernels)(radius, grid, len(size))
    shape = [fft.next_fast_len(s + inside.shape[0], real=True) for s in size]
    spectra = (fft.rfftn(kernel, shape) for kernel in (inside, around))
    return shape, inside.shape[0], float(inside.sum()), float(around.sum()), *spectra


def find_peaks(score: np.ndarray, least: float, most: int) -> np.ndarray:
    """(p, d) array, sub-grid indices of the `most` highest local maxima above `least`, the highest first."""
    top = (score == ndimage.maximum_filter(score, 5)) & (score >= least)
    at = np.argwhere(top)
    heights = score[top]
    return peak_vertex(score, at[np.argsort(-heights, kind="stable")[:most]])


def peak_vertex(score: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(p, d) sub-grid places of maxima at the (p, d) indices `at`, a parabola along each axis."""
    fine = at.astype(float)
    for axis in range(at.shape[1]):
        inner = (at[:, axis] > 0) & (at[:, axis] < score.shape[axis] - 1)
        step = np.zeros(at.shape[1], dtype=int)
        step[axis] = 1
        here = at[inner]
        before, middle, after = (score[tuple((here + s * step).T)] for s in (-1, 0, 1))
        bend = before - 2 * middle + after
        safe = np.where(bend < 0, bend, -np.inf)
        fine[inner, axis] += np.clip(0.5 * (before - after) / safe, -0.5, 0.5)
    return fine


def peaks_near(score: np.ndarray, points: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The highest score within `reach` of each point, all in grid steps: its sub-grid place and its height.

    points : (p, d) array. A point whose neighborhood leaves the image keeps its place and has height 0.
    """
    r = int(np.ceil(reach))
    found, heights = np.array(points, dtype=float), np.zeros(len(points))
    ball = np.sqrt(sum(g.astype(float) ** 2 for g in np.ogrid[(slice(-r, r + 1),) * score.ndim])) <= reach + 0.5
    for i, middle in enumerate(np.rint(points).astype(int)):
        if (middle < r).any() or (middle >= np.array(score.shape) - r).any():
            continue
        window = np.where(ball, score[tuple(slice(m - r, m + r + 1) for m in middle)], -1.0)
        at = np.array(np.unravel_index(np.argmax(window), window.shape)) + middle - r
        heights[i] = score[tuple(at)]
        found[i] = peak_vertex(score, at[None])[0]
    return found, heights


def _kernels(radius: float, grid: float, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """The inside and the shell around it, float32 in three dimensions, where speed counts."""
    r = _distances(radius + RING, grid, dimensions)
    kind = np.float32 if dimensions == 3 else np.float64
    return (r <= radius - WALL).astype(kind), ((r >= radius + GAP) & (r <= radius + RING)).astype(kind)


def _wall_kernels(radius: float, grid: float, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """The wall, and what lies inside of it and beyond."""
    r = _distances(radius + BEYOND[1], grid, dimensions)
    kind = np.float32 if dimensions == 3 else np.float64
    wall = (r >= radius + WALL_SPAN[0]) & (r <= radius + WALL_SPAN[1])
    rest = (r <= radius - WALL) | ((r >= radius + BEYOND[0]) & (r <= radius + BEYOND[1]))
    return wall.astype(kind), rest.astype(kind)


def _distances(most: float, grid: float, dimensions: int) -> np.ndarray:
    reach = int(np.ceil(most / grid))
    axis = np.arange(-reach, reach + 1) * grid
    return np.sqrt(sum(g**2 for g in np.meshgrid(*[axis] * dimensions, indexing="ij")))
