"""Newton's method on the sum of squares of a `phasor`, for many voxels side by side: see `mixture_lanes`.

For two coordinates, of which the first turns phases only and the second changes sizes only: field and decay. Turned
back by the field, samples z meet a basis b that depends on the decay alone; all that a step needs are the sums of
conj(b_j) b_k and of conj(b_j) z, weighed by products of the two exponents, w of the turn and k of the size.
"""

import numpy as np

from isocenter.fitting.mixture_lanes import LANES, LOST, RUNNING, SETTLED, exponential
from isocenter.models.compiled import vector_kernel

#: Where a lane is, was, and how far along it is; LIMIT is what it must come below.
TURN, SIZE, LAST_TURN, LAST_SIZE = 0 * LANES, 1 * LANES, 2 * LANES, 3 * LANES
TOTAL, BEST, AHEAD, STATE = 4 * LANES, 5 * LANES, 6 * LANES, 7 * LANES
STEPS, LIMIT = 8 * LANES, 9 * LANES
#: Sums of the basis: |b_0|^2, |b_1|^2, real and imaginary conj(b_0) b_1, weighed by 1, w, k, w^2 and k^2.
G, GW, GK, GWW, GKK = (k * LANES for k in (10, 14, 18, 22, 26))
#: Sums with the samples: real and imaginary conj(b_0) z, conj(b_1) z, weighed by 1, w, k, w^2, w k and k^2.
Z, ZW, ZK, ZWW, ZWK, ZKK = (k * LANES for k in (30, 34, 38, 42, 46, 50))
ROWS = 54
#: Steps of rows within such a group.
_B, _C, _D = LANES, 2 * LANES, 3 * LANES

_MOST_STEPS = 40.0
#: No step turns or dims a sample by more than this [rad].
_LONGEST = 1.0
#: The share of the signal's sum of squares below which there are rounding errors only; that of the sum of squares
#: that the signal's and the explained one's difference loses to rounding.
_NOTHING, _ROUNDING = 1e-27, 1e-15
#: A way is given up where so many times what the next step gains is not enough.
_FARTHER = 4.0
#: 2 pi in two parts.
_CIRCLE, _CIRCLE_REST = 6.28318530717958623, 2.4492935982947064e-16
_PER_CIRCLE = 1.0 / _CIRCLE


@vector_kernel
def turn(angle):
    """Cosine and sine to 1e-14, in operations that vector registers have."""
    turns = np.floor(angle * _PER_CIRCLE + 0.5)
    # A quarter of what is left of a circle, -pi/4 to pi/4; then the angle is doubled twice.
    x = 0.25 * ((angle - turns * _CIRCLE) - turns * _CIRCLE_REST)
    q = x * x
    s = 1.0 - q * (1.0 / 210.0)
    s = 1.0 - q * (1.0 / 156.0) * s
    s = 1.0 - q * (1.0 / 110.0) * s
    s = 1.0 - q * (1.0 / 72.0) * s
    s = 1.0 - q * (1.0 / 42.0) * s
    s = 1.0 - q * (1.0 / 20.0) * s
    s = x * (1.0 - q * (1.0 / 6.0) * s)
    c = 1.0 - q * (1.0 / 182.0)
    c = 1.0 - q * (1.0 / 132.0) * c
    c = 1.0 - q * (1.0 / 90.0) * c
    c = 1.0 - q * (1.0 / 56.0) * c
    c = 1.0 - q * (1.0 / 30.0) * c
    c = 1.0 - q * (1.0 / 12.0) * c
    c = 1.0 - q * 0.5 * c
    s, c = 2.0 * s * c, 1.0 - 2.0 * s * s
    return 1.0 - 2.0 * s * s, 2.0 * s * c


