"""The end of a robust fit with one nonlinear coordinate, in lanes: see `robust` for the weights.

The sum of the bounded losses is brought to its minimum by Newton's method in the coordinate and the amplitudes at
once. Where its curvature is not to be trusted, the curvature of the weighted sum of squares takes its place
(reweighting), which leads downhill from anywhere. Around a coordinate the basis is its expansion to second order, which
is taken anew until the end lies next to it.
"""

import numpy as np

from isocenter.fitting.lanes import LANES, spread
from isocenter.fitting.line_finish import cover_lanes, make_rows, report_lanes
from isocenter.fitting.robust import HUBER, OUTLIER_WEIGHT, TUKEY
from isocenter.fitting.robust_start import GROUP, look_along, stand_off
from isocenter.models.compiled import vector_kernel

_MOST_EXPANSIONS = 25
_MOST_TURNS = 8
#: A step below this ends the search; one below `_NEAR` ends it around the first expansion.
_SETTLED = 1e-7
_NEAR = 1e-3
#: How far from an expansion it may be used on the way, and at the end (the third order is then below 1e-12).
_FAR = 0.05
_CLOSE = 1e-4
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
        for i in range(n):
            for lane in range(start, stop):
                if wanted[lane] > 0.0:
                    f[i, lane] = rows[lane - start, i]
                    f1[i, lane] = rows1[lane - start, i]
                    f2[i, lane] = rows2[lane - start, i]


@vector_kernel
def weigh_lanes(r, kind, weight, slope, loss):
    """Write the weights of residuals r (LANES,) [scales] and the slopes of their influence; adds to their loss.

    See `robust`.
    """
    if kind == 1:
        for lane in range(LANES):
            t = r[lane] * r[lane] * (1.0 / (TUKEY * TUKEY))
            left = 1.0 - t
            left = left if left > 0.0 else 0.0
            weight[lane] = left * left
            slope[lane] = left * (1.0 - 5.0 * t)
            loss[lane] += (TUKEY * TUKEY / 6.0) * (1.0 - left * left * left)
    else:
        for lane in range(LANES):
            x = abs(r[lane])
            is_inside = x <= HUBER
            weight[lane] = 1.0 if is_inside else HUBER / x
            slope[lane] = 1.0 if is_inside else 0.0
            loss[lane] += 0.5 * x * x if is_inside else HUBER * x - 0.5 * HUBER * HUBER


@vector_kernel
def _sum_up(y, f, f1, f2, g, has_constant, is_magnitude, kind, state, sums, loss):
    """Write the sums over samples that a step is made of, sums (16, LANES), and the loss (LANES,).

    state : the way from the expansion, both amplitudes and one over the scale, (LANES,) each
    """
    away, c, c_g, inverse = state
    n = y.shape[0]
    r, weight, slope = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    at, along = np.empty(LANES), np.empty(LANES)
    for k in range(16):
        for lane in range(LANES):
            sums[k, lane] = 0.0
    for lane in range(LANES):
        loss[lane] = 0.0
    for i in range(n):
        constant = g[i]
        for lane in range(LANES):
            x = away[lane]
            at[lane] = f[i, lane] + x * (f1[i, lane] + 0.5 * x * f2[i, lane])
            along[lane] = f1[i, lane] + x * f2[i, lane]
            fitted = c[lane] * at[lane] + c_g[lane] * constant
            sample = y[i, lane]
            if is_magnitude:
                sample = sample if fitted >= 0.0 else -sample
            r[lane] = (sample - fitted) * inverse[lane]
        weigh_lanes(r, kind, weight, slope, loss)
        for lane in range(LANES):
            w, p = weight[lane], slope[lane]
            h, h1 = at[lane], along[lane]
            pull = w * r[lane]
            sums[0, lane] += pull * h
            sums[1, lane] += pull * h1
            sums[2, lane] += pull * f2[i, lane]
            wh, ph = w * h, p * h
            sums[3, lane] += wh * h
            sums[4, lane] += wh * h1
            sums[5, lane] += w * h1 * h1
            sums[6, lane] += ph * h
            sums[7, lane] += ph * h1
            sums[8, lane] += p * h1 * h1
        if has_constant:
            for lane in range(LANES):
                w, p = weight[lane] * constant, slope[lane] * constant
                sums[9, lane] += w * r[lane]
                sums[10, lane] += w * at[lane]
                sums[11, lane] += w * along[lane]
                sums[12, lane] += w * constant
                sums[13, lane] += p * at[lane]
                sums[14, lane] += p * along[lane]
                sums[15, lane] += p * constant


