"""The two passes over voxels: starts (with a robust scale), then the final fit, its covariance and its flags.

Between them the robust scale may be pooled; otherwise each voxel is computed by itself, so results do not depend
on threads.
"""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.algebra import invert, solve_amplitudes
from isocenter.fitting.problem import evaluate_at, make_solution, own_constants, predict_sample
from isocenter.fitting.refinement import refine
from isocenter.fitting.robust import OUTLIER_WEIGHT, SPARE, estimate_scale, slope_of_influence, weigh
from isocenter.fitting.search import search
from isocenter.models.compiled import kernel

_OK = int(Flag.OK)
_AT_BOUND = int(Flag.AT_BOUND)
_NOT_CONVERGED = int(Flag.NOT_CONVERGED)
_SINGULAR = int(Flag.SINGULAR)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
_NO_SIGNAL = int(Flag.NO_SIGNAL)

#: Fractions of the sum of squares: at the optimum the step that is left is below a ten-millionth of a standard
#: error; to rank starts, a hundredth of one will do.
_EXACT = 1e-14
_ROUGH = 1e-4
_MOST_STEPS = 100
_MOST_REWEIGHTINGS = 200
#: Reweighting has settled when the (logarithmic) parameters move by less.
_SETTLED = 1e-7
#: Amplitudes that together are less than this many standard errors away from zero are no signal.
_LEAST_SIGNIFICANCE = 3.0


@kernel
def start_voxels(evaluate, problem, signal, usable, varying, nodes, is_robust, theta, negative, scale):
    """First pass: the least-squares optimum, or the best leave-one-out one with its robust scale.

    signal, usable : (v, n), a sample with usable 0 is left out; varying : (v, m), constants of each voxel
    nodes : (v, 2), the first of the grid's nodes to try and the one after the last
    theta : (v, p), negative, scale : (v,), written.
    The scale stays NaN for plain fits, and where too few samples are left for weights to mean anything.
    """
    n = signal.shape[1]
    problem = own_constants(problem)
    p = problem.lower.size
    q = problem.grid_basis.shape[0]
    solution = make_solution(p, q, n)
    weight = np.empty(n)
    absolute = np.empty(n)
    for v in range(signal.shape[0]):
        for j in range(problem.varying_index.size):
            problem.constants[problem.varying_index[j]] = varying[v, j]
        y = signal[v]
        count = 0
        for i in range(n):
            if usable[v, i] > 0.0:
                count += 1
        is_trimmed = is_robust and count >= p + q + SPARE
        scale[v] = np.nan
        best = np.inf
        for left_out in range(n if is_trimmed else 1):
            if is_trimmed and usable[v, left_out] == 0.0:
                continue
            for i in range(n):
                weight[i] = 0.0 if is_trimmed and i == left_out else usable[v, i]
            cost, number = search(evaluate, problem, y, weight, nodes[v], solution, _ROUGH)
            if not cost < best and left_out > 0:
                continue
            best = cost
            negative[v] = number
            for j in range(p):
                theta[v, j] = solution.theta[j]
            if is_trimmed:
                m = 0
                for i in range(n):
                    if usable[v, i] > 0.0:
                        f = predict_sample(solution, i)
                        absolute[m] = abs(abs(f) - y[i]) if problem.is_magnitude else abs(f - y[i])
                        m += 1
                scale[v] = estimate_scale(absolute, m, p + q)


@kernel
def finish_voxels(
    evaluate, report, problem, signal, usable, varying, theta, negative, scale, sigma, kind, values, errors, flag, rms,
    outliers, freedom,
):  # fmt: skip
    """Second pass: reweighting, covariance, reported parameters and flags.

    theta : (v, p), the starts, overwritten with the optima
    scale : (v,) robust scale, NaN where the voxel is fitted by plain least squares
    sigma : (v,) known noise, NaN where it comes from the residuals; kind : number of the robust weights
    values, errors : (v, r); flag, rms, outliers, freedom : (v,), written
    """
    n = signal.shape[1]
    problem = own_constants(problem)
    p = problem.lower.size
    q = problem.grid_basis.shape[0]
    solution = make_solution(p, q, n)
    weight = np.empty(n)
    signed = np.empty(n)
    covariance = np.empty((p + q, p + q))
    for v in range(signal.shape[0]):
        for j in range(problem.varying_index.size):
            problem.constants[problem.varying_index[j]] = varying[v, j]
        for j in range(p):
            solution.theta[j] = theta[v, j]
        for i in range(n):
            signed[i] = -signal[v, i] if i < negative[v] else signal[v, i]
        voxel_kind = kind if scale[v] > 0.0 else 0
        start_amplitudes(evaluate, problem, signed, usable[v], weight, solution, voxel_kind)
        is_finite, is_converged = settle(
            evaluate, problem, signal[v], signed, usable[v], weight, solution, scale[v], voxel_kind
        )
        for j in range(p):
            theta[v, j] = solution.theta[j]
        rms[v], outliers[v], freedom[v], is_regular = _estimate_covariance(
            signed, usable[v], solution, scale[v], sigma[v], voxel_kind, covariance
        )
        if not (is_finite and is_regular):
            flag[v] = _SINGULAR
            continue
        flag[v] = check_solution(report, problem, solution, is_converged, covariance, values[v], errors[v])


@kernel
def check_solution(report, problem, solution, is_converged, covariance, values, errors):
    """Write the reported parameters and their errors (r,); returns the flag."""
    flag = report(solution.theta, solution.amplitudes, problem.constants, covariance, values, errors)
    if measure_strength(solution.amplitudes, covariance, solution.theta.size) < _LEAST_SIGNIFICANCE:
        return _NO_SIGNAL
    return check_range(problem, solution, is_converged) if flag == _OK else flag


