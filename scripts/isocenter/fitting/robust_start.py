"""The start of a robust fit with one nonlinear coordinate, in lanes: the best fit that leaves one sample out.

Leaving sample j out of a linear fit lowers its sum of squares by r_j^2 / (1 - h_j), h being its leverage. On the nodes
every sample of every node is tried. From the best, with e and h as in `table` and d the share of sample j that the
constant basis function leaves, the fit without j is the top of |h - y_j e_j / d| / sqrt(1 - e_j^2 / d): two
polynomials within a cell.
"""

import numpy as np

from isocenter.fitting.lanes import LANES, enter_cells, find_middle, scan_lanes, sort_lanes, spread
from isocenter.fitting.line import BEYOND
from isocenter.fitting.robust_nodes import choose, project, score_nodes, turn_over
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

#: Splits of the signs that are tried, and times that the sample left out may change.
_MOST_CANDIDATES = 3
_MOST_SWAPS = 3
#: Of as many samples as this one alone moves a fit by little: it is changed once at most.
_MANY = 64
#: Fewer samples than this are sorted for their median.
_SORTED = 32
#: Steps within a cell before the other lanes go on without those that are not there, and turns of a search.
_MOST_STEPS = 4
_MOST_TURNS = 36
#: Steps of the coordinate below this are enough for a start.
_SMALL = 1e-3
#: How far into the next cell a lane goes that left its own.
_INSIDE = 1e-6
#: The share of a sample that its own fit leaves, at least.
_LEAST_FREE = 1e-9
#: Lanes whose columns are written together.
GROUP = 8


@vector_kernel
def start_robust(
    table, nodes, unit, leverage, g, is_magnitude, signal, theta, negative, scale, omitted,
):  # fmt: skip
    """The best fit that leaves one sample out, and the robust scale of its residuals.

    table : coefficients of f, of e, lower and width (see `table.Table`); signal : (v, n), complete
    theta (v, 1), negative, scale and omitted, the sample left out, (v,) are written
    """
    coefficients, _, lower, width = table
    total, n = signal.shape
    q, m, k = unit.shape
    size = 0.0
    for i in range(n):
        size += g[i] * g[i]
    along = np.zeros(m)
    for i in range(n):
        along[i] = g[i] / np.sqrt(size) if q == 2 else 0.0
    y, z, base, heights = np.zeros((m, LANES)), np.zeros((m, LANES)), np.zeros((m, LANES)), np.empty((k, LANES))
    level, chosen, u = np.zeros(LANES), np.zeros(LANES), np.empty(LANES)
    splits = n if is_magnitude else 1
    cost, first_u = np.empty((splits, LANES)), np.empty((splits, LANES))
    residual, e = np.zeros((m, LANES)), np.zeros((m, LANES))
    worst, everywhere = np.empty((4, LANES)), np.ones(LANES)
    task, tasks = np.zeros((LANES, 5), np.int64), np.zeros((2 * LANES, 5), np.int64)
    places = np.empty(2 * LANES)
    found = np.full(total, np.inf), theta, negative, scale, omitted
    search = z, base, u, task
    queue = tasks, places
    room = residual, e, worst, np.empty((8, LANES)), np.empty(8 * LANES)
    waiting = 0
    for first in range(0, total, LANES):
        count = spread(signal, first, y)
        for i in range(n):
            for lane in range(LANES):
                z[i, lane] = y[i, lane]
        scan_lanes(y, unit[0], heights)
        for split in range(splits):
            if split > 0:
                turn_over(z[split - 1], unit[0, split - 1], heights)
            project(z, along, level, base)
            score_nodes(base, unit[0], leverage, heights, nodes, cost[split], first_u[split])
        # The nodes are coarse: the best few splits of the signs are tried to the end.
        for _ in range(min(_MOST_CANDIDATES, splits)):
            choose(cost, first_u, chosen, u)
            for i in range(n):
                number = float(i)
                for lane in range(LANES):
                    z[i, lane] = -y[i, lane] if number < chosen[lane] else y[i, lane]
            project(z, along, level, base)
            _look_along(coefficients, lower, width, u, along, everywhere, count, e)
            _find_worst(base, along, e, worst)
            for lane in range(count):
                task[lane, 0], task[lane, 1], task[lane, 2] = first + lane, int(chosen[lane]), int(worst[0, lane])
                task[lane, 3], task[lane, 4] = 1, 0
            waiting = _take_turn(table, q, n, along, search, count, room, found, queue, waiting)
            while waiting >= LANES:
                waiting = _go_on(table, q, signal, along, level, search, LANES, room, found, queue, waiting)
    while waiting > 0:
        count = min(waiting, LANES)
        waiting = _go_on(table, q, signal, along, level, search, count, room, found, queue, waiting)


