"""Covariance, reported parameters and flags at the least-squares optima of `line_start`, in lanes where that helps."""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.lanes import LANES
from isocenter.fitting.line import ascend, judge
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

_SINGULAR = int(Flag.SINGULAR)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
_MOST_TURNS = 4


@lean_vector_kernel
def look_up(scalars, lower, width, u, lane, places):
    """Write what the table knows at u into a lane: |f| and its slope, |de/du|^2, f.g and its slope."""
    cell, t, length, slope, turn, fg, hg = places
    x = (u - lower) / width
    c = min(max(int(x), 0), scalars.shape[0] - 1)
    z = 2.0 * (x - c) - 1.0
    a, a1, b, d, d1 = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(7, -1, -1):
        a1 = a1 * z + a
        a = a * z + scalars[c, k, 0]
        b = b * z + scalars[c, k, 1]
        d1 = d1 * z + d
        d = d * z + scalars[c, k, 2]
    cell[lane], t[lane] = c, z
    length[lane], slope[lane], turn[lane] = a, a1 * 2.0 / width, b
    fg[lane], hg[lane] = d, d1 * 2.0 / width


@lean_vector_kernel
def predict(terms, t, c, c_g, g, x):
    """Write the fitted signal x (n,) from the polynomials of a cell, terms (8, n)."""
    for i in range(x.size):
        z = terms[7, i] * t + terms[6, i]
        z = z * t + terms[5, i]
        z = z * t + terms[4, i]
        z = z * t + terms[3, i]
        z = z * t + terms[2, i]
        z = z * t + terms[1, i]
        z = z * t + terms[0, i]
        x[i] = c * z + c_g * g[i]


@lean_vector_kernel
def _mend_signs(
    table, coefficients, scalars, magnitude, u, g, gg, has_constant, lane, places, c, c_g, x, own, sums,
):  # fmt: skip
    """Turn the samples (n,) whose fitted value x (n,) has the other sign, and fit again, until none has.

    Returns the new coordinate and whether it was reached; writes x, the amplitudes c and c_g and all `places`.
    """
    direction, lower, width = table
    cell, t, length, _, _, fg, _ = places
    n = magnitude.size
    done = False
    for _ in range(_MOST_TURNS):
        yg = 0.0
        for i in range(n):
            own[i] = magnitude[i] if x[i] >= 0.0 else -magnitude[i]
        for i in range(n):
            yg += own[i] * g[i]
        u, h, done = ascend(direction, lower, width, own, u, sums)
        look_up(scalars, lower, width, u, lane, places)
        c[lane] = h / length[lane]
        c_g[lane] = (yg - c[lane] * fg[lane]) / gg if has_constant else 0.0
        predict(coefficients[cell[lane]], t[lane], c[lane], c_g[lane], g, x)
        wrong = 0
        for i in range(n):
            wrong += own[i] != (magnitude[i] if x[i] >= 0.0 else -magnitude[i])
        if wrong == 0:
            break
    return u, done


@vector_kernel
def finish_plain(
    report, coefficients, direction, scalars, lower, width, moving, g, has_constant, is_magnitude, bounds, visible,
    is_hard, constants, signal, theta, negative, is_converged, height, level, sigma, values, errors, flag, rms, freedom,
):  # fmt: skip
    """Covariance, reported parameters and flags of each voxel at its least-squares optimum.

    moving : the number of f among the amplitudes that `report` expects; height, level : see `start_plain`
    """
    room = (
        np.empty(signal.shape[1]), np.zeros(direction.shape[1]), np.empty(8), np.zeros(LANES, np.int64),
        np.ones((19, LANES)), np.zeros((7, LANES)), make_rows(2 if has_constant else 1),
    )  # fmt: skip
    _finish_voxels(
        report, coefficients, direction, scalars, lower, width, moving, g, has_constant, is_magnitude, bounds, visible,
        is_hard, constants, signal, theta, negative, is_converged, height, level, sigma, values, errors, flag, rms,
        freedom, room,
    )  # fmt: skip


