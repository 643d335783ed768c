"""From a start to the optimum of a `phasor`: Newton's method on the sum of squares that the amplitudes leave.

All derivatives are exact: of a basis function they are its exponents times itself. A real or imaginary part that is
left out counts as one more amplitude, which makes that part fit.
"""

from typing import Any, NamedTuple

import numpy as np

from isocenter.fitting.algebra import invert
from isocenter.models.compiled import vector_kernel

_MOST_STEPS = 40
#: No step turns or dims a sample by more than this [rad].
_LONGEST = 1.0
#: A way is given up where so many times what the next step gains is not enough.
_FARTHER = 4.0
#: The share of the signal's sum of squares below which there are rounding errors only.
_NOTHING = 1e-27


class View(NamedTuple):
    """What is seen at one theta: complex basis (2, n), amplitudes (2,), residual (n,), all of it written by `look`.

    gram : (4,) real, |b_0|^2, |b_1|^2, real and imaginary b_0'b_1
    along : (2, p) complex, b'(df/dtheta); square : (p, p), products of df/dtheta
    gradient : (p,), minus that of half the sum of squares; bend, plain : (p, p), its second derivatives, and the part
    of them that is never negative
    mixed : (2, p) complex, second derivatives by amplitudes and theta
    """

    basis: Any
    amplitudes: Any
    residual: Any
    gram: Any
    along: Any
    square: Any
    gradient: Any
    bend: Any
    plain: Any
    mixed: Any


@vector_kernel
def make_view(p, n):
    """An empty view."""
    return View(
        np.zeros((2, n), np.complex128), np.zeros(2, np.complex128), np.zeros(n, np.complex128), np.zeros(4),
        np.zeros((2, p), np.complex128), np.zeros((p, p)), np.zeros(p), np.zeros((p, p)), np.zeros((p, p)),
        np.zeros((2, p), np.complex128),
    )  # fmt: skip


@vector_kernel
def square_of(z):
    """|z|^2."""
    return z.real * z.real + z.imag * z.imag


@vector_kernel
def look(phasor, y, theta, left_out, view):
    """Fill the view at theta (p,) of samples y (n,) complex; the sum of squares, infinite when singular.

    left_out : the part that is left out: i its real, n + i its imaginary one; -1 for none
    """
    exponents, fixed = phasor.exponents, phasor.fixed
    p, n = exponents.shape
    basis, along = view.basis, view.along
    a, d, h = 0.0, 0.0, 0j
    right0, right1 = 0j, 0j
    for i in range(n):
        real, imaginary = 0.0, 0.0
        for j in range(p):
            real += theta[j] * exponents[j, i].real
            imaginary += theta[j] * exponents[j, i].imag
        size = np.exp(real)
        e = complex(size * np.cos(imaginary), size * np.sin(imaginary))
        b0 = fixed[0, i] * e
        b1 = fixed[1, i] * e
        basis[0, i] = b0
        basis[1, i] = b1
        a += square_of(b0)
        d += square_of(b1)
        h += b0.conjugate() * b1
        right0 += b0.conjugate() * y[i]
        right1 += b1.conjugate() * y[i]
    det = a * d - square_of(h)
    if not det > 1e-14 * a * d:
        return np.inf
    per = 1.0 / det
    c0 = (d * right0 - h * right1) * per
    c1 = (a * right1 - h.conjugate() * right0) * per
    odd, change, free = -1, 0j, 1.0
    is_imaginary = left_out >= n
    if left_out >= 0:
        odd = left_out - n if is_imaginary else left_out
        b0, b1 = basis[0, odd], basis[1, odd]
        free = 1.0 - (d * square_of(b0) + a * square_of(b1) - 2.0 * (h * b0 * b1.conjugate()).real) * per
        if not free > 1e-9:
            return np.inf
        off = y[odd] - c0 * b0 - c1 * b1
        change = complex(0.0, -off.imag / free) if is_imaginary else complex(-off.real / free, 0.0)
        right0 += b0.conjugate() * change
        right1 += b1.conjugate() * change
        c0 = (d * right0 - h * right1) * per
        c1 = (a * right1 - h.conjugate() * right0) * per
    view.amplitudes[0] = c0
    view.amplitudes[1] = c1
    view.gram[0], view.gram[1], view.gram[2], view.gram[3] = a, d, h.real, h.imag
    for j in range(p):
        view.gradient[j] = 0.0
        along[0, j] = 0j
        along[1, j] = 0j
    cost = 0.0
    for i in range(n):
        f = c0 * basis[0, i] + c1 * basis[1, i]
        r = y[i] - f
        if i == odd:
            r += change
        view.residual[i] = r
    for i in range(n):
        cost += square_of(view.residual[i])
    for j in range(p):
        x0, x1, m0, m1 = 0j, 0j, 0j, 0j
        g = 0.0
        for m in range(j + 1):
            view.square[j, m] = 0.0
            view.bend[j, m] = 0.0
        for i in range(n):
            b0, b1, r = basis[0, i], basis[1, i], view.residual[i]
            f = c0 * b0 + c1 * b1
            k = exponents[j, i]
            turned = k * f
            back = k.conjugate() * r
            g += turned.real * r.real + turned.imag * r.imag
            x0 += b0.conjugate() * turned
            x1 += b1.conjugate() * turned
            m0 += b0.conjugate() * back
            m1 += b1.conjugate() * back
            for m in range(j + 1):
                other = exponents[m, i] * f
                view.square[j, m] += turned.real * other.real + turned.imag * other.imag
                view.bend[j, m] += other.real * back.real + other.imag * back.imag
        view.gradient[j] = g
        along[0, j] = x0
        along[1, j] = x1
        view.mixed[0, j] = x0 - m0
        view.mixed[1, j] = x1 - m1
    # The amplitudes follow theta: what they take up of the curvature.
    for j in range(p):
        for m in range(j + 1):
            view.plain[j, m] = view.square[j, m] - _taken(along, j, m, a, d, h) * per
            view.bend[j, m] = view.square[j, m] - view.bend[j, m] - _taken(view.mixed, j, m, a, d, h) * per
    if odd >= 0:
        # The part that is left out follows, too.
        f = c0 * basis[0, odd] + c1 * basis[1, odd]
        for j in range(p):
            for m in range(j + 1):
                view.plain[j, m] -= _lost(along, exponents, basis, odd, is_imaginary, f, j, m, a, d, h, per) / free
                view.bend[j, m] -= _lost(view.mixed, exponents, basis, odd, is_imaginary, f, j, m, a, d, h, per) / free
    for j in range(p):
        for m in range(j):
            view.square[m, j] = view.square[j, m]
            view.plain[m, j] = view.plain[j, m]
            view.bend[m, j] = view.bend[j, m]
    return cost


