"""The end of a robust fit with one nonlinear coordinate, in lanes: see `robust` for the weights.

The sum of the bounded losses is brought to its minimum by Newton's method in the coordinate and the amplitudes at
once. Where its curvature is not to be trusted, the curvature of the weighted sum of squares takes its place
(reweighting), which leads downhill from anywhere. Around a coordinate the basis is its expansion to second order, which
is taken anew until the end lies next to it.
"""

import numpy as np

from isocenter.fitting.lanes import LANES, spread
from isocenter.fitting.line_finish import cover_lanes, make_rows, report_lanes
from isocenter.fitting.robust import OUTLIER_WEIGHT
from isocenter.fitting.robust_start import GROUP, put_columns
from isocenter.fitting.robust_sums import look_at, sum_up, weigh
from isocenter.models.compiled import kernel, lean_vector_kernel, vector_kernel

_MOST_EXPANSIONS = 27
#: Turns around the first expansion, the second, and each of the others.
_FIRST_TURNS, _SECOND_TURNS, _MOST_TURNS = 3, 2, 8
#: A step below this ends the search; one below `_NEAR` calls for a second expansion where the first is not close.
_SETTLED = 1e-7
_NEAR = 2e-3
#: How far from an expansion it may be used on the way, and at the end: the third order then changes the slope of f by
#: some 1e-5 of itself, and the optimum by as much of a standard error.
_FAR = 0.05
_CLOSE = 3e-3
_LONGEST = 0.5
#: A loss that is larger by no more than this is the same.
_EVEN = 1e-9
#: And so much may an expansion err by, as a share.
_SLACK = 1e-2
#: Newton's curvature is trusted down to this share of that of the weighted sum of squares.
_TRUSTED = 0.2


@vector_kernel
def expand_lanes(coefficients, lower, width, u, wanted, count, f, f1, f2):
    """Write f (n, LANES) and its first two derivatives at u (LANES,), in lanes where `wanted` is above 0."""
    cells, _, n = coefficients.shape
    s = 2.0 / width
    rows, rows1, rows2 = np.empty((GROUP, n)), np.empty((GROUP, n)), np.empty((GROUP, n))
    for start in range(0, count, GROUP):
        stop = min(start + GROUP, count)
        for lane in range(start, stop):
            if wanted[lane] == 0.0:
                continue
            x = (u[lane] - lower) / width
            c = min(max(int(x), 0), cells - 1)
            t = 2.0 * (x - c) - 1.0
            cell = coefficients[c]
            a, b, d = rows[lane - start], rows1[lane - start], rows2[lane - start]
            for i in range(n):
                h = cell[7, i]
                h1 = h
                h = h * t + cell[6, i]
                h2 = h1
                h1 = h1 * t + h
                h = h * t + cell[5, i]
                h2 = h2 * t + h1
                h1 = h1 * t + h
                h = h * t + cell[4, i]
                h2 = h2 * t + h1
                h1 = h1 * t + h
                h = h * t + cell[3, i]
                h2 = h2 * t + h1
                h1 = h1 * t + h
                h = h * t + cell[2, i]
                h2 = h2 * t + h1
                h1 = h1 * t + h
                h = h * t + cell[1, i]
                h2 = h2 * t + h1
                h1 = h1 * t + h
                a[i] = h * t + cell[0, i]
                b[i] = h1 * s
                d[i] = 2.0 * h2 * s * s
        put_columns(rows, start, stop, wanted, f)
        put_columns(rows1, start, stop, wanted, f1)
        put_columns(rows2, start, stop, wanted, f2)


