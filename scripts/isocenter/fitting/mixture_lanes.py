"""Newton's method on the sum of squares of a `mixture`, for many voxels side by side.

What one voxel needs is a lane; every quantity is a row of LANES numbers, so that loops over lanes run on vector
registers. A lane never looks at its neighbors, and the number of lanes is fixed: a voxel's result is the same to the
bit whatever it is computed beside.
"""

import numpy as np

from isocenter.models.compiled import vector_kernel

#: Lanes of a block, and where in the flat `room` of a block each row begins.
LANES = 32
#: Where a lane is, and the sample it leaves out (-1: none).
DECAY, SHARE, DROPPED = 0 * LANES, 1 * LANES, 2 * LANES
#: The sums of y h and of h h (h the basis), and of their derivatives by decay (D) and share (S); of (dh/dshare)^2.
Y, YD, YS = 3 * LANES, 4 * LANES, 5 * LANES
YDD, YDS, YSS = 6 * LANES, 7 * LANES, 8 * LANES
H, HD, HS = 9 * LANES, 10 * LANES, 11 * LANES
HDD, HDS, HSS, SS = 12 * LANES, 13 * LANES, 14 * LANES, 15 * LANES
#: Where it was last, the best sum of squares, how far along it is, how many steps, and the signal's sum of squares.
LAST_DECAY, LAST_SHARE, BEST, STATE = 16 * LANES, 17 * LANES, 18 * LANES, 19 * LANES
STEPS, TOTAL, AHEAD = 20 * LANES, 21 * LANES, 22 * LANES
ROWS = 23
#: Values of STATE.
RUNNING, SETTLED, LOST = 0.0, 1.0, 2.0

#: No step is longer than this in (decay, share).
_LONGEST_DECAY, _LONGEST_SHARE = 0.8, 0.25
_MOST_STEPS = 25
#: The share of the signal's sum of squares below which there are rounding errors only; that of the sum of squares
#: that the signal's and the explained one's difference loses to rounding.
_NOTHING, _ROUNDING = 1e-27, 1e-15
#: exp(x) = exp(x / 2^7)^(2^7), x / 2^7 being small enough for a short series.
_PART = 1.0 / 128.0


@vector_kernel
def exponential(x):
    """exp(x) for -32 < x < 8 to 2e-14, in operations that vector registers have."""
    z = x * _PART
    e = 1.0 + z * (1.0 / 11.0)
    e = 1.0 + z * (1.0 / 10.0) * e
    e = 1.0 + z * (1.0 / 9.0) * e
    e = 1.0 + z * (1.0 / 8.0) * e
    e = 1.0 + z * (1.0 / 7.0) * e
    e = 1.0 + z * (1.0 / 6.0) * e
    e = 1.0 + z * (1.0 / 5.0) * e
    e = 1.0 + z * (1.0 / 4.0) * e
    e = 1.0 + z * (1.0 / 3.0) * e
    e = 1.0 + z * (1.0 / 2.0) * e
    e = 1.0 + z * e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    return e * e


@vector_kernel
def look(mixture, samples, room):
    """Write the sums of each lane at its decay and share; samples : (n, LANES)."""
    for k in range(Y, LAST_DECAY):
        room[k] = 0.0
    for i in range(samples.shape[0]):
        y = samples[i]
        a, b, c, d = mixture.a[i], mixture.b[i], mixture.c[i], mixture.d[i]
        dd = d * d
        place = float(i)
        for k in range(LANES):
            share = room[SHARE + k]
            square = a + share * (b + share * c)
            e = exponential(-d * room[DECAY + k])
            e = 0.0 if room[DROPPED + k] == place else e
            # At a perfect null the slope has no sign.
            per = 1.0 / np.sqrt(square) if square > 1e-30 else 0.0
            slope = (0.5 * b + share * c) * per
            bend = (c - slope * slope) * per
            ye = y[k] * e
            ee = e * e
            f, fs = ye * square * per, ye * slope
            g, gs = ee * square, ee * (b + 2.0 * share * c)
            room[Y + k] += f
            room[YD + k] -= d * f
            room[YS + k] += fs
            room[YDD + k] += dd * f
            room[YDS + k] -= d * fs
            room[YSS + k] += ye * bend
            room[H + k] += g
            room[HD + k] -= 2.0 * d * g
            room[HS + k] += gs
            room[HDD + k] += 4.0 * dd * g
            room[HDS + k] -= 2.0 * d * gs
            room[HSS + k] += 2.0 * c * ee
            room[SS + k] += ee * slope * slope


