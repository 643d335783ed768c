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
from isocenter.fitting.line import BEYOND, collect
from isocenter.models.compiled import vector_kernel

TERMS = 8
#: Fewest nodes.
_FEWEST = 5
#: An optimum whose standard error is below this many steps is narrow: sums over nodes would miss it.
_NARROW = 0.6
#: Differences of chi squared beyond which nothing is left to count.
_HOPELESS = 20.0
#: What a node's share is spread over, in steps: the standard deviation of a uniform distribution.
_SPREAD = 0.29
#: Rows of `Sides.extras`.
_ARC, _SLOPE, _GAIN, _LEVEL = 0, 1, 2, 3
_SHARE, _NORMAL = 0.95, 1.959963984540054
_MOST_TURNS, _SETTLED = 30, 1e-3
#: Of a step of Newton's method, in halves of a cell, after which it has arrived.
_ARRIVED = 2e-3


class Sides(NamedTuple):
    """What kernels look up on k nodes of the side, cell by cell of the first coordinate; `step` 0 where there is none.

    directions : (k, cells, m, TERMS) coefficients of the direction, samples padded with zeros
    extras : (k, cells, 4, TERMS) coefficients: how far a step of the side moves the direction apart from what the first
        coordinate does; how far the first coordinate moves it; one over the length of the basis function without
        its constant part; the mean of the basis function over that length
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
    looked_up = [np.sqrt(np.maximum(other - both**2 / own, 0.0)), np.sqrt(own), 1.0 / size, mean[..., 0] / size]
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
def widen(sides, direction, y, mean, count, theta, amplitudes, variance, freedom, covariance, notes):
    """Put the variances that hold both sides on the diagonal of the covariance (2 + q, 2 + q) of an optimum.

    y : (m,) samples padded with zeros, of which theta (2,) and amplitudes (q,) are the least-squares optimum
    mean, count : of the samples; variance : of one of them; freedom : of the variance, infinite where it is known
    """
    tops, parts, sums = notes[0], notes[1], notes[2]
    height, first = tops[0], tops[1]
    step = sides.step
    _scan_nodes(sides, y, theta, variance, height, first, sums)
    if np.sqrt(covariance[1, 1]) < _NARROW * step:
        kept = _note_optima(sides, direction, y, mean, theta, amplitudes, variance, freedom, covariance, notes)
        if kept < 2:
            return
    else:
        kept = _note_nodes(sides, mean, count, theta, amplitudes, variance, freedom, notes)
    # Intervals are Student's: normal distributions as wide as his stand for them.
    student = _student(freedom)
    for j in range(2 + amplitudes.size):
        own = np.sqrt(covariance[j, j])
        wide = _reach(parts[0], parts[1 + j], parts[5 + j], kept, student) / student
        if not 0.0 < wide < np.inf:
            continue
        for i in range(2 + amplitudes.size):
            # Correlations stay.
            covariance[i, j] *= wide / own
            covariance[j, i] *= wide / own


@vector_kernel
def _scan_nodes(sides, y, theta, variance, height, first, sums):
    """Write the height of the best fit on each node and where it is, from the optimum outward; 0 where there is none.

    Of what is hopeless every other node is looked at.
    """
    last = height.size - 1
    x = (theta[0] - sides.lower) / sides.width
    nearest = min(max(int((theta[1] - sides.nodes[0]) / sides.step + 0.5), 0), last)
    height[nearest], first[nearest] = _climb_node(sides.directions[nearest], y, x, sums)
    top = height[nearest]
    for way in (-2, 2):
        u, before, k = first[nearest], first[nearest], nearest + way
        while 0 <= k <= last:
            height[k], first[k] = _climb_node(sides.directions[k], y, u + min(max(u - before, -0.1), 0.1), sums)
            before, u = u, first[k]
            top = max(top, height[k])
            k += way
    least = top * top - _HOPELESS * variance
    for k in range(1 - nearest % 2, last + 1, 2):
        left, right = max(k - 1, 1 - k), k + 1 if k < last else k - 1
        height[k] = 0.0
        if max(height[left], height[right]) ** 2 > least:
            height[k], first[k] = _climb_node(sides.directions[k], y, 0.5 * (first[left] + first[right]), sums)


@vector_kernel
def _climb_node(cells, y, x, sums):
    """From x, in cells, to the next top of |h| along the first coordinate: its height, 0 where there is none, and x."""
    last = cells.shape[0] - 1
    c = min(max(int(x), 0), last)
    t = 2.0 * (x - c) - 1.0
    collect(cells[c], y, sums)
    for _ in range(_MOST_TURNS):
        h, slope, bend = sums[7], 0.0, 0.0
        for d in range(6, -1, -1):
            bend = bend * t + slope
            slope = slope * t + h
            h = h * t + sums[d]
        bend *= 2.0
        if h < 0.0:
            h, slope, bend = -h, -slope, -bend
        step = -slope / bend if bend < 0.0 else np.copysign(1.0, slope)
        step = min(max(step, -1.0), 1.0)
        t += step
        if abs(t) > BEYOND:
            x = c + 0.5 * (t + 1.0)
            if not 0.0 <= x <= last + 1.0:
                return 0.0, min(max(x, 0.0), last + 1.0)
            c = min(int(x), last)
            t = 2.0 * (x - c) - 1.0
            collect(cells[c], y, sums)
        elif abs(step) < _ARRIVED:
            # What is left of the step is its square.
            return h + 0.5 * slope * step, c + 0.5 * (t + 1.0)
    return 0.0, x


@vector_kernel
def _note_nodes(sides, mean, count, theta, amplitudes, variance, freedom, notes):
    """Write weight, distances and spreads of all nodes that are likely enough; returns their number."""
    height, first, parts = notes[0][0], notes[0][1], notes[1]
    top = 0.0
    for k in range(height.size):
        top = max(top, height[k])
    kept = 0
    for k in range(height.size):
        h, u = height[k], sides.lower + sides.width * first[k]
        chi = (top - h) * (top + h) / variance
        if not chi < _HOPELESS:
            continue
        arc, _ = look_up(sides, k, first[k], _ARC)
        slope, _ = look_up(sides, k, first[k], _SLOPE)
        gain, bend = look_up(sides, k, first[k], _GAIN)
        own = np.sqrt(variance * (1.0 + chi / freedom)) / (h * slope)
        parts[0, kept] = _weigh(chi, freedom) * max(arc, 0.0) * (0.5 if k == 0 or k == height.size - 1 else 1.0)
        parts[1, kept], parts[5, kept] = abs(u - theta[0]), own
        parts[2, kept], parts[6, kept] = abs(sides.nodes[k] - theta[1]), _SPREAD * sides.step
        parts[3, kept] = abs(h * gain - amplitudes[0])
        parts[7, kept] = np.sqrt(variance * gain**2 + (h * bend * own) ** 2)
        if amplitudes.size == 2:
            level, bend = look_up(sides, k, first[k], _LEVEL)
            parts[4, kept] = abs(mean - h * level - amplitudes[1])
            parts[8, kept] = np.sqrt(variance * (1.0 / count + level**2) + (h * bend * own) ** 2)
        kept += 1
    return kept


@vector_kernel
def _note_optima(sides, direction, y, mean, theta, amplitudes, variance, freedom, covariance, notes):
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
            own, _, _, _ = _find(direction, y, x, z, sums, rows)
            own = abs(own)
        # By the parabola through three nodes, whose error is a small share of what it adds.
        top = h + 0.125 * (above - below) ** 2 / (2.0 * h - below - above)
        if not (own - top) * (own + top) - 0.2 * (top - h) * (top + h) < _HOPELESS * variance:
            continue
        place[0], place[1] = 2.0 * first[k], (sides.nodes[k] - sides.nodes[0]) / half[1]
        _, is_reached = climb(direction, y, -1, 1.0, place, sums, rows)
        h, hss, htt, det = _find(direction, y, place[0], place[1], sums, rows)
        if not (is_reached and det > 0.0):
            continue
        h = abs(h)
        side = sides.nodes[0] + half[1] * place[1]
        if abs(side - theta[1]) < sides.step:
            continue
        u = sides.lower + half[0] * place[0]
        m = min(max(int((side - sides.nodes[0]) / sides.step), 0), height.size - 2)
        share = (side - sides.nodes[m]) / sides.step
        a, _ = look_up(sides, m, 0.5 * place[0], _GAIN)
        b, _ = look_up(sides, m + 1, 0.5 * place[0], _GAIN)
        parts[0, kept] = _weigh((own - h) * (own + h) / variance, freedom)
        parts[1, kept], parts[5, kept] = abs(u - theta[0]), half[0] * np.sqrt(variance * abs(htt) / (h * det))
        parts[2, kept], parts[6, kept] = abs(side - theta[1]), half[1] * np.sqrt(variance * abs(hss) / (h * det))
        parts[3, kept] = abs(h * (a + share * (b - a)) - amplitudes[0])
        if q == 2:
            a, _ = look_up(sides, m, 0.5 * place[0], _LEVEL)
            b, _ = look_up(sides, m + 1, 0.5 * place[0], _LEVEL)
            parts[4, kept] = abs(mean - h * (a + share * (b - a)) - amplitudes[1])
        for j in range(2, 2 + q):
            parts[5 + j, kept] = parts[5 + j, 0]
        kept += 1
    return kept


@vector_kernel
def look_up(sides, k, x, row):
    """The row of `Sides.extras` at node k and the first coordinate, x cells from its end, and its slope."""
    i = min(max(int(x), 0), sides.extras.shape[1] - 1)
    t = 2.0 * (x - i) - 1.0
    f, slope = 0.0, 0.0
    for a in range(7, -1, -1):
        slope = slope * t + f
        f = f * t + sides.extras[k, i, row, a]
    return f, slope * 2.0 / sides.width


@vector_kernel
def _find(direction, y, x, z, sums, rows):
    """The height at a place in halves of cells, its second derivatives and their determinant."""
    i = min(int(0.5 * x), direction.shape[0] - 1)
    j = min(int(0.5 * z), direction.shape[1] - 1)
    collect_cell(direction[i, j], y, sums)
    h, _, _, hss, hst, htt = differentiate(sums, x - 2.0 * i - 1.0, z - 2.0 * j - 1.0, rows)
    return h, hss, htt, hss * htt - hst * hst


@vector_kernel
def _weigh(chi, freedom):
    """The likelihood at a difference of chi squared, over that of the optimum, whatever the variance is."""
    if freedom == np.inf:
        return np.exp(-0.5 * chi)
    count = int(freedom)
    base = 1.0 / max(1.0 + chi / freedom, 0.5)
    return base ** (count // 2) * (np.sqrt(base) if count % 2 else 1.0)


@vector_kernel
def _student(freedom):
    """The 97.5 % point of Student's t to 0.1 % from 3 degrees of freedom on (Abramowitz and Stegun 1964, 26.7.5)."""
    z, a = _NORMAL, 1.0 / freedom
    third = 3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z
    return z + a * ((z**3 + z) / 4.0 + a * ((5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0 + a * third / 384.0))


@vector_kernel
def _reach(weight, distance, spread, count, student):
    """Half the width of the interval about 0 that holds 95 % of distributions (count,) of Student's width."""
    for i in range(count):
        spread[i] *= student / _NORMAL
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
