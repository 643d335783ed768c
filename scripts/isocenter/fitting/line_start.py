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
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

#: So many splits to either side of the chosen one may be better.
_BESIDE = 2
#: The leverage counts so many times when a split is given up, for what is beyond the first order.
_BEYOND_FIRST = 3.0
#: A voxel whose optimum explains less than this of its sum of squares is too noisy for what holds to first order.
_CLEAR = 0.95


@vector_kernel
def start_plain(
    direction, lower, width, nodes, unit, is_magnitude, signal, theta, negative, is_converged, height, level,
):  # fmt: skip
    """Least-squares optimum of each voxel, samples complete.

    signal : (v, n); theta (v, 1), negative (v,), is_converged (v,), and what the optimum is made of, y.e in height (v,)
    and y.g/|g| in level (v,), are written
    """
    _, m, k = unit.shape
    rest = _make_room(m, k)
    scores = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.zeros((m, LANES)), np.zeros((LANES, 2), np.int64)
    _start_voxels(
        direction, lower, width, nodes, unit, is_magnitude, signal, theta, negative, is_converged, height, level,
        _make_room(m, k), rest, scores,
    )  # fmt: skip


@vector_kernel
def _make_room(m, k):
    """Scratch for a search of the tops in all lanes, with m samples and k nodes."""
    place = np.zeros(LANES, np.int64), np.zeros(LANES), np.zeros((8, LANES)), np.zeros(m), np.empty(8)
    return (
        np.zeros((m, LANES)), np.empty((k, LANES)), np.empty(LANES), np.empty(LANES), np.zeros(LANES), np.empty(LANES),
        np.empty(LANES), np.empty(LANES), place,
    )  # fmt: skip