@vector_kernel
def _step(sums, loss, has_constant, bounds, u, state, before, is_open, step):
    """Move the coordinate and the amplitudes of open lanes by what `_sum_up` found.

    step : (LANES,), written, how far the end may still be
    before : the state that the last step came from and its loss; where the loss has risen the step is halved
    """
    away, c, c_g, inverse = state
    last_away, last_c, last_c_g, least = before
    for lane in range(LANES):
        k = c[lane]
        scale = 1.0 / inverse[lane]
        g_c, g_u = sums[0, lane] * scale, sums[1, lane] * scale * k
        turned = sums[1, lane] * scale
        a, b, d = sums[3, lane], sums[4, lane] * k, sums[5, lane] * k * k
        a_n, b_n = sums[6, lane], sums[7, lane] * k - turned
        d_n = sums[8, lane] * k * k - sums[2, lane] * scale * k
        g_g, q, o, e, q_n, o_n, e_n = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0
        if has_constant:
            g_g = sums[9, lane] * scale
            q, o, e = sums[10, lane], sums[11, lane] * k, sums[12, lane]
            q_n, o_n, e_n = sums[13, lane], sums[14, lane] * k, sums[15, lane]
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
        here = u[lane] + away[lane]
        target = here + x
        target = target if target > bounds[0] else bounds[0]
        target = target if target < bounds[1] else bounds[1]
        x = target - here
        by_c = (g_cr - b_r * x) / a_r
        by_g = (g_g - q * by_c - o * x) / e if has_constant else 0.0
        may_move = is_open[lane] > 0.0
        has_risen = loss[lane] > least[lane] + _EVEN
        x = 0.5 * (last_away[lane] - away[lane]) if has_risen else x
        by_c = 0.5 * (last_c[lane] - k) if has_risen else by_c
        by_g = 0.5 * (last_c_g[lane] - c_g[lane]) if has_risen else by_g
        is_start = may_move & (not has_risen)
        last_away[lane] = away[lane] if is_start else last_away[lane]
        last_c[lane] = k if is_start else last_c[lane]
        last_c_g[lane] = c_g[lane] if is_start else last_c_g[lane]
        least[lane] = loss[lane] if is_start else least[lane]
        away[lane] += x if may_move else 0.0
        c[lane] += by_c if may_move else 0.0
        c_g[lane] += by_g if may_move else 0.0
        # What is left after a step: Newton's method takes off all but about its share of a standard error. Halving
        # closes in on the state before: rest is for smaller steps then.
        left = abs(x)
        share = 3.0 * left * np.sqrt(abs(rest)) * inverse[lane]
        left = left * share if is_trusted & (share < 1.0) else left
        left = 100.0 * abs(x) if has_risen else left
        step[lane] = left if may_move else step[lane]


@vector_kernel
def _settle(table, y, g, has_constant, is_magnitude, kind, bounds, u, state, count, f, f1, f2, done):
    """Step until nothing moves, expanding the basis anew on the way; `done` (LANES,) is 1 where rest was reached.

    At the end u + away is the coordinate, and f, f1, f2 are the expansion at u.
    """
    coefficients, lower, width = table
    away = state[0]
    sums, loss, step = np.empty((16, LANES)), np.empty(LANES), np.zeros(LANES)
    least, last_away = np.full(LANES, np.inf), np.zeros(LANES)
    before = last_away, np.zeros(LANES), np.zeros(LANES), least
    rests, is_open = np.zeros(LANES), np.zeros(LANES)
    for lane in range(LANES):
        rests[lane] = 0.0 if lane < count else 1.0
        done[lane] = 0.0
    for expansion in range(_MOST_EXPANSIONS):
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
        expand_lanes(coefficients, lower, width, u, is_open, count, f, f1, f2)
        enough = _NEAR if expansion == 0 else _SETTLED
        for _ in range(_MOST_TURNS):
            _sum_up(y, f, f1, f2, g, has_constant, is_magnitude, kind, state, sums, loss)
            _step(sums, loss, has_constant, bounds, u, state, before, is_open, step)
            opened = 0.0
            for lane in range(LANES):
                goes_on = (step[lane] >= enough) & (abs(away[lane]) < _FAR)
                is_open[lane] = is_open[lane] if goes_on else 0.0
                opened += is_open[lane]
            if opened == 0.0:
                break
        if expansion > 0:
            for lane in range(count):
                is_at_rest = step[lane] < _SETTLED and abs(away[lane]) < _CLOSE
                is_broken = not step[lane] < np.inf
                if rests[lane] == 0.0 and (is_at_rest or is_broken):
                    rests[lane] = 1.0
                    done[lane] = 1.0 if is_at_rest else 0.0


