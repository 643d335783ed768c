"""Echo amplitudes of a Carr-Purcell-Meiboom-Gill train by extended phase graphs, with their slopes.

Only odd dephasing orders meet a refocusing pulse, and with the CPMG phase all of them stay real: three real numbers
per order. With w = cos^2(angle/2) and the longitudinal states divided by sin(angle), every step is a polynomial in
w, so the slope with respect to w is regular even at 180 degrees (w = 0), where the slope with respect to the angle
vanishes and a fit in the angle would be singular.

`trace_slice` adds up the trains of many positions across a slice, each with an angle and an excitation of its own. It
is the same recursion with the positions innermost, which the compiler turns into vector instructions.

Reference: Hennig 1988, doi 10.1016/0022-2364(88)90128-X; Weigel 2015, doi 10.1002/jmri.24619.
"""

import numpy as np

from isocenter.models.compiled import kernel


@kernel
def trace_echoes(w, echo_spacing, t1, t2, state, echo, slope_t2, slope_w):
    """Echo amplitudes after a 90 degree excitation of unit magnetization.

    w : cos^2 of half the refocusing angle; echo_spacing, t1, t2 [s]
    state : (9, 2 m + 2) scratch; echo, slope_t2 (with respect to log T2), slope_w : (m,) arrays, written
    """
    m = echo.size
    state[:] = 0.0
    # Rows: F+, F-, Z and their slopes with respect to log T2 and w. F+ moves up one order per echo spacing and F-
    # down: instead of moving them, their origin moves.
    fp, fm, z = state[0], state[1], state[2]
    tp, tm, tz = state[3], state[4], state[5]
    wp, wm, wz = state[6], state[7], state[8]
    r = echo_spacing / t2
    e1 = np.exp(-echo_spacing / t1)
    e2 = np.exp(-r)
    half = np.exp(-0.5 * r)
    g = 4.0 * w * (1.0 - w)
    dg = 4.0 - 8.0 * w
    c = 2.0 * w - 1.0
    fp[m] = half
    tp[m] = 0.5 * r * half
    for k in range(m):
        origin = m - k
        # Orders that cannot come back to an echo before the train ends are left alone.
        for j in range(min(k, m - 1 - k) + 1):
            up, down = origin + j, k + j
            a, b, s = fp[up], fm[down], z[j]
            d = a - b
            h = w * d + g * s
            fp[up] = e2 * (b + h)
            fm[down] = e2 * (a - h)
            z[j] = e1 * (c * s - 0.5 * d)
            ta, tb, ts = tp[up], tm[down], tz[j]
            td = ta - tb
            th = w * td + g * ts
            tp[up] = e2 * (tb + th) + r * fp[up]
            tm[down] = e2 * (ta - th) + r * fm[down]
            tz[j] = e1 * (c * ts - 0.5 * td)
            wa, wb, ws = wp[up], wm[down], wz[j]
            wd = wa - wb
            wh = d + w * wd + dg * s + g * ws
            wp[up] = e2 * (wb + wh)
            wm[down] = e2 * (wa - wh)
            wz[j] = e1 * (2.0 * s + c * ws - 0.5 * wd)
        echo[k] = fm[k] / half
        slope_t2[k] = tm[k] / half - 0.5 * r * echo[k]
        slope_w[k] = wm[k] / half
        fp[origin - 1], tp[origin - 1], wp[origin - 1] = fm[k], tm[k], wm[k]


@kernel
def predict_trains(w, t1, t2, echo_spacing, m, out):
    """Echo amplitudes (v, m) of v trains; w, t1, t2 : (v,) arrays."""
    state = np.empty((9, 2 * m + 2))
    slope_t2 = np.empty(m)
    slope_w = np.empty(m)
    for v in range(w.size):
        trace_echoes(w[v], echo_spacing, t1[v], t2[v], state, out[v], slope_t2, slope_w)


