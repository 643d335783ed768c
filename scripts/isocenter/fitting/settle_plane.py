"""The M-estimate of a voxel on a plane of the basis: reweighted least squares, then Newton's method on the same sum.

The sum is over rho(r / scale), the scale held fixed (see `robust`). Reweighting lowers it at every turn but closes in
by a share at a time; Newton's method, with the slope of the influence and the basis' own second derivatives, arrives in
a few steps from where the sum curves upward. Neither may raise it: a step that would is halved.
"""

import numpy as np

from isocenter.fitting.algebra import solve_amplitudes
from isocenter.fitting.plane import expand_plane_twice
from isocenter.fitting.robust import weigh_all
from isocenter.fitting.series import LANES
from isocenter.models.compiled import lean_vector_kernel, vector_kernel

_MOST_TURNS = 60
#: The longest step, in cells.
_LONGEST = 0.5
#: Reweighting has settled when the (logarithmic) parameters move by less. Newton's method has arrived after a step as
#: short as that: the next would be shorter than its square times a hundred.
_SETTLED, _ARRIVED = 1e-7, 5e-6
#: Steps shorter than this, in cells, are followed by the Taylor series, which is off by 1e-10 then.
_SHORT = 0.0025


@vector_kernel
def make_small(z):
    """Scratch of `settle_plane` for z parameters."""
    squares = np.empty((3, z, z))
    rows, tile = np.empty((4, z)), np.empty(6 * LANES)
    return squares[0], squares[1], squares[2], rows[0], rows[1], rows[2], rows[3], np.zeros(2, np.bool_), tile


@lean_vector_kernel
def settle_plane(problem, y, weight, solution, scale, kind, curves, work, small):
    """Move `solution` from its theta to the M-estimate of y (n,); returns whether it was reached.

    kind : of the weights, 0 for none: least squares, from near its optimum
    weight : (n,), curves : (3, n), work : (3, n), small : of `make_small`, scratch
    Basis and slope are left at the optimum.
    """
    n = y.size
    q = solution.amplitudes.size
    z = 2 + q
    theta, amplitudes = solution.theta, solution.amplitudes
    lower, upper = problem.lower, problem.upper
    f, f0, f1 = solution.basis[0], solution.slope[0, 0], solution.slope[1, 0]
    f00, f01, f11 = curves[0], curves[1], curves[2]
    residual, bend, pull = work[0], work[1], work[2]
    normal, exact, matrix, gradient, step, start, right, is_fixed, tile = small
    expand_plane_twice(problem.plane, problem.plane_lower, problem.plane_width, theta, solution, curves, tile)
    if not _start_amplitudes(y, weight, kind > 0, solution, matrix):
        return False
    lowest = np.inf
    for turn in range(_MOST_TURNS):
        c = amplitudes[0]
        k = amplitudes[1] if q == 2 else 0.0
        for i in range(n):
            residual[i] = y[i] - c * f[i] - k
        total = weigh_all(residual, scale, kind, weight, bend)
        if total > lowest * (1.0 + 1e-12):
            for j in range(z):
                step[j] *= 0.5
            is_standing = max(abs(step[0]), abs(step[1])) < 1e-9
            for j in range(2):
                theta[j] = start[j] + step[j]
            for j in range(q):
                amplitudes[j] = start[2 + j] + step[2 + j]
            expand_plane_twice(problem.plane, problem.plane_lower, problem.plane_width, theta, solution, curves, tile)
            if is_standing:
                # The sum is flat to its last bits.
                return True
            continue
        lowest = total
        for i in range(n):
            pull[i] = weight[i] * residual[i]
        accumulate(bend, c, f, f0, f1, q, exact)
        if kind:
            accumulate(weight, c, f, f0, f1, q, normal)
        else:
            for j in range(z):
                for m in range(j + 1):
                    normal[j, m] = exact[j, m]
        g0, g1, g2, g3, h00, h01, h11 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            g0 += pull[i] * f0[i]
            g1 += pull[i] * f1[i]
            g2 += pull[i] * f[i]
            g3 += pull[i]
            h00 += pull[i] * f00[i]
            h01 += pull[i] * f01[i]
            h11 += pull[i] * f11[i]
        gradient[0], gradient[1], gradient[2] = c * g0, c * g1, g2
        if q == 2:
            gradient[3] = g3
        exact[0, 0] -= c * h00
        exact[1, 0] -= c * h01
        exact[1, 1] -= c * h11
        exact[2, 0] -= g0
        exact[2, 1] -= g1
        for j in range(2):
            is_fixed[j] = (theta[j] <= lower[j] and gradient[j] <= 0.0) or (theta[j] >= upper[j] and gradient[j] >= 0.0)
        is_exact = False
        for _ in range(3):
            is_exact = turn > 0 or kind == 0
            if is_exact:
                fix(exact, gradient, is_fixed, matrix, right)
                is_exact = solve_positive(matrix, right, step)
            if not is_exact:
                fix(normal, gradient, is_fixed, matrix, right)
                if not solve_positive(matrix, right, step):
                    return False
            # The slopes may lead inward from an edge and the step outward all the same.
            is_outward = False
            for j in range(2):
                if (theta[j] <= lower[j] and step[j] < 0.0) or (theta[j] >= upper[j] and step[j] > 0.0):
                    is_fixed[j] = is_outward = True
            if not is_outward:
                break
        # To the first edge on the way and no further: a step of which one part is cut off leads elsewhere.
        share, first = 1.0, -1
        for j in range(2):
            size = max(abs(step[j]), 1e-300)
            room = upper[j] - theta[j] if step[j] > 0.0 else theta[j] - lower[j]
            if room < share * size:
                share, first = room / size, j
            if _LONGEST * problem.plane_width[j] < share * size:
                share, first = _LONGEST * problem.plane_width[j] / size, -1
        longest = 0.0
        for j in range(z):
            start[j] = theta[j] if j < 2 else amplitudes[j - 2]
            step[j] *= share
            if j >= 2:
                amplitudes[j - 2] += step[j]
                continue
            theta[j] = min(max(theta[j] + step[j], lower[j]), upper[j])
            if j == first:
                theta[j] = upper[j] if step[j] > 0.0 else lower[j]
            step[j] = theta[j] - start[j]
            longest = max(longest, abs(step[j]))
        if max(abs(step[0]) / problem.plane_width[0], abs(step[1]) / problem.plane_width[1]) < _SHORT:
            _shift(step[0], step[1], solution, curves)
        else:
            expand_plane_twice(problem.plane, problem.plane_lower, problem.plane_width, theta, solution, curves, tile)
        if first < 0 and longest < (_ARRIVED if is_exact else _SETTLED) and (turn > 0 or kind == 0):
            return True
    return False