@vector_kernel
def finish_robust(
    report, table, moving, g, has_constant, is_magnitude, bounds, visible, is_hard, constants, signal, theta, negative,
    scale, kind, values, errors, flag, rms, outliers, freedom,
):  # fmt: skip
    """To the robust optimum, then covariance (Huber's sandwich), reported parameters and flags of each voxel."""
    coefficients, lower, width = table
    total, n = signal.shape
    q = 2 if has_constant else 1
    along, size = np.zeros(n), 0.0
    for i in range(n):
        size += g[i] * g[i]
    for i in range(n):
        along[i] = g[i] / np.sqrt(size) if has_constant else 0.0
    y, z, e, residual = np.zeros((n, LANES)), np.zeros((n, LANES)), np.zeros((n, LANES)), np.zeros((n, LANES))
    f, f1, f2 = np.zeros((n, LANES)), np.zeros((n, LANES)), np.zeros((n, LANES))
    u, away, c, c_g, inverse = (np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.zeros(LANES), np.ones(LANES))
    state = away, c, c_g, inverse
    left_out, off, most, done = np.full(LANES, -1.0), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    number, level = np.zeros(LANES), np.zeros(LANES)
    wide = np.ones(LANES)
    found = np.zeros((14, LANES))
    covered, rows = np.zeros((7, LANES)), make_rows(q)
    spread_r, weight, slope = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for first in range(0, total, LANES):
        count = spread(signal, first, y)
        for lane in range(count):
            v = first + lane
            u[lane], number[lane], inverse[lane] = theta[v, 0], float(negative[v]), 1.0 / scale[v]
        for lane in range(LANES):
            away[lane] = 0.0
            level[lane] = 0.0
        for i in range(n):
            place, x = float(i), along[i]
            for lane in range(LANES):
                z[i, lane] = -y[i, lane] if place < number[lane] else y[i, lane]
                level[lane] += x * z[i, lane]
        for i in range(n):
            x = along[i]
            for lane in range(LANES):
                z[i, lane] -= x * level[lane]
        # The sample that stands off the most is left out of the first amplitudes.
        look_along(coefficients, lower, width, u, along, wide, count, e)
        stand_off(z, along, e, left_out, residual, off, most)
        expand_lanes(coefficients, lower, width, u, wide, count, f, f1, f2)
        _fit_without(y, number, f, g, has_constant, off, c, c_g)
        _settle(table, y, g, has_constant, is_magnitude, kind, bounds, u, state, count, f, f1, f2, done)
        for k in range(11):
            for lane in range(LANES):
                found[k, lane] = 0.0
        for i in range(n):
            constant = g[i]
            for lane in range(LANES):
                x = away[lane]
                e[i, lane] = f[i, lane] + x * (f1[i, lane] + 0.5 * x * f2[i, lane])
                fitted = c[lane] * e[i, lane] + c_g[lane] * constant
                sample = y[i, lane]
                if is_magnitude:
                    sample = sample if fitted >= 0.0 else -sample
                residual[i, lane] = sample - fitted
                spread_r[lane] = residual[i, lane] * inverse[lane]
            weigh_lanes(spread_r, kind, weight, slope, most)
            for lane in range(LANES):
                r, w = residual[i, lane], weight[lane]
                is_kept = 1.0 if w > 0.0 else 0.0
                h, h1 = e[i, lane], f1[i, lane] + away[lane] * f2[i, lane]
                found[0, lane] += r * r
                found[1, lane] += slope[lane]
                found[2, lane] += 1.0 if w < OUTLIER_WEIGHT else 0.0
                found[3, lane] += is_kept
                found[4, lane] += w * w * r * r
                found[5, lane] += is_kept * h * h
                found[6, lane] += is_kept * h * h1
                found[7, lane] += is_kept * h1 * h1
                found[8, lane] += is_kept * h * constant
                found[9, lane] += is_kept * h1 * constant
                found[10, lane] += is_kept * constant * constant
        for lane in range(LANES):
            gg = found[10, lane] if has_constant else 1.0
            fg, hg = found[8, lane], found[9, lane]
            if has_constant:
                found[5, lane] -= fg / gg * fg
                found[6, lane] -= fg / gg * hg
                found[7, lane] -= hg / gg * hg
            found[10, lane] = gg
            free = found[3, lane] - 1.0 - q
            bend = found[1, lane] / found[3, lane]
            # The mean square of the influence over the squared mean of its slope.
            variance = found[4, lane] / free / (bend * bend)
            found[11, lane] = variance if (free > 0.0) & (bend > 0.1) else np.nan
            found[12, lane] = found[7, lane] * found[5, lane] - found[6, lane] * found[6, lane]
            found[13, lane] = np.sqrt(found[0, lane] / n)
            u[lane] = u[lane] + away[lane]
            # On a bound, but for rounding.
            u[lane] = bounds[0] if u[lane] < bounds[0] + _SETTLED else u[lane]
            u[lane] = bounds[1] if u[lane] > bounds[1] - _SETTLED else u[lane]
        cover_lanes(
            found[11], c, c_g, found[5], found[6], found[7], found[12], found[8], found[9], found[10], has_constant,
            covered,
        )  # fmt: skip
        for lane in range(count):
            v = first + lane
            theta[v, 0] = u[lane]
            outliers[v] = found[2, lane] / n
            freedom[v] = int(found[3, lane]) - 1 - q
        report_lanes(
            report, first, count, u, c, c_g, covered, found[13], done, moving, has_constant, bounds, visible, is_hard,
            constants, values, errors, flag, rms, rows,
        )  # fmt: skip


@vector_kernel
def _fit_without(y, number, f, g, has_constant, off, c, c_g):
    """Write the amplitudes of the plain fit without the sample `off` (LANES,); `number` samples are negative."""
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
