"""Robust fits of a `phasor` with the scale held fixed: Newton's method on the M-estimate of all coordinates.

Real and imaginary parts are weighed apart, as samples of their own. Every derivative is exact, those of the weights
too; where the exact second derivatives are no bowl, and at first, a step is that of reweighted least squares.
"""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.algebra import invert
from isocenter.fitting.passes import _LEAST_SIGNIFICANCE, check_range, measure_strength
from isocenter.fitting.phasor_scan import stand_off
from isocenter.fitting.phasor_steps import look, make_view
from isocenter.fitting.problem import make_solution
from isocenter.fitting.robust import HUBER, OUTLIER_WEIGHT, TUKEY, slope_of_influence, weigh
from isocenter.models.compiled import vector_kernel

_OK = int(Flag.OK)
_SINGULAR = int(Flag.SINGULAR)
_NO_SIGNAL = int(Flag.NO_SIGNAL)

_MOST_STEPS = 60
#: So many steps are those of reweighted least squares, which go to the nearest optimum.
_CAREFUL = 2
#: No step turns or dims a sample by more than this [rad].
_LONGEST = 0.5
#: The last step but one may lower the M-estimate by this share of the squared scale: Newton's method squares it.
_EXACT = 1e-9


@vector_kernel
def lose(u, kind):
    """What a residual of `u` scales costs."""
    u = abs(u)
    if kind == 1:
        left = max(1.0 - (u / TUKEY) ** 2, 0.0)
        return (1.0 - left * left * left) * (TUKEY**2 / 6.0)
    return 0.5 * u * u if u <= HUBER else HUBER * (u - 0.5 * HUBER)


@vector_kernel
def differentiate(phasor, point, first):
    """Write the slopes of all samples by all coordinates, first (p + 4, n) complex, and the basis: its last rows.

    point : (p + 4,), theta and then real and imaginary parts of two amplitudes
    """
    exponents, fixed = phasor.exponents, phasor.fixed
    p, n = exponents.shape
    c0, c1 = complex(point[p], point[p + 1]), complex(point[p + 2], point[p + 3])
    for i in range(n):
        real, imaginary = 0.0, 0.0
        for j in range(p):
            real += point[j] * exponents[j, i].real
            imaginary += point[j] * exponents[j, i].imag
        size = np.exp(real)
        e = complex(size * np.cos(imaginary), size * np.sin(imaginary))
        b0, b1 = fixed[0, i] * e, fixed[1, i] * e
        first[p, i], first[p + 1, i] = b0, complex(-b0.imag, b0.real)
        first[p + 2, i], first[p + 3, i] = b1, complex(-b1.imag, b1.real)
        f = c0 * b0 + c1 * b1
        for j in range(p):
            first[j, i] = exponents[j, i] * f


@vector_kernel
def look_robust(phasor, y, scale, kind, point, first, gradient, bend, plain):
    """Write minus the gradient (m,) and the second derivatives (m, m) of the M-estimate, exact and reweighted.

    Returns the M-estimate, in squared scales.
    """
    p, n = phasor.exponents.shape
    m = point.size
    differentiate(phasor, point, first)
    for a in range(m):
        gradient[a] = 0.0
        for b in range(a + 1):
            bend[a, b] = 0.0
            plain[a, b] = 0.0
    cost = 0.0
    per = 1.0 / scale
    for i in range(n):
        f = complex(point[p], point[p + 1]) * first[p, i] + complex(point[p + 2], point[p + 3]) * first[p + 2, i]
        r = y[i] - f
        u, v = r.real * per, r.imag * per
        cost += lose(u, kind) + lose(v, kind)
        wu, wv = weigh(u, kind), weigh(v, kind)
        su, sv = slope_of_influence(u, kind), slope_of_influence(v, kind)
        x, z = wu * u, wv * v
        for a in range(m):
            real, imaginary = first[a, i].real * per, first[a, i].imag * per
            gradient[a] += x * real + z * imaginary
            bu, bv, pu, pv = su * real, sv * imaginary, wu * real, wv * imaginary
            for b in range(a + 1):
                other, other_imaginary = first[b, i].real * per, first[b, i].imag * per
                bend[a, b] += bu * other + bv * other_imaginary
                plain[a, b] += pu * other + pv * other_imaginary
        # Second derivatives are exponents times slopes; the amplitudes among themselves have none.
        for b in range(p):
            k = phasor.exponents[b, i] * per
            for a in range(b, m):
                turned = k * first[a, i]
                bend[a, b] -= x * turned.real + z * turned.imag
    for a in range(m):
        for b in range(a):
            bend[b, a] = bend[a, b]
            plain[b, a] = plain[a, b]
    return cost


