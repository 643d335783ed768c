"""Robust fits of models with one nonlinear coordinate, on a table of the basis: see `robust` for the weights.

With weights the directions of `table` no longer help: sums over samples are taken anew at every step, with the
constant basis function projected out of them.
"""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.line import cover, judge
from isocenter.fitting.robust import OUTLIER_WEIGHT, estimate_scale, slope_of_influence, weigh
from isocenter.models.compiled import vector_kernel

_SINGULAR = int(Flag.SINGULAR)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)

_MOST_STEPS = 60
#: Steps below this are enough for a start.
_SMALL = 1e-3
#: Splits of the signs that are tried, and times that the sample left out may change.
_MOST_CANDIDATES = 3
_MOST_SWAPS = 3
_MOST_REWEIGHTINGS = 200
_SETTLED = 1e-7


@vector_kernel
def expand(coefficients, lower, width, u, f, f1, f2):
    """Write f (n,) and its first two derivatives with respect to u at a coordinate u."""
    cells, _, n = coefficients.shape
    x = (u - lower) / width
    c = min(max(int(x), 0), cells - 1)
    t = 2.0 * (x - c) - 1.0
    s = 2.0 / width
    cell = coefficients[c]
    for i in range(n):
        a = cell[7, i]
        b = 7.0 * a
        d = 42.0 * a
        a = a * t + cell[6, i]
        b = b * t + 6.0 * cell[6, i]
        d = d * t + 30.0 * cell[6, i]
        a = a * t + cell[5, i]
        b = b * t + 5.0 * cell[5, i]
        d = d * t + 20.0 * cell[5, i]
        a = a * t + cell[4, i]
        b = b * t + 4.0 * cell[4, i]
        d = d * t + 12.0 * cell[4, i]
        a = a * t + cell[3, i]
        b = b * t + 3.0 * cell[3, i]
        d = d * t + 6.0 * cell[3, i]
        a = a * t + cell[2, i]
        b = b * t + 2.0 * cell[2, i]
        d = d * t + 2.0 * cell[2, i]
        a = a * t + cell[1, i]
        b = b * t + cell[1, i]
        f[i] = a * t + cell[0, i]
        f1[i] = b * s
        f2[i] = d * s * s


@vector_kernel
def look(y, weight, f, f1, f2, g, has_constant):
    """The sums over samples that decide everything, with the constant basis function projected out.

    Returns P, P', P'', A, f.f', f'.f', f.f'' (projected), and y.g, f.g, f'.g, g.g (raw).
    """
    p = 0.0
    p1 = 0.0
    p2 = 0.0
    a = 0.0
    b = 0.0
    d = 0.0
    e = 0.0
    yg = 0.0
    fg = 0.0
    hg = 0.0
    kg = 0.0
    gg = 1.0
    n = y.size
    for i in range(n):
        wf = weight[i] * f[i]
        wh = weight[i] * f1[i]
        wk = weight[i] * f2[i]
        p += wf * y[i]
        p1 += wh * y[i]
        p2 += wk * y[i]
        a += wf * f[i]
        b += wf * f1[i]
        d += wh * f1[i]
        e += wf * f2[i]
    if has_constant:
        gg = 0.0
        for i in range(n):
            wg = weight[i] * g[i]
            yg += wg * y[i]
            fg += wg * f[i]
            hg += wg * f1[i]
            kg += wg * f2[i]
            gg += wg * g[i]
        q = fg / gg
        p -= q * yg
        p1 -= hg / gg * yg
        p2 -= kg / gg * yg
        a -= q * fg
        b -= q * hg
        d -= hg / gg * hg
        e -= q * kg
    return p, p1, p2, a, b, d, e, yg, fg, hg, gg


