"""Unwrapping in space: whole periods between neighbors are taken out, the surest pairs of neighbors first.

Regions grow together along edges sorted by their quality, as in Dymerska et al. 2021 (doi 10.1002/mrm.28563): two
neighbors that differ little and have similar, strong signal are joined before doubtful ones.
"""

import numpy as np

from isocenter.models.compiled import kernel

#: Classes that edges are sorted into by quality.
_CLASSES = 4096
#: Edges graded at a time.
_CHUNK = 1 << 20


def unwrap_field(field: np.ndarray, period: float, magnitude: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A field map without jumps of whole periods.

    Parameters
    ----------
    field : (x, y, z) array [Hz]
        Known up to whole periods; voxels that are not finite are left out.
    period : float [Hz]
        What one turn of the phase stands for.
    magnitude : (x, y, z) array [a.u.]
        How strong the signal was.
    mask : (x, y, z) booleans
        Voxels to unwrap.

    Returns
    -------
    (x, y, z) array [Hz]
        NaN outside. Each connected region is moved by whole periods to a median nearest to zero: its absolute number of
        periods is not in the data.
    """
    inside = np.asarray(mask, dtype=bool) & np.isfinite(field)
    number = np.full(field.shape, -1, np.int32)
    number[inside] = np.arange(inside.sum())
    turns = field[inside] / period
    strength = magnitude[inside].astype(float)
    first, second = list_edges(number)
    strong = np.median(strength) if strength.size else 1.0
    order = np.argsort(_grade(turns, strength / strong, first, second), kind="stable")
    offset = np.zeros(turns.size, np.int64)
    root = np.arange(turns.size)
    _join(turns, first, second, order, offset, root)
    turns = turns + offset
    # The middle member of each region, by sorting all voxels by region and value.
    ranked = np.lexsort((turns, root))
    regions, begin, count = np.unique(root[ranked], return_index=True, return_counts=True)
    middle = turns[ranked[begin + count // 2]]
    turns = turns - np.round(middle)[np.searchsorted(regions, root)]
    unwrapped = np.full(field.shape, np.nan)
    unwrapped[inside] = turns * period
    return unwrapped


def list_edges(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of numbers (e,) of voxels that touch by a face; -1 in `number` (x, y, z) marks voxels outside."""
    firsts, seconds = [], []
    for axis in range(number.ndim):
        a = np.take(number, range(number.shape[axis] - 1), axis=axis).ravel()
        b = np.take(number, range(1, number.shape[axis]), axis=axis).ravel()
        both = (a >= 0) & (b >= 0)
        firsts.append(a[both])
        seconds.append(b[both])
    return np.concatenate(firsts), np.concatenate(seconds)


def _grade(turns: np.ndarray, strength: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Edges (e,) to classes, 0 the surest: a small step between two strong and equally strong voxels."""
    classes = np.empty(first.size, np.int16)
    for begin in range(0, first.size, _CHUNK):
        a, b = first[begin : begin + _CHUNK], second[begin : begin + _CHUNK]
        step = turns[b] - turns[a]
        smooth = 1 - 2 * np.abs(step - np.round(step))
        weaker = np.minimum(strength[a], strength[b])
        with np.errstate(invalid="ignore", divide="ignore"):
            alike = np.nan_to_num(weaker / np.maximum(strength[a], strength[b]))
        quality = smooth * alike * (0.5 + 0.5 * np.minimum(1, weaker))
        classes[begin : begin + a.size] = ((1 - quality) * (_CLASSES - 1)).astype(np.int16)
    return classes


@kernel
def _join(turns, first, second, order, offset, root):
    """Join regions along edges in order (e,); writes whole turns to add (v,) and each voxel's region (v,)."""
    for e in order:
        a = _find(root, offset, first[e])
        b = _find(root, offset, second[e])
        if a == b:
            continue
        jump = (turns[first[e]] + offset[first[e]]) - (turns[second[e]] + offset[second[e]])
        # The offset of a root is what its whole region is moved by when it is joined.
        root[b] = a
        offset[b] = np.int64(np.round(jump))
    for v in range(root.size):
        _find(root, offset, v)


@kernel
def _find(root, offset, v):
    """The root of a voxel's region; on the way offsets become relative to that root."""
    top = v
    total = 0
    while root[top] != top:
        total += offset[top]
        top = root[top]
    while root[v] != top and v != top:
        parent = root[v]
        own = offset[v]
        root[v] = top
        offset[v] = total
        total -= own
        v = parent
    return top