@vector_kernel
def _taken(table, j, m, a, d, h):
    """Real part of t_j' adj(G) t_m for the Gram matrix G = [[a, h], [h', d]]."""
    t0 = d * table[0, m] - h * table[1, m]
    t1 = a * table[1, m] - h.conjugate() * table[0, m]
    return (table[0, j].conjugate() * t0).real + (table[1, j].conjugate() * t1).real


@vector_kernel
def _at(table, j, b0, b1, a, d, h):
    """The product b adj(G) t_j for a row b of the basis."""
    return b0 * (d * table[0, j] - h * table[1, j]) + b1 * (a * table[1, j] - h.conjugate() * table[0, j])


@vector_kernel
def _lost(table, exponents, basis, odd, is_imaginary, f, j, m, a, d, h, per):
    """What sample `odd` with fitted value f has in an entry of the matrix, in the part that is left out."""
    left = exponents[j, odd] * f - _at(table, j, basis[0, odd], basis[1, odd], a, d, h) * per
    right = exponents[m, odd] * f - _at(table, m, basis[0, odd], basis[1, odd], a, d, h) * per
    return left.imag * right.imag if is_imaginary else left.real * right.real


@vector_kernel
def descend(phasor, y, theta, left_out, total, tolerance, limit, view, room):
    """Move theta (p,) to the optimum: the sum of squares there, and whether it was reached inside of the bounds.

    total : the signal's sum of squares. The last step is not looked at any more when it lowers the sum of squares by
    less than its fraction `tolerance`: Newton's method squares the distance.
    limit : a way that will hardly come below is given up: an infinite sum of squares
    room : (3, p + p * p) of scratch
    """
    p = theta.size
    step, last = room[0, :p], room[1, :p]
    inverse = room[0, p:].reshape(p, p)
    best = np.inf
    for j in range(p):
        last[j] = theta[j]
    for _ in range(_MOST_STEPS):
        cost = look(phasor, y, theta, left_out, view)
        if not cost <= best * (1.0 + 1e-12) + _NOTHING * total:
            if not best < np.inf:
                return np.inf, False
            # Too far: a quarter of the way.
            for j in range(p):
                theta[j] = last[j] + 0.25 * (theta[j] - last[j])
            continue
        best = cost
        is_bowl = invert(view.bend, inverse)
        if not is_bowl and not invert(view.plain, inverse):
            return best, False
        gain, size = 0.0, 0.0
        for j in range(p):
            along = 0.0
            for m in range(p):
                along += inverse[j, m] * view.gradient[m]
            step[j] = along
            gain += step[j] * view.gradient[j]
            size += abs(step[j]) * phasor.reach[j]
        if is_bowl and cost - _FARTHER * gain > limit:
            return np.inf, True
        short = min(1.0, _LONGEST / size) if size > 0.0 else 1.0
        for j in range(p):
            last[j] = theta[j]
            theta[j] += short * step[j]
            if not phasor.lower[j] < theta[j] < phasor.upper[j]:
                return best, False
        if gain <= tolerance * best + _NOTHING * total:
            return max(best - gain, 0.0), True
    return best, False