@vector_kernel
def step(lower, upper, tolerance, room):
    """Move each running lane by one step of Newton's method, or part of the way back where the last went too far.

    At an end of the share's box a lane stays there as long as the sum of squares falls beyond it. A lane has settled
    when the step it has just made lowers the sum of squares by less than its fraction `tolerance`.
    AHEAD is what the sum of squares is expected to be after it.
    """
    low0, low1, high0, high1 = lower[0], lower[1], upper[0], upper[1]
    for k in range(LANES):
        decay, share, total = room[DECAY + k], room[SHARE + k], room[TOTAL + k]
        h = room[H + k]
        is_any = (h > 1e-200) & (room[Y + k] > 0.0)
        per = 1.0 / h if is_any else 0.0
        s = room[Y + k] * per
        cost = max(total - room[Y + k] * s, 0.0)
        is_further = is_any & (cost <= room[BEST + k] * (1.0 + 1e-12) + _ROUNDING * total)
        # What moves with the amplitude held, then what the amplitude takes up of the curvature.
        half_d, half_s = 0.5 * room[HD + k], 0.5 * room[HS + k]
        gradient_d = s * (room[YD + k] - s * half_d)
        gradient_s = s * (room[YS + k] - s * half_s)
        follow_d = room[YD + k] - 2.0 * s * half_d
        follow_s = room[YS + k] - 2.0 * s * half_s
        dd = 0.5 * s * s * room[HDD + k] - s * room[YDD + k] - follow_d * follow_d * per
        ds = 0.5 * s * s * room[HDS + k] - s * room[YDS + k] - follow_d * follow_s * per
        ss = 0.5 * s * s * room[HSS + k] - s * room[YSS + k] - follow_s * follow_s * per
        # The part that is never negative: products of slopes.
        plain_dd = s * s * (0.25 * room[HDD + k] - half_d * half_d * per)
        plain_ds = s * s * (0.25 * room[HDS + k] - half_d * half_s * per)
        plain_ss = s * s * (room[SS + k] - half_s * half_s * per)
        is_bowl = (dd > 0.0) & (ss > 0.0) & (dd * ss - ds * ds > 1e-6 * dd * ss)
        dd = dd if is_bowl else plain_dd
        ds = ds if is_bowl else plain_ds
        ss = ss if is_bowl else plain_ss
        is_held = ((share <= low1) & (gradient_s < 0.0)) | ((share >= high1) & (gradient_s > 0.0))
        is_bowl = is_bowl | (is_held & (dd > 0.0))
        gradient_s = 0.0 if is_held else gradient_s
        ds = 0.0 if is_held else ds
        ss = 1.0 if is_held else ss
        det = dd * ss - ds * ds
        is_solved = (dd > 0.0) & (ss > 0.0) & (det > 1e-12 * dd * ss)
        turn = 1.0 / det if is_solved else 0.0
        move_d = (ss * gradient_d - ds * gradient_s) * turn
        move_s = (dd * gradient_s - ds * gradient_d) * turn
        gain = move_d * gradient_d + move_s * gradient_s
        size = max(abs(move_d) * (1.0 / _LONGEST_DECAY), abs(move_s) * (1.0 / _LONGEST_SHARE))
        short = 1.0 / max(size, 1.0)
        is_running = room[STATE + k] == RUNNING
        is_small = gain <= tolerance * cost + _NOTHING * total
        next_d = decay + short * move_d if is_further else room[LAST_DECAY + k] + 0.25 * (decay - room[LAST_DECAY + k])
        next_s = share + short * move_s if is_further else room[LAST_SHARE + k] + 0.25 * (share - room[LAST_SHARE + k])
        next_s = min(max(next_s, low1), high1)
        is_inside = (next_d > low0) & (next_d < high0)
        steps = room[STEPS + k] + 1.0
        is_lost = (not is_inside) | (steps >= _MOST_STEPS)
        is_lost = is_lost | (is_further & (not is_solved)) | (is_further & is_small & (not is_bowl))
        state = SETTLED if is_further & is_small else RUNNING
        state = LOST if is_lost else state
        room[DECAY + k] = next_d if is_running else decay
        room[SHARE + k] = next_s if is_running else share
        is_kept = is_running & is_further
        room[LAST_DECAY + k] = decay if is_kept else room[LAST_DECAY + k]
        room[LAST_SHARE + k] = share if is_kept else room[LAST_SHARE + k]
        room[BEST + k] = cost if is_kept else room[BEST + k]
        room[AHEAD + k] = cost - gain if is_kept else room[AHEAD + k]
        room[STATE + k] = state if is_running else room[STATE + k]
        room[STEPS + k] = steps


@vector_kernel
def enter(signal, task, voxel, decay, share, dropped, samples, room, lane):
    """Put the next task into a lane."""
    n = samples.shape[0]
    v = voxel[task]
    out = dropped[task]
    total = 0.0
    for i in range(n):
        total += 0.0 if i == out else signal[v, i] * signal[v, i]
    for i in range(n):
        samples[i, lane] = signal[v, i]
    room[DECAY + lane] = decay[task]
    room[SHARE + lane] = share[task]
    room[DROPPED + lane] = out
    room[TOTAL + lane] = total
    room[BEST + lane] = np.inf
    room[AHEAD + lane] = np.inf
    room[STATE + lane] = RUNNING
    room[STEPS + lane] = 0.0


@vector_kernel
def climb(mixture, signal, count, voxel, decay, share, dropped, cost, tolerance):
    """Follow `count` tasks to their optima; a lane that is done takes the next one.

    signal : (v, n); voxel, dropped : (t,) integers, the row of the signal and the sample that is left out (-1: none)
    decay, share : (t,), starts, overwritten with the optima
    cost : (t,), written: the sum of squares, infinite where the way left the box or led nowhere
    """
    n = signal.shape[1]
    samples = np.ones((n, LANES))
    room = np.zeros(ROWS * LANES)
    working = np.full(LANES, -1, np.int64)
    following = 0
    for lane in range(LANES):
        room[STATE + lane] = SETTLED
        room[DROPPED + lane] = -1.0
    left = count
    while left > 0:
        for lane in range(LANES):
            if room[STATE + lane] == RUNNING:
                continue
            task = working[lane]
            if task >= 0:
                decay[task], share[task] = room[DECAY + lane], room[SHARE + lane]
                cost[task] = max(room[AHEAD + lane], 0.0) if room[STATE + lane] == SETTLED else np.inf
                working[lane] = -1
                left -= 1
            if following < count:
                enter(signal, following, voxel, decay, share, dropped, samples, room, lane)
                working[lane] = following
                following += 1
        look(mixture, samples, room)
        step(mixture.lower, mixture.upper, tolerance, room)