@lean_vector_kernel
def _shift(s, t, solution, curves):
    """Basis and slope after a short step (s, t), by their Taylor series."""
    f, f0, f1 = solution.basis[0], solution.slope[0, 0], solution.slope[1, 0]
    for i in range(f.size):
        f0_step = s * curves[0, i] + t * curves[1, i]
        f1_step = s * curves[1, i] + t * curves[2, i]
        f[i] += s * (f0[i] + 0.5 * f0_step) + t * (f1[i] + 0.5 * f1_step)
        f0[i] += f0_step
        f1[i] += f1_step


@lean_vector_kernel
def _start_amplitudes(y, weight, is_trimmed, solution, gram_inverse):
    """The amplitudes at the start, or those without the sample that stands off the most; False where there are none."""
    n = y.size
    q = solution.amplitudes.size
    for i in range(n):
        weight[i] = 1.0
    if not np.isfinite(solve_amplitudes(solution.basis, weight, y, solution.amplitudes, gram_inverse)):
        return False
    if not is_trimmed:
        return True
    f = solution.basis[0]
    worst, most = 0, -1.0
    for i in range(n):
        r = y[i] - solution.amplitudes[0] * f[i]
        leverage = gram_inverse[0, 0] * f[i] * f[i]
        if q == 2:
            r -= solution.amplitudes[1]
            leverage += 2.0 * gram_inverse[0, 1] * f[i] + gram_inverse[1, 1]
        gain = r * r / max(1.0 - leverage, 1e-9)
        if gain > most:
            most = gain
            worst = i
    weight[worst] = 0.0
    return np.isfinite(solve_amplitudes(solution.basis, weight, y, solution.amplitudes, gram_inverse))


@lean_vector_kernel
def accumulate(weight, c, f, f0, f1, q, matrix):
    """Write the lower half of the normal matrix of both coordinates and the amplitudes."""
    a00, a10, a11, a20, a21, a22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(f.size):
        w0, w1, w2 = weight[i] * f0[i], weight[i] * f1[i], weight[i] * f[i]
        a00 += w0 * f0[i]
        a10 += w0 * f1[i]
        a11 += w1 * f1[i]
        a20 += w0 * f[i]
        a21 += w1 * f[i]
        a22 += w2 * f[i]
    matrix[0, 0], matrix[1, 0], matrix[1, 1] = c * c * a00, c * c * a10, c * c * a11
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = c * a20, c * a21, a22
    if q == 2:
        a30, a31, a32, a33 = 0.0, 0.0, 0.0, 0.0
        for i in range(f.size):
            a30 += weight[i] * f0[i]
            a31 += weight[i] * f1[i]
            a32 += weight[i] * f[i]
            a33 += weight[i]
        matrix[3, 0], matrix[3, 1], matrix[3, 2], matrix[3, 3] = c * a30, c * a31, a32, a33


@lean_vector_kernel
def fix(matrix, gradient, is_fixed, own, right):
    """Copy a matrix (its lower half) and the gradient without the coordinates that stay where they are."""
    for j in range(gradient.size):
        right[j] = gradient[j]
        for m in range(j + 1):
            own[j, m] = matrix[j, m]
    for j in range(2):
        if is_fixed[j]:
            right[j] = 0.0
            for m in range(j):
                own[j, m] = 0.0
            own[j, j] = 1.0
            for m in range(j + 1, gradient.size):
                own[m, j] = 0.0


@lean_vector_kernel
def solve_positive(matrix, right, solution):
    """Solve matrix (m, m) times solution = right; False when it is not positive definite.

    Only the lower half of the matrix is read; it is overwritten.
    """
    m = right.size
    for j in range(m):
        own = matrix[j, j]
        s = own
        for k in range(j):
            s -= matrix[j, k] * matrix[j, k]
        if not (own > 0.0 and s > 1e-12 * own):
            return False
        s = np.sqrt(s)
        matrix[j, j] = s
        for i in range(j + 1, m):
            r = matrix[i, j]
            for k in range(j):
                r -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = r / s
    for j in range(m):
        s = right[j]
        for k in range(j):
            s -= matrix[j, k] * solution[k]
        solution[j] = s / matrix[j, j]
    for j in range(m - 1, -1, -1):
        s = solution[j]
        for k in range(j + 1, m):
            s -= matrix[k, j] * solution[k]
        solution[j] = s / matrix[j, j]
    return True
