"""What partial volume does to a region: how much of it is rim, and how far its statistic leans toward what lies around.

A voxel averages over its own box, so near a border its value leans toward the other tissue. How far a region's
statistic leans is told by the map itself: blurred by the same box once more, to first order in the box's variance, it
moves as far again. That needs no probabilities and no model of the tissues, and holds for labels of any source: a thin
region between two that draw it either way is told apart from one that both draw the same way.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

#: A box of one voxel has a variance of 1/12 voxel² along each axis; that of three points is twice the outer weight.
_OUTER = 1 / 24
#: The statistic is marked where it leans by more than this share of itself [1].
LIMIT = 0.01
#: And by more than so many standard errors of the lean.
SURELY = 2.0
#: In the column `flags`: the lean as a share of the value.
MARK = "partial_volume"


@dataclass(frozen=True)
class PartialVolume:
    """How a region's voxels lie, and what that does.

    interior : share of the valid voxels whose six neighbors are the region's too [1]; NaN without a valid voxel
    lean : how far the statistic moves when the map is blurred by a voxel's box once more [unit]
    stderr : of the lean, from the scatter of the voxels' own leans [unit]
    share : |lean| over |statistic| [1], inf where that is 0
    """

    interior: float
    lean: float
    stderr: float
    share: float

    @property
    def is_marked(self) -> bool:
        """Whether the statistic leans by more than `LIMIT`, beyond what noise would make of it."""
        return self.share > LIMIT and abs(self.lean) > SURELY * self.stderr


def measure_partial_volume(
    value: np.ndarray, known: np.ndarray, region: np.ndarray, statistic: str = "median"
) -> PartialVolume:
    """How much of a region is rim, and how far its median (or mean) leans toward what lies around it.

    Parameters
    ----------
    value : (x, y, z) array [unit]
        The map.
    known : (x, y, z) booleans
        Where the map holds a value; nothing else takes part.
    region : (x, y, z) booleans
        Where the label is. The image's edge is no rim: tissue goes on beyond it.
    statistic : str
        ``median`` or ``mean``.
    """
    valid = region & known
    if not valid.any():
        return PartialVolume(np.nan, np.nan, np.nan, np.nan)
    where = np.argwhere(valid)
    box = tuple(slice(max(a - 2, 0), b + 3) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True))
    inner = ndimage.binary_erosion(region[box], border_value=1)[valid[box]]
    own = value[valid].astype(float)
    moved = _blur(value[box], known[box])[valid[box]]
    leans = moved - own
    if statistic == "mean":
        before, lean, scatter = own.mean(), leans.mean(), leans.std(ddof=min(1, leans.size - 1))
    else:
        before = np.median(own)
        lean = np.median(moved) - before
        scatter = np.sqrt(np.pi / 2) * 1.4826 * np.median(np.abs(leans - np.median(leans)))
    share = abs(lean) / abs(before) if before else np.inf if lean else 0.0
    return PartialVolume(float(inner.mean()), float(lean), float(scatter / np.sqrt(own.size)), float(share))


def _blur(value: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A map blurred by a voxel's box, over the voxels that hold a value."""
    total, weight = np.where(known, value, 0.0).astype(float), known.astype(float)
    kernel = [_OUTER, 1 - 2 * _OUTER, _OUTER]
    for axis in range(3):
        total, weight = (ndimage.correlate1d(part, kernel, axis=axis, mode="nearest") for part in (total, weight))
    return total / np.maximum(weight, 1e-12)
