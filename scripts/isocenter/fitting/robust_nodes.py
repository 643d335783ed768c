"""Where a robust start begins, in lanes: what each node leaves of the squares without its worst sample."""

import numpy as np

from isocenter.fitting.lanes import LANES
from isocenter.models.compiled import vector_kernel


@vector_kernel
def turn_over(x, unit, heights):
    """Change the sign of a sample x (LANES,), whose row of the directions is unit (k,), in it and in all heights."""
    for s in range(unit.size):
        twice = 2.0 * unit[s]
        for lane in range(LANES):
            heights[s, lane] -= twice * x[lane]
    for lane in range(LANES):
        x[lane] = -x[lane]


@vector_kernel
def project(z, along, level, residual):
    """Write z (m, LANES) without its part along the constant basis function of length 1 (m,)."""
    for lane in range(LANES):
        level[lane] = 0.0
    for i in range(along.size):
        x = along[i]
        for lane in range(LANES):
            level[lane] += x * z[i, lane]
    for i in range(along.size):
        x = along[i]
        for lane in range(LANES):
            residual[i, lane] = z[i, lane] - x * level[lane]


@vector_kernel
def score_nodes(z, unit, leverage, heights, nodes, cost, u):
    """Write the least sum of squares that a node leaves without its worst sample, and where its valley lies (LANES,).

    z : (m, LANES) samples without the constant part; leverage : (m, k) 1 / (1 - h)
    """
    m, k = unit.shape
    squares, most = np.zeros(LANES), np.empty((2, LANES))
    at, before, left, right = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    for i in range(m):
        for lane in range(LANES):
            squares[lane] += z[i, lane] * z[i, lane]
    for lane in range(LANES):
        cost[lane] = np.inf
    for s in range(k):
        h = heights[s]
        for lane in range(LANES):
            most[0, lane] = 0.0
        for i in range(0, m, 4):
            of = i // 4 % 2
            to = 1 - of
            a, b, c, d = unit[i, s], unit[i + 1, s], unit[i + 2, s], unit[i + 3, s]
            wa, wb, wc, wd = leverage[i, s], leverage[i + 1, s], leverage[i + 2, s], leverage[i + 3, s]
            for lane in range(LANES):
                x = h[lane]
                ra, rb = z[i, lane] - a * x, z[i + 1, lane] - b * x
                rc, rd = z[i + 2, lane] - c * x, z[i + 3, lane] - d * x
                ra, rb, rc, rd = ra * ra * wa, rb * rb * wb, rc * rc * wc, rd * rd * wd
                # Into another row: the compiler would store only where it is more, and that takes longer.
                most[to, lane] = max(max(max(ra, rb), max(rc, rd)), most[of, lane])
        number = float(s)
        for lane in range(LANES):
            x = squares[lane] - h[lane] * h[lane] - most[m // 4 % 2, lane]
            is_lower = x < cost[lane]
            is_next = at[lane] == number - 1.0
            right[lane] = x if is_next else right[lane]
            left[lane] = before[lane] if is_lower else left[lane]
            at[lane] = number if is_lower else at[lane]
            cost[lane] = x if is_lower else cost[lane]
            before[lane] = x
    spacing = nodes[1] - nodes[0] if k > 1 else 0.0
    last = float(k - 1)
    for lane in range(LANES):
        bend = left[lane] - 2.0 * cost[lane] + right[lane]
        is_inside = (at[lane] > 0.0) & (at[lane] < last) & (bend > 0.0)
        x = 0.5 * (left[lane] - right[lane]) / bend if is_inside else 0.0
        u[lane] = nodes[0] + spacing * (at[lane] + x)


@vector_kernel
def choose(cost, first_u, chosen, u):
    """Write the split of the least cost (LANES,), a float, and its coordinate; its cost becomes infinite."""
    least = np.empty(LANES)
    for lane in range(LANES):
        least[lane] = cost[0, lane]
        chosen[lane] = 0.0
        u[lane] = first_u[0, lane]
    for split in range(1, cost.shape[0]):
        number = float(split)
        for lane in range(LANES):
            is_lower = cost[split, lane] < least[lane]
            least[lane] = cost[split, lane] if is_lower else least[lane]
            chosen[lane] = number if is_lower else chosen[lane]
            u[lane] = first_u[split, lane] if is_lower else u[lane]
    for lane in range(LANES):
        cost[int(chosen[lane]), lane] = np.inf
