"""Kernels for models with one nonlinear coordinate, on a table of the basis: the bulk of all fits.

The sum of squares that a coordinate u explains is h(u)^2 with h = y.e(u) (see `table`), and inside a cell of the table
h is a polynomial of which Newton's method finds the top. Exponentials are computed for the table only.
"""

import numpy as np

from isocenter.entities import Flag
from isocenter.models.compiled import vector_kernel

_OK = int(Flag.OK)
_AT_BOUND = int(Flag.AT_BOUND)
_NOT_CONVERGED = int(Flag.NOT_CONVERGED)
_SINGULAR = int(Flag.SINGULAR)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
_NO_SIGNAL = int(Flag.NO_SIGNAL)

_MOST_STEPS = 40
_MOST_CELLS = 100
#: Newton has converged when it moves by less than this share of half a cell.
_SETTLED = 1e-9
#: A polynomial is trusted a little beyond its cell, so that a top on the border is found in either.
_BEYOND = 1.03
_LEAST_SIGNIFICANCE = 3.0


@vector_kernel
def collect(cell, y, sums):
    """Write the 8 coefficients of h in a cell (m, 8) for samples y (m,)."""
    for d in range(8):
        sums[d] = 0.0
    for i in range(0, y.size, 4):
        a, b, c, e = y[i], y[i + 1], y[i + 2], y[i + 3]
        for d in range(8):
            sums[d] += a * cell[i, d] + b * cell[i + 1, d] + c * cell[i + 2, d] + e * cell[i + 3, d]


@vector_kernel
def ascend(direction, lower, width, y, u, sums):
    """From u to the next top of |h|: its coordinate, h^2 there, and whether it was reached."""
    cells = direction.shape[0]
    x = (u - lower) / width
    c = min(max(int(x), 0), cells - 1)
    t = 2.0 * (x - c) - 1.0
    h = 0.0
    for _ in range(_MOST_CELLS):
        collect(direction[c], y, sums)
        for _ in range(_MOST_STEPS):
            h, h1, h2 = sums[7], 0.0, 0.0
            for d in range(6, -1, -1):
                h2 = h2 * t + 2.0 * h1
                h1 = h1 * t + h
                h = h * t + sums[d]
            if h < 0.0:
                h1, h2 = -h1, -h2
            if h2 < 0.0:
                step = min(max(-h1 / h2, -4.0), 4.0)
            elif h1 == 0.0:
                return u, h * h, False
            else:
                step = 4.0 if h1 > 0.0 else -4.0
            t += step
            if abs(t) > _BEYOND:
                break
            if abs(step) < _SETTLED:
                x = c + 0.5 * (t + 1.0)
                return lower + width * min(max(x, 0.0), float(cells)), h * h, True
        if abs(t) <= _BEYOND:
            break
        # Into the next cell, at the side where it was entered; at the end of the table that is the answer.
        if t > 0.0:
            if c == cells - 1:
                return lower + width * cells, h * h, True
            c += 1
            t = -1.0
        else:
            if c == 0:
                return lower, h * h, True
            c -= 1
            t = 1.0
    return lower + width * (c + 0.5 * (t + 1.0)), h * h, False


@vector_kernel
def scan(y, unit, heights):
    """Write h (k,) at every node, of samples y (m,) and directions (m, k)."""
    k = unit.shape[1]
    for s in range(k):
        heights[s] = 0.0
    for i in range(0, y.size, 4):
        a, b, c, e = y[i], y[i + 1], y[i + 2], y[i + 3]
        for s in range(k):
            heights[s] += a * unit[i, s] + b * unit[i + 1, s] + c * unit[i + 2, s] + e * unit[i + 3, s]


