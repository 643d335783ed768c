"""The last step of a `phasor`: covariance, reported parameters and flags at the least-squares optimum."""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.algebra import invert
from isocenter.fitting.passes import _LEAST_SIGNIFICANCE, check_range
from isocenter.fitting.phasor_steps import descend, make_view, square_of
from isocenter.fitting.problem import make_solution
from isocenter.models.compiled import vector_kernel

_OK = int(Flag.OK)
_SINGULAR = int(Flag.SINGULAR)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
#: Fraction of the sum of squares that the last step but one may gain; Newton's method squares what is left.
_EXACT = 1e-9


@vector_kernel
def finish_phasor(report, problem, phasor, signal, theta, sigma, values, errors, flag, rms, freedom, is_settled):
    """Covariance, parameters and flags of each voxel; where it does not settle the direct way has to do it.

    signal : (v, 2 n); theta : (v, p), starts, overwritten; sigma : (v,), NaN where it comes from the residuals
    values, errors : (v, r); flag, rms, freedom, is_settled : (v,), written
    """
    p, n = phasor.exponents.shape
    view = make_view(p, n)
    room = np.empty((3, p + p * p))
    y = np.empty(n, np.complex128)
    solution = make_solution(p, 4, 0)
    covariance = np.empty((p + 4, p + 4))
    own, inverse, whole = np.empty((p, p)), np.empty((p, p)), np.empty((p, p))
    follow = np.empty((4, p))
    falls = np.empty(p)
    for v in range(signal.shape[0]):
        if not is_settled[v]:
            continue
        total = 0.0
        for i in range(n):
            y[i] = complex(signal[v, i], signal[v, n + i])
        for i in range(n):
            total += square_of(y[i])
        for j in range(p):
            solution.theta[j] = theta[v, j]
        cost, done = descend(phasor, y, solution.theta, -1, total, _EXACT, np.inf, view, room)
        is_settled[v] = done and cost < np.inf
        if not is_settled[v]:
            continue
        a, d = view.gram[0], view.gram[1]
        h = complex(view.gram[2], view.gram[3])
        per = 1.0 / (a * d - square_of(h))
        free = 2 * n - p - 4
        variance = sigma[v] ** 2 if sigma[v] > 0.0 else cost / free
        rms[v] = np.sqrt(cost / (2 * n))
        # What is seen is where the last step began, some 1e-5 standard errors away: the amplitudes follow it.
        follow0, follow1 = 0j, 0j
        for j in range(p):
            move = solution.theta[j] - room[1, j]
            follow0 += (d * view.mixed[0, j] - h * view.mixed[1, j]) * per * move
            follow1 += (a * view.mixed[1, j] - h.conjugate() * view.mixed[0, j]) * per * move
        view.amplitudes[0] -= follow0
        view.amplitudes[1] -= follow1
        freedom[v] = free
        is_regular = np.isfinite(variance)
        for j in range(p):
            theta[v, j] = solution.theta[j]
            # How far the amplitudes follow theta.
            z0 = (d * view.along[0, j] - h * view.along[1, j]) * per
            z1 = (a * view.along[1, j] - h.conjugate() * view.along[0, j]) * per
            follow[0, j], follow[1, j] = z0.real, z0.imag
            follow[2, j], follow[3, j] = z1.real, z1.imag
            for m in range(p):
                own[j, m] = view.plain[j, m]
            is_regular = is_regular and own[j, j] > 1e-14 * view.square[j, j]
        if not (is_regular and invert(own, inverse)):
            flag[v] = _SINGULAR
            continue
        for j in range(p):
            for m in range(p):
                covariance[j, m] = variance * inverse[j, m]
            for k in range(4):
                x = 0.0
                for m in range(p):
                    x -= follow[k, m] * inverse[m, j]
                covariance[p + k, j] = covariance[j, p + k] = variance * x
        for k in range(4):
            for m in range(4):
                x = 0.0
                for j in range(p):
                    x -= covariance[p + k, j] * follow[m, j]
                covariance[p + k, p + m] = x
        for k in range(2):
            covariance[p + k, p + k] += variance * d * per
            covariance[p + 2 + k, p + 2 + k] += variance * a * per
        # The inverse of the complex Gram matrix, as real and imaginary parts act on each other.
        real, imaginary = -variance * h.real * per, -variance * h.imag * per
        covariance[p, p + 2] += real
        covariance[p + 1, p + 3] += real
        covariance[p, p + 3] -= imaginary
        covariance[p + 1, p + 2] += imaginary
        covariance[p + 2, p] += real
        covariance[p + 3, p + 1] += real
        covariance[p + 3, p] -= imaginary
        covariance[p + 2, p + 1] += imaginary
        # How many standard errors the amplitudes are away from zero (Mahalanobis), as in `passes`.
        strength = 0.0
        for k in range(2):
            solution.amplitudes[2 * k] = view.amplitudes[k].real
            solution.amplitudes[2 * k + 1] = view.amplitudes[k].imag
        for j in range(p):
            falls[j] = 0.0
            for m in range(p):
                whole[j, m] = view.square[j, m]
        for i in range(n):
            f = y[i] - view.residual[i]
            power = square_of(f)
            strength += power
            for j in range(p):
                falls[j] += phasor.exponents[j, i].real * power
        if invert(whole, inverse):
            for j in range(p):
                for m in range(p):
                    strength -= falls[j] * inverse[j, m] * falls[m]
        flag[v] = report(solution.theta, solution.amplitudes, problem.constants, covariance, values[v], errors[v])
        if strength < _LEAST_SIGNIFICANCE**2 * variance:
            flag[v] = _NO_SIGNAL
        elif flag[v] == _OK:
            flag[v] = check_range(problem, solution, True)