@vector_kernel
def climb(table, y, weight, u, bounds, longest, bar, f, f1, f2, g, has_constant):
    """From u to the next maximum of the explained sum of squares within the bounds.

    longest : of a step; bar : gives up when it cannot get above.
    Returns u, the explained part, and whether it converged; f, f1, f2 are left at a coordinate within `_SMALL` of u.
    """
    coefficients, lower, width = table
    best = -1.0
    last = u
    is_converged = False
    for _ in range(_MOST_STEPS):
        expand(coefficients, lower, width, u, f, f1, f2)
        p, p1, p2, a, b, d, e, yg, _, _, gg = look(y, weight, f, f1, f2, g, has_constant)
        if not a > 0.0:
            return u, -1.0, False
        c = p / a
        score = c * p + yg * yg / gg
        if score < best * (1.0 - 1e-14):
            # Past the maximum: halfway back.
            if abs(u - last) < 1e-9:
                return last, best, True
            u = 0.5 * (u + last)
            continue
        best = score
        last = u
        slope = c * (p1 - c * b)
        c1 = (p1 - 2.0 * b * c) / a
        curve = p2 * c - c * c * (d + e) + a * c1 * c1
        normal = c * c * (d - b * b / a)
        if curve < 0.0:
            step = -slope / curve
        elif normal > 0.0:
            step = slope / normal
        else:
            return u, best, False
        if score + abs(slope * step) < bar:
            return u, best, False
        step = min(max(step, -longest), longest)
        target = min(max(u + step, bounds[0]), bounds[1])
        step = target - u
        u = target
        if abs(step) < _SMALL:
            is_converged = True
            best += abs(0.5 * slope * step)
            break
    return u, best, is_converged


@vector_kernel
def start_robust(
    table, nodes, unit, leverage, g, has_constant, is_magnitude, bounds, signal, theta, negative, scale,
):  # fmt: skip
    """The best fit that leaves one sample out, and the robust scale of its residuals.

    Leaving sample i out of a linear fit lowers its sum of squares by r_i^2 / (1 - h_i): on the nodes every sample of
    every node is tried.
    """
    n = signal.shape[1]
    size = nodes.size
    q = unit.shape[0]
    free = 1 + q
    y = np.empty(n)
    weight = np.empty(n)
    absolute = np.empty(n)
    p0, p1 = np.zeros(size), np.zeros(size)
    squares, most = np.empty(size), np.empty(size)
    best_cost, best_node, best_start = np.full(n, np.inf), np.zeros(n, np.int64), np.empty(n)
    f, f1, f2 = np.empty(n), np.empty(n), np.empty(n)
    spacing = nodes[1] - nodes[0] if size > 1 else bounds[1] - bounds[0]
    for v in range(signal.shape[0]):
        for i in range(n):
            y[i] = signal[v, i]
        for s in range(size):
            p0[s] = 0.0
            p1[s] = 0.0
        for i in range(n):
            x = y[i]
            for s in range(size):
                p0[s] += x * unit[0, i, s]
            if q == 2:
                for s in range(size):
                    p1[s] += x * unit[1, i, s]
        for split in range(n if is_magnitude else 1):
            if split > 0:
                x = 2.0 * y[split - 1]
                for s in range(size):
                    p0[s] += x * -unit[0, split - 1, s]
                if q == 2:
                    for s in range(size):
                        p1[s] -= x * unit[1, split - 1, s]
                y[split - 1] = -y[split - 1]
            for s in range(size):
                squares[s] = 0.0
                most[s] = 0.0
            for i in range(n):
                x = y[i]
                if q == 2:
                    for s in range(size):
                        r = x - p0[s] * unit[0, i, s] - p1[s] * unit[1, i, s]
                        squares[s] += r * r
                        most[s] = max(most[s], r * r * leverage[i, s])
                else:
                    for s in range(size):
                        r = x - p0[s] * unit[0, i, s]
                        squares[s] += r * r
                        most[s] = max(most[s], r * r * leverage[i, s])
            best_cost[split] = np.inf
            for s in range(size):
                if squares[s] - most[s] < best_cost[split]:
                    best_cost[split] = squares[s] - most[s]
                    best_node[split] = s
            s = best_node[split]
            best_start[split] = nodes[s]
            if 0 < s < size - 1:
                left, right = squares[s - 1] - most[s - 1], squares[s + 1] - most[s + 1]
                bend = left - 2.0 * best_cost[split] + right
                if bend > 0.0:
                    best_start[split] += 0.5 * (left - right) / bend * spacing
        # The nodes are coarse: the best few splits of the signs are tried to the end.
        found = np.inf
        for _ in range(_MOST_CANDIDATES if is_magnitude else 1):
            split = np.argmin(best_cost)
            if not best_cost[split] < np.inf:
                break
            best_cost[split] = np.inf
            for i in range(n):
                y[i] = -signal[v, i] if i < split else signal[v, i]
            u, worst, off = best_start[split], -1, -2
            for _ in range(_MOST_SWAPS):
                off = _stand_off(table, y, u, worst, weight, absolute, f, f1, f2, g, has_constant)
                if off == worst:
                    break
                worst, off = off, -2
                for i in range(n):
                    weight[i] = 0.0 if i == worst else 1.0
                u, _, _ = climb(table, y, weight, u, bounds, spacing, -1.0, f, f1, f2, g, has_constant)
            if off != worst or off < 0:
                _stand_off(table, y, u, worst, weight, absolute, f, f1, f2, g, has_constant)
            squared = 0.0
            for i in range(n):
                squared += weight[i] * absolute[i] ** 2
            if squared < found:
                found = squared
                theta[v, 0] = u
                negative[v] = split
                scale[v] = estimate_scale(absolute, n, free)


