"""What the nodes of a plane make likely along one of its coordinates, the side; see `both_sides`.

On every node of the side the best fit is sought along the first coordinate, on all nodes at a time: a node is a lane of
a vector register.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from isocenter.fitting.line import BEYOND
from isocenter.fitting.series import POINTS, TERMS, square_series
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

#: Fewest nodes; there is one more than an even number of them, so that every other one covers the range too.
_FEWEST = 5
#: Steps of Newton's method from the optimum's first coordinate, and from the border of a cell.
_STEPS = 5
#: A loop over nodes runs on so many at a time.
_LANES = 8
#: Rows of what `scan_sides` writes.
HEIGHT, PLACE, ARC, SLOPE, GAIN, BEND, LEVEL, TILT = range(8)


class Nodes(NamedTuple):
    """Nodes of the side, on all of which each cell of the first coordinate is laid out side by side.

    at : (k,) the side; share : (k,) 1, but 0.5 for the ends of its range
    directions : (cells, m, TERMS, l) coefficients of the direction, samples padded with zeros
    extras : (cells, 3, TERMS, l) coefficients: how far a step of the side moves the direction apart from what the first
        coordinate does; how far the first coordinate moves it; one over the length of the basis function without its
        constant part; and, where a constant one stands beside it, a fourth: its mean over that length

    l : lanes, of which the first k are the nodes
    """

    at: Any
    share: Any
    directions: Any
    extras: Any


class Sides(NamedTuple):
    """All nodes of a plane, every other one of them apart; `step` between neighbors, 0 where there are none.

    lower, width : of the cells of the first coordinate
    """

    even: Nodes
    odd: Nodes
    step: float
    lower: float
    width: float


_NO_NODES = Nodes(np.empty(0), np.empty(0), np.empty((0, 0, TERMS, 0)), np.empty((0, 3, TERMS, 0)))
#: What stands for "one side only" in kernels.
NONE = Sides(_NO_NODES, _NO_NODES, 0.0, 0.0, 1.0)


def lay_sides(
    direction: np.ndarray,
    evaluate: Callable[[np.ndarray], np.ndarray],
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    step: float,
    has_constant: bool,
) -> Sides:
    """Nodes at most `step` apart over a plane with directions (see `directions`).

    evaluate : points (v, 2) to the moving basis function there (v, n)
    has_constant : whether a constant one stands beside it
    """
    cells, across, _, _ = direction.shape
    count = max(_FEWEST, 2 * int(np.ceil((upper[1] - lower[1]) / (2.0 * step) - 1e-9)) + 1)
    nodes = np.linspace(lower[1], upper[1], count)
    widths = (upper - lower) / (cells, across)
    place = (nodes - lower[1]) / widths[1]
    cell = np.minimum(place.astype(np.int64), across - 1)
    powers, slopes = _power(2.0 * (place - cell) - 1.0)
    here = square_series(direction)[:, cell]
    directions = np.einsum("kb,xkmab->xmak", powers, here, optimize=True)
    turned = np.einsum("kb,xkmab->xmak", slopes * 2.0 / widths[1], here, optimize=True)
    powers, slopes = _power(POINTS)
    along = np.einsum("pa,xmak->xpkm", slopes * 2.0 / widths[0], directions, optimize=True)
    aside = np.einsum("pa,xmak->xpkm", powers, turned, optimize=True)
    own, both, other = ((a * b).sum(axis=-1) for a, b in ((along, along), (along, aside), (aside, aside)))
    own = np.maximum(own, 1e-300)
    first = lower[0] + widths[0] * (np.arange(cells)[:, np.newaxis] + (POINTS + 1.0) / 2.0)
    theta = np.stack(np.broadcast_arrays(first[..., np.newaxis], nodes), axis=-1)
    f = evaluate(theta.reshape(-1, 2)).reshape(*theta.shape[:-1], -1)
    mean = f.mean(axis=-1, keepdims=True) if has_constant else np.zeros((*f.shape[:-1], 1))
    size = np.maximum(np.linalg.norm(f - mean, axis=-1), 1e-12)
    # (cells, points, k) each
    looked_up = [np.sqrt(np.maximum(other - both**2 / own, 0.0)), np.sqrt(own), 1.0 / size]
    looked_up += [mean[..., 0] / size] * has_constant
    extras = np.einsum("ap,exp...->xea...", np.linalg.inv(powers), np.stack(looked_up))
    share = np.ones(count)
    share[[0, -1]] = 0.5
    even, odd = (
        Nodes(nodes[first::2], share[first::2], *(_fill_lanes(each[..., first::2]) for each in (directions, extras)))
        for first in (0, 1)
    )
    return Sides(even, odd, float(nodes[1] - nodes[0]), float(lower[0]), float(widths[0]))


def _fill_lanes(each: np.ndarray) -> np.ndarray:
    """Polynomials (..., k), zeros after them, so that no loop over nodes has a rest that does not fill a register."""
    return np.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, -each.shape[-1] % _LANES)])


def _power(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(v, TERMS) arrays: the powers of numbers (v,) and their derivatives."""
    powers = np.vander(at, TERMS, increasing=True)
    slopes = np.zeros_like(powers)
    slopes[:, 1:] = powers[:, :-1] * np.arange(1, TERMS)
    return powers, slopes


