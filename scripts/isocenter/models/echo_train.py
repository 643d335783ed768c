"""Echo amplitudes of a Carr-Purcell-Meiboom-Gill train by extended phase graphs, with their slopes.

Only odd dephasing orders meet a refocusing pulse, and with the CPMG phase all of them stay real: three real numbers
per order. With w = cos^2(angle/2) and the longitudinal states divided by sin(angle), every step is a polynomial in
w, so the slope with respect to w is regular even at 180 degrees (w = 0), where the slope with respect to the angle
vanishes and a fit in the angle would be singular.

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
