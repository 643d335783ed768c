"""The Rician likelihood: magnitudes of a complex signal with Gaussian noise in both channels.

Near the noise floor a magnitude is larger than the signal on average, which least squares takes for signal. The
likelihood is maximized by Fisher scoring: each sample counts with its expected information, and its target is where
the score of the likelihood points. Far from the floor both are those of least squares.

Reference: Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618; Sijbers et al. 1998, doi 10.1109/42.712125.
"""

from functools import cache

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.algebra import invert
from isocenter.fitting.passes import check_range, measure_strength
from isocenter.fitting.problem import make_solution, own_constants, predict_sample
from isocenter.fitting.refinement import refine
from isocenter.models.compiled import kernel

_OK = int(Flag.OK)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_SINGULAR = int(Flag.SINGULAR)

#: Signal over noise up to which the information is tabulated; beyond, it is that of Gaussian noise.
_HIGHEST = 40.0
_STEP = 0.02
#: A sample with less information than this moves nothing.
_LEAST_INFORMATION = 1e-4
_MOST_SCORINGS = 200
_SETTLED = 1e-8
_LEAST_SIGNIFICANCE = 3.0


@cache
def tabulate_information() -> np.ndarray:
    """(k,) array: the Fisher information of one magnitude about its signal, over that of Gaussian noise, at a signal
    of 0, 0.02, ... times the noise.
    """
    from scipy.special import ive

    a = np.arange(0.0, _HIGHEST + _STEP / 2, _STEP)
    nodes, weights = np.polynomial.legendre.leggauss(120)
    low, high = np.maximum(a - 9.0, 0.0), a + 9.0
    y = low[:, np.newaxis] + (high - low)[:, np.newaxis] * (nodes + 1) / 2
    s = a[:, np.newaxis] * y
    density = y * np.exp(-((y - a[:, np.newaxis]) ** 2) / 2) * ive(0, s)
    ratio = ive(1, s) / ive(0, s)
    mean = (density * (y * ratio) ** 2) @ weights * (high - low) / 2
    return mean - a**2


@kernel
def bessel_ratio(x):
    """I1(x) / I0(x) for x >= 0, to 1e-9: by recurrence downward, far out by the asymptotic series."""
    if x > 30.0:
        z = 1.0 / x
        return 1.0 - z * (0.5 + z * (0.125 + z * (0.125 + z * (25.0 / 128.0 + z * (13.0 / 32.0)))))
    if x < 1e-12:
        return 0.5 * x
    ratio = 0.0
    for k in range(int(20 + 1.5 * x), 0, -1):
        ratio = 1.0 / (2.0 * k / x + ratio)
    return ratio


@kernel
def maximize_voxels(
    evaluate, report, problem, signal, usable, varying, theta, negative, sigma, information, values, errors, flag,
    rms, freedom,
):  # fmt: skip
    """Maximize the likelihood of each voxel from its Gaussian optimum.

    theta : (v, p), the starts, overwritten; sigma : (v,) noise; information : see `tabulate_information`
    values, errors : (v, r); flag, rms, freedom : (v,), written
    """
    n = signal.shape[1]
    problem = own_constants(problem)
    p = problem.lower.size
    q = problem.grid_basis.shape[0]
    solution = make_solution(p, q, n)
    target = np.empty(n)
    weight = np.empty(n)
    before = np.empty(p + q)
    row = np.empty(p + q)
    normal = np.empty((p + q, p + q))
    covariance = np.empty((p + q, p + q))
    for v in range(signal.shape[0]):
        for j in range(problem.varying_index.size):
            problem.constants[problem.varying_index[j]] = varying[v, j]
        for j in range(p):
            solution.theta[j] = theta[v, j]
        y = signal[v]
        count = 0
        for i in range(n):
            target[i] = -y[i] if problem.is_magnitude and i < negative[v] else y[i]
            weight[i] = usable[v, i]
            count += 1 if usable[v, i] > 0.0 else 0
        cost, _ = refine(evaluate, problem, target, weight, solution, 1e-14, 100)
        is_converged = False
        for _ in range(_MOST_SCORINGS):
            if not np.isfinite(cost):
                break
            for j in range(p):
                before[j] = solution.theta[j]
            for k in range(q):
                before[p + k] = solution.amplitudes[k]
            for i in range(n):
                f = predict_sample(solution, i)
                size = abs(f) / sigma[v]
                info = max(_look_up(information, size), _LEAST_INFORMATION)
                score = y[i] * bessel_ratio(y[i] * abs(f) / sigma[v] ** 2) - abs(f)
                target[i] = abs(f) + score / info
                if f < 0.0:
                    target[i] = -target[i]
                weight[i] = usable[v, i] * info
            cost, _ = refine(evaluate, problem, target, weight, solution, 1e-14, 2)
            moved = 0.0
            for j in range(p):
                moved = max(moved, abs(solution.theta[j] - before[j]))
            for k in range(q):
                moved = max(moved, abs(solution.amplitudes[k] - before[p + k]) / (abs(before[p + k]) + sigma[v]))
            if moved < _SETTLED:
                is_converged = True
                break
        if not np.isfinite(cost):
            flag[v] = _SINGULAR
            continue
        normal[:] = 0.0
        squares = 0.0
        for i in range(n):
            if usable[v, i] == 0.0:
                continue
            f = predict_sample(solution, i)
            info = _look_up(information, abs(f) / sigma[v])
            squares += (y[i] - abs(f)) ** 2
            for k in range(q):
                row[p + k] = solution.basis[k, i]
            for j in range(p):
                row[j] = 0.0
                for k in range(q):
                    row[j] += solution.slope[j, k, i] * solution.amplitudes[k]
            for j in range(p + q):
                for m in range(p + q):
                    normal[j, m] += info * row[j] * row[m]
        rms[v] = np.sqrt(squares / count)
        freedom[v] = count - p - q
        if not invert(normal, covariance):
            flag[v] = _SINGULAR
            continue
        for j in range(p + q):
            for m in range(p + q):
                covariance[j, m] *= sigma[v] ** 2
        for j in range(p):
            theta[v, j] = solution.theta[j]
        flag[v] = report(solution.theta, solution.amplitudes, problem.constants, covariance, values[v], errors[v])
        if measure_strength(solution.amplitudes, covariance, p) < _LEAST_SIGNIFICANCE:
            flag[v] = _NO_SIGNAL
        elif flag[v] == _OK:
            flag[v] = check_range(problem, solution, is_converged)


@kernel
def _look_up(information, size):
    """The information at a signal of `size` times the noise."""
    x = size / _STEP
    i = int(x) if x < information.size else information.size
    if i >= information.size - 1:
        return 1.0
    return information[i] + (x - i) * (information[i + 1] - information[i])
