"""The sums over samples that a step of `robust_finish` is made of, in lanes and over pairs of samples."""

from isocenter.fitting.lanes import LANES
from isocenter.fitting.robust import HUBER, TUKEY
from isocenter.models.compiled import lean_vector_kernel


@lean_vector_kernel
def weigh(r, kind):
    """The weight of a residual of r scales, the slope of its influence, and its loss: see `robust`."""
    if kind == 1:
        t = r * r * (1.0 / (TUKEY * TUKEY))
        left = 1.0 - t
        left = left if left > 0.0 else 0.0
        return left * left, left * (1.0 - 5.0 * t), (TUKEY * TUKEY / 6.0) * (1.0 - left * left * left)
    x = abs(r)
    is_inside = x <= HUBER
    weight = 1.0 if is_inside else HUBER / x
    return weight, 1.0 if is_inside else 0.0, 0.5 * x * x if is_inside else HUBER * x - 0.5 * HUBER * HUBER


@lean_vector_kernel
def look_at(y, f, f1, f2, constant, away, c, c_g, is_magnitude):
    """Of one sample: f at a distance from its expansion, its slope there, and the residual."""
    at = f + away * (f1 + 0.5 * away * f2)
    fitted = c * at + c_g * constant
    sample = y if (fitted >= 0.0) | (not is_magnitude) else -y
    return at, f1 + away * f2, sample - fitted


@lean_vector_kernel
def _add_pair(y, f, f1, f2, i, g_a, g_b, is_magnitude, kind, state, sums):
    """Add samples i and i + 1 of every lane to the sums: see `sum_up`; g_a and g_b are their constants."""
    for lane in range(LANES):
        x, c, c_g, inverse = state[lane], state[lane + LANES], state[lane + 2 * LANES], state[lane + 3 * LANES]
        d, e = f2[i, lane], f2[i + 1, lane]
        a, a1, r = look_at(y[i, lane], f[i, lane], f1[i, lane], d, g_a, x, c, c_g, is_magnitude)
        b, b1, s = look_at(y[i + 1, lane], f[i + 1, lane], f1[i + 1, lane], e, g_b, x, c, c_g, is_magnitude)
        r, s = r * inverse, s * inverse
        w, p, lost = weigh(r, kind)
        v, o, lost_too = weigh(s, kind)
        sums[lane] += lost + lost_too
        r, s = w * r, v * s
        sums[lane + LANES] += r * a + s * b
        sums[lane + 2 * LANES] += r * a1 + s * b1
        sums[lane + 3 * LANES] += r * d + s * e
        wa, vb, pa, ob = w * a, v * b, p * a, o * b
        sums[lane + 4 * LANES] += wa * a + vb * b
        sums[lane + 5 * LANES] += wa * a1 + vb * b1
        sums[lane + 6 * LANES] += w * a1 * a1 + v * b1 * b1
        sums[lane + 7 * LANES] += pa * a + ob * b
        sums[lane + 8 * LANES] += pa * a1 + ob * b1
        sums[lane + 9 * LANES] += p * a1 * a1 + o * b1 * b1


@lean_vector_kernel
def _add_pair_of_two(y, f, f1, f2, i, g_a, g_b, is_magnitude, kind, state, sums):
    """As `_add_pair`, of what the constant basis function g adds."""
    for lane in range(LANES):
        x, c, c_g, inverse = state[lane], state[lane + LANES], state[lane + 2 * LANES], state[lane + 3 * LANES]
        d, e = f2[i, lane], f2[i + 1, lane]
        a, a1, r = look_at(y[i, lane], f[i, lane], f1[i, lane], d, g_a, x, c, c_g, is_magnitude)
        b, b1, s = look_at(y[i + 1, lane], f[i + 1, lane], f1[i + 1, lane], e, g_b, x, c, c_g, is_magnitude)
        r, s = r * inverse, s * inverse
        w, p, _ = weigh(r, kind)
        v, o, _ = weigh(s, kind)
        w, v, p, o = w * g_a, v * g_b, p * g_a, o * g_b
        sums[lane + 10 * LANES] += w * r + v * s
        sums[lane + 11 * LANES] += w * a + v * b
        sums[lane + 12 * LANES] += w * a1 + v * b1
        sums[lane + 13 * LANES] += w * g_a + v * g_b
        sums[lane + 14 * LANES] += p * a + o * b
        sums[lane + 15 * LANES] += p * a1 + o * b1
        sums[lane + 16 * LANES] += p * g_a + o * g_b


@lean_vector_kernel
def sum_up(y, f, f1, f2, g, has_constant, is_magnitude, kind, state, sums):
    """Write the loss and the sums over samples that a step is made of, sums (17 * LANES,).

    state : (4 * LANES,), the way from the expansion, both amplitudes and one over the scale
    One flat array each, and two samples at a time: reading and writing the sums costs as much as what is added, and the
    compiler makes vectors of it only where it sees that no two arrays overlap.
    """
    for k in range(17 * LANES):
        sums[k] = 0.0
    for i in range(0, y.shape[0], 2):
        _add_pair(y, f, f1, f2, i, g[i], g[i + 1], is_magnitude, kind, state, sums)
        if has_constant:
            _add_pair_of_two(y, f, f1, f2, i, g[i], g[i + 1], is_magnitude, kind, state, sums)