@kernel
def trace_slice(w, excitation, rate_w, rate_excitation, echo_spacing, t1, t2, state, echo, slope_t2, slope_x):
    """Echo amplitudes summed over positions, with their slopes with respect to log T2 and a coordinate x.

    w, excitation : (s,) arrays, cos^2 of half the refocusing angle and the weighted excitation at each position
    rate_w, rate_excitation : (s,) arrays, their slopes with respect to x
    state : (9, 2 m + 2, s) scratch; echo, slope_t2, slope_x : (m,) arrays, written
    """
    m = echo.size
    r = echo_spacing / t2
    e1 = np.exp(-echo_spacing / t1)
    e2 = np.exp(-r)
    half = np.exp(-0.5 * r)
    state[:] = 0.0
    state[0, m] = half
    state[3, m] = 0.5 * r * half
    for k in range(m):
        origin = m - k
        for j in range(min(k, m - 1 - k) + 1):
            fp, fm, z = state[0, origin + j], state[1, k + j], state[2, j]
            tp, tm, tz = state[3, origin + j], state[4, k + j], state[5, j]
            wp, wm, wz = state[6, origin + j], state[7, k + j], state[8, j]
            for i in range(w.size):
                v = w[i]
                g = 4.0 * v * (1.0 - v)
                dg = 4.0 - 8.0 * v
                c = 2.0 * v - 1.0
                a, b, s = fp[i], fm[i], z[i]
                d = a - b
                h = v * d + g * s
                up, down = e2 * (b + h), e2 * (a - h)
                ta, tb, ts = tp[i], tm[i], tz[i]
                td = ta - tb
                th = v * td + g * ts
                wa, wb, ws = wp[i], wm[i], wz[i]
                wd = wa - wb
                wh = d + v * wd + dg * s + g * ws
                fp[i] = up
                fm[i] = down
                z[i] = e1 * (c * s - 0.5 * d)
                tp[i] = e2 * (tb + th) + r * up
                tm[i] = e2 * (ta - th) + r * down
                tz[i] = e1 * (c * ts - 0.5 * td)
                wp[i] = e2 * (wb + wh)
                wm[i] = e2 * (wa - wh)
                wz[i] = e1 * (2.0 * s + c * ws - 0.5 * wd)
        total = 0.0
        total_t2 = 0.0
        total_x = 0.0
        for i in range(w.size):
            fm, tm, wm = state[1, k, i], state[4, k, i], state[7, k, i]
            total += excitation[i] * fm
            total_t2 += excitation[i] * tm
            total_x += excitation[i] * rate_w[i] * wm + rate_excitation[i] * fm
            state[0, origin - 1, i], state[3, origin - 1, i], state[6, origin - 1, i] = fm, tm, wm
        echo[k] = total / half
        slope_t2[k] = total_t2 / half - 0.5 * r * echo[k]
        slope_x[k] = total_x / half


@kernel
def read_profile(constants, b1, local):
    """Evaluate a slice profile at one B1; `local` (4, s), written: w, excitation, and their slopes in B1.

    constants : [s, terms, lowest, highest, series of w (s, terms), series of the excitation (s, terms)], flat; see
        `slice_profile.SliceProfile`
    """
    positions, terms = int(constants[0]), int(constants[1])
    stretch = 2.0 / (constants[3] - constants[2])
    x = (b1 - constants[2]) * stretch - 1.0
    for which in range(2):
        for i in range(positions):
            start = 4 + (which * positions + i) * terms
            # Clenshaw's recurrence, differentiated along.
            value, before, slope, slope_before = 0.0, 0.0, 0.0, 0.0
            for k in range(terms - 1, 0, -1):
                slope, slope_before = 2.0 * value + 2.0 * x * slope - slope_before, slope
                value, before = constants[start + k] + 2.0 * x * value - before, value
            local[which, i] = constants[start] + x * value - before
            local[2 + which, i] = (value + x * slope - slope_before) * stretch


@kernel
def predict_slices(b1, t1, t2, echo_spacing, m, constants, out):
    """Echo amplitudes (v, m) of v trains through a slice profile; b1, t1, t2 : (v,) arrays."""
    positions = int(constants[0])
    local = np.empty((4, positions))
    state = np.empty((9, 2 * m + 2, positions))
    slopes = np.empty((2, m))
    for v in range(b1.size):
        read_profile(constants, b1[v], local)
        trace_slice(
            local[0], local[1], local[2], local[3], echo_spacing, t1[v], t2[v], state, out[v], slopes[0], slopes[1]
        )