@vector_kernel
def find_top(nodes, heights):
    """The largest |h| among the nodes: its square, and where a parabola through its neighbors has its top."""
    s = 0
    best = abs(heights[0])
    for k in range(1, nodes.size):
        if abs(heights[k]) > best:
            best = abs(heights[k])
            s = k
    if s == 0 or s == nodes.size - 1:
        return best * best, nodes[s]
    left, right = heights[s - 1], heights[s + 1]
    if heights[s] < 0.0:
        left, right = -left, -right
    bend = left - 2.0 * best + right
    if not bend < 0.0:
        return best * best, nodes[s]
    return best * best, nodes[s] + 0.5 * (left - right) / bend * (nodes[s] - nodes[s - 1])


@vector_kernel
def start_plain(direction, lower, width, nodes, unit, is_magnitude, signal, theta, negative, is_converged):
    """Least-squares optimum of each voxel, samples complete.

    signal : (v, n); theta (v, 1), negative (v,) and is_converged (v,), written
    """
    n = signal.shape[1]
    heights = np.empty(nodes.size)
    best_score, best_start = np.empty(n), np.empty(n)
    y = np.zeros(direction.shape[1])
    sums = np.empty(8)
    has_constant = unit.shape[0] == 2
    for v in range(signal.shape[0]):
        for i in range(n):
            y[i] = signal[v, i]
        scan(y, unit[0], heights)
        if not is_magnitude:
            _, u = find_top(nodes, heights)
            theta[v, 0], _, is_converged[v] = ascend(direction, lower, width, y, u, sums)
            negative[v] = 0
            continue
        # What the constant basis function explains depends on the signs too.
        flat = 0.0
        if has_constant:
            for i in range(n):
                flat += y[i] * unit[1, i, 0]
        chosen = 0
        for split in range(n):
            if split > 0:
                x = 2.0 * y[split - 1]
                for s in range(nodes.size):
                    heights[s] -= x * unit[0, split - 1, s]
                if has_constant:
                    flat -= x * unit[1, split - 1, 0]
            top, best_start[split] = find_top(nodes, heights)
            best_score[split] = top + flat * flat
            if best_score[split] > best_score[chosen]:
                chosen = split
        # The nodes are coarse: the split beside the chosen one may win (a sample near the null). All negative is
        # the mirror image of none, so the splits form a ring.
        best = -1.0
        for turn in (0, 1, n - 1):
            split = (chosen + turn) % n
            flat = 0.0
            for i in range(n):
                y[i] = -signal[v, i] if i < split else signal[v, i]
                if has_constant:
                    flat += y[i] * unit[1, i, 0]
            u, score, done = ascend(direction, lower, width, y, best_start[split], sums)
            if score + flat * flat > best:
                best = score + flat * flat
                theta[v, 0] = u
                negative[v] = split
                is_converged[v] = done


