"""The valleys of the sum of squares over the grid of a `phasor`, and the optimum that is the deepest.

Which valleys may still win is decided as in `levels`: none that refinement could bring below the best is left out.
"""

import numpy as np

from isocenter.fitting.levels import _COARSE, _HOPELESS, _MOST_CANDIDATES
from isocenter.fitting.phasor import GROUP
from isocenter.fitting.phasor_steps import descend, look, make_view, square_of
from isocenter.fitting.robust import estimate_scale
from isocenter.models.compiled import vector_kernel

#: Fraction of the sum of squares: to rank optima.
_ROUGH = 1e-4
#: The part that is left out may change so many times.
_MOST_SWAPS = 4


@vector_kernel
def profile(phasor, y, first, last, explained, weights, low, node):
    """Write for levels first...last - 1 the least sum of squares over that of y (L,) and its inner node (L,).

    Returns the sum of squares of y. Nodes are ranked in single precision.
    explained : (L,), weights : (1 + 2 differences, m) of scratch
    """
    n, inner = phasor.own.shape[0], phasor.inner.shape[0]
    differences = phasor.cosine.shape[0]
    total = 0.0
    for i in range(n):
        total += square_of(y[i])
    per = 1.0 / total if total > 0.0 else 0.0
    for k in range(weights.shape[0]):
        for s in range(weights.shape[1]):
            weights[k, s] = np.float32(0.0)
    for i in range(n):
        power = np.float32(square_of(y[i]) * per)
        for begin in range(0, weights.shape[1], GROUP):
            for s in range(GROUP):
                weights[0, begin + s] += power * phasor.own[i, begin + s]
    for m in range(phasor.first.size):
        z = y[phasor.first[m]].conjugate() * y[phasor.second[m]]
        k = 1 + phasor.group[m]
        a, b = np.float32(z.real * per), np.float32(z.imag * per)
        here, there = weights[k], weights[k + differences]
        real, imaginary = phasor.weight_real[m], phasor.weight_imaginary[m]
        for begin in range(0, here.size, GROUP):
            for s in range(begin, begin + GROUP):
                here[s] += a * real[s] - b * imaginary[s]
            for s in range(begin, begin + GROUP):
                there[s] += a * imaginary[s] + b * real[s]
    for s in range(first, last):
        low[s] = np.float32(-1.0)
        node[s] = np.int32(0)
    for r in range(inner):
        place = np.int32(r)
        for s in range(first, last):
            explained[s] = weights[0, r]
        # Three at a time (`build_phasor` fills up with zeros): fewer ways to memory and back.
        for k in range(0, differences, 3):
            a0, a1, a2 = weights[1 + k, r], weights[2 + k, r], weights[3 + k, r]
            b0, b1, b2 = (
                weights[1 + k + differences, r],
                weights[2 + k + differences, r],
                weights[3 + k + differences, r],
            )
            for s in range(first, last):
                explained[s] += (
                    a0 * phasor.cosine[k, s]
                    + b0 * phasor.sine[k, s]
                    + a1 * phasor.cosine[k + 1, s]
                    + b1 * phasor.sine[k + 1, s]
                    + a2 * phasor.cosine[k + 2, s]
                    + b2 * phasor.sine[k + 2, s]
                )
        for s in range(first, last):
            is_more = explained[s] > low[s]
            low[s] = explained[s] if is_more else low[s]
            node[s] = place if is_more else node[s]
    for s in range(first, last):
        low[s] = max(np.float32(1.0) - low[s], np.float32(0.0))
    return total


