"""Robust fits of a `mixture` with the scale held fixed: Newton's method on the M-estimate, many voxels side by side.

Every derivative is exact, those of the weights too, so that a few steps do what reweighting takes dozens for. Where
the exact second derivatives are no bowl, and at first, a step is that of reweighted least squares.
"""

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.mixture_finish import (
    AMPLITUDE,
    C22,
    MADE,
    REGULAR,
    SQUARES,
    invert_lanes,
    is_plain,
    write_covariance,
)  # fmt: skip
from isocenter.fitting.mixture_lanes import (
    DECAY,
    HD,
    HDD,
    HDS,
    HS,
    LANES,
    LOST,
    ROWS,
    RUNNING,
    SETTLED,
    SHARE,
    SS,
    H,
    exponential,
)  # fmt: skip
from isocenter.fitting.passes import _LEAST_SIGNIFICANCE, check_range
from isocenter.fitting.problem import make_solution
from isocenter.fitting.robust import HUBER, OUTLIER_WEIGHT, TUKEY
from isocenter.models.compiled import vector_kernel

_OK = int(Flag.OK)
_SINGULAR = int(Flag.SINGULAR)
_NO_SIGNAL = int(Flag.NO_SIGNAL)

#: Rows of a block: where a lane is (amplitude over scale), where it was, and how far along.
PLACE_D, PLACE_S, PLACE_A = 0 * LANES, 1 * LANES, 2 * LANES
LAST_D, LAST_S, LAST_A = 3 * LANES, 4 * LANES, 5 * LANES
LEAST, STATE, STEPS = 6 * LANES, 7 * LANES, 8 * LANES
#: The M-estimate, minus its gradient, its second derivatives, and those of reweighted least squares.
COST, GD, GS, GA = 9 * LANES, 10 * LANES, 11 * LANES, 12 * LANES
BDD, BDS, BDA, BSS, BSA, BAA = (k * LANES for k in range(13, 19))
WDD, WDS, WDA, WSS, WSA, WAA = (k * LANES for k in range(19, 25))
ROBUST_ROWS = 25
#: Rows of what the covariance needs.
INFLUENCE, BEND, KEPT, OFF, SCALE = (k * LANES for k in range(5))
WEIGHT_ROWS = 5

_LONGEST_D, _LONGEST_S = 0.5, 0.15
_MOST_STEPS = 60
#: So many steps are those of reweighted least squares, which go to the nearest optimum.
_CAREFUL = 2
#: The last step but one may lower the M-estimate by this share of the squared scale: Newton's method squares it.
_EXACT = 1e-9
_INVERSETUKEY = 1.0 / TUKEY**2


@vector_kernel
def look_robust(mixture, is_tukey, samples, room):
    """Write cost, gradient and second derivatives of each lane; samples : (n, LANES), over the scale."""
    for k in range(COST, ROBUST_ROWS * LANES):
        room[k] = 0.0
    for i in range(samples.shape[0]):
        y = samples[i]
        a, b, c, d = mixture.a[i], mixture.b[i], mixture.c[i], mixture.d[i]
        for k in range(LANES):
            share, size = room[PLACE_S + k], room[PLACE_A + k]
            square = a + share * (b + share * c)
            e = exponential(-d * room[PLACE_D + k])
            per = 1.0 / np.sqrt(square) if square > 1e-30 else 0.0
            h = square * per * e
            slope = (0.5 * b + share * c) * per
            hs, hss = slope * e, (c - slope * slope) * per * e
            u = y[k] - size * h
            if is_tukey:
                t = min(u * u * _INVERSETUKEY, 1.0)
                left = 1.0 - t
                w, bend = left * left, left * (1.0 - 5.0 * t)
                loss = (1.0 - left * left * left) * (TUKEY**2 / 6.0)
            else:
                far = max(abs(u), HUBER)
                w = HUBER / far
                bend = 1.0 if far <= HUBER else 0.0
                loss = 0.5 * u * u * w if far <= HUBER else HUBER * (far - 0.5 * HUBER)
            wu = w * u
            fd, fs = -d * size * h, size * hs
            room[COST + k] += loss
            room[GD + k] += wu * fd
            room[GS + k] += wu * fs
            room[GA + k] += wu * h
            room[BDD + k] += bend * fd * fd + wu * d * fd
            room[BDS + k] += bend * fd * fs + wu * d * fs
            room[BDA + k] += bend * fd * h + wu * d * h
            room[BSS + k] += bend * fs * fs - wu * size * hss
            room[BSA + k] += bend * fs * h - wu * hs
            room[BAA + k] += bend * h * h
            room[WDD + k] += w * fd * fd
            room[WDS + k] += w * fd * fs
            room[WDA + k] += w * fd * h
            room[WSS + k] += w * fs * fs
            room[WSA + k] += w * fs * h
            room[WAA + k] += w * h * h