@vector_kernel
def _go_on(table, q, signal, along, level, search, count, room, found, queue, waiting):
    """A turn of the last `count` searches that wait; returns how many wait then."""
    z, base, u, task = search
    tasks, places = queue
    n = signal.shape[1]
    waiting -= count
    for lane in range(count):
        for k in range(task.shape[1]):
            task[lane, k] = tasks[waiting + lane, k]
        u[lane] = places[waiting + lane]
        v, split = task[lane, 0], task[lane, 1]
        for i in range(n):
            z[i, lane] = -signal[v, i] if i < split else signal[v, i]
    project(z, along, level, base)
    return _take_turn(table, q, n, along, search, count, room, found, queue, waiting)


@vector_kernel
def _take_turn(table, q, n, along, search, count, room, found, queue, waiting):
    """One turn of `count` searches; those at their end are noted, the others wait. Returns how many wait.

    A turn goes through one cell to the fit without a sample, and asks which sample stands off the most there. Few
    voxels need more than one or two: all lanes would wait for them.

    search : z (m, LANES) samples, base (m, LANES) without the constant part, u (LANES,), and the tasks (LANES, 5):
    voxel, split of its signs, the sample that is left out, how many have been, and the turns so far
    queue : tasks that wait, and their coordinates; found : arrays over all voxels, the first with the least sums
    """
    coefficients, direction, lower, width = table
    z, base, u, task = search
    residual, e, worst, lanes, own_room = room
    tasks, places = queue
    least, theta, negative, scale, omitted = found
    left_out, own_free, ratio, moves, is_there, squared = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5]
    typical, middle = lanes[6], lanes[7]
    for lane in range(LANES):
        left_out[lane], own_free[lane], ratio[lane], moves[lane], is_there[lane] = -1.0, 1.0, 0.0, 0.0, 0.0
    for lane in range(count):
        j = task[lane, 2]
        left_out[lane] = float(j)
        own_free[lane] = max(1.0 - along[j] * along[j], _LEAST_FREE)
        ratio[lane] = base[j, lane] / own_free[lane]
        moves[lane] = 1.0
    _climb(direction, lower, width, z, u, left_out, own_free, ratio, moves, is_there, count)
    for lane in range(count):
        task[lane, 4] += 1
        if task[lane, 4] == _MOST_TURNS:
            is_there[lane] = 1.0
    _look_along(coefficients, lower, width, u, along, is_there, count, e)
    _stand_off(base, along, e, left_out, residual, worst)
    most_swaps = _MOST_SWAPS if n < _MANY else 1
    ended = 0
    for lane in range(count):
        is_new = is_there[lane] > 0.0 and worst[0, lane] != left_out[lane] and task[lane, 3] < most_swaps
        if (is_there[lane] > 0.0 and not is_new) or task[lane, 4] == _MOST_TURNS:
            is_there[lane] = 1.0
            ended += 1
            continue
        is_there[lane] = 0.0
        if is_new:
            task[lane, 2] = int(worst[0, lane])
            task[lane, 3] += 1
        for k in range(task.shape[1]):
            tasks[waiting, k] = task[lane, k]
        places[waiting] = u[lane]
        waiting += 1
    if ended == 0:
        return waiting
    for lane in range(LANES):
        squared[lane] = 0.0
    for i in range(n):
        number = float(i)
        for lane in range(LANES):
            r = residual[i, lane]
            squared[lane] += 0.0 if number == left_out[lane] else r * r
            residual[i, lane] = abs(r)
    free = n - 1 - q
    low, high = 1 + q + (free - 1) // 2, 1 + q + free // 2
    for lane in range(LANES):
        typical[lane] = np.sqrt(squared[lane] / free)
    if n < _SORTED:
        sort_lanes(residual, n)
        for lane in range(LANES):
            middle[lane] = 0.5 * residual[low, lane] + 0.5 * residual[high, lane]
    else:
        find_middle(residual, n, low, high, typical, is_there, own_room, middle)
    for lane in range(count):
        v, split = task[lane, 0], task[lane, 1]
        # Of equals the one with the fewest negative samples, in whatever order they come.
        is_better = squared[lane] < least[v] or (squared[lane] == least[v] and split < negative[v])
        if is_there[lane] > 0.0 and is_better:
            least[v], theta[v, 0], negative[v], omitted[v] = squared[lane], u[lane], split, task[lane, 2]
            # As `robust.estimate_scale`.
            scale[v] = 1.4826 * middle[lane]
    return waiting


