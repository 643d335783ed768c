"""Starts for models with two nonlinear coordinates and an acquisition that all voxels share.

Such models may have optima that look almost alike, as the two sides of the transmit field of an echo train do. The
nodes are sorted into levels of the coordinate along which they lie (`Separable.sides`); the best fit on each level
makes a profile, and from each of its tops an optimum is sought.
"""

from types import SimpleNamespace

import numpy as np

from isocenter.fitting.algebra import solve_amplitudes
from isocenter.fitting.direct import Direct
from isocenter.fitting.line import scan
from isocenter.fitting.plane import Plane, sample_plane
from isocenter.fitting.problem import evaluate_at, make_solution, predict_sample
from isocenter.fitting.refinement import refine
from isocenter.fitting.robust import estimate_scale
from isocenter.models.base import Separable
from isocenter.models.compiled import vector_kernel

#: Nodes on a level this far apart, and so many levels.
_SPACING, _LEVELS = 0.42, 14
#: Levels from which an optimum is sought, at most.
_MOST_CANDIDATES = 3
#: An optimum on the edge must beat one inside by more than this over the degrees of freedom: two standard errors.
_EDGE = 4.0
#: Fraction of the sum of squares: to rank starts.
_ROUGH = 1e-4
_MOST_STEPS = 60
#: No optimum is sought where the nodes leave more than this many times what the best optimum leaves, and this share of
#: the signal's sum of squares, which is what they are coarse by.
_HOPELESS, _COARSE = 1.5, 5e-4


class Planar(Direct):
    """Voxels with all their samples start from the nodes of a plane; the rest is as for any model."""

    def __init__(self, separable: Separable, reported: int, plane: Plane):
        super().__init__(separable, reported, plane)
        lower, upper = np.array([separable.lower, separable.upper])
        first = np.maximum(separable.grid.min(axis=0), lower)
        last = np.minimum(separable.grid.max(axis=0), upper)
        side, other = separable.sides, 1 - separable.sides
        inner = np.linspace(first[other], last[other], int((last[other] - first[other]) / _SPACING) + 2)
        nodes = np.stack(np.meshgrid(np.linspace(first[side], last[side], _LEVELS), inner, indexing="ij"), axis=-1)
        self.nodes = np.empty((_LEVELS * inner.size, 2))
        self.nodes[:, [side, other]] = nodes.reshape(-1, 2)
        n = separable.design.shape[1]
        basis = np.empty((len(self.nodes), separable.amplitudes, n))
        sample_plane(self.evaluate, self.nodes, separable.design, separable.constants, basis)
        e = basis[:, 0]
        self.flat = np.full(n, 1 / np.sqrt(n)) if separable.amplitudes == 2 else np.zeros(n)
        e = e - (e @ self.flat)[:, np.newaxis] * self.flat
        e = e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-300)
        self.unit = np.ascontiguousarray(np.pad(e.T, ((0, -n % 4), (0, 0))))
        free = 1.0 - e.T**2 - self.flat[:, np.newaxis] ** 2
        self.leverage = np.where(free > 1e-9, 1.0 / np.maximum(free, 1e-9), 0.0)

    def start(self, work: SimpleNamespace, is_robust: bool) -> None:
        """First pass over a batch: adds theta (v, 2), negative and scale (v,)."""
        complete = work.count == work.y.shape[1]
        if complete.all():
            work.theta, work.negative = np.empty((len(work.y), 2)), np.zeros(len(work.y), np.int64)
            work.scale = np.full(len(work.y), np.nan)
        else:
            super().start(work, is_robust)
        rows = np.flatnonzero(complete)
        if rows.size:
            block = slice(None) if rows.size == len(work.y) else rows
            theta, scale = work.theta[block], work.scale[block]
            start_planar(
                self.evaluate, self.problem, self.nodes, _LEVELS, self.unit, self.flat, self.leverage, work.y[block],
                is_robust, theta, scale,
            )  # fmt: skip
            work.theta[block], work.scale[block] = theta, scale