@vector_kernel
def descend_robust(phasor, y, scale, kind, point, last, step, first, gradient, bend, plain, inverse):
    """Move the point (m,) to the nearest optimum; whether it was reached inside of the bounds."""
    p, m = phasor.exponents.shape[0], point.size
    best = np.inf
    for turn in range(_MOST_STEPS):
        cost = look_robust(phasor, y, scale, kind, point, first, gradient, bend, plain)
        if not cost <= best * (1.0 + 1e-12) + 1e-13:
            if not best < np.inf:
                return False
            for a in range(m):
                point[a] = last[a] + 0.25 * (point[a] - last[a])
            continue
        best = cost
        is_newton = turn >= _CAREFUL and invert(bend, inverse)
        if not is_newton and not invert(plain, inverse):
            return False
        gain, size = 0.0, 0.0
        for a in range(m):
            along = 0.0
            for b in range(m):
                along += inverse[a, b] * gradient[b]
            step[a] = along
            gain += step[a] * gradient[a]
        for j in range(p):
            size += abs(step[j]) * phasor.reach[j]
        short = min(1.0, _LONGEST / size) if size > 0.0 else 1.0
        for a in range(m):
            last[a] = point[a]
            point[a] += short * step[a]
        for j in range(p):
            if not phasor.lower[j] < point[j] < phasor.upper[j]:
                return False
        if is_newton and gain <= _EXACT:
            return True
    return False


@vector_kernel
def finish_phasor_robust(
    report, problem, phasor, signal, theta, scale, kind, values, errors, flag, rms, outliers, freedom, is_settled
):
    """Reweighted fit, covariance, parameters and flags; where a voxel does not settle the direct way has to do it.

    signal : (v, 2 n); theta : (v, p), starts, overwritten; scale : (v,)
    values, errors : (v, r); flag, rms, outliers, freedom, is_settled : (v,), written
    """
    p, n = phasor.exponents.shape
    m = p + 4
    view = make_view(p, n)
    y = np.empty(n, np.complex128)
    solution = make_solution(p, 4, 0)
    point, last, step, gradient = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    first = np.empty((m, n), np.complex128)
    bend, plain, inverse, covariance = np.empty((m, m)), np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
    for v in range(signal.shape[0]):
        if not is_settled[v]:
            continue
        for i in range(n):
            y[i] = complex(signal[v, i], signal[v, n + i])
        for j in range(p):
            point[j] = theta[v, j]
        is_settled[v] = False
        # The amplitudes without the part that stands off the most.
        here = point[:p]
        if not look(phasor, y, here, -1, view) < np.inf:
            continue
        if not look(phasor, y, here, stand_off(phasor, y, view, -1), view) < np.inf:
            continue
        for k in range(2):
            point[p + 2 * k], point[p + 2 * k + 1] = view.amplitudes[k].real, view.amplitudes[k].imag
        if not descend_robust(
            phasor, y, scale[v], kind, point, last, step, first, gradient, bend, plain, inverse
        ):  # fmt: skip
            continue
        is_settled[v] = True
        for j in range(p):
            theta[v, j] = solution.theta[j] = point[j]
        for k in range(4):
            solution.amplitudes[k] = point[p + k]
        rms[v], outliers[v], freedom[v], variance = sum_up(phasor, y, scale[v], kind, point, first, plain)
        if not (invert(plain, covariance) and np.isfinite(variance)):
            flag[v] = _SINGULAR
            continue
        for a in range(m):
            for b in range(m):
                covariance[a, b] *= variance
        flag[v] = report(solution.theta, solution.amplitudes, problem.constants, covariance, values[v], errors[v])
        if measure_strength(solution.amplitudes, covariance, p) < _LEAST_SIGNIFICANCE:
            flag[v] = _NO_SIGNAL
        elif flag[v] == _OK:
            flag[v] = check_range(problem, solution, True)


@vector_kernel
def sum_up(phasor, y, scale, kind, point, first, normal):
    """Write the normal matrix (m, m) of the parts that weigh something.

    Returns the root mean square of the residuals, the share of outliers, the degrees of freedom, and the variance by
    Huber's sandwich: the mean square of the influence over the squared mean of its slope.
    """
    p, n = phasor.exponents.shape
    m = point.size
    differentiate(phasor, point, first)
    for a in range(m):
        for b in range(m):
            normal[a, b] = 0.0
    squares, influence, bend = 0.0, 0.0, 0.0
    kept, off = 0, 0
    for i in range(n):
        f = complex(point[p], point[p + 1]) * first[p, i] + complex(point[p + 2], point[p + 3]) * first[p + 2, i]
        for part in range(2):
            r = (y[i] - f).imag if part else (y[i] - f).real
            w = weigh(r / scale, kind)
            squares += r * r
            bend += slope_of_influence(r / scale, kind)
            off += w < OUTLIER_WEIGHT
            if w == 0.0:
                continue
            kept += 1
            influence += (w * r) ** 2
            for a in range(m):
                x = first[a, i].imag if part else first[a, i].real
                for b in range(a + 1):
                    normal[a, b] += x * (first[b, i].imag if part else first[b, i].real)
    for a in range(m):
        for b in range(a):
            normal[b, a] = normal[a, b]
    free = kept - m
    bend /= max(kept, 1)
    variance = influence / free / bend**2 if free > 0 and bend > 0.1 else np.nan
    return np.sqrt(squares / (2 * n)), off / (2 * n), free, variance
