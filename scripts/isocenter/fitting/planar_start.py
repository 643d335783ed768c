"""Starts of plain fits on a plane: nodes of all levels side by side, a level in each lane of a vector register."""

import numpy as np

from isocenter.fitting.climb import climb
from isocenter.fitting.line import scan
from isocenter.fitting.problem import make_solution
from isocenter.fitting.refinement import refine
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

#: Levels of the coordinate along which optima lie side by side, and the lanes that hold them, zeros in the others.
LEVELS, LANES = 14, 16
#: Levels from which an optimum is sought, at most.
MOST_CANDIDATES = 3
#: An optimum on the edge must beat one inside by more than this over the degrees of freedom: two standard errors.
EDGE = 4.0
#: Fraction of the sum of squares: to rank starts.
ROUGH = 1e-4
MOST_STEPS = 60
#: No optimum is sought where the nodes leave more than this many times what the best optimum leaves, and this share of
#: the signal's sum of squares, which is what they are coarse by.
HOPELESS, COARSE = 1.5, 5e-4


def lay_lanes(nodes: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Directions (m, k * LANES) in single precision, of nodes (levels * k, 2) with directions (m, levels * k).

    Of each of k nodes first those on all levels. Twice as many fit a register in single precision; where that misses an
    optimum, `both_sides` finds it.
    """
    count = len(nodes) // LEVELS
    out = np.zeros((len(unit), count, LANES), np.float32)
    out[..., :LEVELS] = np.swapaxes(unit.reshape(len(unit), LEVELS, count), 1, 2)
    return out.reshape(len(unit), -1)


@vector_kernel
def start_plain(evaluate, problem, nodes, unit, flat, direction, half, signal, theta, converged):
    """Write theta (v, 2), and which are optima already (v,), of signals (v, n) whose samples can all be used.

    nodes : (levels * k, 2), level by level; unit : of `lay_lanes`; flat : (n,), the constant basis function's direction
    direction, half : of the `plane`; half a cell, along both coordinates
    """
    n = signal.shape[1]
    p, q = 2, problem.grid_basis.shape[0]
    size = unit.shape[1] // LANES
    heights = np.empty((size, LANES), np.float32)
    row = heights.reshape(-1)
    padded, single = np.zeros(unit.shape[0]), np.zeros(unit.shape[0], np.float32)
    solution, weight = make_solution(p, q, n), np.ones(n)
    tops, near, highest, number = np.empty(2 * LANES), np.empty(5 * LANES), np.empty(LANES), np.empty(LANES)
    place, sums = np.empty(2), np.empty(36)
    lower = problem.lower
    # From one node of a level to the next only one coordinate changes.
    along = (nodes[1, 0] - nodes[0, 0]) / half[0], (nodes[1, 1] - nodes[0, 1]) / half[1]
    for v in range(signal.shape[0]):
        y = signal[v]
        total, level = 0.0, 0.0
        for i in range(n):
            total += y[i] * y[i]
            level += y[i] * flat[i]
        for i in range(n):
            padded[i] = y[i]
            single[i] = y[i]
        scan(single, unit, row)
        _find_tops(heights, highest, number)
        _interpolate_tops(heights, number, near, tops)
        found = np.inf
        for _ in range(MOST_CANDIDATES):
            m = _choose_level(tops)
            if m < 0 or total - level * level - tops[m] ** 2 > HOPELESS * found + COARSE * total:
                break
            # Not chosen again, and its neighbors are no higher for that.
            tops[m] = -tops[m]
            is_reached, value = False, np.inf
            if direction.size > 0:
                for j in range(p):
                    place[j] = (nodes[m * size, j] - lower[j]) / half[j] + tops[LANES + m] * along[j]
                    place[j] = min(max(place[j], 0.0), (problem.upper[j] - lower[j]) / half[j])
                explained, is_reached = climb(direction, padded, -1, 1.0, place, sums)
                value = max(total - level * level - explained, 0.0)
                for j in range(p):
                    solution.theta[j] = min(max(lower[j] + half[j] * place[j], lower[j]), problem.upper[j])
            if not is_reached:
                s = m * size + int(tops[LANES + m] + 0.5)
                for j in range(p):
                    solution.theta[j] = nodes[s, j]
                value, _ = refine(evaluate, problem, y, weight, solution, ROUGH, MOST_STEPS)
            for j in range(p):
                if solution.theta[j] <= lower[j] or solution.theta[j] >= problem.upper[j]:
                    value *= 1.0 + EDGE / (n - p - q)
            if value < found:
                found = value
                converged[v] = is_reached
                for j in range(p):
                    theta[v, j] = solution.theta[j]
        if not found < np.inf:
            for j in range(p):
                theta[v, j] = nodes[0, j]


@lean_vector_kernel
def _find_tops(heights, highest, number):
    """Write for every lane the largest abs(height) among its nodes and the number of that node (LANES,)."""
    row = heights[0]
    for lane in range(16):
        highest[lane] = abs(row[lane])
        number[lane] = 0.0
    for s in range(1, heights.shape[0]):
        own, row = float(s), heights[s]
        for lane in range(16):
            h = abs(float(row[lane]))
            is_higher = h > highest[lane]
            number[lane] = own if is_higher else number[lane]
            highest[lane] = h if is_higher else highest[lane]


@lean_vector_kernel
def _interpolate_tops(heights, number, near, tops):
    """Write for every lane the height of its top, without a sign, and, after all lanes, where that is, in nodes.

    It is the top of the quartic through the five nodes around the highest one, or that node itself near the ends.
    """
    for lane in range(16):
        s = int(number[lane])
        step = 1 if 1 < s < heights.shape[0] - 2 else 0
        for k in range(5):
            near[16 * k + lane] = heights[s + step * (k - 2), lane]
    for lane in range(16):
        a, b, c, d, e = near[lane], near[16 + lane], near[32 + lane], near[48 + lane], near[64 + lane]
        third = 0.5 * (e - a) - (d - b)
        fourth = a + e - 4.0 * (b + d) + 6.0 * c
        bend = b + d - 2.0 * c
        c1 = 0.5 * (d - b) - third / 6.0
        c2 = 0.5 * bend - fourth / 24.0
        c3, c4 = third / 6.0, fourth / 24.0
        t, is_top = 0.0, c != 0.0
        for _ in range(3):
            slope = c1 + t * (2.0 * c2 + t * (3.0 * c3 + t * 4.0 * c4))
            curve = 2.0 * c2 + t * (6.0 * c3 + t * 12.0 * c4)
            is_top = is_top & (curve * c < 0.0)
            step = slope / curve if is_top else 0.0
            t = min(max(t - step, -1.0), 1.0)
        t = t if is_top else 0.0
        tops[lane] = abs(c + t * (c1 + t * (c2 + t * (c3 + t * c4))))
        tops[16 + lane] = number[lane] + t


@lean_vector_kernel
def _choose_level(tops):
    """The level with the highest top that is not below its neighbors' and was not chosen yet; -1 for none."""
    chosen, best = -1, -1.0
    for m in range(LEVELS):
        h = abs(tops[m])
        is_top = (m == 0 or h >= abs(tops[m - 1])) and (m == LEVELS - 1 or h >= abs(tops[m + 1]))
        if is_top and h > best and tops[m] >= 0.0:
            chosen, best = m, h
    return chosen
