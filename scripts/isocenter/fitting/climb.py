"""From a point of a plane to the next maximum of the sum of squares explained, by Newton's method on polynomials."""

import numpy as np

from isocenter.fitting.series import read_series
from isocenter.models.compiled import lean_vector_kernel

_MOST_STEPS = 80
#: A step, in halves of a cell: the longest; and one after which Newton's method has arrived.
_LONGEST, _SETTLED = 2.0, 1e-5
#: A polynomial is trusted a little beyond its cell, so that a top on the border is found in either.
_BEYOND = 1.03
#: Cells differ by this share where they meet.
_SEAM = 2e-7


@lean_vector_kernel
def collect_cell(cell, y, sums):
    """Write the 36 coefficients of h in a cell (m, 36) for samples y (m,)."""
    for d in range(36):
        sums[d] = 0.0
    for i in range(0, y.size, 4):
        a, b, c, e = y[i], y[i + 1], y[i + 2], y[i + 3]
        for d in range(36):
            sums[d] += a * cell[i, d] + b * cell[i + 1, d] + c * cell[i + 2, d] + e * cell[i + 3, d]


@lean_vector_kernel
def differentiate(sums, s, t):
    """A polynomial with coefficients (36,) at (s, t): its value, both slopes and the three second derivatives."""
    return read_series(sums, 1, 0, s, t)


@lean_vector_kernel
def climb(direction, y, left_out, free, place, sums):
    """Move `place` (2,), in halves of a cell from the lower corner, to the next maximum of what it explains.

    y : (m,) samples without what the constant basis function explains of them; where a sample is left out (else -1),
    y is orthogonal to it too, and `free` is what the constant leaves of its square.
    Returns the explained sum of squares, and whether the maximum was reached.
    """
    far_s, far_t = 2.0 * direction.shape[0], 2.0 * direction.shape[1]
    x, z = place[0], place[1]
    i = min(int(0.5 * x), direction.shape[0] - 1)
    j = min(int(0.5 * z), direction.shape[1] - 1)
    collect_cell(direction[i, j], y, sums)
    best, slack = -1.0, 0.0
    step_s, step_t = 0.0, 0.0
    for _ in range(_MOST_STEPS):
        s, t = x - 2.0 * i - 1.0, z - 2.0 * j - 1.0
        h, hs, ht, hss, hst, htt = differentiate(sums, s, t)
        if left_out >= 0:
            # Without a sample the direction is shorter by its own part in it.
            e, es, et, ess, est, ett = differentiate(direction[i, j, left_out], s, t)
            d = 1.0 - e * e / free
            if not d > 1e-9:
                return -1.0, False
            k = e / free / d
            # Half the logarithmic derivatives of d, without the minus.
            ps, pt = k * es, k * et
            root = 1.0 / np.sqrt(d)
            pss = es * es / free / d + k * ess + 3.0 * ps * ps
            pst = es * et / free / d + k * est + 3.0 * ps * pt
            ptt = et * et / free / d + k * ett + 3.0 * pt * pt
            hss = root * (hss + 2.0 * hs * ps + h * pss)
            hst = root * (hst + hs * pt + ht * ps + h * pst)
            htt = root * (htt + 2.0 * ht * pt + h * ptt)
            hs = root * (hs + h * ps)
            ht = root * (ht + h * pt)
            h *= root
        if h < 0.0:
            h, hs, ht, hss, hst, htt = -h, -hs, -ht, -hss, -hst, -htt
        if h < best * (1.0 - slack):
            # Past the maximum: halfway back.
            step_s *= 0.5
            step_t *= 0.5
            if max(abs(step_s), abs(step_t)) < 1e-9:
                return best * best, True
            x -= step_s
            z -= step_t
        else:
            best = h
            place[0], place[1] = x, z
            # A coordinate on the edge that would go beyond stays: by the slope, or by the step that the slope leads to.
            is_fixed_s = (x <= 0.0 and hs <= 0.0) or (x >= far_s and hs >= 0.0)
            is_fixed_t = (z <= 0.0 and ht <= 0.0) or (z >= far_t and ht >= 0.0)
            for _ in range(3):
                step_s, step_t, is_curved = _step(hs, ht, hss, hst, htt, is_fixed_s, is_fixed_t)
                if not is_curved:
                    return best * best, False
                is_outward_s = (x <= 0.0 and step_s < 0.0) or (x >= far_s and step_s > 0.0)
                is_outward_t = (z <= 0.0 and step_t < 0.0) or (z >= far_t and step_t > 0.0)
                if not (is_outward_s or is_outward_t):
                    break
                is_fixed_s = is_fixed_s or is_outward_s
                is_fixed_t = is_fixed_t or is_outward_t
            # To the first edge on the way and no further: a step of which one part is cut off leads elsewhere.
            room_s = far_s - x if step_s > 0.0 else x
            room_t = far_t - z if step_t > 0.0 else z
            size_s, size_t = max(abs(step_s), 1e-300), max(abs(step_t), 1e-300)
            share = min(1.0, room_s / size_s, room_t / size_t, _LONGEST / size_s, _LONGEST / size_t)
            is_cut = share < 1.0
            if share * size_s >= room_s:
                x = far_s if step_s > 0.0 else 0.0
            else:
                x += share * step_s
            if share * size_t >= room_t:
                z = far_t if step_t > 0.0 else 0.0
            else:
                z += share * step_t
            step_s, step_t = x - place[0], z - place[1]
            if not is_cut and max(abs(step_s), abs(step_t)) < _SETTLED:
                best += 0.5 * (hs * step_s + ht * step_t)
                place[0], place[1] = x, z
                return best * best, True
        slack = 1e-14
        if abs(x - 2.0 * i - 1.0) > _BEYOND or abs(z - 2.0 * j - 1.0) > _BEYOND:
            i = min(int(0.5 * x), direction.shape[0] - 1)
            j = min(int(0.5 * z), direction.shape[1] - 1)
            collect_cell(direction[i, j], y, sums)
            slack = _SEAM
    return best * best, False


@lean_vector_kernel
def _step(hs, ht, hss, hst, htt, is_fixed_s, is_fixed_t):
    """Newton's step uphill, and whether there is one: not where nothing depends on the place."""
    a, b, d = -hss, -hst, -htt
    if is_fixed_s:
        hs, a, b = 0.0, 1.0, 0.0
    if is_fixed_t:
        ht, d, b = 0.0, 1.0, 0.0
    middle, spread = 0.5 * (a + d), np.sqrt(0.25 * (a - d) ** 2 + b * b)
    size = max(abs(middle), spread) * 2.0
    if not size > 0.0:
        return 0.0, 0.0, False
    if middle - spread < 1e-9 * size:
        # On a saddle or in a dip: away from it, by the absolute values of both curvatures.
        shift = abs(a * d - b * b) + 1e-6 * size * size
        a, b, d = (a * a + b * b + shift) / size, b * (a + d) / size, (d * d + b * b + shift) / size
    det = a * d - b * b
    return (d * hs - b * ht) / det, (a * ht - b * hs) / det, True