@vector_kernel
def start_planar(
    evaluate, problem, nodes, levels, unit, flat, leverage, signal, is_robust, theta, scale
):  # fmt: skip
    """Write theta (v, 2), and for robust fits the scale (v,), of signals (v, n).

    A robust start leaves out the sample without which the node fits best: see `robust_start`.
    """
    n = signal.shape[1]
    count = unit.shape[1]
    heights = np.empty(count)
    padded = np.zeros(unit.shape[0])
    size = count // levels
    p, q = 2, problem.grid_basis.shape[0]
    solution = make_solution(p, q, n)
    best_cost, best_node = np.empty(levels), np.empty(levels, np.int64)
    cost = np.empty(count)
    most = np.empty(count)
    weight = np.empty(n)
    absolute = np.empty(n)
    gram_inverse = np.empty((q, q))
    for v in range(signal.shape[0]):
        y = signal[v]
        total, level = 0.0, 0.0
        for i in range(n):
            total += y[i] * y[i]
            level += y[i] * flat[i]
            padded[i] = y[i]
        scan(padded, unit, heights)
        if is_robust:
            for s in range(count):
                cost[s] = 0.0
                most[s] = 0.0
            for i in range(n):
                x = y[i] - level * flat[i]
                for s in range(count):
                    r = x - heights[s] * unit[i, s]
                    cost[s] += r * r
                    most[s] = max(most[s], r * r * leverage[i, s])
            for s in range(count):
                cost[s] -= most[s]
        else:
            for s in range(count):
                cost[s] = total - heights[s] ** 2
        for m in range(levels):
            first = m * size
            s = first
            for k in range(first + 1, first + size):
                if cost[k] < cost[s]:
                    s = k
            best_cost[m] = cost[s]
            best_node[m] = s
            if not is_robust and first < s < first + size - 1:
                # The top of the parabola through three heights.
                left, middle, right = heights[s - 1], heights[s], heights[s + 1]
                bend = left - 2.0 * middle + right
                if bend * middle < 0.0:
                    best_cost[m] = total - (middle - 0.125 * (left - right) ** 2 / bend) ** 2
        found = np.inf
        for _ in range(_MOST_CANDIDATES):
            chosen = -1
            for m in range(levels):
                is_top = best_node[m] >= 0
                is_top = is_top and (m == 0 or best_cost[m] <= best_cost[m - 1])
                is_top = is_top and (m == levels - 1 or best_cost[m] <= best_cost[m + 1])
                if is_top and (chosen < 0 or best_cost[m] < best_cost[chosen]):
                    chosen = m
            if chosen < 0 or best_cost[chosen] > _HOPELESS * found + _COARSE * total:
                break
            s = best_node[chosen]
            best_node[chosen] = -1
            worst, off = -1, -1.0
            for i in range(n):
                weight[i] = 1.0
                r = y[i] - level * flat[i] - heights[s] * unit[i, s]
                if is_robust and r * r * leverage[i, s] > off:
                    off = r * r * leverage[i, s]
                    worst = i
            if worst >= 0:
                weight[worst] = 0.0
            for j in range(p):
                solution.theta[j] = nodes[s, j]
            value, _ = refine(evaluate, problem, y, weight, solution, _ROUGH, _MOST_STEPS)
            for j in range(p):
                if solution.theta[j] <= problem.lower[j] or solution.theta[j] >= problem.upper[j]:
                    value *= 1.0 + _EDGE / (n - p - q)
            if value < found:
                found = value
                for j in range(p):
                    theta[v, j] = solution.theta[j]
                if is_robust:
                    evaluate_at(evaluate, problem, solution.theta, solution)
                    solve_amplitudes(solution.basis, weight, y, solution.amplitudes, gram_inverse)
                    for i in range(n):
                        absolute[i] = abs(y[i] - predict_sample(solution, i))
                    scale[v] = estimate_scale(absolute, n, p + q)
        if not found < np.inf:
            for j in range(p):
                theta[v, j] = nodes[0, j]