@vector_kernel
def look_lanes(phasor, real, imaginary, room):
    """Write the sums of each lane; real, imaginary : (n, LANES), the samples."""
    for k in range(G, ROWS * LANES):
        room[k] = 0.0
    for i in range(real.shape[0]):
        yr, yi = real[i], imaginary[i]
        w, x = phasor.exponents[0, i].imag, phasor.exponents[1, i].real
        ar, ai = phasor.fixed[0, i].real, phasor.fixed[0, i].imag
        br, bi = phasor.fixed[1, i].real, phasor.fixed[1, i].imag
        aa, bb, hr, hi = ar * ar + ai * ai, br * br + bi * bi, ar * br + ai * bi, ar * bi - ai * br
        ww, wx, xx = w * w, w * x, x * x
        for k in range(LANES):
            c, s = turn(w * room[TURN + k])
            e = exponential(max(x * room[SIZE + k], -300.0))
            zr, zi = e * (yr[k] * c + yi[k] * s), e * (yi[k] * c - yr[k] * s)
            ee = e * e
            g0, g1, g2, g3 = aa * ee, bb * ee, hr * ee, hi * ee
            room[G + k] += g0
            room[G + _B + k] += g1
            room[G + _C + k] += g2
            room[G + _D + k] += g3
            room[GW + k] += w * g0
            room[GW + _B + k] += w * g1
            room[GW + _C + k] += w * g2
            room[GW + _D + k] += w * g3
            room[GK + k] += x * g0
            room[GK + _B + k] += x * g1
            room[GK + _C + k] += x * g2
            room[GK + _D + k] += x * g3
            room[GWW + k] += ww * g0
            room[GWW + _B + k] += ww * g1
            room[GWW + _C + k] += ww * g2
            room[GWW + _D + k] += ww * g3
            room[GKK + k] += xx * g0
            room[GKK + _B + k] += xx * g1
            room[GKK + _C + k] += xx * g2
            room[GKK + _D + k] += xx * g3
            z0, z1 = ar * zr + ai * zi, ar * zi - ai * zr
            z2, z3 = br * zr + bi * zi, br * zi - bi * zr
            room[Z + k] += z0
            room[Z + _B + k] += z1
            room[Z + _C + k] += z2
            room[Z + _D + k] += z3
            room[ZW + k] += w * z0
            room[ZW + _B + k] += w * z1
            room[ZW + _C + k] += w * z2
            room[ZW + _D + k] += w * z3
            room[ZK + k] += x * z0
            room[ZK + _B + k] += x * z1
            room[ZK + _C + k] += x * z2
            room[ZK + _D + k] += x * z3
            room[ZWW + k] += ww * z0
            room[ZWW + _B + k] += ww * z1
            room[ZWW + _C + k] += ww * z2
            room[ZWW + _D + k] += ww * z3
            room[ZWK + k] += wx * z0
            room[ZWK + _B + k] += wx * z1
            room[ZWK + _C + k] += wx * z2
            room[ZWK + _D + k] += wx * z3
            room[ZKK + k] += xx * z0
            room[ZKK + _B + k] += xx * z1
            room[ZKK + _C + k] += xx * z2
            room[ZKK + _D + k] += xx * z3