@lean_vector_kernel
def _step(sums, has_constant, bounds, u, state, before, is_open, step):
    """Move the coordinate and the amplitudes of open lanes by what `sum_up` found.

    step : (LANES,), written, how far the end may still be
    before : (4 * LANES,), what the last step came from, without the scale, and its loss; where the loss has risen the
    step is halved
    """
    for lane in range(LANES):
        loss, away, k = sums[lane], state[lane], state[lane + LANES]
        k_g, inverse = state[lane + 2 * LANES], state[lane + 3 * LANES]
        last_away, last_k = before[lane], before[lane + LANES]
        last_k_g, least = before[lane + 2 * LANES], before[lane + 3 * LANES]
        scale = 1.0 / inverse
        g_c, g_u = sums[lane + LANES] * scale, sums[lane + 2 * LANES] * scale * k
        turned = sums[lane + 2 * LANES] * scale
        a, b, d = sums[lane + 4 * LANES], sums[lane + 5 * LANES] * k, sums[lane + 6 * LANES] * k * k
        a_n, b_n = sums[lane + 7 * LANES], sums[lane + 8 * LANES] * k - turned
        d_n = sums[lane + 9 * LANES] * k * k - sums[lane + 3 * LANES] * scale * k
        g_g, q, o, e, q_n, o_n, e_n = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0
        if has_constant:
            g_g = sums[lane + 10 * LANES] * scale
            q, o, e = sums[lane + 11 * LANES], sums[lane + 12 * LANES] * k, sums[lane + 13 * LANES]
            q_n, o_n, e_n = sums[lane + 14 * LANES], sums[lane + 15 * LANES] * k, sums[lane + 16 * LANES]
        # The constant, then the first amplitude taken out.
        a_r, b_r, d_r = a - q * q / e, b - q * o / e, d - o * o / e
        a_nr, b_nr, d_nr = a_n - q_n * q_n / e_n, b_n - q_n * o_n / e_n, d_n - o_n * o_n / e_n
        rest, rest_n = d_r - b_r * b_r / a_r, d_nr - b_nr * b_nr / a_nr
        is_trusted = (e_n > _TRUSTED * e) & (a_nr > _TRUSTED * a_r) & (rest_n > _TRUSTED * rest)
        e, q, o = e_n if is_trusted else e, q_n if is_trusted else q, o_n if is_trusted else o
        a_r, b_r = a_nr if is_trusted else a_r, b_nr if is_trusted else b_r
        rest = rest_n if is_trusted else rest
        g_cr, g_ur = g_c - q * g_g / e, g_u - o * g_g / e
        x = (g_ur - b_r * g_cr / a_r) / rest
        x = x if x > -_LONGEST else -_LONGEST
        x = x if x < _LONGEST else _LONGEST
        here = u[lane] + away
        target = here + x
        target = target if target > bounds[0] else bounds[0]
        target = target if target < bounds[1] else bounds[1]
        x = target - here
        by_c = (g_cr - b_r * x) / a_r
        by_g = (g_g - q * by_c - o * x) / e if has_constant else 0.0
        may_move = is_open[lane] > 0.0
        has_risen = loss > least + _EVEN
        x = 0.5 * (last_away - away) if has_risen else x
        by_c = 0.5 * (last_k - k) if has_risen else by_c
        by_g = 0.5 * (last_k_g - k_g) if has_risen else by_g
        is_start = may_move & (not has_risen)
        before[lane] = away if is_start else last_away
        before[lane + LANES] = k if is_start else last_k
        before[lane + 2 * LANES] = k_g if is_start else last_k_g
        before[lane + 3 * LANES] = loss if is_start else least
        state[lane] = away + (x if may_move else 0.0)
        state[lane + LANES] = k + (by_c if may_move else 0.0)
        state[lane + 2 * LANES] = k_g + (by_g if may_move else 0.0)
        # What is left after a step: Newton's method takes off all but about its share of a standard error. Halving
        # closes in on the state before: rest is for smaller steps then.
        left = abs(x)
        share = 3.0 * left * np.sqrt(abs(rest)) * inverse
        left = left * share if is_trusted & (share < 1.0) else left
        left = 100.0 * abs(x) if has_risen else left
        step[lane] = left if may_move else step[lane]


