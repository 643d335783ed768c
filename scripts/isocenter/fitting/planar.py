"""Starts for models with two nonlinear coordinates and an acquisition that all voxels share.

Such models may have optima that look almost alike, as the two sides of the transmit field of an echo train do. The
nodes are sorted into levels of the coordinate along which they lie (`Separable.sides`); the best fit on each level
makes a profile, and from each of its tops an optimum is sought.
"""

from types import SimpleNamespace

import numpy as np

from isocenter.fitting.algebra import solve_amplitudes
from isocenter.fitting.climb import climb
from isocenter.fitting.direct import Direct
from isocenter.fitting.line import scan
from isocenter.fitting.planar_finish import finish_planar
from isocenter.fitting.planar_start import (
    COARSE,
    EDGE,
    HOPELESS,
    LEVELS,
    MOST_CANDIDATES,
    MOST_STEPS,
    ROUGH,
    lay_lanes,
    start_plain,
)  # fmt: skip
from isocenter.fitting.plane import Plane, sample_direction
from isocenter.fitting.problem import evaluate_at, make_solution, predict_sample
from isocenter.fitting.refinement import refine
from isocenter.fitting.robust import estimate_scale
from isocenter.fitting.tabulated import _put_back, _select
from isocenter.models.base import Separable
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

