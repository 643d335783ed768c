"""Standard errors that hold both sides: what every value of one coordinate of a plane makes likely, added up.

Two optima may lie side by side and differ by less than the noise, as those of an echo train do on both sides of
180 degrees; the curvature of the better one does not know of the other. So the second coordinate, the side, is held at
a row of nodes, the best fit on each is sought along the first one (`sides`), and the nodes are weighed by their
likelihood and by Jeffreys' prior: a step from node to node counts by how far it moves the signal. Such intervals
cover, in repeated measurements, to a higher order than those of other priors (Welch and Peers 1963,
doi 10.1111/j.2517-6161.1963.tb00512.x). The standard error of a parameter is half the width of the interval about its
estimate that holds 95 % of that, over the 97.5 % point of Student's t. Where an optimum is narrower than the nodes are
apart, so is the other one, and each counts by its height and its own curvature.
"""

import numpy as np

from isocenter.fitting.climb import climb, collect_cell, differentiate
from isocenter.fitting.sides import ARC, BEND, GAIN, HEIGHT, LEVEL, PLACE, SLOPE, TILT, make_scratch, scan_sides
from isocenter.models.compiled import inlined_kernel, lean_vector_kernel, vector_kernel

#: An optimum whose standard error is below the first many steps is narrow, above the second every other node will do:
#: a normal distribution is summed to 0.2 % by nodes that are 1.7 standard deviations apart.
_NARROW, _WIDE = 0.6, 1.5
#: Differences of chi squared beyond which nothing is left to count.
_HOPELESS, _MOST = 20.0, 200.0
#: What a node's share is spread over, in steps: the standard deviation of a uniform distribution.
_SPREAD = 0.29
_SHARE, _NORMAL = 0.95, 1.959963984540054
#: By how much that share grows with the half width, for a standard deviation of 1.
_DENSITY = 0.11689
#: A step, in standard deviations, and the share missing before it: the next of the secant method is far shorter.
_SETTLED, _CLOSE, _MOST_TURNS = 1e-2, 1e-3, 30
#: Another optimum is better when it explains more by this share of what is left, and of all: the tables are not finer.
_LESS, _FINE = 1e-3, 2e-8
#: So many times what a parabola adds to the height of a node, since it may add too little.
_GENEROUS = 1.5
#: A top within so many steps is the optimum's own.
_OWN = 1.01


@vector_kernel
def make_notes(sides):
    """Scratch of `widen`."""
    even, odd = sides.even.directions.shape[3], sides.odd.directions.shape[3]
    scratch = make_scratch(even), make_scratch(odd)
    found = np.empty((8, even)), np.empty((8, odd))
    return found, scratch, np.empty(36), np.empty((10, even + odd + 16)), np.empty(2)


@lean_vector_kernel
def look_around(sides, y, theta, notes):
    """Note the best fits to y (m,), samples padded with zeros, on every other node of the side, from an optimum."""
    found, scratch, _, _, _ = notes
    scan_sides(sides.even, y, (theta[0] - sides.lower) / sides.width, found[0], scratch[0])


@lean_vector_kernel
def climb_higher(sides, direction, y, explained, rest, theta, notes):
    """Move theta (2,) from the optimum that `look_around` began from to one that explains more; whether there is one.

    explained, rest : what that one explains of the sum of squares, and what it leaves
    """
    found, _, sums, _, place = notes
    height, last = found[0][HEIGHT], sides.even.at.size - 1
    least = explained + _LESS * rest + _FINE * (explained + rest)
    best = -1
    for k in range(1, last):
        below, h, above = height[k - 1], height[k], height[k + 1]
        if h > below and h >= above and abs(sides.even.at[k] - theta[1]) > _OWN * sides.step:
            # By the parabola through three nodes.
            top = h + _GENEROUS * 0.125 * (above - below) ** 2 / (2.0 * h - below - above)
            if top * top > least:
                best, least = k, top * top
    if best < 0:
        return False
    lower, half = sides.even.at[0], 0.5 * (sides.even.at[last] - sides.even.at[0]) / direction.shape[1]
    place[0], place[1] = 2.0 * found[0][PLACE, best], (sides.even.at[best] - lower) / half
    _, is_reached = climb(direction, y, -1, 1.0, place, sums)
    theta[0], theta[1] = sides.lower + 0.5 * sides.width * place[0], lower + half * place[1]
    return is_reached