@vector_kernel
def _settle(
    table, y, g, has_constant, is_magnitude, kind, bounds, u, state, before, count, first, last, expansion, rests, done,
):  # fmt: skip
    """Step until nothing moves, expanding the basis anew on the way; `done` (LANES,) is 1 where rest was reached.

    first, last : of the expansions, the number of the first and of the one after the last
    expansion : f, f1, f2 at u, written; at the end u + away is the coordinate
    rests : (LANES,) 1 where nothing is to be done any more
    """
    coefficients, lower, width = table
    f, f1, f2 = expansion
    away, last_away, least = state[:LANES], before[:LANES], before[3 * LANES :]
    sums, step, is_open = np.empty(17 * LANES), np.zeros(LANES), np.zeros(LANES)
    for number in range(first, last):
        unsettled = 0
        for lane in range(count):
            is_open[lane] = 1.0 - rests[lane]
            if rests[lane] == 0.0:
                unsettled += 1
                u[lane] += away[lane]
                last_away[lane] -= away[lane]
                # The loss around another expansion is not quite the same.
                least[lane] += _SLACK * (1.0 + least[lane])
                away[lane] = 0.0
        if unsettled == 0:
            break
        if number > 0:
            expand_lanes(coefficients, lower, width, u, is_open, count, f, f1, f2)
        turns = _FIRST_TURNS if number == 0 else (_SECOND_TURNS if number == 1 else _MOST_TURNS)
        for _ in range(turns):
            sum_up(y, f, f1, f2, g, has_constant, is_magnitude, kind, state, sums)
            _step(sums, has_constant, bounds, u, state, before, is_open, step)
            opened = 0.0
            for lane in range(LANES):
                way = abs(away[lane])
                enough = _NEAR if number == 0 and way >= _CLOSE else _SETTLED
                goes_on = (step[lane] >= enough) & (way < _FAR)
                is_open[lane] = is_open[lane] if goes_on else 0.0
                opened += is_open[lane]
            if opened == 0.0:
                break
        for lane in range(count):
            is_at_rest = step[lane] < _SETTLED and abs(away[lane]) < _CLOSE
            is_broken = not step[lane] < np.inf
            if rests[lane] == 0.0 and (is_at_rest or is_broken):
                rests[lane] = 1.0
                done[lane] = 1.0 if is_at_rest else 0.0


