"""The second pass over voxels that have all their samples and a plane: their starts are optima, or near to robust ones.

Plain fits were led to their optimum already. Robust ones reweight at first; as soon as the M-estimate's own curvature
allows, Newton's method on it takes over, which needs a few steps where reweighting closes in by a share at a time.
"""

import numpy as np

from isocenter.fitting.algebra import solve_amplitudes
from isocenter.fitting.passes import conclude, settle, start_amplitudes
from isocenter.fitting.problem import evaluate_at, make_solution
from isocenter.fitting.settle_plane import settle_plane
from isocenter.models.compiled import kernel


@kernel
def finish_planar(
    evaluate, report, problem, signal, theta, scale, sigma, kind, values, errors, flag, rms, outliers, freedom
):  # fmt: skip
    """As `passes.finish_voxels`, of signals (v, n) whose samples can all be used and keep their signs."""
    n = signal.shape[1]
    p, q = 2, problem.grid_basis.shape[0]
    solution = make_solution(p, q, n)
    ones, weight, signed = np.ones(n), np.empty(n), np.empty(n)
    covariance, gram_inverse = np.empty((p + q, p + q)), np.empty((q, q))
    curves, work = np.empty((3, n)), np.empty((4, n))
    for v in range(signal.shape[0]):
        y = signal[v]
        for j in range(p):
            solution.theta[j] = theta[v, j]
        if kind == 0:
            evaluate_at(evaluate, problem, solution.theta, solution)
            cost = solve_amplitudes(solution.basis, ones, y, solution.amplitudes, gram_inverse)
            is_finite, is_converged = np.isfinite(cost), True
        else:
            is_finite, is_converged = True, settle_plane(problem, y, weight, solution, scale[v], kind, curves, work)
            if not is_converged:
                for j in range(p):
                    solution.theta[j] = theta[v, j]
                for i in range(n):
                    signed[i] = y[i]
                start_amplitudes(evaluate, problem, signed, ones, weight, solution, kind)
                is_finite, is_converged = settle(
                    evaluate, problem, y, signed, ones, weight, solution, scale[v], kind
                )
        for j in range(p):
            theta[v, j] = solution.theta[j]
        flag[v], rms[v], outliers[v], freedom[v] = conclude(
            report, problem, solution, y, ones, scale[v], sigma[v], kind, is_finite, is_converged, covariance,
            values[v], errors[v],
        )  # fmt: skip
