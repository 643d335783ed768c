"""The second pass over voxels with all their samples, on a plane: their starts are optima, or near to robust ones."""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.algebra import invert
from isocenter.fitting.both_sides import climb_higher, look_around, make_notes, widen
from isocenter.fitting.passes import check_solution, settle, start_amplitudes
from isocenter.fitting.problem import copy_solution, make_solution
from isocenter.fitting.robust import OUTLIER_WEIGHT, weigh_all
from isocenter.fitting.settle_plane import accumulate, make_small, settle_plane
from isocenter.models.compiled import kernel, lean_kernel, lean_vector_kernel

_OK = int(Flag.OK)
#: M-estimates from several starts are told apart by a wider biweight: a sample that is thrown out counts as one that is
#: 4 scales off. With the estimate's own, 2.7 scales, too many trains throw out a sound echo that tells B1.
_WIDE = 7.0
#: By how much less an M-estimate on the edge must leave than one inside: half of what it is for sums of squares.
_EDGE = 2.0


@kernel
def finish_planar(
    evaluate, report, problem, direction, sides, signal, theta, starts, scale, sigma, kind, values, errors, flag, rms,
    outliers, freedom,
):  # fmt: skip
    """As `passes.finish_voxels`, of signals (v, n) whose samples can all be used and keep their signs.

    direction, sides : of the `plane`; standard errors are those of `sides` where there are any
    starts : (v, k, 2) of robust fits, which of them leads to the lowest M-estimate is theirs; NaN for none
    """
    n = signal.shape[1]
    p, q = 2, problem.grid_basis.shape[0]
    solution, trial = make_solution(p, q, n), make_solution(p, q, n)
    room = make_room(p + q, n)
    weight, work = room[0], room[4]
    normal, covariance = np.empty((p + q, p + q)), np.empty((p + q, p + q))
    notes, padded = make_notes(sides), np.zeros(n + -n % 4)
    for v in range(signal.shape[0]):
        y = signal[v]
        for j in range(p):
            solution.theta[j] = theta[v, j]
        is_finite, is_converged = True, True
        is_found = kind > 0 and settle_best(evaluate, problem, y, starts[v], scale[v], kind, solution, trial, room)
        if not is_found:
            is_finite, is_converged = settle_one(evaluate, problem, y, scale[v], kind, solution, room)
        rms[v], outliers[v], freedom[v], variance = estimate_covariance(
            y, solution, scale[v], sigma[v], kind, weight, work, normal, covariance
        )
        is_finite = is_finite and variance < np.inf
        has_sides = is_finite and sides.step > 0.0
        if has_sides:
            mean, total = 0.0, 0.0
            for i in range(n):
                padded[i] = work[2, i]
                mean += padded[i] / n
                total += padded[i] * padded[i]
            look_around(sides, padded, solution.theta, notes)
            # The nodes that starts come from are far apart: the optimum may be on the other side.
            rest = n * rms[v] ** 2
            explained = total - rest - (n * mean**2 if q == 2 else 0.0)
            for j in range(p):
                trial.theta[j] = solution.theta[j]
            if kind == 0 and climb_higher(sides, direction, padded, explained, rest, trial.theta, notes):
                is_sound, is_reached = settle_one(evaluate, problem, y, scale[v], kind, trial, room)
                if is_sound and is_reached and sum_squares(y, trial) < rest:
                    copy_solution(solution, trial)
                    is_converged = True
                    rms[v], outliers[v], freedom[v], variance = estimate_covariance(
                        y, solution, scale[v], sigma[v], kind, weight, work, normal, covariance
                    )
                    is_finite = variance < np.inf
                    look_around(sides, padded, solution.theta, notes)
        for j in range(p):
            theta[v, j] = solution.theta[j]
        if not is_finite:
            continue
        flag[v] = check_solution(report, problem, solution, is_converged, covariance, values[v], errors[v])
        if flag[v] == _OK and has_sides:
            free = np.inf if sigma[v] > 0.0 and not kind else float(freedom[v])
            place, amplitudes = solution.theta, solution.amplitudes
            widen(sides, direction, padded, mean, n, place, amplitudes, variance, free, covariance, notes)
            report(solution.theta, solution.amplitudes, problem.constants, covariance, values[v], errors[v])


@lean_vector_kernel
def sum_squares(y, solution):
    """What a solution leaves of samples y (n,)."""
    rest, level = 0.0, solution.amplitudes[1] if solution.amplitudes.size == 2 else 0.0
    for i in range(y.size):
        rest += (y[i] - solution.amplitudes[0] * solution.basis[0, i] - level) ** 2
    return rest