@vector_kernel
def _look_along(coefficients, lower, width, u, along, wanted, count, e):
    """Write e (n, LANES) at u (LANES,): f without its part along the constant basis function, of length 1.

    wanted : (LANES,), only lanes where it is above 0 are written
    """
    cells, _, n = coefficients.shape
    rows = np.empty((GROUP, n))
    has_constant = False
    for i in range(n):
        has_constant = has_constant or along[i] != 0.0
    for start in range(0, count, GROUP):
        stop = min(start + GROUP, count)
        for lane in range(start, stop):
            if wanted[lane] == 0.0:
                continue
            x = (u[lane] - lower) / width
            c = min(max(int(x), 0), cells - 1)
            t = 2.0 * (x - c) - 1.0
            row = rows[lane - start]
            size = 0.0
            for i in range(n):
                z = coefficients[c, 7, i] * t + coefficients[c, 6, i]
                z = z * t + coefficients[c, 5, i]
                z = z * t + coefficients[c, 4, i]
                z = z * t + coefficients[c, 3, i]
                z = z * t + coefficients[c, 2, i]
                z = z * t + coefficients[c, 1, i]
                row[i] = z * t + coefficients[c, 0, i]
            if has_constant:
                part = 0.0
                for i in range(n):
                    part += along[i] * row[i]
                for i in range(n):
                    row[i] -= along[i] * part
            for i in range(n):
                size += row[i] * row[i]
            size = 1.0 / np.sqrt(size) if size > 0.0 else 0.0
            for i in range(n):
                row[i] *= size
        put_columns(rows, start, stop, wanted, e)


@lean_vector_kernel
def put_columns(rows, start, stop, wanted, target):
    """Write rows (GROUP, n) into the columns of target (n, LANES) from `start` on, where `wanted` is above 0.

    A group at a time: a column alone would touch as many lines of the cache as all of them together.
    """
    n = rows.shape[1]
    is_whole = stop - start == GROUP
    for lane in range(start, stop):
        is_whole = is_whole and wanted[lane] > 0.0
    if is_whole:
        for i in range(n):
            for k in range(GROUP):
                target[i, start + k] = rows[k, i]
        return
    for i in range(n):
        for lane in range(start, stop):
            if wanted[lane] > 0.0:
                target[i, lane] = rows[lane - start, i]


@vector_kernel
def _find_worst(z, along, e, worst):
    """Write which sample stands off the most from the fit at e of all samples: see `_stand_off`."""
    n = z.shape[0]
    height = np.zeros(LANES)
    for i in range(n):
        for lane in range(LANES):
            height[lane] += z[i, lane] * e[i, lane]
    for lane in range(LANES):
        worst[0, lane], worst[2, lane] = 0.0, -1.0
    for i in range(n):
        number, x = float(i), along[i]
        of, to = i % 2, 1 - i % 2
        for lane in range(LANES):
            r = z[i, lane] - height[lane] * e[i, lane]
            left = 1.0 - e[i, lane] * e[i, lane] - x * x
            gain = r * r / (left if left > _LEAST_FREE else _LEAST_FREE)
            is_more = gain > worst[of + 2, lane]
            worst[to + 2, lane] = gain if is_more else worst[of + 2, lane]
            worst[to, lane] = number if is_more else worst[of, lane]
    if n % 2:
        for lane in range(LANES):
            worst[0, lane] = worst[1, lane]


@vector_kernel
def _stand_off(z, along, e, left_out, residual, worst):
    """Write the residuals of the fit at e without the sample `left_out`, and what stands off the most.

    That is the sample without which the fit there is the best. worst : (4, LANES), written, its number first; the
    others are turns of the search: in place the compiler would store only where something is more, which takes longer.
    """
    n = z.shape[0]
    height, own, own_along = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    push, free = np.zeros(LANES), np.ones(LANES)
    for i in range(n):
        for lane in range(LANES):
            height[lane] += z[i, lane] * e[i, lane]
    for i in range(n):
        number, x = float(i), along[i]
        for lane in range(LANES):
            residual[i, lane] = z[i, lane] - height[lane] * e[i, lane]
            is_own = number == left_out[lane]
            own[lane] = e[i, lane] if is_own else own[lane]
            own_along[lane] = x if is_own else own_along[lane]
            push[lane] = residual[i, lane] if is_own else push[lane]
    for lane in range(LANES):
        left = 1.0 - own[lane] * own[lane] - own_along[lane] * own_along[lane]
        free[lane] = 1.0 / (left if left > _LEAST_FREE else _LEAST_FREE)
        worst[0, lane], worst[2, lane] = 0.0, -1.0
    for i in range(n):
        number, x = float(i), along[i]
        of, to = i % 2, 1 - i % 2
        for lane in range(LANES):
            # What leaving a sample out does to the residuals and the leverages of the others.
            shared = e[i, lane] * own[lane] + x * own_along[lane]
            r = residual[i, lane] + shared * push[lane] * free[lane]
            lever = e[i, lane] * e[i, lane] + x * x
            own_gain = residual[i, lane] * residual[i, lane] * free[lane]
            left = 1.0 - lever - shared * shared * free[lane]
            gain = r * r / (left if left > _LEAST_FREE else _LEAST_FREE)
            gain = own_gain if number == left_out[lane] else gain
            residual[i, lane] = r
            is_more = gain > worst[of + 2, lane]
            worst[to + 2, lane] = gain if is_more else worst[of + 2, lane]
            worst[to, lane] = number if is_more else worst[of, lane]
    if n % 2:
        for lane in range(LANES):
            worst[0, lane] = worst[1, lane]