@vector_kernel
def _stand_off(table, y, u, worst, weight, absolute, f, f1, f2, g, has_constant):
    """Write the absolute residuals at u; returns the sample without which the fit there is the best.

    worst : the sample that is left out already, -1 for none (then all weights count as one)
    """
    coefficients, lower, width = table
    n = y.size
    if worst < 0:
        for i in range(n):
            weight[i] = 1.0
    expand(coefficients, lower, width, u, f, f1, f2)
    p, _, _, a, _, _, _, yg, fg, _, gg = look(y, weight, f, f1, f2, g, has_constant)
    c = p / a
    c_g = (yg - c * fg) / gg if has_constant else 0.0
    q = fg / gg if has_constant else 0.0
    off, most = 0, -1.0
    for i in range(n):
        r = y[i] - c * f[i] - c_g * g[i]
        absolute[i] = abs(r)
        leverage = (f[i] - q * g[i]) ** 2 / a + g[i] * g[i] / gg
        # Of a sample inside the fit the residual is too small by its leverage, of the one outside it is whole.
        gain = r * r / (1.0 + leverage) if i == worst else r * r / max(1.0 - leverage, 1e-9)
        if gain > most:
            most = gain
            off = i
    return off


@vector_kernel
def finish_robust(
    report, table, moving, g, has_constant, is_magnitude, bounds, visible, is_hard, constants, signal, theta, negative,
    scale, kind, values, errors, flag, rms, outliers, freedom,
):  # fmt: skip
    """Reweighting to rest, then covariance (Huber's sandwich), reported parameters and flags of each voxel."""
    n = signal.shape[1]
    q = 2 if has_constant else 1
    y = np.empty(n)
    absolute = np.empty(n)
    weight = np.ones(n)
    f, f1, f2 = np.empty(n), np.empty(n), np.empty(n)
    covariance = np.empty((1 + q, 1 + q))
    amplitudes = np.empty(q)
    parameter = np.empty(1)
    for v in range(signal.shape[0]):
        for i in range(n):
            y[i] = -signal[v, i] if i < negative[v] else signal[v, i]
            weight[i] = 1.0
        u, c, c_g, done = _settle(
            table,
            y,
            signal[v],
            weight,
            absolute,
            theta[v, 0],
            bounds,
            scale[v],
            kind,
            f,
            f1,
            f2,
            g,
            has_constant,
            is_magnitude,
        )
        theta[v, 0] = u
        squares, influence, bend = 0.0, 0.0, 0.0
        a, b, d, fg, hg, gg = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        kept, off = 0, 0
        for i in range(n):
            r = y[i] - c * f[i] - c_g * g[i]
            squares += r * r
            w = weigh(r / scale[v], kind)
            bend += slope_of_influence(r / scale[v], kind)
            if w < OUTLIER_WEIGHT:
                off += 1
            if w == 0.0:
                continue
            kept += 1
            influence += (w * r) ** 2
            a += f[i] * f[i]
            b += f[i] * f1[i]
            d += f1[i] * f1[i]
            fg += f[i] * g[i]
            hg += f1[i] * g[i]
            gg += g[i] * g[i]
        if has_constant:
            a -= fg / gg * fg
            b -= fg / gg * hg
            d -= hg / gg * hg
        free = kept - 1 - q
        bend /= kept
        # The mean square of the influence over the squared mean of its slope.
        variance = influence / free / bend**2 if free > 0 and bend > 0.1 else np.nan
        outliers[v] = off / n
        rms[v] = np.sqrt(squares / n)
        freedom[v] = free
        amplitudes[moving] = c
        if has_constant:
            amplitudes[1 - moving] = c_g
        parameter[0] = u
        strength = cover(variance, c, c_g, a, b, d, fg, hg, gg, moving, has_constant, covariance)
        if not strength >= 0.0:
            flag[v] = _SINGULAR if visible[0] <= u <= visible[1] else _OUT_OF_RANGE
            continue
        flag[v] = report(parameter, amplitudes, constants, covariance, values[v], errors[v])
        flag[v] = judge(flag[v], u, strength, done, bounds, visible, is_hard)