@vector_kernel
def finish_plain(
    report, coefficients, direction, scalars, lower, width, moving, g, has_constant, is_magnitude, bounds, visible,
    is_hard, constants, signal, theta, negative, is_converged, sigma, values, errors, flag, rms, freedom,
):  # fmt: skip
    """Covariance, reported parameters and flags of each voxel at its least-squares optimum.

    moving : the number of f among the amplitudes that `report` expects
    """
    n = signal.shape[1]
    q = 2 if has_constant else 1
    y = np.zeros(direction.shape[1])
    f = np.empty(n)
    sums = np.empty(8)
    covariance = np.empty((1 + q, 1 + q))
    amplitudes = np.empty(q)
    parameter = np.empty(1)
    cells = coefficients.shape[0]
    squared = 0.0
    for i in range(n):
        squared += g[i] * g[i]
    gg = squared if has_constant else 1.0
    for v in range(signal.shape[0]):
        u = theta[v, 0]
        for i in range(n):
            y[i] = -signal[v, i] if i < negative[v] else signal[v, i]
        done = is_converged[v]
        a, b, d, fg, hg, c, c_g = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for _ in range(4):
            x = (u - lower) / width
            cell = min(max(int(x), 0), cells - 1)
            t = 2.0 * (x - cell) - 1.0
            terms = coefficients[cell]
            for i in range(n):
                z = terms[7, i] * t + terms[6, i]
                z = z * t + terms[5, i]
                z = z * t + terms[4, i]
                z = z * t + terms[3, i]
                z = z * t + terms[2, i]
                z = z * t + terms[1, i]
                f[i] = z * t + terms[0, i]
            length, length1, turn, fg, hg = 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(7, -1, -1):
                length1 = length1 * t + length
                length = length * t + scalars[cell, k, 0]
                turn = turn * t + scalars[cell, k, 1]
                hg = hg * t + fg
                fg = fg * t + scalars[cell, k, 2]
            length1 *= 2.0 / width
            hg *= 2.0 / width
            a = length * length
            b = length * length1
            d = length1 * length1 + a * turn
            p = 0.0
            for i in range(n):
                p += y[i] * f[i]
            c_g = 0.0
            if has_constant:
                yg = 0.0
                for i in range(n):
                    yg += y[i] * g[i]
                c = (p - fg / gg * yg) / a
                c_g = (yg - c * fg) / gg
            else:
                c = p / a
            if not is_magnitude:
                break
            # A sample near the null may have been given the wrong sign.
            is_changed = False
            for i in range(n):
                x = signal[v, i] if c * f[i] + c_g * g[i] >= 0.0 else -signal[v, i]
                is_changed = is_changed or x != y[i]
                y[i] = x
            if not is_changed:
                break
            u, _, done = ascend(direction, lower, width, y, u, sums)
        theta[v, 0] = u
        squares = 0.0
        for i in range(n):
            r = y[i] - c * f[i] - c_g * g[i]
            squares += r * r
        free = n - 1 - q
        variance = sigma[v] ** 2 if sigma[v] > 0.0 else squares / free
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
def cover(variance, c, c_g, a, b, d, fg, hg, gg, moving, has_constant, covariance):
    """Write the covariance of the coordinate and the amplitudes.

    a, b, d : f.f, f.f' and f'.f' with g projected out; fg, hg, gg : f.g, f'.g and g.g
    Returns how many standard errors the amplitudes together are away from zero; NaN when there is no covariance.
    """
    det = c * c * (d * a - b * b)
    if not (a > 0.0 and det > 1e-14 * c * c * d * a and variance < np.inf):
        return np.nan
    v_uu, v_uc, v_cc = variance * a / det, -variance * c * b / det, variance * c * c * d / det
    m, k = 1 + moving, 2 - moving
    covariance[0, 0] = v_uu
    covariance[0, m] = covariance[m, 0] = v_uc
    covariance[m, m] = v_cc
    strength = abs(c) / np.sqrt(v_cc)
    if has_constant:
        k_u, k_c = -c * hg / gg, -fg / gg
        covariance[0, k] = covariance[k, 0] = k_u * v_uu + k_c * v_uc
        covariance[m, k] = covariance[k, m] = k_u * v_uc + k_c * v_cc
        covariance[k, k] = variance / gg + k_u * covariance[0, k] + k_c * covariance[m, k]
        # Beyond the first amplitude: what is left of the second when the first is given.
        tied = covariance[m, k] / v_cc
        rest = covariance[k, k] - tied * covariance[m, k]
        strength = np.sqrt(strength**2 + (c_g - tied * c) ** 2 / rest)
    return strength


@vector_kernel
def judge(flag, u, strength, is_converged, bounds, visible, is_hard):
    """The flag of a solution: significance first, then bounds before visibility before convergence."""
    if strength < _LEAST_SIGNIFICANCE:
        return _NO_SIGNAL
    if flag != _OK:
        return flag
    if (u <= bounds[0] and is_hard[0]) or (u >= bounds[1] and is_hard[1]):
        return _AT_BOUND
    if u < visible[0] or u > visible[1]:
        return _OUT_OF_RANGE
    return _OK if is_converged else _NOT_CONVERGED