@vector_kernel
def profile_without_one(phasor, y, first, last, room, low, node):
    """As `profile`, without the real or imaginary part that fits the least at each node.

    Leaving a part out lowers the sum of squares by its squared residual over 1 - P_ii.
    room : (2 n + 6, L) of scratch
    """
    n, inner = phasor.own.shape[0], phasor.inner.shape[0]
    along0, along1, along2, along3 = room[2 * n], room[2 * n + 1], room[2 * n + 2], room[2 * n + 3]
    left, most = room[2 * n + 4], room[2 * n + 5]
    total = 0.0
    for i in range(n):
        total += square_of(y[i])
    per = 1.0 / np.sqrt(total) if total > 0.0 else 0.0
    for i in range(n):
        a, b = np.float32(y[i].real * per), np.float32(y[i].imag * per)
        for s in range(first, last):
            room[i, s] = a * phasor.turn_real[i, s] + b * phasor.turn_imaginary[i, s]
            room[n + i, s] = b * phasor.turn_real[i, s] - a * phasor.turn_imaginary[i, s]
    for s in range(first, last):
        low[s] = np.float32(np.inf)
        node[s] = np.int32(0)
    for r in range(inner):
        place = np.int32(r)
        for s in range(first, last):
            along0[s] = np.float32(0.0)
            along1[s] = np.float32(0.0)
            along2[s] = np.float32(0.0)
            along3[s] = np.float32(0.0)
            most[s] = np.float32(0.0)
        for i in range(n):
            a, b = phasor.unit[0, i, r].real, phasor.unit[0, i, r].imag
            c, d = phasor.unit[1, i, r].real, phasor.unit[1, i, r].imag
            for s in range(first, last):
                along0[s] += a * room[i, s] + b * room[n + i, s]
                along1[s] += a * room[n + i, s] - b * room[i, s]
                along2[s] += c * room[i, s] + d * room[n + i, s]
                along3[s] += c * room[n + i, s] - d * room[i, s]
        for s in range(first, last):
            explained = along0[s] * along0[s] + along1[s] * along1[s] + along2[s] * along2[s] + along3[s] * along3[s]
            left[s] = np.float32(1.0) - explained
        for i in range(n):
            a, b = phasor.unit[0, i, r].real, phasor.unit[0, i, r].imag
            c, d = phasor.unit[1, i, r].real, phasor.unit[1, i, r].imag
            free = np.float32(1.0 / max(1.0 - phasor.own[i, r], 1e-6))
            for s in range(first, last):
                x = room[i, s] - a * along0[s] + b * along1[s] - c * along2[s] + d * along3[s]
                z = room[n + i, s] - a * along1[s] - b * along0[s] - c * along3[s] - d * along2[s]
                real = x * phasor.turn_real[i, s] - z * phasor.turn_imaginary[i, s]
                imaginary = x * phasor.turn_imaginary[i, s] + z * phasor.turn_real[i, s]
                most[s] = max(most[s], max(real * real, imaginary * imaginary) * free)
        for s in range(first, last):
            x = max(left[s] - most[s], np.float32(0.0))
            is_less = x < low[s]
            low[s] = x if is_less else low[s]
            node[s] = place if is_less else node[s]
    return total


@vector_kernel
def find_valleys(low, total, first, last, valley, bottom):
    """How many valleys the profile (L,) has on levels first...last - 1.

    total : the sum of squares that the profile is over
    valley : (L + 1,), their levels, bottom : (L,), the lowest points of the parabolas through three levels; written
    """
    # First without branches: most levels are no valleys.
    valleys = 0
    for m in range(first, last):
        valley[valleys] = m
        valleys += (low[m] <= low[max(m - 1, first)]) & (low[m] <= low[min(m + 1, last - 1)])
    for k in range(valleys):
        m = valley[k]
        bottom[k] = total * low[m]
        if first < m < last - 1:
            left, middle, right = low[m - 1], low[m], low[m + 1]
            bend = left - 2.0 * middle + right
            if bend > 0.0:
                bottom[k] = total * max(middle - 0.125 * (left - right) ** 2 / bend, 0.0)
    return valleys