@lean_vector_kernel
def widen(sides, direction, y, mean, count, theta, amplitudes, variance, freedom, covariance, notes):
    """Put the variances that hold both sides on the diagonal of the covariance (2 + q, 2 + q) of an optimum.

    y : (m,) samples padded with zeros, of which theta (2,) and amplitudes (q,) are the least-squares optimum, from
        which `look_around` has noted the best fits
    mean, count : of the samples
    variance : of one of them; freedom : of the variance, infinite where it is known
    """
    found, scratch, _, parts, _ = notes
    x = (theta[0] - sides.lower) / sides.width
    width = np.sqrt(covariance[1, 1]) / sides.step
    if width < _NARROW:
        kept = _note_optima(sides, direction, y, mean, theta, amplitudes, variance, freedom, covariance, notes)
        if kept < 2:
            return
    else:
        top = _find_top(found[0][HEIGHT])
        if width < _WIDE:
            scan_sides(sides.odd, y, x, found[1], scratch[1])
            top = max(top, _find_top(found[1][HEIGHT]))
        noise = variance, freedom, mean, count
        kept = _note_nodes(sides, sides.even, found[0], top, noise, theta, amplitudes, parts, 0)
        if width < _WIDE:
            kept = _note_nodes(sides, sides.odd, found[1], top, noise, theta, amplitudes, parts, kept)
        else:
            for k in range(kept):
                parts[6, k] *= 2.0
    while kept % 16:
        # What weighs nothing fills up the last sixteen: loops over sixteen at a time have no rest.
        for row in range(9):
            parts[row, kept] = 0.0 if row < 5 else 1e-9
        kept += 1
    # Intervals are Student's: normal distributions as wide as his stand for them.
    student = _student(freedom)
    for j in range(2 + amplitudes.size):
        own = np.sqrt(covariance[j, j])
        wide = _reach(parts[0], parts[1 + j], parts[5 + j], kept, student) / student
        if not 0.0 < wide < np.inf:
            continue
        for i in range(2 + amplitudes.size):
            # Correlations stay.
            covariance[i, j] *= wide / own
            covariance[j, i] *= wide / own


@lean_vector_kernel
def _find_top(height):
    top = 0.0
    for k in range(height.size):
        top = max(top, height[k])
    return top


@lean_vector_kernel
def _note_nodes(sides, nodes, found, top, noise, theta, amplitudes, parts, kept):
    """Add weight, distances and spreads of nodes that are likely enough to those kept; returns their number."""
    variance, freedom, mean, n = noise
    first = kept
    for k in range(nodes.at.size):
        parts[9, first + k] = min((top - found[HEIGHT, k]) * (top + found[HEIGHT, k]) / variance, _MOST)
    _weigh(parts[9], first, nodes.at.size, freedom, parts[0], parts[5])
    for k in range(nodes.at.size):
        h = found[HEIGHT, k]
        weight = parts[0, first + k] * max(found[ARC, k], 0.0) * nodes.share[k]
        chi = parts[9, first + k]
        if not (chi < _HOPELESS and h > 0.0):
            continue
        own = np.sqrt(variance * (1.0 + chi / freedom)) / (h * found[SLOPE, k])
        gain = found[GAIN, k]
        parts[0, kept] = weight
        parts[1, kept] = abs(sides.lower + sides.width * found[PLACE, k] - theta[0])
        parts[5, kept] = own
        parts[2, kept], parts[6, kept] = abs(nodes.at[k] - theta[1]), _SPREAD * sides.step
        own *= h / sides.width
        parts[3, kept] = abs(h * gain - amplitudes[0])
        parts[7, kept] = np.sqrt(variance * gain**2 + (found[BEND, k] * own) ** 2)
        if amplitudes.size == 2:
            level = found[LEVEL, k]
            parts[4, kept] = abs(mean - h * level - amplitudes[1])
            parts[8, kept] = np.sqrt(variance * (1.0 / n + level**2) + (found[TILT, k] * own) ** 2)
        kept += 1
    return kept