@vector_kernel
def step_lanes(lower, upper, reach, tolerance, room):
    """Move each running lane by one step of Newton's method, or part of the way back where the last went too far."""
    low0, low1, high0, high1 = lower[0], lower[1], upper[0], upper[1]
    reach0, reach1 = reach[0], reach[1]
    for k in range(LANES):
        total = room[TOTAL + k]
        a, d, hr, hi = room[G + k], room[G + _B + k], room[G + _C + k], room[G + _D + k]
        det = a * d - hr * hr - hi * hi
        is_any = det > 1e-14 * a * d
        per = 1.0 / det if is_any else 0.0
        p, q, r, s = room[Z + k], room[Z + _B + k], room[Z + _C + k], room[Z + _D + k]
        # Amplitudes: adj(G) z over the determinant.
        cr, ci = (d * p - hr * r + hi * s) * per, (d * q - hr * s - hi * r) * per
        er, ei = (a * r - hr * p - hi * q) * per, (a * s - hr * q + hi * p) * per
        cost = max(total - (cr * p + ci * q + er * r + ei * s), 0.0)
        is_further = is_any & (cost <= room[BEST + k] * (1.0 + 1e-12) + _ROUNDING * total)
        # Weighed products of the prediction with itself and with the samples.
        cc, ee = cr * cr + ci * ci, er * er + ei * ei
        xr, xi = cr * er + ci * ei, cr * ei - ci * er
        square_k = room[GK + k] * cc + room[GK + _B + k] * ee
        square_k += 2.0 * (room[GK + _C + k] * xr - room[GK + _D + k] * xi)
        square_kk = room[GKK + k] * cc + room[GKK + _B + k] * ee
        square_kk += 2.0 * (room[GKK + _C + k] * xr - room[GKK + _D + k] * xi)
        square_ww = room[GWW + k] * cc + room[GWW + _B + k] * ee
        square_ww += 2.0 * (room[GWW + _C + k] * xr - room[GWW + _D + k] * xi)
        p, q, r, s = room[ZW + k], room[ZW + _B + k], room[ZW + _C + k], room[ZW + _D + k]
        gradient0 = cr * q - ci * p + er * s - ei * r
        # Second derivatives by amplitudes and field: i times these.
        m0r, m0i, m1r, m1i = -q, p, -s, r
        p, q, r, s = room[ZK + k], room[ZK + _B + k], room[ZK + _C + k], room[ZK + _D + k]
        gradient1 = cr * p + ci * q + er * r + ei * s - square_k
        # What the basis makes of the amplitudes, weighed by k, and by w and i.
        ka, kd, kr, ki = room[GK + k], room[GK + _B + k], room[GK + _C + k], room[GK + _D + k]
        u0r, u0i = ka * cr + kr * er - ki * ei, ka * ci + kr * ei + ki * er
        u1r, u1i = kd * er + kr * cr + ki * ci, kd * ei + kr * ci - ki * cr
        n0r, n0i, n1r, n1i = 2.0 * u0r - p, 2.0 * u0i - q, 2.0 * u1r - r, 2.0 * u1i - s
        ka, kd, kr, ki = room[GW + k], room[GW + _B + k], room[GW + _C + k], room[GW + _D + k]
        v0i, v0r = ka * cr + kr * er - ki * ei, -(ka * ci + kr * ei + ki * er)
        v1i, v1r = kd * er + kr * cr + ki * ci, -(kd * ei + kr * ci - ki * cr)
        bend00 = cr * room[ZWW + k] + ci * room[ZWW + _B + k] + er * room[ZWW + _C + k] + ei * room[ZWW + _D + k]
        bend01 = ci * room[ZWK + k] - cr * room[ZWK + _B + k] + ei * room[ZWK + _C + k] - er * room[ZWK + _D + k]
        bend11 = cr * room[ZKK + k] + ci * room[ZKK + _B + k] + er * room[ZKK + _C + k] + ei * room[ZKK + _D + k]
        bend11 = 2.0 * square_kk - bend11
        bend00 -= per * taken(a, d, hr, hi, m0r, m0i, m1r, m1i, m0r, m0i, m1r, m1i)
        bend01 -= per * taken(a, d, hr, hi, m0r, m0i, m1r, m1i, n0r, n0i, n1r, n1i)
        bend11 -= per * taken(a, d, hr, hi, n0r, n0i, n1r, n1i, n0r, n0i, n1r, n1i)
        plain00 = square_ww - per * taken(a, d, hr, hi, v0r, v0i, v1r, v1i, v0r, v0i, v1r, v1i)
        plain01 = -per * taken(a, d, hr, hi, v0r, v0i, v1r, v1i, u0r, u0i, u1r, u1i)
        plain11 = square_kk - per * taken(a, d, hr, hi, u0r, u0i, u1r, u1i, u0r, u0i, u1r, u1i)
        is_bowl = (bend00 > 0.0) & (bend11 > 0.0)
        is_bowl = is_bowl & (bend00 * bend11 - bend01 * bend01 > 1e-14 * bend00 * bend11)
        b00, b01, b11 = bend00 if is_bowl else plain00, bend01 if is_bowl else plain01, bend11 if is_bowl else plain11
        det = b00 * b11 - b01 * b01
        is_solved = (b00 > 0.0) & (b11 > 0.0) & (det > 1e-14 * b00 * b11)
        per = 1.0 / det if is_solved else 0.0
        move0, move1 = (b11 * gradient0 - b01 * gradient1) * per, (b00 * gradient1 - b01 * gradient0) * per
        gain = move0 * gradient0 + move1 * gradient1
        short = 1.0 / max((abs(move0) * reach0 + abs(move1) * reach1) * (1.0 / _LONGEST), 1.0)
        now0, now1, last0, last1 = room[TURN + k], room[SIZE + k], room[LAST_TURN + k], room[LAST_SIZE + k]
        next0 = now0 + short * move0 if is_further else last0 + 0.25 * (now0 - last0)
        next1 = now1 + short * move1 if is_further else last1 + 0.25 * (now1 - last1)
        steps = room[STEPS + k] + 1.0
        is_inside = (next0 > low0) & (next0 < high0) & (next1 > low1) & (next1 < high1)
        is_lost = (not is_inside) | (steps >= _MOST_STEPS) | (is_further & (not is_solved))
        is_small = gain <= tolerance * cost + _NOTHING * total
        state = SETTLED if is_further & is_small else RUNNING
        state = LOST if is_lost else state
        is_hopeless = is_further & is_bowl & (cost - _FARTHER * gain > room[LIMIT + k])
        state = SETTLED if is_hopeless else state
        ahead = np.inf if is_hopeless else max(cost - (0.0 if is_lost else gain), 0.0)
        is_running = room[STATE + k] == RUNNING
        is_kept = is_running & is_further
        room[TURN + k] = next0 if is_running else now0
        room[SIZE + k] = next1 if is_running else now1
        room[LAST_TURN + k] = now0 if is_kept else last0
        room[LAST_SIZE + k] = now1 if is_kept else last1
        room[BEST + k] = cost if is_kept else room[BEST + k]
        room[AHEAD + k] = ahead if is_kept else room[AHEAD + k]
        room[STATE + k] = state if is_running else room[STATE + k]
        room[STEPS + k] = steps