@vector_kernel
def _solve(dd, ds, da, ss, sa, aa, gd, gs, ga):
    """The solution of a symmetric 3 by 3 system, and whether its matrix is clearly positive."""
    is_positive = (dd > 0.0) & (ss > 0.0) & (aa > 0.0)
    x = 1.0 / np.sqrt(dd) if is_positive else 0.0
    y = 1.0 / np.sqrt(ss) if is_positive else 0.0
    z = 1.0 / np.sqrt(aa) if is_positive else 0.0
    a, b, c = ds * x * y, da * x * z, sa * y * z
    second = 1.0 - a * a
    lower = c - a * b
    is_second = second > 1e-10
    ratio = lower / second if is_second else 0.0
    third = 1.0 - b * b - lower * ratio
    is_solved = is_positive & is_second & (third > 1e-10)
    p, q, r = gd * x, gs * y, ga * z
    q -= a * p
    r = r - b * p - ratio * q
    r = r / third if is_solved else 0.0
    q = q / second - ratio * r if is_solved else 0.0
    p = p - a * q - b * r if is_solved else 0.0
    return p * x, q * y, r * z, is_solved


@vector_kernel
def step_robust(lower, upper, room):
    """Move each running lane by one step, or part of the way back where the last went too far."""
    low_d, low_s, high_d, high_s = lower[0], lower[1], upper[0], upper[1]
    for k in range(LANES):
        d, s, a = room[PLACE_D + k], room[PLACE_S + k], room[PLACE_A + k]
        gd, gs, ga = room[GD + k], room[GS + k], room[GA + k]
        cost = room[COST + k]
        is_further = cost <= room[LEAST + k] * (1.0 + 1e-12) + 1e-13
        bd, bs, ba, is_bowl = _solve(
            room[BDD + k], room[BDS + k], room[BDA + k], room[BSS + k], room[BSA + k], room[BAA + k], gd, gs, ga
        )
        wd, ws, wa, is_regular = _solve(
            room[WDD + k], room[WDS + k], room[WDA + k], room[WSS + k], room[WSA + k], room[WAA + k], gd, gs, ga
        )
        is_newton = is_bowl & (room[STEPS + k] >= _CAREFUL)
        md, ms, ma = bd if is_newton else wd, bs if is_newton else ws, ba if is_newton else wa
        gain = md * gd + ms * gs + ma * ga
        size = max(abs(md) * (1.0 / _LONGEST_D), abs(ms) * (1.0 / _LONGEST_S))
        short = 1.0 / max(size, 1.0)
        last_d, last_s, last_a = room[LAST_D + k], room[LAST_S + k], room[LAST_A + k]
        next_d = d + short * md if is_further else last_d + 0.25 * (d - last_d)
        next_s = s + short * ms if is_further else last_s + 0.25 * (s - last_s)
        next_a = a + short * ma if is_further else last_a + 0.25 * (a - last_a)
        steps = room[STEPS + k] + 1.0
        is_inside = (next_d > low_d) & (next_d < high_d) & (next_s > low_s) & (next_s < high_s)
        is_lost = (not is_inside) | (steps >= _MOST_STEPS) | (is_further & (not (is_newton | is_regular)))
        state = SETTLED if is_further & is_newton & (gain <= _EXACT) else RUNNING
        state = LOST if is_lost else state
        is_running = room[STATE + k] == RUNNING
        is_kept = is_running & is_further
        room[PLACE_D + k] = next_d if is_running else d
        room[PLACE_S + k] = next_s if is_running else s
        room[PLACE_A + k] = next_a if is_running else a
        room[LAST_D + k] = d if is_kept else last_d
        room[LAST_S + k] = s if is_kept else last_s
        room[LAST_A + k] = a if is_kept else last_a
        room[LEAST + k] = cost if is_kept else room[LEAST + k]
        room[STATE + k] = state if is_running else room[STATE + k]
        room[STEPS + k] = steps


