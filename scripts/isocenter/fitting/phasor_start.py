"""Plain starts of a `phasor` of field and decay: the valleys are followed side by side, the deepest first."""

import numpy as np

from isocenter.fitting.levels import _COARSE, _HOPELESS, _MOST_CANDIDATES
from isocenter.fitting.phasor import Phasor
from isocenter.fitting.phasor_lanes import climb_lanes
from isocenter.fitting.phasor_scan import find_valleys, profile
from isocenter.models.compiled import vector_kernel

#: The last step but one may lower the sum of squares by this fraction; Newton's method squares what is left.
_EXACT = 1e-9


@vector_kernel
def scan_valleys(phasor, signal, nodes, starts, hope, coarse):
    """Write where to start in the deepest valleys of each voxel.

    signal : (v, 2 n); nodes : (v, 2), the span of the grid's nodes to try
    starts : (t, v, 2), hope : (t, v), the lowest point that the nodes promise, infinite where there are fewer valleys
    coarse : (v,), what the nodes are coarse by; all written
    """
    voxels, n = signal.shape[0], signal.shape[1] // 2
    count, inner = phasor.levels.size, phasor.inner.shape[0]
    y = np.empty(n, np.complex128)
    explained, low, bottom = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count)
    weights = np.empty((1 + 2 * phasor.cosine.shape[0], phasor.own.shape[1]), np.float32)
    node, valley = np.zeros(count, np.int32), np.zeros(count + 1, np.int64)
    for v in range(voxels):
        for i in range(n):
            y[i] = complex(signal[v, i], signal[v, n + i])
        first, last = nodes[v, 0] // inner, nodes[v, 1] // inner
        # From a first level that is known when this is compiled, loops run on vector registers.
        if first == 0:
            total = profile(phasor, y, 0, last, explained, weights, low, node)
        else:
            total = profile(phasor, y, first, last, explained, weights, low, node)
        coarse[v] = _COARSE * total
        valleys = find_valleys(low, total, first, last, valley, bottom)
        for turn in range(starts.shape[0]):
            hope[turn, v] = np.inf
            if turn >= valleys:
                continue
            k = 0
            for m in range(1, valleys):
                if bottom[m] < bottom[k]:
                    k = m
            hope[turn, v] = bottom[k]
            bottom[k] = np.inf
            starts[turn, v, 0] = phasor.levels[valley[k]]
            starts[turn, v, 1] = phasor.inner[node[valley[k]], 0]


@vector_kernel
def follow_valleys(phasor, signal, starts, hope, coarse, theta, is_settled):
    """Write the least-squares optimum of each voxel, theta (v, 2), and whether it was reached inside of the bounds.

    signal : (v, 2 n); starts, hope, coarse : see `scan_valleys`
    """
    voxels = signal.shape[0]
    best, spared = np.full(voxels, np.inf), np.zeros(voxels)
    voxel, trial = np.empty(voxels, np.int64), np.empty((voxels, 2))
    limit, cost, is_done = np.empty(voxels), np.empty(voxels), np.zeros(voxels, np.bool_)
    for v in range(voxels):
        is_settled[v] = False
    for turn in range(starts.shape[0]):
        tasks = 0
        for v in range(voxels):
            if hope[turn, v] < np.inf and hope[turn, v] - coarse[v] < _HOPELESS * (best[v] + spared[v]):
                voxel[tasks], limit[tasks] = v, best[v]
                trial[tasks, 0], trial[tasks, 1] = starts[turn, v, 0], starts[turn, v, 1]
                tasks += 1
        climb_lanes(phasor, signal, tasks, voxel, trial, limit, cost, is_done, _EXACT)
        for task in range(tasks):
            v = voxel[task]
            if cost[task] < best[v]:
                spared[v] = max(hope[turn, v] - cost[task], 0.0)
                best[v], is_settled[v] = cost[task], is_done[task]
                theta[v, 0], theta[v, 1] = trial[task, 0], trial[task, 1]


def start_side_by_side(
    phasor: Phasor, signal: np.ndarray, nodes: np.ndarray, theta: np.ndarray, is_settled: np.ndarray
) -> None:
    """The least-squares optimum of each voxel, as `start_phasor` finds it.

    signal : (v, 2 n); nodes : (v, 2), the span of the grid's nodes to try
    theta : (v, 2), is_settled : (v,), written; a voxel that has not settled is left to the direct way
    """
    v = len(signal)
    starts, hope, coarse = np.empty((_MOST_CANDIDATES, v, 2)), np.empty((_MOST_CANDIDATES, v)), np.empty(v)
    scan_valleys(phasor, signal, nodes, starts, hope, coarse)
    follow_valleys(phasor, signal, starts, hope, coarse, theta, is_settled)