#: Nodes on a level this far apart.
_SPACING = 0.28
#: What a batch holds for each of its voxels, by the pass that adds it.
_STARTED = ("theta", "negative", "scale", "converged", "starts")
_FINISHED = ("values", "errors", "flag", "rms", "outliers", "freedom", "theta")
#: See `lay_nodes`.
Laid = tuple[np.ndarray, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


class Planar(Direct):
    """Voxels with all their samples start from the nodes of a plane; the rest is as for any model."""

    def __init__(self, separable: Separable, reported: int, plane: Plane, laid: Laid):
        super().__init__(separable, reported, plane)
        lower, upper = np.array([separable.lower, separable.upper])
        self.flat, self.nodes, self.lanes = laid
        self.direction, self.sides = plane.direction, plane.sides
        # Half a cell of the directions, along both coordinates.
        self.half = (upper - lower) / (2.0 * np.maximum(plane.direction.shape[:2], 1))

    def start(self, work: SimpleNamespace, is_robust: bool) -> None:
        """First pass over a batch: adds theta (v, 2), negative, scale and converged (v,), and starts.

        starts : (v, k, 2), of robust fits: the optima of all sides without the sample that stands off the most, and the
        best one of all samples, from which the M-estimate is sought; NaN for none
        """
        complete = work.count == work.y.shape[1]
        if complete.all():
            work.theta, work.negative = np.empty((len(work.y), 2)), np.zeros(len(work.y), np.int64)
            work.scale = np.full(len(work.y), np.nan)
        else:
            super().start(work, is_robust)
        work.converged = np.zeros(len(work.y), dtype=bool)
        # Single precision will do for starts, which are kept for all voxels until the scale is known.
        work.starts = np.full((len(work.y), MOST_CANDIDATES + 1 if is_robust else 0, 2), np.nan, np.float32)
        rows = np.flatnonzero(complete)
        if rows.size:
            block = slice(None) if rows.size == len(work.y) else rows
            part = _select(work, block, _STARTED)
            start = start_robust if is_robust else start_plain
            given = self.evaluate, self.problem, *(self.nodes if is_robust else self.lanes), self.flat
            found = (part.theta, part.scale, part.converged, part.starts) if is_robust else (part.theta, part.converged)
            start(*given, self.direction, self.half, part.y, *found)
            _put_back(work, block, part, _STARTED)

    def finish(self, work: SimpleNamespace, kind: int) -> None:
        """Second pass: adds values, errors (v, r), flag, rms, outliers and freedom (v,)."""
        # Where standard errors hold both sides they do so for all complete trains: `fields.single` counts on it.
        is_found = work.scale > 0.0 if kind else work.converged | (self.sides.step > 0.0)
        is_quick = (work.count == work.y.shape[1]) & is_found & (not self.separable.is_magnitude)
        self._prepare(work)
        for rows, is_quick_part in ((np.flatnonzero(is_quick), True), (np.flatnonzero(~is_quick), False)):
            if not rows.size:
                continue
            block = slice(None) if rows.size == len(work.y) else rows
            part = _select(work, block, (*_STARTED, *_FINISHED))
            if not is_quick_part:
                super().finish(part, kind)
            else:
                finish_planar(
                    self.evaluate, self.report, self.problem, self.direction, self.sides, part.y, part.theta,
                    part.starts, part.scale, part.known, kind, part.values, part.errors, part.flag, part.rms,
                    part.outliers, part.freedom,
                )  # fmt: skip
            _put_back(work, block, part, _FINISHED)


def lay_nodes(separable: Separable) -> Laid:
    """The direction of the constant basis function (n,), zeros without one; nodes of robust fits, and of plain ones.

    Of robust fits: points (k, 2), level by level; directions there (m, k), samples padded with zeros to m; 1 / (1 - h)
    (n, k). Of plain ones: the points, and what `planar_start.lay_lanes` makes of the directions.
    """
    n = separable.design.shape[1]
    flat = np.full(n, 1 / np.sqrt(n)) if separable.amplitudes == 2 else np.zeros(n)
    first = np.maximum(separable.grid.min(axis=0), separable.lower)
    last = np.minimum(separable.grid.max(axis=0), separable.upper)
    side, other = separable.sides, 1 - separable.sides
    inner = np.linspace(first[other], last[other], int((last[other] - first[other]) / _SPACING) + 2)
    nodes = np.empty((LEVELS * inner.size, 2))
    nodes[:, side] = np.repeat(np.linspace(first[side], last[side], LEVELS), inner.size)
    nodes[:, other] = np.tile(inner, LEVELS)
    e = sample_direction(separable, nodes).T
    free = 1.0 - e**2 - flat[:, np.newaxis] ** 2
    leverage = np.where(free > 1e-9, 1.0 / np.maximum(free, 1e-9), 0.0)
    unit = np.pad(e, ((0, -len(e) % 4), (0, 0)))
    unit = np.ascontiguousarray(unit)
    return flat, (nodes, unit, np.ascontiguousarray(leverage)), (nodes, lay_lanes(nodes, unit))


@vector_kernel
def start_robust(
    evaluate, problem, nodes, unit, leverage, flat, direction, half, signal, theta, scale, converged, starts
):  # fmt: skip
    """Write theta (v, 2), the scale (v,), and which are optima already (v,), of signals (v, n).

    A robust start leaves out the sample without which the node fits best: see `robust_start`. Which side is the better
    one the fit without that sample cannot tell, so all optima are noted for `finish_planar`: starts (v, k, 2).
    """
    n = signal.shape[1]
    count = nodes.shape[0]
    heights, padded = np.empty(count), np.zeros(unit.shape[0])
    levels, size = LEVELS, count // LEVELS
    p, q = 2, problem.grid_basis.shape[0]
    solution = make_solution(p, q, n)
    best_cost, best_node, best_shift = np.empty(levels), np.empty(levels, np.int64), np.empty(levels)
    cost = np.empty(count)
    most = np.empty(count)
    weight = np.empty(n)
    absolute = np.empty(n)
    gram_inverse = np.empty((q, q))
    near, place, sums = np.empty(5), np.empty(2), np.empty(36)
    has_directions = direction.size > 0
    lower = problem.lower
    for v in range(signal.shape[0]):
        y = signal[v]
        total, level = 0.0, 0.0
        for i in range(n):
            total += y[i] * y[i]
            level += y[i] * flat[i]
        for i in range(n):
            padded[i] = y[i]
        scan(padded, unit, heights)
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
        for m in range(levels):
            first = m * size
            s = first
            for k in range(first + 1, first + size):
                if cost[k] < cost[s]:
                    s = k
            best_cost[m] = cost[s]
            best_node[m] = s
            best_shift[m] = 0.0
            if first + 1 < s < first + size - 2:
                worst = find_worst(y, level, flat, heights, unit, leverage, s)
                rest = leave_out(y, total, level, flat, heights, unit, worst, s, near)
                best_shift[m], top = interpolate_top(near, 2)
                best_cost[m] = rest - top * top
        found = np.inf
        for turn in range(MOST_CANDIDATES):
            chosen = -1
            for m in range(levels):
                is_top = best_node[m] >= 0
                is_top = is_top and (m == 0 or best_cost[m] <= best_cost[m - 1])
                is_top = is_top and (m == levels - 1 or best_cost[m] <= best_cost[m + 1])
                if is_top and (chosen < 0 or best_cost[m] < best_cost[chosen]):
                    chosen = m
            if chosen < 0 or best_cost[chosen] > HOPELESS * found + COARSE * total:
                break
            s, shift = best_node[chosen], best_shift[chosen]
            best_node[chosen] = -1
            worst = find_worst(y, level, flat, heights, unit, leverage, s)
            for i in range(n):
                weight[i] = 1.0
            weight[worst] = 0.0
            is_reached = False
            if has_directions:
                free = 1.0 - flat[worst] ** 2
                own = (y[worst] - level * flat[worst]) / free
                value = total - level * level - own * own * free
                padded[worst] -= own
                for j in range(p):
                    place[j] = (nodes[s, j] - lower[j]) / half[j]
                    # From one node of the level to the next only the other coordinate changes.
                    place[j] += shift * (nodes[1, j] - nodes[0, j]) / half[j]
                explained, is_reached = climb(direction, padded, worst, free, place, sums)
                value = max(value - explained, 0.0)
                for j in range(p):
                    solution.theta[j] = min(max(lower[j] + half[j] * place[j], lower[j]), problem.upper[j])
                padded[worst] = y[worst]
            if not is_reached:
                for j in range(p):
                    solution.theta[j] = nodes[s, j]
                value, _ = refine(evaluate, problem, y, weight, solution, ROUGH, MOST_STEPS)
            for j in range(p):
                if solution.theta[j] <= lower[j] or solution.theta[j] >= problem.upper[j]:
                    value *= 1.0 + EDGE / (n - p - q)
            for j in range(p):
                starts[v, turn, j] = solution.theta[j]
            if value < found:
                found = value
                converged[v] = is_reached
                for j in range(p):
                    theta[v, j] = solution.theta[j]
                evaluate_at(evaluate, problem, solution.theta, solution)
                solve_amplitudes(solution.basis, weight, y, solution.amplitudes, gram_inverse)
                for i in range(n):
                    absolute[i] = abs(y[i] - predict_sample(solution, i))
                scale[v] = estimate_scale(absolute, n, p + q)
        # The sample that a node fits worst may be a sound one; this optimum has them all.
        s, shift = find_highest(heights, levels)
        for j in range(p):
            place[j] = (nodes[s, j] + shift * (nodes[1, j] - nodes[0, j]) - lower[j]) / half[j]
        if has_directions:
            climb(direction, padded, -1, 1.0, place, sums)
        for j in range(p):
            starts[v, MOST_CANDIDATES, j] = lower[j] + half[j] * place[j]
        if not found < np.inf:
            for j in range(p):
                theta[v, j] = nodes[0, j]


@lean_vector_kernel
def find_highest(heights, levels):
    """The node of the level with the highest top, and where that is, in nodes from it."""
    size = heights.size // levels
    best, shift, highest = 0, 0.0, -1.0
    for first in range(0, heights.size, size):
        s = first
        for k in range(first + 1, first + size):
            if abs(heights[k]) > abs(heights[s]):
                s = k
        t, top = 0.0, heights[s]
        if first + 1 < s < first + size - 2:
            t, top = interpolate_top(heights, s)
        if abs(top) > highest:
            best, shift, highest = s, t, abs(top)
    return best, shift


@lean_vector_kernel
def find_worst(y, level, flat, heights, unit, leverage, s):
    """The sample without which node s fits best."""
    worst, off = 0, -1.0
    for i in range(y.size):
        r = y[i] - level * flat[i] - heights[s] * unit[i, s]
        if r * r * leverage[i, s] > off:
            off = r * r * leverage[i, s]
            worst = i
    return worst


@lean_vector_kernel
def leave_out(y, total, level, flat, heights, unit, worst, s, near):
    """Write the heights of the five nodes around s without a sample; returns what the constant leaves of the others."""
    free = 1.0 - flat[worst] ** 2
    own = (y[worst] - level * flat[worst]) / free
    for k in range(5):
        e = unit[worst, s - 2 + k]
        near[k] = (heights[s - 2 + k] - own * e) / np.sqrt(max(1.0 - e * e / free, 1e-9))
    return total - level * level - own * own * free


@lean_vector_kernel
def interpolate_top(heights, s):
    """Where the quartic through five heights around node s has its top, in nodes from s, and its height there."""
    a, b, c, d, e = heights[s - 2], heights[s - 1], heights[s], heights[s + 1], heights[s + 2]
    third = 0.5 * (e - a) - (d - b)
    fourth = a + e - 4.0 * (b + d) + 6.0 * c
    bend = b + d - 2.0 * c
    c1 = 0.5 * (d - b) - third / 6.0
    c2 = 0.5 * bend - fourth / 24.0
    c3, c4 = third / 6.0, fourth / 24.0
    t = 0.0
    for _ in range(3):
        slope = c1 + t * (2.0 * c2 + t * (3.0 * c3 + t * 4.0 * c4))
        curve = 2.0 * c2 + t * (6.0 * c3 + t * 12.0 * c4)
        if not curve * c < 0.0:
            return 0.0, c
        t = min(max(t - slope / curve, -1.0), 1.0)
    return t, c + t * (c1 + t * (c2 + t * (c3 + t * c4)))