@vector_kernel
def finish_robust(
    report, table, moving, g, has_constant, is_magnitude, bounds, visible, is_hard, constants, signal, theta, negative,
    scale, omitted, kind, values, errors, flag, rms, outliers, freedom,
):  # fmt: skip
    """To the robust optimum, then covariance (Huber's sandwich), reported parameters and flags of each voxel.

    omitted : (v,) the sample that the start left out

    Most voxels are at rest after two expansions; the others wait until they fill all lanes.
    """
    coefficients, lower, width = table
    total, n = signal.shape
    q, m = 2 if has_constant else 1, n + n % 2
    constant = np.zeros(m)
    for i in range(n):
        constant[i] = g[i]
    y = np.zeros((m, LANES))
    expansion = np.zeros((m, LANES)), np.zeros((m, LANES)), np.zeros((m, LANES))
    u, state, before = np.zeros(LANES), np.ones(4 * LANES), np.zeros(4 * LANES)
    away, c, c_g, inverse = state[:LANES], state[LANES : 2 * LANES], state[2 * LANES : 3 * LANES], state[3 * LANES :]
    rests, done, off, number, wide = np.ones(LANES), np.ones(LANES), np.zeros(LANES), np.zeros(LANES), np.ones(LANES)
    room = np.zeros((14, LANES)), np.zeros((7, LANES)), make_rows(q)
    limits = bounds, visible, is_hard
    own = (
        np.empty((LANES, values.shape[1])), np.empty((LANES, values.shape[1])), np.empty(LANES, flag.dtype),
        np.empty(LANES), np.empty(LANES), np.empty(LANES, np.int64), np.empty((LANES, 1)),
    )  # fmt: skip
    found = values, errors, flag, rms, outliers, freedom, theta
    late, places = np.zeros(2 * LANES, np.int64), np.zeros((2 * LANES, 8))
    waiting, first = 0, 0
    while first < total or waiting > 0:
        is_late = waiting >= LANES or first >= total
        if is_late:
            count = min(waiting, LANES)
            waiting -= count
            for lane in range(count):
                v, x = late[waiting + lane], places[waiting + lane]
                for i in range(n):
                    y[i, lane] = signal[v, i]
                u[lane], c[lane], c_g[lane], inverse[lane] = x[0], x[1], x[2], x[3]
                for k in range(4):
                    before[lane + k * LANES] = x[4 + k]
            own_first, own_last = 2, _MOST_EXPANSIONS
        else:
            count = spread(signal, first, y)
            for lane in range(count):
                v = first + lane
                u[lane], number[lane], inverse[lane] = theta[v, 0], float(negative[v]), 1.0 / scale[v]
                off[lane] = float(omitted[v])
            expand_lanes(coefficients, lower, width, u, wide, count, expansion[0], expansion[1], expansion[2])
            # The sample that stands off the most is left out of the first amplitudes.
            _fit_without(y, number, expansion[0], constant, has_constant, off, c, c_g)
            for lane in range(LANES):
                before[lane + 3 * LANES] = np.inf
            own_first, own_last = 0, 2
        for lane in range(LANES):
            away[lane] = 0.0
            rests[lane] = 0.0 if lane < count else 1.0
            done[lane] = 0.0
        _settle(
            table, y, constant, has_constant, is_magnitude, kind, bounds, u, state, before, count, own_first, own_last,
            expansion, rests, done,
        )  # fmt: skip
        if is_late:
            _cover(
                report, y, n, expansion, constant, has_constant, is_magnitude, kind, u, state, done, moving, limits,
                constants, 0, count, own, room,
            )  # fmt: skip
            for lane in range(count):
                v = late[waiting + lane]
                for k in range(values.shape[1]):
                    values[v, k], errors[v, k] = own[0][lane, k], own[1][lane, k]
                flag[v], rms[v], outliers[v], freedom[v] = own[2][lane], own[3][lane], own[4][lane], own[5][lane]
                theta[v, 0] = own[6][lane, 0]
            continue
        for lane in range(count):
            if rests[lane] == 0.0:
                late[waiting] = first + lane
                x = places[waiting]
                x[0], x[1], x[2], x[3] = u[lane] + away[lane], c[lane], c_g[lane], inverse[lane]
                for k in range(4):
                    x[4 + k] = before[lane + k * LANES]
                x[4] -= away[lane]
                waiting += 1
        _cover(
            report, y, n, expansion, constant, has_constant, is_magnitude, kind, u, state, done, moving, limits,
            constants, first, count, found, room,
        )  # fmt: skip
        first += count