@vector_kernel
def settle(mixture, is_tukey, signal, scale, theta, amplitude, is_settled):
    """Move theta (v, 2) and amplitude (v,) to the nearest optimum where `is_settled` (v,), which tells what settled.

    signal : (v, n); scale : (v,); amplitude is written only
    """
    count, n = signal.shape
    samples, curve = np.ones((n, LANES)), np.empty(n)
    room = np.zeros(ROBUST_ROWS * LANES)
    working = np.full(LANES, -1, np.int64)
    for lane in range(LANES):
        room[STATE + lane] = SETTLED
    following, left = 0, 0
    for v in range(count):
        left += is_settled[v]
    while left > 0:
        for lane in range(LANES):
            if room[STATE + lane] == RUNNING:
                continue
            v = working[lane]
            if v >= 0:
                is_settled[v] = room[STATE + lane] == SETTLED
                if is_settled[v]:
                    theta[v, 0], theta[v, 1] = room[PLACE_D + lane], room[PLACE_S + lane]
                    amplitude[v] = room[PLACE_A + lane] * scale[v]
                working[lane] = -1
                left -= 1
            while following < count and not is_settled[following]:
                following += 1
            if following < count:
                v = following
                per = 1.0 / scale[v]
                for i in range(n):
                    samples[i, lane] = signal[v, i] * per
                room[PLACE_D + lane], room[PLACE_S + lane] = theta[v, 0], theta[v, 1]
                room[PLACE_A + lane] = start_amplitude(mixture, signal[v], theta[v, 0], theta[v, 1], curve) * per
                room[LEAST + lane] = np.inf
                room[STATE + lane] = RUNNING
                room[STEPS + lane] = 0.0
                working[lane] = v
                following += 1
        look_robust(mixture, is_tukey, samples, room)
        step_robust(mixture.lower, mixture.upper, room)


@vector_kernel
def start_amplitude(mixture, y, decay, share, curve):
    """The amplitude without the sample that stands off the most."""
    along, size = 0.0, 0.0
    for i in range(y.size):
        square = mixture.a[i] + share * (mixture.b[i] + share * mixture.c[i])
        curve[i] = np.sqrt(max(square, 0.0)) * exponential(-mixture.d[i] * decay)
    for i in range(y.size):
        along += y[i] * curve[i]
        size += curve[i] * curve[i]
    most, worst = -1.0, 0
    for i in range(y.size):
        off = y[i] - along / size * curve[i]
        gain = off * off * size / max(size - curve[i] * curve[i], 1e-9 * size)
        if gain > most:
            most, worst = gain, i
    return (along - y[worst] * curve[worst]) / max(size - curve[worst] * curve[worst], 1e-300)