@vector_kernel
def taken(a, d, hr, hi, t0r, t0i, t1r, t1i, u0r, u0i, u1r, u1i):
    """Real part of t' adj(G) u for the Gram matrix G = [[a, h], [h', d]]."""
    x0r, x0i = d * u0r - hr * u1r + hi * u1i, d * u0i - hr * u1i - hi * u1r
    x1r, x1i = a * u1r - hr * u0r - hi * u0i, a * u1i - hr * u0i + hi * u0r
    return t0r * x0r + t0i * x0i + t1r * x1r + t1i * x1i


@vector_kernel
def climb_lanes(phasor, signal, count, voxel, theta, limit, cost, is_done, tolerance):
    """Follow `count` tasks to their optima; a lane that is done takes the next one.

    signal : (v, 2 n); voxel : (t,), rows of it; theta : (t, 2), starts, overwritten; limit : (t,)
    cost, is_done : (t,), written: the sum of squares, and whether it is that of an optimum inside of the bounds
    """
    n = signal.shape[1] // 2
    real, imaginary = np.ones((n, LANES)), np.ones((n, LANES))
    room = np.zeros(ROWS * LANES)
    working = np.full(LANES, -1, np.int64)
    for lane in range(LANES):
        room[STATE + lane] = SETTLED
    following, left = 0, count
    while left > 0:
        for lane in range(LANES):
            if room[STATE + lane] == RUNNING:
                continue
            task = working[lane]
            if task >= 0:
                theta[task, 0], theta[task, 1] = room[TURN + lane], room[SIZE + lane]
                cost[task], is_done[task] = room[AHEAD + lane], room[STATE + lane] == SETTLED
                working[lane] = -1
                left -= 1
            if following < count:
                v, total = voxel[following], 0.0
                for i in range(n):
                    real[i, lane], imaginary[i, lane] = signal[v, i], signal[v, n + i]
                for i in range(n):
                    total += signal[v, i] ** 2 + signal[v, n + i] ** 2
                room[TURN + lane], room[SIZE + lane] = theta[following, 0], theta[following, 1]
                room[TOTAL + lane], room[LIMIT + lane] = total, limit[following]
                room[BEST + lane] = np.inf
                room[AHEAD + lane] = np.inf
                room[STATE + lane] = RUNNING
                room[STEPS + lane] = 0.0
                working[lane] = following
                following += 1
        look_lanes(phasor, real, imaginary, room)
        step_lanes(phasor.lower, phasor.upper, phasor.reach, tolerance, room)