@lean_vector_kernel
def _start_voxels(
    direction, lower, width, nodes, unit, is_magnitude, signal, theta, negative, is_converged, height, level, room,
    rest, scores,
):  # fmt: skip
    """As `start_plain`; room, rest : of `_make_room`, the second for `_try_splits`."""
    total, n = signal.shape
    q = unit.shape[0]
    table = direction, lower, width
    signed, heights, best, at, flat, u, h, done, place = room
    score, chosen, squares, y, waiting = scores
    queued = 0
    found = theta, negative, is_converged, height, level
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
            squares[lane] = 0.0
        for i in range(n):
            for lane in range(LANES):
                squares[lane] += y[i, lane] * y[i, lane]
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
        for i in range(n):
            number = float(i)
            for lane in range(LANES):
                signed[i, lane] = -y[i, lane] if number < chosen[lane] else y[i, lane]
        scan_lanes(signed, unit[0], heights)
        find_tops(heights, best, at)
        if q == 2:
            sum_level(signed, unit[1], flat)
        _reach_tops(table, nodes, heights, at, signed, count, place, u, h, done)
        for lane in range(count):
            v = first + lane
            split = int(chosen[lane])
            theta[v, 0], negative[v], is_converged[v] = u[lane], split, done[lane] > 0.0
            height[v], level[v] = h[lane], flat[lane]
            is_clear = done[lane] == 1.0 and height[v] ** 2 + level[v] ** 2 > _CLEAR * squares[lane]
            # The nodes are coarse: the split beside the chosen one may win (a sample near the null), or the next where
            # two samples were taken shortly after each other. All negative is the mirror image of none, so the splits
            # form a ring.
            for way in (1, -1):
                gain, reach = 0.0, 0.0
                for steps in range(1, min(_BESIDE, (n - 1) // 2) + 1):
                    j = (split + (steps - 1 if way > 0 else -steps) + n) % n
                    if is_clear:
                        loss, own = weigh_turn(direction, unit, signed, j, lane, place, h[lane], flat[lane])
                        gain -= loss
                        reach += own
                        if gain + _BEYOND_FIRST * reach * reach < 0.0:
                            break
                    waiting[queued, 0], waiting[queued, 1] = v, (split + way * steps + n) % n
                    queued += 1
                    if queued == LANES:
                        _try_splits(table, nodes, unit, signal, waiting, queued, rest, found)
                        queued = 0
    if queued > 0:
        _try_splits(table, nodes, unit, signal, waiting, queued, rest, found)


@lean_vector_kernel
def weigh_turn(direction, unit, signed, j, lane, place, h, flat):
    """What turning the sign of sample j costs a lane's optimum, and what it may gain.

    To first order the explained sum of squares changes by 4 (-sum(y f) + sum(|y| sqrt(leverage))^2) over the samples
    that are turned, with f the fitted value and the leverage that of all parameters. Returns y f and the root.
    """
    cell, t, sums, _, _ = place
    x, c = t[lane], cell[lane]
    bend, h1, h0 = 0.0, 0.0, sums[7, lane]
    e, e1 = direction[c, j, 7], 0.0
    for d in range(6, -1, -1):
        bend = bend * x + 2.0 * h1
        h1 = h1 * x + h0
        h0 = h0 * x + sums[d, lane]
        e1 = e1 * x + e
        e = e * x + direction[c, j, d]
    along = unit[1, j, 0] if unit.shape[0] == 2 else 0.0
    leverage = e * e + along * along + e1 * e1 * abs(h) / abs(bend)
    sample = signed[j, lane]
    return sample * (h * e + flat * along), abs(sample) * np.sqrt(leverage)


@lean_vector_kernel
def _try_splits(table, nodes, unit, signal, waiting, queued, rest, found):
    """Fit voxels with another split of their signs, and keep what explains more.

    waiting : (LANES, 2), voxels and splits; found : the arrays of `start_plain` over all voxels
    """
    signed, heights, best, at, flat, u, h, done, place = rest
    theta, negative, is_converged, height, level = found
    n = signal.shape[1]
    for lane in range(queued):
        v, split = waiting[lane, 0], waiting[lane, 1]
        for i in range(n):
            signed[i, lane] = -signal[v, i] if i < split else signal[v, i]
    scan_lanes(signed, unit[0], heights)
    find_tops(heights, best, at)
    if unit.shape[0] == 2:
        sum_level(signed, unit[1], flat)
    _reach_tops(table, nodes, heights, at, signed, queued, place, u, h, done)
    for lane in range(queued):
        v = waiting[lane, 0]
        if h[lane] * h[lane] + flat[lane] * flat[lane] > height[v] * height[v] + level[v] * level[v]:
            theta[v, 0], negative[v], is_converged[v] = u[lane], waiting[lane, 1], done[lane] > 0.0
            height[v], level[v] = h[lane], flat[lane]


@lean_vector_kernel
def sum_level(y, unit, flat):
    """Write y.g/|g| (LANES,), of samples y (m, LANES) and g/|g| in unit (m, k)."""
    for lane in range(LANES):
        flat[lane] = 0.0
    for i in range(y.shape[0]):
        x = unit[i, 0]
        for lane in range(LANES):
            flat[lane] += x * y[i, lane]


@lean_vector_kernel
def _reach_tops(table, nodes, heights, at, y, count, place, u, h, done):
    """Write the coordinates u of the tops of |h| next to the nodes `at`, h there, and whether they were reached.

    done : (LANES,), 1 within the cell that `place` tells, 2 beyond it, 0 not at all
    """
    direction, lower, width = table
    cell, t, sums, own, own_sums = place
    guess_tops(nodes, heights, at, count, u)
    done[:] = 1.0
    enter_cells(direction, lower, width, y, u, done, count, cell, t, sums)
    climb_lanes(sums, t, h, done)
    for lane in range(count):
        x = cell[lane] + 0.5 * (t[lane] + 1.0)
        if done[lane] == 0.0 and abs(t[lane]) <= BEYOND and 0.0 <= x <= direction.shape[0]:
            u[lane] = lower + width * x
            done[lane] = 1.0
            continue
        for i in range(y.shape[0]):
            own[i] = y[i, lane]
        u[lane], h[lane], is_done = ascend(direction, lower, width, own, u[lane], own_sums)
        done[lane] = 2.0 if is_done else 0.0