@vector_kernel
def weigh_lanes(mixture, is_tukey, samples, room, made, weights):
    """Write the sums over samples that still weigh something, and what the variance is made of."""
    for k in range(LANES):
        made[SQUARES + k] = 0.0
        for row in range(SCALE // LANES):
            weights[row * LANES + k] = 0.0
        room[H + k] = 0.0
        room[HD + k] = 0.0
        room[HS + k] = 0.0
        room[HDD + k] = 0.0
        room[HDS + k] = 0.0
        room[SS + k] = 0.0
    for i in range(samples.shape[0]):
        y = samples[i]
        a, b, c, d = mixture.a[i], mixture.b[i], mixture.c[i], mixture.d[i]
        for k in range(LANES):
            share = room[SHARE + k]
            square = max(a + share * (b + share * c), 0.0)
            e = exponential(-d * room[DECAY + k])
            per = 1.0 / np.sqrt(square) if square > 1e-30 else 0.0
            slope = (0.5 * b + share * c) * per
            off = y[k] - made[AMPLITUDE + k] * square * per * e
            u = off / weights[SCALE + k]
            if is_tukey:
                t = min(u * u * _INVERSETUKEY, 1.0)
                w, bend = (1.0 - t) * (1.0 - t), (1.0 - t) * (1.0 - 5.0 * t)
            else:
                far = max(abs(u), HUBER)
                w = HUBER / far
                bend = 1.0 if far <= HUBER else 0.0
            ee = e * e if w > 0.0 else 0.0
            made[SQUARES + k] += off * off
            weights[INFLUENCE + k] += (w * off) ** 2
            weights[BEND + k] += bend
            weights[KEPT + k] += 1.0 if w > 0.0 else 0.0
            weights[OFF + k] += 1.0 if w < OUTLIER_WEIGHT else 0.0
            room[H + k] += ee * square
            room[HD + k] -= 2.0 * d * ee * square
            room[HS + k] += ee * (b + 2.0 * share * c)
            room[HDD + k] += 4.0 * d * d * ee * square
            room[HDS + k] -= 2.0 * d * ee * (b + 2.0 * share * c)
            room[SS + k] += ee * slope * slope


@vector_kernel
def finish_robust_mixture(
    report, problem, mixture, is_tukey, signal, scale, theta, amplitude, values, errors, flag, rms, outliers, freedom
):
    """Covariance, parameters and flags at the optima of the M-estimate.

    signal : (v, n); scale, amplitude : (v,); theta : (v, 2)
    values, errors : (v, r); flag, rms, outliers, freedom : (v,), written
    """
    count, n = signal.shape
    samples = np.ones((n, LANES))
    room, made, weights = np.zeros(ROWS * LANES), np.zeros(MADE * LANES), np.ones(WEIGHT_ROWS * LANES)
    solution = make_solution(2, 1, 0)
    here, amplitudes, constants = solution.theta, solution.amplitudes, problem.constants
    covariance, value, error = np.empty((3, 3)), np.empty(values.shape[1]), np.empty(values.shape[1])
    for begin in range(0, count, LANES):
        size = min(LANES, count - begin)
        for lane in range(size):
            v = begin + lane
            room[DECAY + lane], room[SHARE + lane] = theta[v, 0], theta[v, 1]
            made[AMPLITUDE + lane], weights[SCALE + lane] = amplitude[v], scale[v]
            for i in range(n):
                samples[i, lane] = signal[v, i]
        weigh_lanes(mixture, is_tukey, samples, room, made, weights)
        invert_lanes(room, made)
        for lane in range(size):
            v = begin + lane
            kept = weights[KEPT + lane]
            free = int(kept) - 3
            bend = weights[BEND + lane] / kept if kept > 0.0 else 0.0
            rms[v], outliers[v], freedom[v] = np.sqrt(made[SQUARES + lane] / n), weights[OFF + lane] / n, free
            # Huber's sandwich: the mean square of the influence over the squared mean of its slope.
            is_known = free > 0 and bend > 0.1
            if not (is_known and made[REGULAR + lane] > 0.0):
                flag[v] = _SINGULAR
                continue
            variance = weights[INFLUENCE + lane] / free / bend**2
            here[0], here[1], amplitudes[0] = theta[v, 0], theta[v, 1], amplitude[v]
            write_covariance(made, lane, variance, covariance)
            found = report(here, amplitudes, constants, covariance, value, error)
            for j in range(value.size):
                values[v, j] = value[j]
                errors[v, j] = error[j]
            if amplitude[v] ** 2 < _LEAST_SIGNIFICANCE**2 * variance * made[C22 + lane]:
                found = _NO_SIGNAL
            elif found == _OK and not is_plain(mixture, here):
                found = check_range(problem, solution, True)
            flag[v] = found
