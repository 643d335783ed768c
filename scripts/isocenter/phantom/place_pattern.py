"""Where a pattern of points lies among the peaks of a score, in two or three dimensions, any way round.

Two peaks (three in space) that are as far apart as two points of the pattern say where the whole pattern would lie; the
score under all its points says whether it does. All such hypotheses are cheap, so they are all tried: no start is
needed, and no direction is preferred.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from isocenter.phantom.round_score import find_peaks, peaks_near
from isocenter.phantom.symmetry import Placement, fit_placement, is_own_mirror

#: Peaks that are tried; a pattern has 13 to 42 points, and other things are round too (fiducials, bolts).
MOST_PEAKS = 90
#: Peaks below this are noise.
LEAST_PEAK = 0.15
#: A point counts as seen where the score reaches this share (air and plain fluid stay below 0.1), within `NEAR` of its
#: place. Vials sit up to 2 mm off their design place in their plates.
SEEN = 0.2
NEAR = 3.0  # mm
#: Pairs of the pattern tried in a plane and triples in space; each finds the pattern if its own vials are seen.
PAIRS = 50
TRIPLES = 40


@dataclass(frozen=True)
class Found:
    """A placed pattern.

    placement : of the pattern in the grid's frame [mm]; score : mean under its points, 0 to 1
    points : (n, d) array, where each point was seen [mm], or is by the pattern; seen : (n,) booleans
    residual : rms distance of the points seen from the pattern [mm]
    """

    placement: Placement
    score: float
    points: np.ndarray
    seen: np.ndarray
    residual: float

    @property
    def n_seen(self) -> int:
        """How many points were seen."""
        return int(self.seen.sum())


def place_pattern(
    score: np.ndarray,
    grid: float,
    pattern: np.ndarray,
    *,
    near: float = NEAR,
    most: int = 1,
    most_peaks: int = MOST_PEAKS,
) -> list[Found]:
    """The best places of an (n, d) `pattern` [mm] on a d-dimensional `score`, the best first; [] when no peaks fit.

    Places that share points with a better one are the same under the pattern's own symmetry and are left out.
    """
    peaks = find_peaks(score, LEAST_PEAK, most_peaks) * grid
    if len(peaks) < pattern.shape[1] + 1:
        return []
    turns, shifts = _hypotheses(peaks, pattern, near)
    if not len(turns):
        return []
    heights = _mean_under(score, grid, turns, shifts, pattern)
    found: list[Found] = []
    for i in np.argsort(-heights, kind="stable")[:400]:
        if len(found) >= most or (found and heights[i] < 0.4 * found[0].score):
            break
        start = Placement(turns[i], shifts[i])
        if any(_is_same(start(pattern), other.placement(pattern), near) for other in found):
            continue
        refined = refine(score, grid, pattern, start, near)
        if not any(_is_same(refined.placement(pattern), other.placement(pattern), near) for other in found):
            found.append(refined)
    return sorted(found, key=lambda f: (-f.n_seen, -f.score))


def refine(score: np.ndarray, grid: float, pattern: np.ndarray, start: Placement, near: float) -> Found:
    """Least squares of the pattern on the sub-grid peaks near its points, a few rounds."""
    placement = start
    # A flat pattern says nothing about its own mirror in space: it keeps the handedness that it came with.
    for reach in (near + 2.0, near + 1.0, near, near):
        peaks, heights = peaks_near(score, placement(pattern) / grid, reach / grid)
        seen = heights >= SEEN
        if seen.sum() < 4:
            break
        placement = fit_placement(pattern[seen], peaks[seen] * grid, is_mirrored=start.is_mirrored)
    places = placement(pattern)
    peaks, heights = peaks_near(score, places / grid, near / grid)
    distance = np.linalg.norm(peaks * grid - places, axis=1)
    seen = (heights >= SEEN) & (distance <= near)
    points = np.where(seen[:, None], peaks * grid, places)
    residual = float(np.sqrt((distance[seen] ** 2).mean())) if seen.any() else np.inf
    return Found(placement, float(heights.mean()), points, seen, residual)


def _is_same(a: np.ndarray, b: np.ndarray, near: float) -> bool:
    """Whether two placed patterns share most of their places, whatever their numbers."""
    distance = np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1)
    return bool((distance < 2 * near).mean() > 0.5)


def _hypotheses(peaks: np.ndarray, pattern: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
    """(h, d, d) turns and (h, d) shifts that lay a few points of the pattern on peaks."""
    between = np.linalg.norm(peaks[:, None] - peaks[None], axis=2)
    d = pattern.shape[1]
    turns, shifts = [], []
    # A pattern that is its own mirror image, as every flat one is in space, needs no second hypothesis for it.
    mirrors = (1.0,) if _is_own_mirror(pattern.tobytes(), pattern.shape, near) else (1.0, -1.0)
    for chosen in _choices(pattern):
        legs = {(i, j): np.linalg.norm(pattern[chosen[i]] - pattern[chosen[j]]) for i, j in combinations(range(d), 2)}
        fits = {pair: np.abs(between - leg) < near for pair, leg in legs.items()}
        at = np.argwhere(fits[0, 1] & ~np.eye(len(peaks), dtype=bool))
        if d == 3 and len(at):
            third = fits[0, 2][at[:, 0]] & fits[1, 2][at[:, 1]]
            row, k = np.nonzero(third)
            at = np.column_stack([at[row], k])
        if not len(at):
            continue
        places = peaks[at]
        frame, target = _frames(pattern[list(chosen)][None])[0], _frames(places)
        for mirror in mirrors:
            fix = np.ones(d)
            fix[-1] = mirror
            turn = (target * fix) @ frame.T
            turns.append(turn)
            shifts.append(places.mean(axis=1) - turn @ pattern[list(chosen)].mean(axis=0))
    if not turns:
        return np.zeros((0, d, d)), np.zeros((0, d))
    return np.concatenate(turns), np.concatenate(shifts)


@lru_cache(maxsize=8)
def _is_own_mirror(pattern: bytes, shape: tuple[int, ...], near: float) -> bool:
    return is_own_mirror(np.frombuffer(pattern).reshape(shape), near)


def _choices(pattern: np.ndarray) -> list[tuple[int, ...]]:
    """Pairs of the pattern's points, or triples in space that are far apart and not in line, always the same ones."""
    if pattern.shape[1] == 2:
        pairs = np.array(list(combinations(range(len(pattern)), 2)))
        apart = np.linalg.norm(pattern[pairs[:, 0]] - pattern[pairs[:, 1]], axis=1)
        wide = pairs[apart >= 0.4 * apart.max()]
        return [tuple(p) for p in wide[np.random.default_rng(0).permutation(len(wide))[:PAIRS]].tolist()]
    triples = np.array(list(combinations(range(len(pattern)), 3)))
    a, b, c = (pattern[triples[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    wide = triples[area >= 0.6 * area.max()]
    chosen = np.random.default_rng(0).permutation(len(wide))[:TRIPLES]
    return [tuple(t) for t in wide[chosen].tolist()]


def _frames(points: np.ndarray) -> np.ndarray:
    """(h, d, d) orthonormal axes of (h, d, d) points, axes as columns."""
    first = points[:, 1] - points[:, 0]
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    if points.shape[2] == 2:
        return np.stack([first, first[:, ::-1] * np.array([-1.0, 1.0])], axis=2)
    normal = np.cross(first, points[:, 2] - points[:, 0])
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return np.stack([first, np.cross(normal, first), normal], axis=2)


def _mean_under(score, grid, turns, shifts, pattern) -> np.ndarray:
    """(h,) mean score at the pattern's points under each hypothesis, the score dilated by one step."""
    from scipy import ndimage

    wide = ndimage.maximum_filter(score, 3)
    size = np.array(score.shape)
    means = np.empty(len(turns))
    for part in range(0, len(turns), 20000):
        chosen = slice(part, part + 20000)
        places = pattern @ np.swapaxes(turns[chosen], 1, 2) + shifts[chosen][:, None]
        at = np.rint(places / grid).astype(int)
        inside = ((at >= 0) & (at < size)).all(axis=2)
        at = np.clip(at, 0, size - 1)
        means[chosen] = np.where(inside, wide[tuple(np.moveaxis(at, 2, 0))], 0.0).mean(axis=1)
    return means