@lean_vector_kernel
def _weigh(chi, first, count, freedom, weight, base):
    """Write likelihoods at differences of chi squared, whatever the variance is: Student's (1 + chi / f)^(-f / 2).

    base : as long, scratch
    """
    if freedom == np.inf:
        for k in range(first, first + count):
            weight[k] = np.exp(-0.5 * chi[k])
        return
    for k in range(first, first + count):
        base[k] = np.sqrt(1.0 / max(1.0 + chi[k] / freedom, 0.5))
        weight[k] = 1.0
    # By squaring: no logarithm of each.
    left = int(freedom)
    while left > 0:
        if left % 2:
            for k in range(first, first + count):
                weight[k] *= base[k]
        for k in range(first, first + count):
            base[k] *= base[k]
        left //= 2


@lean_vector_kernel
def _note_optima(sides, direction, y, mean, theta, amplitudes, variance, freedom, covariance, notes):
    """As `_note_nodes`, of the optimum that was found and of those on other sides, each by its own curvature."""
    found, _, sums, parts, place = notes
    nodes, found = sides.even, found[0]
    q, last = amplitudes.size, nodes.at.size - 1
    step = 2.0 * sides.step
    half = 0.5 * sides.width, 0.5 * (nodes.at[last] - nodes.at[0]) / direction.shape[1]
    kept, own = 1, -1.0
    parts[0, 0] = 1.0
    for j in range(2 + q):
        parts[1 + j, 0], parts[5 + j, 0] = 0.0, np.sqrt(covariance[j, j])
    for k in range(1, last):
        below, h, above = found[HEIGHT, k - 1], found[HEIGHT, k], found[HEIGHT, k + 1]
        if not (h > below and h >= above) or abs(nodes.at[k] - theta[1]) <= step:
            continue
        if own < 0.0:
            place[0], place[1] = (theta[0] - sides.lower) / half[0], (theta[1] - nodes.at[0]) / half[1]
            own, _, _, _ = _look(direction, y, place, sums)
        # By the parabola through three nodes, whose error is a small share of what it adds.
        top = h + 0.125 * (above - below) ** 2 / (2.0 * h - below - above)
        if not (own - top) * (own + top) - 0.2 * (top - h) * (top + h) < _HOPELESS * variance:
            continue
        place[0], place[1] = 2.0 * found[PLACE, k], (nodes.at[k] - nodes.at[0]) / half[1]
        _, is_reached = climb(direction, y, -1, 1.0, place, sums)
        h, hss, htt, det = _look(direction, y, place, sums)
        side = nodes.at[0] + half[1] * place[1]
        if not (is_reached and det > 0.0) or abs(side - theta[1]) < sides.step:
            continue
        parts[9, kept] = (own - h) * (own + h) / variance
        _weigh(parts[9], kept, 1, freedom, parts[0], parts[5])
        parts[1, kept] = abs(sides.lower + half[0] * place[0] - theta[0])
        parts[5, kept] = half[0] * np.sqrt(variance * abs(htt) / (h * det))
        parts[2, kept], parts[6, kept] = abs(side - theta[1]), half[1] * np.sqrt(variance * abs(hss) / (h * det))
        # Between this node and the next towards the optimum.
        other = k + 1 if side > nodes.at[k] else k - 1
        share = abs(side - nodes.at[k]) / step
        parts[3, kept] = abs(h * (found[GAIN, k] + share * (found[GAIN, other] - found[GAIN, k])) - amplitudes[0])
        if q == 2:
            level = found[LEVEL, k] + share * (found[LEVEL, other] - found[LEVEL, k])
            parts[4, kept] = abs(mean - h * level - amplitudes[1])
        for j in range(2, 2 + q):
            parts[5 + j, kept] = parts[5 + j, 0]
        kept += 1
    return kept