@kernel
def make_room(z, n):
    """Scratch of `settle_one` for z parameters and n samples."""
    return np.empty(n), np.ones(n), np.empty(n), np.empty((3, n)), np.empty((3, n)), make_small(z)


@kernel
def settle_one(evaluate, problem, y, scale, kind, solution, room):
    """Move `solution` to the M-estimate (or least squares) of y (n,): whether it is finite, and has converged."""
    weight, ones, signed, curves, work, small = room
    first, second = solution.theta[0], solution.theta[1]
    if settle_plane(problem, y, weight, solution, scale, kind, curves, work, small):
        return True, True
    # Back to the start, and the slow way.
    solution.theta[0], solution.theta[1] = first, second
    for i in range(y.size):
        signed[i] = y[i]
    start_amplitudes(evaluate, problem, signed, ones, weight, solution, kind)
    return settle(evaluate, problem, y, signed, ones, weight, solution, scale, kind)


@kernel
def settle_best(evaluate, problem, y, starts, scale, kind, solution, trial, room):
    """Write the best of the M-estimates from all starts (k, 2); returns whether one was reached."""
    lowest = np.inf
    for k in range(starts.shape[0]):
        if not np.isfinite(starts[k, 0]):
            continue
        is_edge = False
        for j in range(2):
            trial.theta[j] = min(max(float(starts[k, j]), problem.lower[j]), problem.upper[j])
        is_finite, is_converged = settle_one(evaluate, problem, y, scale, kind, trial, room)
        if not (is_finite and is_converged):
            continue
        level = trial.amplitudes[1] if trial.amplitudes.size == 2 else 0.0
        total = 0.0
        for i in range(y.size):
            r = (y[i] - trial.amplitudes[0] * trial.basis[0, i] - level) / (_WIDE * scale)
            rest = 1.0 - min(r * r, 1.0)
            total += 1.0 - rest * rest * rest
        total *= _WIDE**2 / 6.0
        for j in range(2):
            is_edge = is_edge or trial.theta[j] <= problem.lower[j] or trial.theta[j] >= problem.upper[j]
        total += _EDGE if is_edge else 0.0
        if total < lowest:
            lowest = total
            copy_solution(solution, trial)
    return lowest < np.inf


@lean_kernel
def _subtract(y, c, f, k, residual):
    # Rounded step by step: which code stores may follow from where arrays lie (decision 0107).
    for i in range(y.size):
        residual[i] = y[i] - c * f[i] - k


@lean_kernel
def _weaken(y, residual, weight, samples):
    """Samples whose least-squares optimum the M-estimate is, and weights that are one where anything is left."""
    for i in range(y.size):
        samples[i] = y[i] - (1.0 - weight[i]) * residual[i]
        weight[i] = 1.0 if weight[i] > 0.0 else 0.0


@lean_vector_kernel
def estimate_covariance(y, solution, scale, sigma, kind, weight, work, normal, covariance):
    """As in `passes`, with the sums over samples on vector registers; weight : (n,), work : (3, n), scratch.

    Returns the variance of a sample instead of whether the covariance exists: not finite where it does not. The last
    row of `work` is left with samples whose least-squares optimum this is: those of an M-estimate lose of their
    residuals what their weights take.
    """
    n = y.size
    q = solution.amplitudes.size
    f, c = solution.basis[0], solution.amplitudes[0]
    k = solution.amplitudes[1] if q == 2 else 0.0
    residual, bend = work[0], work[1]
    squares = 0.0
    _subtract(y, c, f, k, residual)
    for i in range(n):
        squares += residual[i] * residual[i]
    weigh_all(residual, scale, kind, weight, bend)
    influence, slope, kept, off = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        w = weight[i]
        influence += (w * residual[i]) ** 2
        slope += bend[i]
        off += 1.0 if w < OUTLIER_WEIGHT else 0.0
        kept += 1.0 if w > 0.0 else 0.0
    _weaken(y, residual, weight, work[2])
    freedom = int(kept) - 2 - q
    variance = np.nan
    if kind:
        # Huber's sandwich: the mean square of the influence over the squared mean of its slope.
        slope /= kept
        if freedom > 0 and slope > 0.1:
            variance = influence / freedom / slope**2
    elif sigma > 0.0:
        variance = sigma**2
    elif freedom > 0:
        variance = influence / freedom
    accumulate(weight, c, f, solution.slope[0, 0], solution.slope[1, 0], q, normal)
    for j in range(2 + q):
        for m in range(j):
            normal[m, j] = normal[j, m]
    if not invert(normal, covariance):
        variance = np.nan
    for j in range(2 + q):
        for m in range(2 + q):
            covariance[j, m] *= variance
    return np.sqrt(squares / n), off / n, freedom, variance
