"""Kernels for models with one nonlinear coordinate, on a table of the basis: the bulk of all fits.

The sum of squares that a coordinate u explains is h(u)^2 with h = y.e(u) (see `table`), and inside a cell of the table
h is a polynomial of which Newton's method finds the top. Exponentials are computed for the table only.
"""

from isocenter.entities import Flag
from isocenter.models.compiled import lean_vector_kernel

_OK = int(Flag.OK)
_AT_BOUND = int(Flag.AT_BOUND)
_NOT_CONVERGED = int(Flag.NOT_CONVERGED)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
_NO_SIGNAL = int(Flag.NO_SIGNAL)

_MOST_STEPS = 40
_MOST_CELLS = 100
#: Newton has converged when it moves by less than this share of half a cell: the next step would be its square.
SETTLED = 1e-5
#: A polynomial is trusted a little beyond its cell, so that a top on the border is found in either.
BEYOND = 1.03
LEAST_SIGNIFICANCE = 3.0


@lean_vector_kernel
def collect(cell, y, sums):
    """Write the 8 coefficients of h in a cell (m, 8) for samples y (m,)."""
    for d in range(8):
        sums[d] = 0.0
    for i in range(0, y.size, 4):
        a, b, c, e = y[i], y[i + 1], y[i + 2], y[i + 3]
        for d in range(8):
            sums[d] += a * cell[i, d] + b * cell[i + 1, d] + c * cell[i + 2, d] + e * cell[i + 3, d]


@lean_vector_kernel
def ascend(direction, lower, width, y, u, sums):
    """From u to the next top of |h|: its coordinate, h there, and whether it was reached."""
    cells = direction.shape[0]
    x = (u - lower) / width
    c = min(max(int(x), 0), cells - 1)
    t = 2.0 * (x - c) - 1.0
    is_reached = False
    for _ in range(_MOST_CELLS):
        collect(direction[c], y, sums)
        for _ in range(_MOST_STEPS):
            h, h1, h2 = sums[7], 0.0, 0.0
            for d in range(6, -1, -1):
                h2 = h2 * t + 2.0 * h1
                h1 = h1 * t + h
                h = h * t + sums[d]
            if h < 0.0:
                h1, h2 = -h1, -h2
            if h2 < 0.0:
                step = min(max(-h1 / h2, -4.0), 4.0)
            elif h1 == 0.0:
                return lower + width * (c + 0.5 * (t + 1.0)), h, False
            else:
                step = 4.0 if h1 > 0.0 else -4.0
            t += step
            if abs(t) > BEYOND:
                break
            if abs(step) < SETTLED:
                is_reached = True
                break
        if abs(t) <= BEYOND:
            break
        # Into the next cell, at the side where it was entered; at the end of the table that is the answer.
        if t > 0.0:
            if c == cells - 1:
                is_reached = True
                break
            c += 1
            t = -1.0
        else:
            if c == 0:
                is_reached = True
                break
            c -= 1
            t = 1.0
    if c == cells - 1:
        t = min(t, 1.0)
    if c == 0:
        t = max(t, -1.0)
    h = sums[7]
    for d in range(6, -1, -1):
        h = h * t + sums[d]
    return lower + width * (c + 0.5 * (t + 1.0)), h, is_reached


@lean_vector_kernel
def scan(y, unit, heights):
    """Write h (k,) at every node, of samples y (m,) and directions (m, k)."""
    k = unit.shape[1]
    for s in range(k):
        heights[s] = 0.0
    for i in range(0, y.size, 4):
        a, b, c, e = y[i], y[i + 1], y[i + 2], y[i + 3]
        for s in range(k):
            heights[s] += a * unit[i, s] + b * unit[i + 1, s] + c * unit[i + 2, s] + e * unit[i + 3, s]


@lean_vector_kernel
def judge(flag, u, strength, is_converged, bounds, visible, is_hard):
    """The flag of a solution: significance first, then bounds before visibility before convergence."""
    if strength < LEAST_SIGNIFICANCE:
        return _NO_SIGNAL
    if flag != _OK:
        return flag
    if (u <= bounds[0] and is_hard[0]) or (u >= bounds[1] and is_hard[1]):
        return _AT_BOUND
    if u < visible[0] or u > visible[1]:
        return _OUT_OF_RANGE
    return _OK if is_converged else _NOT_CONVERGED