@lean_vector_kernel
def _finish_voxels(
    report, coefficients, direction, scalars, lower, width, moving, g, has_constant, is_magnitude, bounds, visible,
    is_hard, constants, signal, theta, negative, is_converged, height, level, sigma, values, errors, flag, rms, freedom,
    room,
):  # fmt: skip
    total, n = signal.shape
    q = 2 if has_constant else 1
    free = n - 1 - q
    gg = 0.0
    for i in range(n):
        gg += g[i] * g[i]
    gg = gg if has_constant else 1.0
    x, own, sums, cell, lanes, covered, rows = room
    table = direction, lower, width
    t, length, slope, turn, fg, hg = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5]
    h, yg, c, c_g, u, done = lanes[6], lanes[7], lanes[8], lanes[9], lanes[10], lanes[11]
    a, b, d, gap, whole = lanes[12], lanes[13], lanes[14], lanes[15], lanes[16]
    squares, variance = lanes[17], lanes[18]
    places = cell, t, length, slope, turn, fg, hg
    for first in range(0, total, LANES):
        count = min(total - first, LANES)
        for lane in range(count):
            v = first + lane
            look_up(scalars, lower, width, theta[v, 0], lane, places)
            h[lane], yg[lane] = height[v], level[v] * np.sqrt(gg)
        for lane in range(LANES):
            c[lane] = h[lane] / length[lane]
            c_g[lane] = (yg[lane] - c[lane] * fg[lane]) / gg if has_constant else 0.0
        for lane in range(count):
            v = first + lane
            predict(coefficients[cell[lane]], t[lane], c[lane], c_g[lane], g, x)
            if is_magnitude:
                wrong = 0
                for i in range(n):
                    wrong += (x[i] < 0.0) != (i < negative[v])
                if wrong > 0:
                    theta[v, 0], is_converged[v] = _mend_signs(
                        table, coefficients, scalars, signal[v], theta[v, 0], g, gg, has_constant, lane, places, c, c_g,
                        x, own, sums,
                    )  # fmt: skip
                for i in range(n):
                    x[i] = abs(x[i])
            sum_squares = 0.0
            for i in range(n):
                r = signal[v, i] - x[i]
                sum_squares += r * r
            squares[lane] = sum_squares
            variance[lane] = sigma[v] * sigma[v] if sigma[v] > 0.0 else sum_squares / free
        for lane in range(LANES):
            a[lane] = length[lane] * length[lane]
            b[lane] = length[lane] * slope[lane]
            d[lane] = slope[lane] * slope[lane] + a[lane] * turn[lane]
            # d a - b^2, without the cancellation.
            gap[lane] = a[lane] * a[lane] * turn[lane]
            squares[lane] = np.sqrt(squares[lane] / n)
            whole[lane] = gg
        cover_lanes(variance, c, c_g, a, b, d, gap, fg, hg, whole, has_constant, covered)
        for lane in range(count):
            v = first + lane
            freedom[v] = free
            u[lane], done[lane] = theta[v, 0], 1.0 if is_converged[v] else 0.0
        report_lanes(
            report, first, count, u, c, c_g, covered, squares, done, moving, has_constant, bounds, visible, is_hard,
            constants, values, errors, flag, rms, rows,
        )  # fmt: skip


@lean_vector_kernel
def cover_lanes(variance, c, c_g, a, b, d, gap, fg, hg, gg, has_constant, covered):
    """Write the covariance of the coordinate and the amplitudes of every lane.

    a, b, d : f.f, f.f' and f'.f' with g projected out, gap : d a - b^2; fg, hg, gg : f.g, f'.g and g.g; (LANES,) each
    covered : (7, LANES), the entries uu, uc, cc, ug, cg, gg, and how many standard errors the amplitudes together are
    away from zero, NaN when there is no covariance
    """
    for lane in range(LANES):
        k = c[lane]
        det = k * k * gap[lane]
        is_regular = (a[lane] > 0.0) & (det > 1e-14 * k * k * d[lane] * a[lane]) & (variance[lane] < np.inf)
        scale = variance[lane] / det
        uu, uc, cc = scale * a[lane], -scale * k * b[lane], scale * k * k * d[lane]
        squared = k * k / cc
        covered[0, lane], covered[1, lane], covered[2, lane] = uu, uc, cc
        if has_constant:
            k_u, k_c = -k * hg[lane] / gg[lane], -fg[lane] / gg[lane]
            ug = k_u * uu + k_c * uc
            cg = k_u * uc + k_c * cc
            whole = variance[lane] / gg[lane] + k_u * ug + k_c * cg
            covered[3, lane], covered[4, lane], covered[5, lane] = ug, cg, whole
            # Beyond the first amplitude: what is left of the second when the first is given.
            tied = cg / cc
            rest = c_g[lane] - tied * k
            squared += rest * rest / (whole - tied * cg)
        covered[6, lane] = np.sqrt(squared) if is_regular else np.nan


@vector_kernel
def make_rows(q):
    """Scratch of `report_lanes` for q amplitudes."""
    return np.zeros((LANES, 1 + q, 1 + q)), np.zeros((LANES, q)), np.zeros((LANES, 1)), np.zeros(LANES, np.int64)


@lean_vector_kernel
def report_lanes(
    report, first, count, u, c, c_g, covered, left, done, moving, has_constant, bounds, visible, is_hard, constants,
    values, errors, flag, rms, rows,
):  # fmt: skip
    """Write values, standard errors, flag and root mean square residual of the voxels from `first` on.

    report : of the models' `Report.rows`; covered : see `cover_lanes`; left : (LANES,) the root mean squares
    done : (LANES,) 1 where the search converged; rows : of `make_rows`
    """
    m, k = 1 + moving, 2 - moving
    covariance, amplitudes, parameter, codes = rows
    for lane in range(count):
        parameter[lane, 0] = u[lane]
        amplitudes[lane, moving] = c[lane]
        own = covariance[lane]
        own[0, 0] = covered[0, lane]
        own[0, m] = own[m, 0] = covered[1, lane]
        own[m, m] = covered[2, lane]
        if has_constant:
            amplitudes[lane, 1 - moving] = c_g[lane]
            own[0, k] = own[k, 0] = covered[3, lane]
            own[m, k] = own[k, m] = covered[4, lane]
            own[k, k] = covered[5, lane]
    report(first, count, parameter, amplitudes, constants, covariance, values, errors, codes)
    for lane in range(count):
        v = first + lane
        rms[v] = left[lane]
        strength = covered[6, lane]
        if strength >= 0.0:
            flag[v] = judge(codes[lane], u[lane], strength, done[lane] > 0.0, bounds, visible, is_hard)
            continue
        flag[v] = _SINGULAR if visible[0] <= u[lane] <= visible[1] else _OUT_OF_RANGE
        for i in range(values.shape[1]):
            values[v, i] = errors[v, i] = np.nan
