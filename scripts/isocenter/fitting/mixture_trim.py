"""Robust starts of a `mixture`: the best fit that leaves one sample out, and the scale of the residuals around it."""

import numpy as np

from isocenter.fitting.mixture import LEVELS
from isocenter.fitting.mixture_lanes import climb, exponential
from isocenter.fitting.mixture_scan import find_image, find_tops, project
from isocenter.fitting.robust import estimate_scale
from isocenter.models.compiled import vector_kernel

#: Starts that are followed of one voxel, at most: of six samples each left out, on both sides.
_MOST_CANDIDATES = 12
#: A start is followed where it leaves no more than this many times what the best leaves, and this share of the
#: signal's sum of squares.
_HOPELESS, _COARSE = 3.0, 1e-2
#: To rank optima, and for a scale.
_ROUGH = 1e-4
#: So near to where both sides meet, two optima may look like one top.
_NEAR = 0.15


@vector_kernel
def start_trimmed(mixture, signal, theta, scale, is_settled):
    """Write theta (v, 2), the best optimum of each signal (v, n) without one of its samples, and its scale (v,).

    is_settled : (v,), whether it was reached inside the box; written
    """
    count, n = signal.shape
    most = _MOST_CANDIDATES * count
    voxel, dropped = np.empty(most, np.int64), np.empty(most, np.int64)
    decay, share, cost = np.empty(most), np.empty(most), np.empty(most)
    least, without = np.full(count, np.inf), np.full(count, -1, np.int64)
    tasks = scan_without_one(mixture, signal, voxel, dropped, decay, share)
    climb(mixture, signal, tasks, voxel, decay, share, dropped, cost, _ROUGH)
    _choose(tasks, voxel, dropped, decay, share, cost, theta, least, without)
    tasks = 0
    for v in range(count):
        image = find_image(mixture, theta[v, 0], theta[v, 1]) if without[v] >= 0 else np.nan
        if abs(image - theta[v, 1]) < 2.0 * _NEAR:
            voxel[tasks], dropped[tasks], decay[tasks], share[tasks] = v, without[v], theta[v, 0], image
            tasks += 1
    climb(mixture, signal, tasks, voxel, decay, share, dropped, cost, _ROUGH)
    _choose(tasks, voxel, dropped, decay, share, cost, theta, least, without)
    curve, absolute = np.empty(n), np.empty(n)
    for v in range(count):
        is_settled[v] = without[v] >= 0 and mixture.lower[1] < theta[v, 1] < mixture.upper[1]
        if not is_settled[v]:
            continue
        y = signal[v]
        along, size = 0.0, 0.0
        for i in range(n):
            square = mixture.a[i] + theta[v, 1] * (mixture.b[i] + theta[v, 1] * mixture.c[i])
            curve[i] = np.sqrt(max(square, 0.0)) * exponential(-mixture.d[i] * theta[v, 0])
        for i in range(n):
            along += 0.0 if i == without[v] else y[i] * curve[i]
            size += 0.0 if i == without[v] else curve[i] * curve[i]
        for i in range(n):
            absolute[i] = abs(y[i] - along / size * curve[i])
        scale[v] = estimate_scale(absolute, n, 3)


@vector_kernel
def _choose(tasks, voxel, dropped, decay, share, cost, theta, least, without):
    """Write the better of what was and of what the tasks found."""
    for task in range(tasks):
        v = voxel[task]
        if cost[task] < least[v]:
            least[v], without[v] = cost[task], dropped[task]
            theta[v, 0], theta[v, 1] = decay[task], share[task]


@vector_kernel
def scan_without_one(mixture, signal, voxel, dropped, decay, share):
    """Write the tasks of all signals (v, n), and return how many there are.

    voxel, dropped, decay, share : (_MOST_CANDIDATES v,), written
    """
    count, n = signal.shape
    nodes = mixture.unit.shape[1]
    inner = nodes // LEVELS
    height, explained = np.zeros(nodes, np.float32), np.zeros(nodes, np.float32)
    y = np.zeros(mixture.unit.shape[0], np.float32)
    top, valley = np.zeros(LEVELS, np.float32), np.zeros(LEVELS + 1, np.int64)
    best, node, out = np.empty(2 * n), np.empty(2 * n, np.int64), np.empty(2 * n, np.int64)
    tasks = 0
    for v in range(count):
        total, largest = 0.0, 0.0
        for i in range(n):
            largest = max(largest, abs(signal[v, i]))
        per = 1.0 / largest if largest > 0.0 else 0.0
        for i in range(n):
            y[i] = signal[v, i] * per
        for i in range(n):
            total += y[i] * y[i]
        project(mixture.unit, y, height)
        found = 0
        for i in range(n):
            # Without a sample the sum of squares falls by its residual's square over 1 - its leverage.
            unit, leverage, own = mixture.unit[i], mixture.leverage[i], y[i]
            for s in range(nodes):
                off = own - height[s] * unit[s]
                explained[s] = height[s] * height[s] + off * off * leverage[s]
            first, second = find_tops(explained, top, valley)
            for m in (first, second):
                if m < 0:
                    continue
                r = 0
                for k in range(1, inner):
                    if explained[k * LEVELS + m] > explained[r * LEVELS + m]:
                        r = k
                best[found], node[found], out[found] = total - top[m], r * LEVELS + m, i
                found += 1
        begin = tasks
        limit = np.inf
        for _ in range(min(found, _MOST_CANDIDATES)):
            k = 0
            for m in range(1, found):
                if best[m] < best[k]:
                    k = m
            if not best[k] < limit:
                break
            if tasks == begin:
                limit = _HOPELESS * max(best[k], 0.0) + _COARSE * total
            voxel[tasks], dropped[tasks] = v, out[k]
            decay[tasks] = mixture.decays[node[k] // LEVELS]
            share[tasks] = mixture.shares[node[k] % LEVELS]
            best[k] = np.inf
            tasks += 1
    return tasks