@vector_kernel
def start_phasor(phasor, signal, nodes, is_robust, theta, scale, is_settled):
    """The least-squares optimum of each voxel, or the best one that leaves a part out, and its robust scale.

    signal : (v, 2 n), real and then imaginary parts; nodes : (v, 2), the span of the grid's nodes to try
    theta : (v, p), scale : (v,), is_settled : (v,), written; a voxel that has not settled is left to the direct way
    """
    p, n = phasor.exponents.shape
    count, inner = phasor.levels.size, phasor.inner.shape[0]
    view = make_view(p, n)
    room = np.empty((3, p + p * p))
    y = np.empty(n, np.complex128)
    explained = np.empty(count, np.float32)
    weights = np.empty((1 + 2 * phasor.cosine.shape[0], phasor.own.shape[1]), np.float32)
    wide = np.empty((2 * n + 6, count), np.float32)
    low, bottom = np.empty(count, np.float32), np.empty(count)
    node, valley = np.zeros(count, np.int32), np.zeros(count + 1, np.int64)
    trial = np.empty(p)
    absolute = np.empty(2 * n)
    for v in range(signal.shape[0]):
        for i in range(n):
            y[i] = complex(signal[v, i], signal[v, n + i])
        first, last = nodes[v, 0] // inner, nodes[v, 1] // inner
        # From a first level that is known when this is compiled, loops run on vector registers.
        is_whole = first == 0
        if is_robust and is_whole:
            total = profile_without_one(phasor, y, 0, last, wide, low, node)
        elif is_robust:
            total = profile_without_one(phasor, y, first, last, wide, low, node)
        elif is_whole:
            total = profile(phasor, y, 0, last, explained, weights, low, node)
        else:
            total = profile(phasor, y, first, last, explained, weights, low, node)
        valleys = find_valleys(low, total, first, last, valley, bottom)
        coarse = _COARSE * total
        best, spared = np.inf, 0.0
        is_settled[v] = False
        for _ in range(min(_MOST_CANDIDATES, valleys)):
            k = 0
            for m in range(1, valleys):
                if bottom[m] < bottom[k]:
                    k = m
            hope, chosen = bottom[k], valley[k]
            bottom[k] = np.inf
            if not hope - coarse < _HOPELESS * (best + spared):
                break
            trial[0] = phasor.levels[chosen]
            for j in range(1, p):
                trial[j] = phasor.inner[node[chosen], j - 1]
            without = -1
            if is_robust and look(phasor, y, trial, -1, view) < np.inf:
                without = stand_off(phasor, y, view, -1)
            limit = np.inf if is_robust else best
            cost, done = descend(phasor, y, trial, without, total, _ROUGH, limit, view, room)
            if is_robust:
                for _ in range(_MOST_SWAPS):
                    worst = stand_off(phasor, y, view, without)
                    if worst == without or not cost < np.inf:
                        break
                    # Another part fits less: without that one the sum of squares is smaller.
                    without = worst
                    cost, done = descend(phasor, y, trial, without, total, _ROUGH, np.inf, view, room)
            if cost < best:
                spared = max(hope - cost, 0.0)
                best = cost
                is_settled[v] = done
                for j in range(p):
                    theta[v, j] = trial[j]
                if is_robust:
                    for i in range(n):
                        f = view.amplitudes[0] * view.basis[0, i] + view.amplitudes[1] * view.basis[1, i]
                        absolute[i] = abs(y[i].real - f.real)
                        absolute[n + i] = abs(y[i].imag - f.imag)
                    scale[v] = estimate_scale(absolute, 2 * n, p + 4)


@vector_kernel
def stand_off(phasor, y, view, without):
    """The part without which the fit that is seen would be the best."""
    n = y.size
    a, d = view.gram[0], view.gram[1]
    h = complex(view.gram[2], view.gram[3])
    per = 1.0 / (a * d - square_of(h))
    most, worst = -1.0, without
    for i in range(n):
        b0, b1 = view.basis[0, i], view.basis[1, i]
        off = y[i] - view.amplitudes[0] * b0 - view.amplitudes[1] * b1
        leverage = (d * square_of(b0) + a * square_of(b1) - 2.0 * (h * b0 * b1.conjugate()).real) * per
        for part in range(2):
            index = i + part * n
            r = off.imag if part else off.real
            # A part inside the fit has a residual too small by its leverage; that of the one outside is whole.
            gain = r * r * (1.0 - leverage) if index == without else r * r / max(1.0 - leverage, 1e-9)
            if gain > most:
                most, worst = gain, index
    return worst