@kernel
def measure_strength(amplitudes, covariance, p):
    """How many of their standard errors the amplitudes are away from zero, all together (Mahalanobis).

    Two amplitudes that can hardly be told apart may both be uncertain while their sum is not.
    """
    q = amplitudes.size
    own = np.empty((q, q))
    inverse = np.empty((q, q))
    for k in range(q):
        for m in range(q):
            own[k, m] = covariance[p + k, p + m]
    if not invert(own, inverse):
        return np.inf
    squared = 0.0
    for k in range(q):
        for m in range(q):
            squared += amplitudes[k] * inverse[k, m] * amplitudes[m]
    return np.sqrt(squared)


@kernel
def start_amplitudes(evaluate, problem, signed, usable, weight, solution, kind):
    """The amplitudes at the start; for a robust fit without the sample that stands off the most."""
    q, n = solution.basis.shape
    gram_inverse = np.empty((q, q))
    evaluate_at(evaluate, problem, solution.theta, solution)
    worst = -1
    if kind:
        best = np.inf
        for left_out in range(n):
            if usable[left_out] == 0.0:
                continue
            for i in range(n):
                weight[i] = 0.0 if i == left_out else usable[i]
            cost = solve_amplitudes(solution.basis, weight, signed, solution.amplitudes, gram_inverse)
            if cost < best:
                best = cost
                worst = left_out
    for i in range(n):
        weight[i] = 0.0 if i == worst else usable[i]
    solve_amplitudes(solution.basis, weight, signed, solution.amplitudes, gram_inverse)


@kernel
def settle(evaluate, problem, y, signed, usable, weight, solution, scale, kind):
    """Refine, with new weights and signs in turns, until nothing moves: whether it is finite, and has converged."""
    p, _, n = solution.slope.shape
    before = np.empty(p)
    for turn in range(_MOST_REWEIGHTINGS):
        is_changed = False
        for j in range(p):
            before[j] = solution.theta[j]
        for i in range(n):
            f = predict_sample(solution, i)
            s = -y[i] if problem.is_magnitude and f < 0.0 else y[i]
            is_changed = is_changed or s != signed[i]
            signed[i] = s
            weight[i] = usable[i] * weigh((s - f) / scale, kind) if kind else usable[i]
        # While the weights still move, a step or two between two weighings is enough.
        cost, is_converged = refine(evaluate, problem, signed, weight, solution, _EXACT, 2 if kind else _MOST_STEPS)
        if not np.isfinite(cost):
            return False, False
        longest = 0.0
        for j in range(p):
            longest = max(longest, abs(solution.theta[j] - before[j]))
        if not kind and (turn > 0 or not is_changed):
            return True, is_converged
        if kind and turn > 0 and longest < _SETTLED:
            return True, True
    return True, False


@kernel
def _estimate_covariance(signed, usable, solution, scale, sigma, kind, covariance):
    """Write the covariance of theta and amplitudes together, from the full Jacobian.

    Returns the root mean square of the residuals, the fraction of outliers, the degrees of freedom, and whether the
    covariance exists.
    """
    p, q, n = solution.slope.shape
    row = np.empty(p + q)
    normal = np.zeros((p + q, p + q))
    squares = 0.0
    influence = 0.0
    bend = 0.0
    count = 0
    kept = 0
    off = 0
    for i in range(n):
        if usable[i] == 0.0:
            continue
        r = signed[i] - predict_sample(solution, i)
        w = weigh(r / scale, kind) if kind else 1.0
        count += 1
        squares += r * r
        if kind:
            bend += slope_of_influence(r / scale, kind)
        if w < OUTLIER_WEIGHT:
            off += 1
        if w == 0.0:
            continue
        kept += 1
        influence += (w * r) ** 2
        for k in range(q):
            row[p + k] = solution.basis[k, i]
        for j in range(p):
            row[j] = 0.0
            for k in range(q):
                row[j] += solution.slope[j, k, i] * solution.amplitudes[k]
        for j in range(p + q):
            for m in range(p + q):
                normal[j, m] += row[j] * row[m]
    freedom = kept - p - q
    variance = np.nan
    if kind:
        # Huber's sandwich: the mean square of the influence over the squared mean of its slope.
        bend /= kept
        if freedom > 0 and bend > 0.1:
            variance = influence / freedom / bend**2
    elif sigma > 0.0:
        variance = sigma**2
    elif freedom > 0:
        variance = influence / freedom
    is_regular = invert(normal, covariance) and np.isfinite(variance)
    for j in range(p + q):
        for m in range(p + q):
            covariance[j, m] *= variance
    return np.sqrt(squares / count), off / count, freedom, is_regular


@kernel
def check_range(problem, solution, is_converged):
    """The flag of a solution: bounds come before visibility, visibility before convergence."""
    theta = solution.theta
    flag = _OK if is_converged else _NOT_CONVERGED
    for j in range(theta.size):
        if theta[j] < problem.visible[j, 0] or theta[j] > problem.visible[j, 1]:
            flag = _OUT_OF_RANGE
    for j in range(theta.size):
        if theta[j] <= problem.lower[j] and problem.is_hard[j, 0]:
            flag = _AT_BOUND
        if theta[j] >= problem.upper[j] and problem.is_hard[j, 1]:
            flag = _AT_BOUND
    return flag