@vector_kernel
def _cover(
    report, y, n, expansion, g, has_constant, is_magnitude, kind, u, state, done, moving, limits, constants, first,
    count, found, room,
):  # fmt: skip
    """Covariance, reported parameters and flags of the voxels from `first` on, written into the arrays `found`."""
    f, f1, f2 = expansion
    c, c_g = state[LANES : 2 * LANES], state[2 * LANES : 3 * LANES]
    bounds, visible, is_hard = limits
    values, errors, flag, rms, outliers, freedom, theta = found
    sums, covered, rows = room
    q = 2 if has_constant else 1
    flat = sums.reshape(14 * LANES)
    for k in range(11 * LANES):
        flat[k] = 0.0
    for i in range(n):
        constant = g[i]
        for lane in range(LANES):
            x, k, k_g, inverse = state[lane], state[lane + LANES], state[lane + 2 * LANES], state[lane + 3 * LANES]
            h, h1, r = look_at(y[i, lane], f[i, lane], f1[i, lane], f2[i, lane], constant, x, k, k_g, is_magnitude)
            w, slope, _ = weigh(r * inverse, kind)
            is_kept = 1.0 if w > 0.0 else 0.0
            flat[lane] += r * r
            flat[lane + LANES] += slope
            flat[lane + 2 * LANES] += 1.0 if w < OUTLIER_WEIGHT else 0.0
            flat[lane + 3 * LANES] += is_kept
            flat[lane + 4 * LANES] += w * w * r * r
            kept, kept1 = is_kept * h, is_kept * h1
            flat[lane + 5 * LANES] += kept * h
            flat[lane + 6 * LANES] += kept * h1
            flat[lane + 7 * LANES] += kept1 * h1
            flat[lane + 8 * LANES] += kept * constant
            flat[lane + 9 * LANES] += kept1 * constant
            flat[lane + 10 * LANES] += is_kept * constant * constant
    for lane in range(LANES):
        gg = sums[10, lane] if has_constant else 1.0
        fg, hg = sums[8, lane], sums[9, lane]
        if has_constant:
            sums[5, lane] -= fg / gg * fg
            sums[6, lane] -= fg / gg * hg
            sums[7, lane] -= hg / gg * hg
        sums[10, lane] = gg
        free = sums[3, lane] - 1.0 - q
        bend = sums[1, lane] / sums[3, lane]
        # The mean square of the influence over the squared mean of its slope.
        variance = sums[4, lane] / free / (bend * bend)
        sums[11, lane] = variance if (free > 0.0) & (bend > 0.1) else np.nan
        sums[12, lane] = sums[7, lane] * sums[5, lane] - sums[6, lane] * sums[6, lane]
        sums[13, lane] = np.sqrt(sums[0, lane] / n)
        here = u[lane] + state[lane]
        # On a bound, but for rounding.
        here = bounds[0] if here < bounds[0] + _SETTLED else here
        u[lane] = bounds[1] if here > bounds[1] - _SETTLED else here
    cover_lanes(
        sums[11], c, c_g, sums[5], sums[6], sums[7], sums[12], sums[8], sums[9], sums[10], has_constant, covered
    )
    for lane in range(count):
        v = first + lane
        theta[v, 0] = u[lane]
        outliers[v] = sums[2, lane] / n
        freedom[v] = int(sums[3, lane]) - 1 - q
    report_lanes(
        report, first, count, u, c, c_g, covered, sums[13], done, moving, has_constant, bounds, visible, is_hard,
        constants, values, errors, flag, rms, rows,
    )  # fmt: skip


@kernel
def _fit_without(y, number, f, g, has_constant, off, c, c_g):
    """Write the amplitudes of the plain fit without the sample `off` (LANES,); `number` samples are negative."""
    # Rounded step by step: which code stores may follow from where arrays lie (decision 0107).
    n = y.shape[0]
    p, yg, a, fg, gg = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    for i in range(n):
        place, constant = float(i), g[i]
        for lane in range(LANES):
            w = 0.0 if place == off[lane] else 1.0
            sample = -y[i, lane] if place < number[lane] else y[i, lane]
            wf, wg = w * f[i, lane], w * constant
            p[lane] += wf * sample
            yg[lane] += wg * sample
            a[lane] += wf * f[i, lane]
            fg[lane] += wf * constant
            gg[lane] += wg * constant
    for lane in range(LANES):
        if has_constant:
            share = fg[lane] / gg[lane]
            c[lane] = (p[lane] - share * yg[lane]) / (a[lane] - share * fg[lane])
            c_g[lane] = (yg[lane] - c[lane] * fg[lane]) / gg[lane]
        else:
            c[lane] = p[lane] / a[lane]
            c_g[lane] = 0.0
