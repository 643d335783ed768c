"""The last step of a `mixture`: covariance, reported parameters and flags at the optimum."""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.mixture_lanes import (
    DECAY,
    DROPPED,
    HD,
    HDD,
    HDS,
    HS,
    LANES,
    ROWS,
    SHARE,
    SS,
    H,
    Y,
    exponential,
    look,
)  # fmt: skip
from isocenter.fitting.passes import _LEAST_SIGNIFICANCE, check_range
from isocenter.fitting.problem import make_solution
from isocenter.models.compiled import vector_kernel

_OK = int(Flag.OK)
_SINGULAR = int(Flag.SINGULAR)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
#: Rows of what is made of the sums: the amplitude, whether there is a covariance, and its entries for unit noise.
AMPLITUDE, REGULAR = 0 * LANES, 1 * LANES
C00, C01, C02 = 2 * LANES, 3 * LANES, 4 * LANES
C11, C12, C22 = 5 * LANES, 6 * LANES, 7 * LANES
SQUARES = 8 * LANES
MADE = 9
#: As in `algebra.invert`.
_LEAST_PIVOT = 1e-14


@vector_kernel
def invert_lanes(room, made):
    """Write the inverse normal matrix of (decay, share, amplitude) in each lane, the amplitude being there."""
    for k in range(LANES):
        s, h = made[AMPLITUDE + k], room[H + k]
        n00, n01, n11 = 0.25 * s * s * room[HDD + k], 0.25 * s * s * room[HDS + k], s * s * room[SS + k]
        n02, n12 = 0.5 * s * room[HD + k], 0.5 * s * room[HS + k]
        is_positive = (n00 > 0.0) & (n11 > 0.0) & (h > 0.0)
        x0 = 1.0 / np.sqrt(n00) if is_positive else 0.0
        x1 = 1.0 / np.sqrt(n11) if is_positive else 0.0
        x2 = 1.0 / np.sqrt(h) if is_positive else 0.0
        a, b, c = n01 * x0 * x1, n02 * x0 * x2, n12 * x1 * x2
        second = 1.0 - a * a
        lower = c - a * b
        third = 1.0 - b * b - (lower * lower / second if second > _LEAST_PIVOT else 1.0)
        is_regular = is_positive & (second > _LEAST_PIVOT) & (third > _LEAST_PIVOT)
        per = 1.0 / (second * third) if is_regular else 0.0
        made[REGULAR + k] = 1.0 if is_regular else 0.0
        made[C00 + k] = (1.0 - c * c) * per * x0 * x0
        made[C01 + k] = (b * c - a) * per * x0 * x1
        made[C02 + k] = (a * c - b) * per * x0 * x2
        made[C11 + k] = (1.0 - b * b) * per * x1 * x1
        made[C12 + k] = (a * b - c) * per * x1 * x2
        made[C22 + k] = second * per * x2 * x2


@vector_kernel
def measure_squares(mixture, samples, room, made):
    """Write the amplitude of each lane, and its sum of squared residuals, without the cancellation of a difference."""
    for k in range(LANES):
        made[AMPLITUDE + k] = room[Y + k] / room[H + k] if room[H + k] > 0.0 else 0.0
        made[SQUARES + k] = 0.0
    for i in range(samples.shape[0]):
        y = samples[i]
        a, b, c, d = mixture.a[i], mixture.b[i], mixture.c[i], mixture.d[i]
        for k in range(LANES):
            share = room[SHARE + k]
            square = max(a + share * (b + share * c), 0.0)
            off = y[k] - made[AMPLITUDE + k] * np.sqrt(square) * exponential(-d * room[DECAY + k])
            made[SQUARES + k] += off * off


@vector_kernel
def finish_mixture(report, problem, mixture, signal, theta, sigma, values, errors, flag, rms, freedom):
    """Covariance, parameters and flags at the optima.

    signal : (v, n); theta : (v, 2); sigma : (v,), NaN where it comes from the residuals
    values, errors : (v, r); flag, rms, freedom : (v,), written
    """
    count, n = signal.shape
    samples = np.ones((n, LANES))
    room, made = np.zeros(ROWS * LANES), np.zeros(MADE * LANES)
    solution = make_solution(2, 1, 0)
    theta_here, amplitudes, constants = solution.theta, solution.amplitudes, problem.constants
    covariance, value, error = np.empty((3, 3)), np.empty(values.shape[1]), np.empty(values.shape[1])
    free = n - 3
    for k in range(LANES):
        room[DROPPED + k] = -1.0
    for begin in range(0, count, LANES):
        size = min(LANES, count - begin)
        for lane in range(size):
            v = begin + lane
            room[DECAY + lane], room[SHARE + lane] = theta[v, 0], theta[v, 1]
            for i in range(n):
                samples[i, lane] = signal[v, i]
        look(mixture, samples, room)
        measure_squares(mixture, samples, room, made)
        invert_lanes(room, made)
        for lane in range(size):
            v = begin + lane
            squares = made[SQUARES + lane]
            rms[v], freedom[v] = np.sqrt(squares / n), free
            variance = squares / free if free > 0 else np.nan
            if sigma[v] > 0.0:
                variance = sigma[v] ** 2
            if not (made[REGULAR + lane] > 0.0 and np.isfinite(variance)):
                flag[v] = _SINGULAR
                continue
            theta_here[0], theta_here[1], amplitudes[0] = theta[v, 0], theta[v, 1], made[AMPLITUDE + lane]
            write_covariance(made, lane, variance, covariance)
            found = report(theta_here, amplitudes, constants, covariance, value, error)
            for j in range(value.size):
                values[v, j] = value[j]
                errors[v, j] = error[j]
            if amplitudes[0] ** 2 < _LEAST_SIGNIFICANCE**2 * covariance[2, 2]:
                found = _NO_SIGNAL
            elif found == _OK and not is_plain(mixture, theta_here):
                found = check_range(problem, solution, True)
            flag[v] = found


@vector_kernel
def is_plain(mixture, theta):
    """Whether theta (2,) lies within all bounds and where it can be seen."""
    plain = mixture.plain
    return plain[0, 0] < theta[0] < plain[0, 1] and plain[1, 0] < theta[1] < plain[1, 1]


@vector_kernel
def write_covariance(made, lane, variance, covariance):
    """Write the covariance (3, 3) of decay, share and amplitude of one lane."""
    covariance[0, 0] = variance * made[C00 + lane]
    covariance[0, 1] = covariance[1, 0] = variance * made[C01 + lane]
    covariance[0, 2] = covariance[2, 0] = variance * made[C02 + lane]
    covariance[1, 1] = variance * made[C11 + lane]
    covariance[1, 2] = covariance[2, 1] = variance * made[C12 + lane]
    covariance[2, 2] = variance * made[C22 + lane]