@vector_kernel
def make_scratch(k):
    """Scratch of `scan_sides` for k lanes."""
    return np.empty((TERMS, k)), np.empty((8, k)), np.empty(k)


@lean_vector_kernel
def scan_sides(nodes, y, x, found, scratch):
    """Write of the best fit to y (m,) on each node: height, place (in cells from the end) and the extras there.

    y : samples padded with zeros; x : where the optimum lies, in cells; found : (8, l), written
    A fit beyond the next cell gets the height 0.
    """
    sums, other, t = scratch
    last, count = nodes.directions.shape[0] - 1, t.size
    c = min(max(int(x), 0), last)
    for k in range(count):
        t[k] = 2.0 * (x - c) - 1.0
    _scan_cell(nodes, c, y, t, found, sums)
    for way in (-1, 1):
        is_beyond = False
        for k in range(count):
            is_beyond = is_beyond or (found[PLACE, k] - c - 0.5) * way > 0.5 * BEYOND
        if not is_beyond or not 0 <= c + way <= last:
            continue
        for k in range(count):
            t[k] = -1.0 * way
        _scan_cell(nodes, c + way, y, t, other, sums)
        for k in range(count):
            if (found[PLACE, k] - c - 0.5) * way > 0.5 * BEYOND:
                for row in range(8):
                    found[row, k] = other[row, k]


@lean_vector_kernel
def _scan_cell(nodes, c, y, t, found, sums):
    """As `scan_sides`, in one cell from t (k,), in halves of a cell from its middle."""
    width = t.size
    flat, table = sums.reshape(-1), nodes.directions[c].reshape(y.size, -1)
    for d in range(flat.size):
        flat[d] = 0.0
    for i in range(0, y.size, 4):
        p, q, r, s = y[i], y[i + 1], y[i + 2], y[i + 3]
        for d in range(flat.size):
            flat[d] += p * table[i, d] + q * table[i + 1, d] + r * table[i + 2, d] + s * table[i + 3, d]
    _climb_all(sums, t, found[HEIGHT])
    for k in range(width):
        found[HEIGHT, k] = found[HEIGHT, k] if abs(t[k]) <= BEYOND else 0.0
        found[PLACE, k] = c + 0.5 * (t[k] + 1.0)
    extras = nodes.extras[c]
    _expand(extras[0], t, found[ARC])
    _expand(extras[1], t, found[SLOPE])
    _expand(extras[2], t, found[GAIN])
    _slope(extras[2], t, found[BEND])
    if extras.shape[0] == 4:
        _expand(extras[3], t, found[LEVEL])
        _slope(extras[3], t, found[TILT])


@lean_vector_kernel
def _climb_all(sums, t, height):
    """Move t (k,) to the next tops of |h| and write these: Newton's method, by the absolute value of the curvature."""
    for _ in range(_STEPS):
        for k in range(t.size):
            z = t[k]
            h = sums[7, k]
            slope = h
            h = h * z + sums[6, k]
            bend = slope
            slope = slope * z + h
            h = h * z + sums[5, k]
            bend = bend * z + slope
            slope = slope * z + h
            h = h * z + sums[4, k]
            bend = bend * z + slope
            slope = slope * z + h
            h = h * z + sums[3, k]
            bend = bend * z + slope
            slope = slope * z + h
            h = h * z + sums[2, k]
            bend = bend * z + slope
            slope = slope * z + h
            h = h * z + sums[1, k]
            bend = bend * z + slope
            slope = slope * z + h
            h = h * z + sums[0, k]
            step = np.copysign(1.0, h) * slope / max(2.0 * abs(bend), 1e-300)
            step = min(max(step, -0.7), 0.7)
            height[k] = abs(h)
            t[k] = min(max(z + step, -1.5), 1.5)


@lean_vector_kernel
def _expand(c, t, out):
    """Write polynomials with coefficients (TERMS, k) at t (k,)."""
    for k in range(t.size):
        z = t[k]
        f = c[7, k] * z + c[6, k]
        f = f * z + c[5, k]
        f = f * z + c[4, k]
        f = f * z + c[3, k]
        f = f * z + c[2, k]
        f = f * z + c[1, k]
        out[k] = f * z + c[0, k]


@lean_vector_kernel
def _slope(c, t, out):
    """Write their slopes, across a whole cell."""
    for k in range(t.size):
        z = t[k]
        f = 7.0 * c[7, k] * z + 6.0 * c[6, k]
        f = f * z + 5.0 * c[5, k]
        f = f * z + 4.0 * c[4, k]
        f = f * z + 3.0 * c[3, k]
        f = f * z + 2.0 * c[2, k]
        out[k] = 2.0 * (f * z + c[1, k])
