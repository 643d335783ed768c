"""Starts for models of complex signals, which may have several optima along their first coordinate, B0.

The grid is sorted by that coordinate into levels. The best node of each level makes a profile of the residual, and an
optimum is sought from each of its valleys that may still win: a grid that is coarse in the other coordinates may find
the valley of a swap of water and fat deeper than the true one, which only refinement tells.
"""

import numpy as np

from isocenter.fitting.algebra import invert
from isocenter.fitting.problem import copy_solution, make_solution
from isocenter.fitting.refinement import refine
from isocenter.models.compiled import vector_kernel

_MOST_STEPS = np.int64(100)
#: Valleys from which an optimum is sought, at most.
_MOST_CANDIDATES = 3
#: A valley may still win when its nodes leave no more than this many times what the best optimum leaves, and besides
#: what they are coarse by: this many times what refinement took off the best one, and this share of the signal's sum
#: of squares (half a step of R2* over the last echo costs up to a hundredth, less what the amplitudes take up).
_HOPELESS = 1.5
_COARSE = 5e-3


def make_orthonormal(basis: np.ndarray) -> np.ndarray:
    """The basis (q, n, g) made orthonormal on every node; zeros where it is singular: such a node explains nothing."""
    stacked = np.moveaxis(basis, 2, 0).swapaxes(1, 2)
    unit, upper = np.linalg.qr(stacked)
    diagonal = np.abs(np.diagonal(upper, axis1=1, axis2=2))
    is_regular = diagonal.min(axis=1) > 1e-6 * diagonal.max(axis=1)
    return np.ascontiguousarray(np.transpose(np.where(is_regular[:, np.newaxis, np.newaxis], unit, 0.0), (2, 1, 0)))


@vector_kernel
def score_quickly(unit, y, left_out, nodes, residual):
    """As `score_nodes`, of samples that all weigh 1 but for the one that is left out (-1: none)."""
    q, n, g = unit.shape
    along = np.empty(g)
    first, last = nodes[0], nodes[1]
    total = 0.0
    for i in range(n):
        total += y[i] * y[i]
    for s in range(first, last):
        residual[s] = total
    here = np.empty(g)
    leverage = np.empty(g)
    if left_out >= 0:
        for s in range(first, last):
            here[s] = y[left_out]
            leverage[s] = 1.0
    for k in range(q):
        for s in range(first, last):
            along[s] = 0.0
        for i in range(n):
            yi = y[i]
            for s in range(first, last):
                along[s] += yi * unit[k, i, s]
        for s in range(first, last):
            residual[s] -= along[s] * along[s]
        if left_out >= 0:
            for s in range(first, last):
                here[s] -= along[s] * unit[k, left_out, s]
                leverage[s] -= unit[k, left_out, s] * unit[k, left_out, s]
    if left_out >= 0:
        # Without a sample the sum of squares falls by its residual's square over what it does not determine itself.
        for s in range(first, last):
            residual[s] -= here[s] * here[s] / max(leverage[s], 1e-9)
        total -= y[left_out] * y[left_out]
    return total


@vector_kernel
def score_nodes(problem, y, weight, nodes, residual):
    """The weighted sum of squares; writes what the basis of each node (g,) leaves of it (infinite: singular).

    nodes : (2,), the first node to try and the one after the last
    """
    basis = problem.grid_basis
    q, n, _ = basis.shape
    left_out = -1
    equal = 0
    for i in range(n):
        if weight[i] == 1.0:
            equal += 1
        elif weight[i] == 0.0:
            left_out = i
    if problem.grid_unit.size > 0 and equal >= n - 1 and (equal == n or left_out >= 0):
        return score_quickly(problem.grid_unit, y, left_out, nodes, residual)
    gram = np.empty((q, q))
    inverse = np.empty((q, q))
    right = np.empty(q)
    total = 0.0
    for i in range(n):
        total += weight[i] * y[i] * y[i]
    for s in range(nodes[0], nodes[1]):
        for k in range(q):
            right[k] = 0.0
            for m in range(q):
                gram[k, m] = 0.0
        for i in range(n):
            for k in range(q):
                u = weight[i] * basis[k, i, s]
                right[k] += u * y[i]
                for m in range(q):
                    gram[k, m] += u * basis[m, i, s]
        residual[s] = np.inf
        if not invert(gram, inverse):
            continue
        score = 0.0
        for k in range(q):
            for m in range(q):
                score += right[k] * inverse[k, m] * right[m]
        residual[s] = total - score
    return total


@vector_kernel
def search_levels(evaluate, problem, y, weight, nodes, solution, tolerance):
    """Write the best solution from the valleys of the profile; returns its sum of squares."""
    p, q, n = solution.slope.shape
    grid = problem.grid
    residual = np.empty(grid.shape[0])
    coarse = _COARSE * score_nodes(problem, y, weight, nodes, residual)
    low = np.empty(nodes[1] - nodes[0])
    node = np.empty(nodes[1] - nodes[0], np.int64)
    levels = 0
    for s in range(nodes[0], nodes[1]):
        if s == nodes[0] or grid[s, 0] != grid[s - 1, 0]:
            levels += 1
            low[levels - 1] = np.inf
            node[levels - 1] = s
        if residual[s] < low[levels - 1]:
            low[levels - 1] = residual[s]
            node[levels - 1] = s
    bottom = np.empty(levels)
    for m in range(levels):
        bottom[m] = low[m]
        if 0 < m < levels - 1:
            # The lowest point of the parabola through three levels.
            left, middle, right = low[m - 1], low[m], low[m + 1]
            bend = left - 2.0 * middle + right
            if bend > 0.0 and middle <= left and middle <= right:
                bottom[m] = max(middle - 0.125 * (left - right) ** 2 / bend, 0.0)
    for j in range(p):
        solution.theta[j] = grid[node[0], j]
    trial = make_solution(p, q, n)
    best = np.inf
    spared = 0.0
    for _ in range(_MOST_CANDIDATES):
        chosen = -1
        for m in range(levels):
            is_valley = node[m] >= 0
            is_valley = is_valley and (m == 0 or low[m] <= low[m - 1])
            is_valley = is_valley and (m == levels - 1 or low[m] <= low[m + 1])
            if is_valley and (chosen < 0 or bottom[m] < bottom[chosen]):
                chosen = m
        if chosen < 0 or not bottom[chosen] - coarse < _HOPELESS * (best + spared):
            break
        for j in range(p):
            trial.theta[j] = grid[node[chosen], j]
        node[chosen] = -1
        cost, _ = refine(evaluate, problem, y, weight, trial, tolerance, np.int64(_MOST_STEPS))
        if cost < best:
            spared = max(bottom[chosen] - cost, 0.0)
            best = cost
            copy_solution(solution, trial)
    return best
