"""Which end of a phantom is which, and which way round it lies: what its rods, its body, its brightness and values say.

The vials of all plates lie alike after half a turn, a mirror and an exchange of the ends. Each cue gives every such
candidate a mark from −1 to 1 (NaN: it cannot say); the marks are added, and the best sum must be clearly ahead, with no
cue clearly against it.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.errors import CalibrationError, explain
from isocenter.phantom.numbering import rank_correlation
from isocenter.phantom.symmetry import Placement

#: The lead of the best sum of marks over the next that is believed. Right and wrong differ by 0.6 or more in every cue
#: that tells them apart.
LEAST_LEAD = 0.5
#: A cue whose favorite is this far ahead of the winner speaks against it.
AGAINST = 0.5
#: Rods: dark within these distances of their middle [mm] (a screw may shine in it), in fluid within those.
ROD_IN, ROD_AROUND = (2.5, 5.0), (10.0, 14.0)
#: A plate's vials of which fewer can be read say nothing about their order.
LEAST_VALUES = 8


@dataclass(frozen=True)
class Orientation:
    """The candidate chosen. marks : cue to its (c,) marks; lead : of the best sum over the next; best : index."""

    best: int
    lead: float
    marks: dict[str, np.ndarray]


def choose_orientation(marks: dict[str, np.ndarray], title: str) -> Orientation:
    """The candidate that the cues agree on; CalibrationError when they are silent or disagree."""
    spoken = {cue: m for cue, m in marks.items() if np.isfinite(m).all()}
    total = sum(spoken.values()) if spoken else np.zeros(len(next(iter(marks.values()))))
    order = np.argsort(-total, kind="stable")
    best = int(order[0])
    lead = float(total[best] - total[order[1]])
    against = [cue for cue, m in spoken.items() if m.max() - m[best] > AGAINST]
    if lead < LEAST_LEAD or against:
        silent = ", ".join(sorted(set(marks) - set(spoken)))
        raise CalibrationError(
            explain(
                f"Which way round the {title} lies is not clear",
                expected=f"a lead of {LEAST_LEAD} over the next best way, and no cue against it",
                found=f"a lead of {lead:.2f}"
                + (f"; against it: {', '.join(against)}" if against else "")
                + (f"; cannot be read: {silent}" if silent else ""),
                remedy="give the quantitative series of the session too, or a hand-made ROI file",
            )
        )
    return Orientation(best, lead, marks)


def mark_rods(image, grid: float, candidates: list[Placement], rods: np.ndarray) -> np.ndarray:
    """(c,) how dark the image is where each candidate puts the (r, 3) rods, against the fluid around, 0 to 1."""
    marks = []
    for placement in candidates:
        contrast = []
        for point in placement(rods):
            inside, around = (_mean_ring(image, grid, placement, point, ring) for ring in (ROD_IN, ROD_AROUND))
            contrast.append(np.clip(1.0 - inside / around, -1.0, 1.0) if around > 0.05 else np.nan)
        known = np.isfinite(contrast)
        marks.append(float(np.nanmean(contrast)) if known.sum() >= 0.6 * len(rods) else np.nan)
    return np.array(marks) if marks else np.zeros(0)


def _mean_ring(image, grid, placement, point, ring) -> float:
    """Median of the image over rings around a point and across the axis, at a few heights; NaN outside."""
    from scipy import ndimage

    angle = np.radians(np.arange(0.0, 360.0, 30.0))
    r, a, h = np.meshgrid(np.linspace(*ring, 3), angle, [-6.0, -3.0, 0.0, 3.0, 6.0], indexing="ij")
    local = np.stack([r * np.cos(a), r * np.sin(a), h], axis=-1).reshape(-1, 3)
    at = (point + local @ placement.turn.T) / grid
    if (at.min(axis=0) < 0).any() or (at.max(axis=0) > np.array(image.shape) - 1).any():
        return np.nan
    return float(np.median(ndimage.map_coordinates(image, at.T, order=1)))


def mark_body(image, grid: float, candidates: list[Placement], reach: float) -> np.ndarray:
    """(c,) how near each candidate puts the phantom's center to the middle of its body along the axis, −1 to 1.

    reach : half the distance between the centers of the two ends' candidates [mm]. NaN when an end is not in the image.
    """
    base = candidates[0]
    middle = np.array([c.shift for c in candidates]).mean(axis=0)
    axis = base.turn[:, 2]
    t = np.arange(-130.0, 130.0, grid)
    angle = np.radians(np.arange(0.0, 360.0, 30.0))
    r, a = (g.ravel() for g in np.meshgrid([8.0, 15.0, 30.0, 38.0], angle, indexing="ij"))
    across = np.outer(r * np.cos(a), base.turn[:, 0]) + np.outer(r * np.sin(a), base.turn[:, 1])
    at = (middle + t[:, None, None] * axis + across[None]) / grid
    inside = ((at >= 0) & (at <= np.array(image.shape) - 1)).all(axis=2)
    from scipy import ndimage

    values = ndimage.map_coordinates(image, np.moveaxis(at, 2, 0).reshape(3, -1), order=1).reshape(at.shape[:2])
    profile = np.where(inside.mean(axis=1) > 0.8, np.median(values, axis=1), np.nan)
    if np.isfinite(profile).sum() < 20:
        return np.full(len(candidates), np.nan)
    filled = profile > 0.3 * np.nanmedian(profile[np.abs(t) < 60.0])
    ends = np.flatnonzero(filled)
    known = np.flatnonzero(np.isfinite(profile))
    if not len(ends) or ends[0] - known[0] < 2 or known[-1] - ends[-1] < 2:
        return np.full(len(candidates), np.nan)
    measured = middle @ axis + (t[ends[0]] + t[ends[-1]]) / 2
    offset = np.array([abs(c.shift @ axis - measured) for c in candidates])
    return np.clip(1.0 - offset / reach, -1.0, 1.0)


def mark_order(values: list[np.ndarray], expected: np.ndarray) -> np.ndarray:
    """(c,) rank correlation of each candidate's (n,) values with what is expected; NaN when too few can be read."""
    marks = []
    for value in values:
        both = np.isfinite(value) & np.isfinite(expected)
        marks.append(rank_correlation(value[both], expected[both]) if both.sum() >= LEAST_VALUES else np.nan)
    return np.array(marks)
