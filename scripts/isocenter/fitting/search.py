"""The global optimum of one voxel: a scan of the model's grid, with the lost signs given back, then refinement."""

import numpy as np

from isocenter.fitting.levels import search_levels
from isocenter.fitting.problem import copy_solution, make_solution
from isocenter.fitting.refinement import refine
from isocenter.models.compiled import vector_kernel

#: Typed, since numba would compile a second `refine` for a literal.
_MOST_STEPS = np.int64(100)


@vector_kernel
def scan_grid(problem, y, weight, nodes, best_node, best_score):
    """The best starting node for each number of leading samples taken as negative.

    nodes : (2,), the first node to try and the one after the last
    best_node, best_score : (n,), written; the score is the part of the weighted sum of squares that the basis explains,
    -1 for a number that makes no difference.
    """
    basis = problem.grid_basis
    q, n, g = basis.shape
    a = np.zeros(g)
    h = np.zeros(g)
    d = np.zeros(g)
    b0 = np.zeros(g)
    b1 = np.zeros(g)
    for i in range(n):
        best_score[i] = -1.0
        best_node[i] = 0
        w = weight[i]
        wy = w * y[i]
        if w == 0.0:
            continue
        for s in range(g):
            a[s] += w * basis[0, i, s] * basis[0, i, s]
            b0[s] += wy * basis[0, i, s]
        if q == 2:
            for s in range(g):
                h[s] += w * basis[0, i, s] * basis[1, i, s]
                d[s] += w * basis[1, i, s] * basis[1, i, s]
                b1[s] += wy * basis[1, i, s]
    for negative in range(n if problem.is_magnitude else 1):
        if negative > 0:
            change = 2.0 * weight[negative - 1] * y[negative - 1]
            if change == 0.0:
                continue
            for s in range(g):
                b0[s] -= change * basis[0, negative - 1, s]
                if q == 2:
                    b1[s] -= change * basis[1, negative - 1, s]
        for s in range(nodes[0], nodes[1]):
            if q == 1:
                score = b0[s] * b0[s] / a[s]
            else:
                det = a[s] * d[s] - h[s] * h[s]
                score = -1.0
                if det > 1e-12 * a[s] * d[s]:
                    score = (d[s] * b0[s] * b0[s] - 2.0 * h[s] * b0[s] * b1[s] + a[s] * b1[s] * b1[s]) / det
            if score > best_score[negative]:
                best_score[negative] = score
                best_node[negative] = s


@vector_kernel
def search(evaluate, problem, y, weight, nodes, solution, tolerance):
    """Write the best solution; returns its sum of squares and the number of leading negative samples."""
    p, q, n = solution.slope.shape
    if q > 2:
        return search_levels(evaluate, problem, y, weight, nodes, solution, tolerance), 0
    best_node = np.empty(n, np.int64)
    best_score = np.empty(n)
    scan_grid(problem, y, weight, nodes, best_node, best_score)
    chosen = 0
    for i in range(1, n):
        if best_score[i] > best_score[chosen]:
            chosen = i
    signed = np.empty(n)
    trial = make_solution(p, q, n)
    best_cost = np.inf
    best_negative = 0
    for j in range(p):
        solution.theta[j] = problem.grid[best_node[chosen], j]
    # The grid is coarse: the split beside the chosen one may win after refinement (a sample near the null). All
    # negative is the mirror image of none, so the splits form a ring.
    for neighbor in range(n - 1, n + 2):
        negative = (chosen + neighbor) % n
        if best_score[negative] < 0.0:
            continue
        for i in range(n):
            signed[i] = -y[i] if i < negative else y[i]
        for j in range(p):
            trial.theta[j] = problem.grid[best_node[negative], j]
        cost, _ = refine(evaluate, problem, signed, weight, trial, tolerance, np.int64(_MOST_STEPS))
        if cost < best_cost:
            best_cost = cost
            best_negative = negative
            copy_solution(solution, trial)
    return best_cost, best_negative