@lean_vector_kernel
def _look(direction, y, place, sums):
    """The height at a place in halves of cells, its second derivatives and their determinant."""
    i = min(int(0.5 * place[0]), direction.shape[0] - 1)
    j = min(int(0.5 * place[1]), direction.shape[1] - 1)
    collect_cell(direction[i, j], y, sums)
    h, _, _, hss, hst, htt = differentiate(sums, place[0] - 2.0 * i - 1.0, place[1] - 2.0 * j - 1.0)
    return abs(h), hss, htt, hss * htt - hst * hst


@lean_vector_kernel
def _student(freedom):
    """The 97.5 % point of Student's t to 0.1 % from 4 degrees of freedom on (Abramowitz and Stegun 1964, 26.7.5)."""
    z, a = _NORMAL, 1.0 / freedom
    third = 3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z
    return z + a * ((z**3 + z) / 4.0 + a * ((5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0 + a * third / 384.0))


@lean_vector_kernel
def _reach(weight, distance, spread, count, student):
    """Half the width of the interval about 0 that holds 95 % of distributions (count,) of Student's width.

    count : a multiple of 16; the spreads are overwritten
    """
    total, square, high = 0.0, 0.0, 0.0
    for i in range(count):
        wide = spread[i] * (student / _NORMAL)
        total += weight[i]
        square += weight[i] * (distance[i] ** 2 + wide**2)
        high = max(high, distance[i] + _NORMAL * wide)
    for i in range(count):
        spread[i] = 0.7071067811865476 / (spread[i] * (student / _NORMAL))
    # The secant method, from what one normal distribution as wide as all of them would ask; halves where it fails.
    low, wide = 0.0, np.sqrt(square / total)
    slope, last, before = _DENSITY / wide, 0.0, 0.0
    middle = min(_NORMAL * wide, high)
    for turn in range(_MOST_TURNS):
        inside = _measure(weight, distance, spread, count, middle) / total - _SHARE
        if turn > 0 and (inside - before) * (middle - last) > 0.0:
            slope = (inside - before) / (middle - last)
        if inside > 0.0:
            high = middle
        else:
            low = middle
        last, before = middle, inside
        middle -= inside / slope
        if abs(middle - last) < _SETTLED * wide and abs(inside) < _CLOSE:
            return min(max(middle, low), high)
        if not low < middle < high:
            middle = 0.5 * (low + high)
    return middle


@inlined_kernel
def _measure(weight, distance, scale, count, reach):
    """What normal distributions (count,) hold between -reach and reach, by weight; scale : of `_error_function`."""
    held = 0.0
    for first in range(0, count, 16):
        for i in range(16):
            k = first + i
            near, far = (reach - distance[k]) * scale[k], (reach + distance[k]) * scale[k]
            held += weight[k] * (_error_function(near) + _error_function(far))
    return 0.5 * held


@inlined_kernel
def _error_function(x):
    """To 3e-7, without exponentials (Abramowitz and Stegun 1964, 7.1.28)."""
    z = abs(x)
    p = 0.0002765672 + 0.0000430638 * z
    p = 0.0092705272 + 0.0001520143 * z + z * z * p
    p = 1.0 + z * (0.0705230784 + z * (0.0422820123 + z * p))
    p *= p
    p *= p
    p *= p
    p *= p
    return np.copysign(1.0 - 1.0 / p, x)