@vector_kernel
def _climb(direction, lower, width, z, u, left_out, own_free, ratio, moves, is_there, count):
    """Move u (LANES,) toward the top of the fit without a sample, where `moves` is 1, as far as its cell goes.

    is_there : (LANES,), written, 1 where the top was reached
    own_free : what the constant basis function leaves of that sample; ratio : the sample itself, less its constant
    part, over that
    """
    cells = direction.shape[0]
    small = 2.0 * _SMALL / width
    cell, t, sums, own = np.zeros(LANES, np.int64), np.zeros(LANES), np.zeros((8, LANES)), np.zeros((8, LANES))
    is_open = np.empty(LANES)
    enter_cells(direction, lower, width, z, u, moves, count, cell, t, sums)
    for lane in range(LANES):
        is_open[lane] = moves[lane]
    for lane in range(count):
        j = int(left_out[lane])
        for d in range(8):
            own[d, lane] = direction[cell[lane], j, d]
    for _ in range(_MOST_STEPS):
        opened = 0.0
        for lane in range(LANES):
            x = t[lane]
            h, e = sums[7, lane], own[7, lane]
            h1, e1, h2, e2 = h, e, 0.0, 0.0
            h, e = h * x + sums[6, lane], e * x + own[6, lane]
            h2, e2 = h1, e1
            h1, e1 = h1 * x + h, e1 * x + e
            h, e = h * x + sums[5, lane], e * x + own[5, lane]
            h2, e2 = h2 * x + h1, e2 * x + e1
            h1, e1 = h1 * x + h, e1 * x + e
            h, e = h * x + sums[4, lane], e * x + own[4, lane]
            h2, e2 = h2 * x + h1, e2 * x + e1
            h1, e1 = h1 * x + h, e1 * x + e
            h, e = h * x + sums[3, lane], e * x + own[3, lane]
            h2, e2 = h2 * x + h1, e2 * x + e1
            h1, e1 = h1 * x + h, e1 * x + e
            h, e = h * x + sums[2, lane], e * x + own[2, lane]
            h2, e2 = h2 * x + h1, e2 * x + e1
            h1, e1 = h1 * x + h, e1 * x + e
            h, e = h * x + sums[1, lane], e * x + own[1, lane]
            h2, e2 = 2.0 * (h2 * x + h1), 2.0 * (e2 * x + e1)
            h1, e1 = h1 * x + h, e1 * x + e
            h, e = h * x + sums[0, lane], e * x + own[0, lane]
            k, inverse = ratio[lane], 1.0 / own_free[lane]
            top, top1, top2 = h - k * e, h1 - k * e1, h2 - k * e2
            rest = 1.0 - e * e * inverse
            slope = top1 * rest + top * e * e1 * inverse
            bend = top2 * rest + (top * (e1 * e1 + e * e2) - top1 * e * e1) * inverse
            # Where it is not concave Newton's method leads nowhere: uphill, out of the cell.
            uphill = 2.5 if slope * top > 0.0 else -2.5
            step = -slope / bend if bend * top < 0.0 else uphill
            may_move = (is_open[lane] > 0.0) & (abs(x) <= BEYOND)
            t[lane] = x + step if may_move else x
            goes_on = 1.0 if abs(step) >= small else 0.0
            is_open[lane] = goes_on if may_move else is_open[lane]
        for lane in range(LANES):
            opened += 1.0 if (is_open[lane] > 0.0) & (abs(t[lane]) <= BEYOND) else 0.0
        if opened == 0.0:
            break
    for lane in range(count):
        x = cell[lane] + 0.5 * (t[lane] + 1.0)
        is_there[lane] = 1.0 - is_open[lane]
        # Into the next cell, at the side where it was entered; at the end of the table that is the answer.
        if abs(t[lane]) > BEYOND:
            is_last = cell[lane] == cells - 1 if t[lane] > 0.0 else cell[lane] == 0
            is_there[lane] = 1.0 if is_last else 0.0
            x = x if is_last else cell[lane] + (1.0 + _INSIDE if t[lane] > 0.0 else -_INSIDE)
        u[lane] = lower + width * min(max(x, 0.0), float(cells))
