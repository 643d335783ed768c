"""Standard errors that hold both sides: what every value of one coordinate of a plane makes likely, added up.

Two optima may lie side by side and differ by less than the noise, as those of an echo train do on both sides of
180 degrees; the curvature of the better one does not know of the other. So the second coordinate, the side, is held at
a row of nodes, the best fit on each is sought along the first one, and the nodes are weighed by their likelihood and by
Jeffreys' prior: a step from node to node counts by how far it moves the signal. Such intervals cover, in repeated
measurements, to a higher order than those of other priors (Welch and Peers 1963,
doi 10.1111/j.2517-6161.1963.tb00512.x). The standard error of a parameter is half the width of the interval about its
estimate that holds 95 % of that, over 1.96. Where an optimum is narrower than the nodes are apart, so is the other one,
and each counts by its height and its own curvature.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from isocenter.fitting.climb import climb, collect_cell, differentiate
from isocenter.fitting.line import ascend
from isocenter.models.compiled import vector_kernel

TERMS = 8
#: Fewest nodes.
_FEWEST = 5
#: An optimum whose standard error is below this many steps is narrow: sums over nodes would miss it.
_NARROW = 0.6
#: Differences of chi squared beyond which nothing is left to count.
_HOPELESS = 40.0
#: What a node's share is spread over, in steps: the standard deviation of a uniform distribution.
_SPREAD = 0.29
#: Rows of `Sides.extras`.
_ARC, _SLOPE, _SIZE, _LEVEL = 0, 1, 2, 3
_SHARE, _NORMAL = 0.95, 1.959963984540054
_MOST_TURNS, _SETTLED = 30, 1e-3


class Sides(NamedTuple):
    """What kernels look up on k nodes of the side, cell by cell of the first coordinate; `step` 0 where there is none.

    directions : (k, cells, m, TERMS) coefficients of the direction, samples padded with zeros
    extras : (k, cells, 4, TERMS) coefficients: how far a step of the side moves the direction apart from what the first
        coordinate does; how far the first coordinate moves it; the logarithm of the length of the basis function
        without its constant part; the mean of the basis function over that length
    nodes : (k,); step : between them; lower : of the first coordinate; width : of its cells
    """

    directions: Any
    extras: Any
    nodes: Any
    step: float
    lower: float
    width: float


#: What stands for "one side only" in kernels.
NONE = Sides(np.empty((0, 0, 0, TERMS)), np.empty((0, 0, 4, TERMS)), np.empty(0), 0.0, 0.0, 1.0)


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
    cells, across, m, _ = direction.shape
    nodes = np.linspace(lower[1], upper[1], max(_FEWEST, int(np.ceil((upper[1] - lower[1]) / step - 1e-9)) + 1))
    widths = (upper - lower) / (cells, across)
    place = (nodes - lower[1]) / widths[1]
    cell = np.minimum(place.astype(np.int64), across - 1)
    powers, slopes = _power(2.0 * (place - cell) - 1.0)
    here = direction.reshape(cells, across, m, TERMS, TERMS)[:, cell]
    directions = np.einsum("kb,xkmba->kxma", powers, here, optimize=True)
    turned = np.einsum("kb,xkmba->kxma", slopes * 2.0 / widths[1], here, optimize=True)
    points = np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
    powers, slopes = _power(points)
    along = np.einsum("pa,kxma->kxpm", slopes * 2.0 / widths[0], directions, optimize=True)
    aside = np.einsum("pa,kxma->kxpm", powers, turned, optimize=True)
    own, both, other = ((a * b).sum(axis=-1) for a, b in ((along, along), (along, aside), (aside, aside)))
    own = np.maximum(own, 1e-300)
    first = lower[0] + widths[0] * (np.arange(cells)[:, np.newaxis] + (points + 1.0) / 2.0)
    theta = np.stack(np.broadcast_arrays(first, nodes[:, np.newaxis, np.newaxis]), axis=-1)
    f = evaluate(theta.reshape(-1, 2)).reshape(*theta.shape[:-1], -1)
    mean = f.mean(axis=-1, keepdims=True) if has_constant else np.zeros((*f.shape[:-1], 1))
    size = np.maximum(np.linalg.norm(f - mean, axis=-1), 1e-12)
    looked_up = [np.sqrt(np.maximum(other - both**2 / own, 0.0)), np.sqrt(own), np.log(size), mean[..., 0] / size]
    extras = np.stack(looked_up, axis=2) @ np.linalg.inv(powers).T
    return Sides(
        np.ascontiguousarray(directions), np.ascontiguousarray(extras), nodes, float(nodes[1] - nodes[0]),
        float(lower[0]), float(widths[0]),
    )  # fmt: skip


def _power(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(v, TERMS) arrays: the powers of numbers (v,) and their derivatives."""
    powers = np.vander(at, TERMS, increasing=True)
    slopes = np.zeros_like(powers)
    slopes[:, 1:] = powers[:, :-1] * np.arange(1, TERMS)
    return powers, slopes


