"""Least-squares optima of models with one nonlinear coordinate, on a table of the basis: see `line`.

Most voxels are done in lanes, within the cell where the nodes' top lies; those that leave it are followed alone.
"""

import numpy as np

from isocenter.fitting.lanes import (
    LANES,
    climb_lanes,
    enter_cells,
    find_tops,
    guess_tops,
    scan_lanes,
    spread,
    turn_sign,
)
from isocenter.fitting.line import BEYOND, ascend
from isocenter.models.compiled import vector_kernel


@vector_kernel
def start_plain(
    direction, lower, width, nodes, unit, is_magnitude, signal, theta, negative, is_converged, height, level,
):  # fmt: skip
    """Least-squares optimum of each voxel, samples complete.

    signal : (v, n); theta (v, 1), negative (v,), is_converged (v,), and what the optimum is made of, y.e in height (v,)
    and y.g/|g| in level (v,), are written
    """
    total, n = signal.shape
    q, m, k = unit.shape
    table = direction, lower, width
    y, signed, heights = np.zeros((m, LANES)), np.zeros((m, LANES)), np.empty((k, LANES))
    best, at, flat = np.empty(LANES), np.empty(LANES), np.zeros(LANES)
    score, chosen = np.empty(LANES), np.empty(LANES)
    u, h, done = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    place = np.zeros(LANES, np.int64), np.zeros(LANES), np.zeros((8, LANES))
    for first in range(0, total, LANES):
        count = spread(signal, first, y)
        scan_lanes(y, unit[0], heights)
        find_tops(heights, best, at)
        if q == 2:
            sum_level(y, unit[1], flat)
        if not is_magnitude:
            _reach_tops(table, nodes, heights, at, y, count, place, u, h, done)
            for lane in range(count):
                v = first + lane
                theta[v, 0], negative[v], is_converged[v] = u[lane], 0, done[lane] > 0.0
                height[v], level[v] = h[lane], flat[lane]
            continue
        for lane in range(LANES):
            score[lane] = best[lane] * best[lane] + flat[lane] * flat[lane]
            chosen[lane] = 0.0
        for split in range(1, n):
            turn_sign(y[split - 1], unit[0, split - 1], heights, best, at)
            # What the constant basis function explains depends on the signs too.
            twice = 2.0 * unit[1, split - 1, 0] if q == 2 else 0.0
            number = float(split)
            for lane in range(LANES):
                flat[lane] -= twice * y[split - 1, lane]
                x = best[lane] * best[lane] + flat[lane] * flat[lane]
                is_better = x > score[lane]
                score[lane] = x if is_better else score[lane]
                chosen[lane] = number if is_better else chosen[lane]
        for lane in range(LANES):
            score[lane] = -1.0
        # The nodes are coarse: the split beside the chosen one may win (a sample near the null). All negative is
        # the mirror image of none, so the splits form a ring.
        for turn in (0, 1, n - 1):
            for i in range(n):
                for lane in range(LANES):
                    split = chosen[lane] + turn
                    split = split - n if split >= n else split
                    signed[i, lane] = -y[i, lane] if i < split else y[i, lane]
            scan_lanes(signed, unit[0], heights)
            find_tops(heights, best, at)
            if q == 2:
                sum_level(signed, unit[1], flat)
            _reach_tops(table, nodes, heights, at, signed, count, place, u, h, done)
            for lane in range(count):
                x = h[lane] * h[lane] + flat[lane] * flat[lane]
                if x > score[lane]:
                    score[lane] = x
                    v = first + lane
                    theta[v, 0], negative[v], is_converged[v] = (
                        u[lane],
                        (int(chosen[lane]) + turn) % n,
                        done[lane] > 0.0,
                    )
                    height[v], level[v] = h[lane], flat[lane]


@vector_kernel
def sum_level(y, unit, flat):
    """Write y.g/|g| (LANES,), of samples y (m, LANES) and g/|g| in unit (m, k)."""
    for lane in range(LANES):
        flat[lane] = 0.0
    for i in range(y.shape[0]):
        x = unit[i, 0]
        for lane in range(LANES):
            flat[lane] += x * y[i, lane]


@vector_kernel
def _reach_tops(table, nodes, heights, at, y, count, place, u, h, done):
    """Write the coordinates u of the tops of |h| next to the nodes `at`, h there, and 1 where they were reached."""
    direction, lower, width = table
    cell, t, sums = place
    guess_tops(nodes, heights, at, count, u)
    done[:] = 1.0
    enter_cells(direction, lower, width, y, u, done, count, cell, t, sums)
    climb_lanes(sums, t, h, done)
    own, own_sums = np.empty(y.shape[0]), np.empty(8)
    for lane in range(count):
        x = cell[lane] + 0.5 * (t[lane] + 1.0)
        if done[lane] == 0.0 and abs(t[lane]) <= BEYOND and 0.0 <= x <= direction.shape[0]:
            u[lane] = lower + width * x
            done[lane] = 1.0
            continue
        for i in range(y.shape[0]):
            own[i] = y[i, lane]
        u[lane], h[lane], is_done = ascend(direction, lower, width, own, u[lane], own_sums)
        done[lane] = 1.0 if is_done else 0.0