@vector_kernel
def _settle(table, y, magnitude, weight, absolute, u, bounds, scale, kind, f, f1, f2, g, has_constant, is_magnitude):
    """Reweight and step in turns until nothing moves: the coordinate, both amplitudes, and rest or not.

    `weight` holds ones at first; the sample that stands off the most is left out of the first step.
    """
    coefficients, lower, width = table
    n = y.size
    worst = _stand_off(table, y, u, -1, weight, absolute, f, f1, f2, g, has_constant)
    weight[worst] = 0.0
    p, _, _, a, _, _, _, yg, fg, _, gg = look(y, weight, f, f1, f2, g, has_constant)
    c = p / a
    c_g = (yg - c * fg) / gg if has_constant else 0.0
    before = 0.0
    for turn in range(_MOST_REWEIGHTINGS):
        for i in range(n):
            x = c * f[i] + c_g * g[i]
            if is_magnitude:
                y[i] = magnitude[i] if x >= 0.0 else -magnitude[i]
            weight[i] = weigh((y[i] - x) / scale, kind)
        p, p1, p2, a, b, d, e, _, _, _, _ = look(y, weight, f, f1, f2, g, has_constant)
        if not a > 0.0:
            return u, c, c_g, False
        c = p / a
        slope = c * (p1 - c * b)
        c1 = (p1 - 2.0 * b * c) / a
        curve = p2 * c - c * c * (d + e) + a * c1 * c1
        normal = c * c * (d - b * b / a)
        step = -slope / curve if curve < -0.2 * normal else slope / normal
        if not abs(step) < np.inf:
            return u, c, c_g, False
        step = min(max(step, -0.5), 0.5)
        # Reweighting closes in by a constant share: two steps tell where it leads (Aitken's extrapolation).
        if turn % 3 == 2 and abs(step) < 0.7 * abs(before):
            step /= 1.0 - step / before
        before = step
        target = min(max(u + step, bounds[0]), bounds[1])
        step = target - u
        u = target
        expand(coefficients, lower, width, u, f, f1, f2)
        p, _, _, a, _, _, _, yg, fg, _, gg = look(y, weight, f, f1, f2, g, has_constant)
        c = p / a
        c_g = (yg - c * fg) / gg if has_constant else 0.0
        if turn > 0 and abs(step) < _SETTLED:
            return u, c, c_g, True
    return u, c, c_g, False
