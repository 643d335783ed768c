"""From a start to the optimum itself: variable projection with a damped quasi-Newton step.

The amplitudes are solved for at every step, so the search runs over the few nonlinear parameters only (Golub and
Pereyra 1973, doi 10.1137/0710036, in Kaufman's approximation of 1975, doi 10.1007/BF01932995). What that approximation
leaves out of the curvature is learned from the change of the gradient.
"""

import numpy as np

from isocenter.fitting.algebra import invert, solve_amplitudes
from isocenter.fitting.problem import copy_solution, evaluate_at, make_solution
from isocenter.models.compiled import vector_kernel

_STEP_TOLERANCE = 1e-11
_LEAST_DAMPING = 1e-12
_MOST_DAMPING = 1e8


@vector_kernel
def refine(evaluate, problem, y, weight, solution, tolerance, most_steps):
    """Move `solution` from its theta to the nearest optimum in the box.

    y, weight : (n,) arrays. It has converged when the next step would lower the weighted sum of squares by less than
    its fraction `tolerance`. Returns the sum of squares (infinite when it cannot be computed) and whether it
    converged.
    """
    p, q, n = solution.slope.shape
    lower, upper = problem.lower, problem.upper
    theta = solution.theta
    trial = make_solution(p, q, n)
    gram_inverse = np.empty((q, q))
    jacobian = np.empty((p, n))
    normal = np.empty((p, p))
    bend = np.zeros((p, p))
    curvature = np.empty((p, p))
    damped = np.empty((p, p))
    inverse = np.empty((p, p))
    gradient = np.empty(p)
    before = np.zeros(p)
    moved = np.zeros(p)
    scratch = np.empty(n)
    dots = np.empty(q)
    evaluate_at(evaluate, problem, theta, solution)
    cost = solve_amplitudes(solution.basis, weight, y, solution.amplitudes, gram_inverse)
    if not np.isfinite(cost):
        return np.inf, False
    damping = 1e-4
    for iteration in range(most_steps):
        _linearize(y, weight, solution, gram_inverse, jacobian, normal, gradient, scratch, dots)
        if iteration > 0:
            _learn_curvature(normal, bend, gradient, before, moved)
        for j in range(p):
            before[j] = gradient[j]
            for m in range(p):
                curvature[j, m] = normal[j, m] + bend[j, m]
        for j in range(p):
            if (theta[j] <= lower[j] and gradient[j] <= 0.0) or (theta[j] >= upper[j] and gradient[j] >= 0.0):
                gradient[j] = 0.0
                for m in range(p):
                    one = 1.0 if m == j else 0.0
                    normal[j, m] = normal[m, j] = one
                    curvature[j, m] = curvature[m, j] = one
        while True:
            # The learned curvature may not be positive definite: then the plain one serves.
            is_solved = False
            for attempt in range(2):
                for j in range(p):
                    for m in range(p):
                        damped[j, m] = curvature[j, m] if attempt == 0 else normal[j, m]
                    damped[j, j] += damping * normal[j, j]
                is_solved = invert(damped, inverse)
                if is_solved:
                    break
            if not is_solved:
                # Nothing here depends on theta any more.
                return cost, False
            longest = 0.0
            gain = 0.0
            for j in range(p):
                step = 0.0
                for m in range(p):
                    step += inverse[j, m] * gradient[m]
                trial.theta[j] = min(max(theta[j] + step, lower[j]), upper[j])
                longest = max(longest, abs(trial.theta[j] - theta[j]))
                gain += (trial.theta[j] - theta[j]) * gradient[j]
            if longest < _STEP_TOLERANCE or gain <= tolerance * cost:
                return cost, True
            evaluate_at(evaluate, problem, trial.theta, trial)
            trial_cost = solve_amplitudes(trial.basis, weight, y, trial.amplitudes, gram_inverse)
            # Near the optimum the sum of squares is flat to its last bits, while the step still improves theta.
            if trial_cost <= cost * (1.0 + 1e-14):
                damping = max(damping * 0.02, _LEAST_DAMPING)
                break
            damping *= 10.0
            if damping > _MOST_DAMPING:
                return cost, longest < 1e-7
        cost = trial_cost
        for j in range(p):
            moved[j] = trial.theta[j] - theta[j]
        copy_solution(solution, trial)
    return cost, False


@vector_kernel
def _linearize(y, weight, solution, gram_inverse, jacobian, normal, gradient, scratch, dots):
    """Write the reduced Jacobian (p, n), its normal matrix, and minus the gradient of half the sum of squares."""
    p, q, n = solution.slope.shape
    residual, basis, slope, amplitudes = scratch, solution.basis, solution.slope, solution.amplitudes
    for i in range(n):
        residual[i] = y[i]
    for k in range(q):
        c = amplitudes[k]
        for i in range(n):
            residual[i] -= c * basis[k, i]
    for j in range(p):
        for i in range(n):
            jacobian[j, i] = 0.0
        for k in range(q):
            c = amplitudes[k]
            for i in range(n):
                jacobian[j, i] += c * slope[j, k, i]
        # What the amplitudes can follow is no information on theta: project it out.
        for k in range(q):
            along = 0.0
            for i in range(n):
                along += weight[i] * basis[k, i] * jacobian[j, i]
            dots[k] = along
        for k in range(q):
            along = 0.0
            for m in range(q):
                along += gram_inverse[k, m] * dots[m]
            for i in range(n):
                jacobian[j, i] -= along * basis[k, i]
    for j in range(p):
        g = 0.0
        for i in range(n):
            g += weight[i] * jacobian[j, i] * residual[i]
        gradient[j] = g
        for m in range(j + 1):
            g = 0.0
            for i in range(n):
                g += weight[i] * jacobian[j, i] * jacobian[m, i]
            normal[j, m] = g
            normal[m, j] = g


@vector_kernel
def _learn_curvature(normal, bend, gradient, before, moved):
    """Update what the normal matrix misses of the curvature (symmetric rank one); noisy data crawl without it."""
    p = gradient.size
    missed = np.empty(p)
    along = 0.0
    size = 0.0
    for j in range(p):
        miss = before[j] - gradient[j]
        for m in range(p):
            miss -= (normal[j, m] + bend[j, m]) * moved[m]
        missed[j] = miss
        along += miss * moved[j]
        size += abs(miss * moved[j])
    if abs(along) > 1e-3 * size:
        for j in range(p):
            for m in range(p):
                bend[j, m] += missed[j] * missed[m] / along