@vector_kernel
def make_notes(k):
    """Scratch of `widen` for k nodes."""
    return np.empty((2, k)), np.empty((9, k + 1)), np.empty(8), np.empty(64), np.empty((3, 8)), np.empty(2)


@vector_kernel
def widen(sides, direction, y, mean, count, theta, amplitudes, variance, covariance, notes):
    """Put the variances that hold both sides on the diagonal of the covariance (2 + q, 2 + q) of an optimum.

    y : (m,) samples padded with zeros, of which theta (2,) and amplitudes (q,) are the least-squares optimum
    mean, count : of the samples; variance : of one of them
    """
    tops, parts, sums = notes[0], notes[1], notes[2]
    height, first = tops[0], tops[1]
    nodes, step = sides.nodes, sides.step
    last = nodes.size - 1
    nearest = min(max(int((theta[1] - nodes[0]) / step + 0.5), 0), last)
    for way in range(2):
        u, before = theta[0], theta[0]
        k = nearest + way
        while 0 <= k <= last:
            guess = u + min(max(u - before, -0.05), 0.05)
            before = u
            u, h, is_reached = ascend(sides.directions[k], sides.lower, sides.width, y, guess, sums)
            height[k] = abs(h) if is_reached else 0.0
            first[k] = u
            k += 1 if way else -1
    if np.sqrt(covariance[1, 1]) < _NARROW * step:
        kept = _note_optima(sides, direction, y, mean, theta, amplitudes, variance, covariance, notes)
        if kept < 2:
            return
    else:
        kept = _note_nodes(sides, mean, count, theta, amplitudes, variance, notes)
    for j in range(2 + amplitudes.size):
        own = np.sqrt(covariance[j, j])
        wide = _reach(parts[0], parts[1 + j], parts[5 + j], kept) / _NORMAL
        if not 0.0 < wide < np.inf:
            continue
        for i in range(2 + amplitudes.size):
            # Correlations stay.
            covariance[i, j] *= wide / own
            covariance[j, i] *= wide / own


@vector_kernel
def _note_nodes(sides, mean, count, theta, amplitudes, variance, notes):
    """Write weight, distances and spreads of all nodes that are likely enough; returns their number."""
    height, first, parts = notes[0][0], notes[0][1], notes[1]
    top = 0.0
    for k in range(height.size):
        top = max(top, height[k])
    kept = 0
    for k in range(height.size):
        h, u = height[k], first[k]
        chi = (top - h) * (top + h) / variance
        if not chi < _HOPELESS:
            continue
        arc, _ = look_up(sides, k, u, _ARC)
        slope, _ = look_up(sides, k, u, _SLOPE)
        size, bend = look_up(sides, k, u, _SIZE)
        c = h * np.exp(-size)
        own = np.sqrt(variance) / (h * slope)
        parts[0, kept] = np.exp(-0.5 * chi) * max(arc, 0.0) * (0.5 if k == 0 or k == height.size - 1 else 1.0)
        parts[1, kept], parts[5, kept] = abs(u - theta[0]), own
        parts[2, kept], parts[6, kept] = abs(sides.nodes[k] - theta[1]), _SPREAD * sides.step
        parts[3, kept] = abs(c - amplitudes[0])
        parts[7, kept] = c * np.sqrt(variance / h**2 + (bend * own) ** 2)
        if amplitudes.size == 2:
            level, bend = look_up(sides, k, u, _LEVEL)
            parts[4, kept] = abs(mean - h * level - amplitudes[1])
            parts[8, kept] = np.sqrt(variance * (1.0 / count + level**2) + (h * bend * own) ** 2)
        kept += 1
    return kept


