"""Rigid placement of a pattern of points, and the ways in which it maps onto itself."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Placement:
    """Where a pattern lies: a point p of it lies at ``turn @ p + shift``.

    turn : (d, d) array, orthogonal, a rotation or (determinant −1) a rotation with a mirror; shift : (d,) array [mm]
    """

    turn: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(…, d) places of (…, d) points."""
        return points @ self.turn.T + self.shift

    def after(self, first: "Placement") -> "Placement":
        """The placement that does `first`, then this one."""
        return Placement(self.turn @ first.turn, self.turn @ first.shift + self.shift)

    @property
    def is_mirrored(self) -> bool:
        """Whether the pattern lies mirrored."""
        return bool(np.linalg.det(self.turn) < 0)


def fit_placement(
    points: np.ndarray, places: np.ndarray, *, is_mirrored: bool | None = False, weights: np.ndarray | None = None
) -> Placement:
    """Least squares of (n, d) `points` on (n, d) `places`; `is_mirrored` None: whichever is nearer.

    Reference
    ---------
    Kabsch 1976, doi 10.1107/S0567739476001873.
    """
    w = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=float)
    w = w / w.sum()
    middle, target = w @ points, w @ places
    u, _, vt = np.linalg.svd(((points - middle) * w[:, None]).T @ (places - target))
    fix = np.ones(points.shape[1])
    if is_mirrored is not None and (np.linalg.det(vt.T @ u.T) < 0) != is_mirrored:
        fix[-1] = -1.0
    turn = (vt.T * fix) @ u.T
    return Placement(turn, target - turn @ middle)


def find_symmetries(points: np.ndarray, tolerance: float) -> list[Placement]:
    """The rotations and mirrors that lay each of (n, 2) points within `tolerance` of another, identity first.

    Found by trying where two points that are far apart and off the center can go.
    """
    centered = points - points.mean(axis=0)
    radius = np.hypot(*centered.T)
    a = int(np.argmax(radius))
    # The second point as far off the line through the first and the center as can be: it fixes the mirror.
    area = np.abs(centered[a, 0] * centered[:, 1] - centered[a, 1] * centered[:, 0])
    b = int(np.argmax(area))
    found = []
    for i in np.flatnonzero(np.abs(radius - radius[a]) <= tolerance):
        for j in np.flatnonzero(np.abs(radius - radius[b]) <= tolerance):
            between = np.hypot(*(points[i] - points[j]))
            if i == j or abs(between - np.hypot(*(points[a] - points[b]))) > tolerance:
                continue
            for mirrored in (False, True):
                placed = fit_placement(
                    np.vstack([points[[a, b]], points.mean(axis=0)]),
                    np.vstack([points[[i, j]], points.mean(axis=0)]),
                    is_mirrored=mirrored,
                )
                distance = np.linalg.norm(placed(points)[:, None] - points[None], axis=2)
                order = distance.argmin(axis=1)
                if distance.min(axis=1).max() > tolerance or len(set(order.tolist())) < len(points):
                    continue
                placed = fit_placement(points, points[order], is_mirrored=mirrored)
                if not any(np.abs(placed(points) - other(points)).max() < tolerance for other in found):
                    found.append(placed)
    identity = np.eye(points.shape[1])
    return sorted(found, key=lambda p: (round(float(np.abs(p.turn - identity).max()), 6), p.is_mirrored))


def is_own_mirror(points: np.ndarray, tolerance: float) -> bool:
    """Whether (n, d) points, a plane pattern or parallel plates of one layout, are their own mirror image."""
    if points.shape[1] == 3 and np.ptp(points[:, 2]) < tolerance:
        return True
    if points.shape[1] == 3:
        levels = np.unique(points[:, 2])
        plates = [points[points[:, 2] == z, :2] for z in levels]
        same = all(len(p) == len(plates[0]) and np.abs(p - plates[0]).max() < tolerance for p in plates)
        return same and is_own_mirror(plates[0], tolerance)
    return any(s.is_mirrored for s in find_symmetries(points, tolerance))