@vector_kernel
def _note_optima(sides, direction, y, mean, theta, amplitudes, variance, covariance, notes):
    """As `_note_nodes`, of the optimum that was found and of those on other sides, each by its own curvature."""
    (height, first), parts, _, sums, rows, place = notes
    q = amplitudes.size
    half = 0.5 * sides.width, 0.5 * (sides.nodes[-1] - sides.nodes[0]) / direction.shape[1]
    x, z = (theta[0] - sides.lower) / half[0], (theta[1] - sides.nodes[0]) / half[1]
    kept, own = 1, -1.0
    parts[0, 0] = 1.0
    for j in range(2 + q):
        parts[1 + j, 0], parts[5 + j, 0] = 0.0, np.sqrt(covariance[j, j])
    for k in range(1, height.size - 1):
        below, h, above = height[k - 1], height[k], height[k + 1]
        if not (h > below and h >= above) or abs(sides.nodes[k] - theta[1]) <= sides.step:
            continue
        if own < 0.0:
            own, _, _, _, _, _, _ = _find(direction, y, x, z, sums, rows)
            own = abs(own)
        # By the parabola through three nodes, whose error is a small share of what it adds.
        top = h + 0.125 * (above - below) ** 2 / (2.0 * h - below - above)
        if not (own - top) * (own + top) - 0.2 * (top - h) * (top + h) < _HOPELESS * variance:
            continue
        place[0], place[1] = (first[k] - sides.lower) / half[0], (sides.nodes[k] - sides.nodes[0]) / half[1]
        _, is_reached = climb(direction, y, -1, 1.0, place, sums, rows)
        h, hs, ht, hss, hst, htt, det = _find(direction, y, place[0], place[1], sums, rows)
        if not (is_reached and det > 0.0):
            continue
        h = abs(h)
        side = sides.nodes[0] + half[1] * place[1]
        if abs(side - theta[1]) < sides.step:
            continue
        u = sides.lower + half[0] * place[0]
        m = min(max(int((side - sides.nodes[0]) / sides.step), 0), height.size - 2)
        share = (side - sides.nodes[m]) / sides.step
        a, _ = look_up(sides, m, u, _SIZE)
        b, _ = look_up(sides, m + 1, u, _SIZE)
        parts[0, kept] = np.exp(min(-0.5 * (own - h) * (own + h) / variance, 20.0))
        parts[1, kept], parts[5, kept] = abs(u - theta[0]), half[0] * np.sqrt(variance * abs(htt) / (h * det))
        parts[2, kept], parts[6, kept] = abs(side - theta[1]), half[1] * np.sqrt(variance * abs(hss) / (h * det))
        parts[3, kept] = abs(h * np.exp(-a - share * (b - a)) - amplitudes[0])
        if q == 2:
            a, _ = look_up(sides, m, u, _LEVEL)
            b, _ = look_up(sides, m + 1, u, _LEVEL)
            parts[4, kept] = abs(mean - h * (a + share * (b - a)) - amplitudes[1])
        for j in range(2, 2 + q):
            parts[5 + j, kept] = parts[5 + j, 0]
        kept += 1
    return kept


@vector_kernel
def look_up(sides, k, u, row):
    """The row of `Sides.extras` at node k and the first coordinate u, and its slope."""
    x = (u - sides.lower) / sides.width
    i = min(max(int(x), 0), sides.extras.shape[1] - 1)
    t = 2.0 * (x - i) - 1.0
    f, slope = 0.0, 0.0
    for a in range(7, -1, -1):
        slope = slope * t + f
        f = f * t + sides.extras[k, i, row, a]
    return f, slope * 2.0 / sides.width


@vector_kernel
def _find(direction, y, x, z, sums, rows):
    """The height at a place in halves of cells, its derivatives as in `differentiate`, and the curvatures' determinant."""
    i = min(int(0.5 * x), direction.shape[0] - 1)
    j = min(int(0.5 * z), direction.shape[1] - 1)
    collect_cell(direction[i, j], y, sums)
    h, hs, ht, hss, hst, htt = differentiate(sums, x - 2.0 * i - 1.0, z - 2.0 * j - 1.0, rows)
    return h, hs, ht, hss, hst, htt, hss * htt - hst * hst


@vector_kernel
def _reach(weight, distance, spread, count):
    """Half the width of the interval about 0 that holds 95 % of normal distributions (count,)."""
    total, low, high = 0.0, 0.0, 0.0
    for i in range(count):
        total += weight[i]
        high = max(high, distance[i] + _NORMAL * spread[i])
    under, over = -_SHARE, _measure(weight, distance, spread, count, high) / total - _SHARE
    for _ in range(_MOST_TURNS):
        if not over > 0.0:
            return high
        # False position, halving what an end that stays is worth (Illinois).
        middle = high - over * (high - low) / (over - under)
        inside = _measure(weight, distance, spread, count, middle) / total - _SHARE
        if abs(inside) < _SETTLED:
            return middle
        if inside > 0.0:
            high, over = middle, inside
            under *= 0.5
        else:
            low, under = middle, inside
            over *= 0.5
    return 0.5 * (low + high)


@vector_kernel
def _measure(weight, distance, spread, count, reach):
    """What normal distributions (count,) hold between -reach and reach, by weight."""
    held = 0.0
    for i in range(count):
        scale = 0.7071067811865476 / spread[i]
        held += weight[i] * (
            _error_function((reach - distance[i]) * scale) + _error_function((reach + distance[i]) * scale)
        )
    return 0.5 * held


@vector_kernel
def _error_function(x):
    """To 3e-7, without exponentials (Abramowitz and Stegun 1964, 7.1.28)."""
    z = abs(x)
    p = 0.0002765672 + 0.0000430638 * z
    p = 0.0092705272 + 0.0001520143 * z + z * z * p
    p = 1.0 + z * (0.0705230784 + z * (0.0422820123 + z * p))
    return np.copysign(1.0 - 1.0 / p**16, x)
