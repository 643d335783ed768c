"""Small dense algebra inside kernels: at most seven unknowns, no library call per voxel."""

import numpy as np

from isocenter.models.compiled import lean_vector_kernel, vector_kernel


@vector_kernel
def invert(matrix, inverse):
    """Write the inverse of a symmetric positive definite (m, m) matrix; False when it is numerically singular.

    The matrix is scaled to a unit diagonal first, so parameters of any unit are treated alike.
    """
    m = matrix.shape[0]
    if m == 1:
        if not matrix[0, 0] > 0.0:
            return False
        inverse[0, 0] = 1.0 / matrix[0, 0]
        return True
    if m == 2:
        a, b, d = matrix[0, 0], matrix[0, 1], matrix[1, 1]
        det = a * d - b * b
        if not (a > 0.0 and d > 0.0 and det > 1e-14 * a * d):
            return False
        inverse[0, 0], inverse[1, 1] = d / det, a / det
        inverse[0, 1] = inverse[1, 0] = -b / det
        return True
    if m == 3:
        return _invert_three(matrix, inverse)
    scale = np.empty(m)
    for i in range(m):
        if not matrix[i, i] > 0.0:
            return False
        scale[i] = 1.0 / np.sqrt(matrix[i, i])
    # Cholesky factor of the scaled matrix, then the inverse of the factor.
    factor = np.zeros((m, m))
    for i in range(m):
        for j in range(i + 1):
            s = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                s -= factor[i, k] * factor[j, k]
            if i == j:
                if not s > 1e-14:
                    return False
                factor[i, i] = np.sqrt(s)
            else:
                factor[i, j] = s / factor[j, j]
    for j in range(m):
        factor[j, j] = 1.0 / factor[j, j]
        for i in range(j + 1, m):
            s = 0.0
            for k in range(j, i):
                s -= factor[i, k] * factor[k, j]
            factor[i, j] = s / factor[i, i]
    for i in range(m):
        for j in range(i + 1):
            s = 0.0
            for k in range(i, m):
                s += factor[k, i] * factor[k, j]
            inverse[i, j] = s * scale[i] * scale[j]
            inverse[j, i] = inverse[i, j]
    return True


@lean_vector_kernel
def _invert_three(matrix, inverse):
    """As `invert`, of a (3, 3) matrix: the same in numbers of their own, since making arrays takes longer than that."""
    if not (matrix[0, 0] > 0.0 and matrix[1, 1] > 0.0 and matrix[2, 2] > 0.0):
        return False
    a, b, c = 1.0 / np.sqrt(matrix[0, 0]), 1.0 / np.sqrt(matrix[1, 1]), 1.0 / np.sqrt(matrix[2, 2])
    # The factor, of which the first element is 1.
    f10, f20 = matrix[1, 0] * a * b, matrix[2, 0] * a * c
    square = 1.0 - f10 * f10
    if not square > 1e-14:
        return False
    g11 = 1.0 / np.sqrt(square)
    f21 = (matrix[2, 1] * b * c - f20 * f10) * g11
    square = 1.0 - f20 * f20 - f21 * f21
    if not square > 1e-14:
        return False
    # Its inverse.
    g22 = 1.0 / np.sqrt(square)
    g10 = -f10 * g11
    g21 = -f21 * g11 * g22
    g20 = -(f20 + f21 * g10) * g22
    inverse[0, 0] = (1.0 + g10 * g10 + g20 * g20) * a * a
    inverse[1, 1] = (g11 * g11 + g21 * g21) * b * b
    inverse[2, 2] = g22 * g22 * c * c
    inverse[0, 1] = inverse[1, 0] = (g11 * g10 + g21 * g20) * a * b
    inverse[0, 2] = inverse[2, 0] = g22 * g20 * a * c
    inverse[1, 2] = inverse[2, 1] = g22 * g21 * b * c
    return True


@vector_kernel
def solve_amplitudes(basis, weight, y, amplitudes, gram_inverse):
    """Weighted least squares of y on a few basis functions: the sum of squares, infinite when singular.

    basis : (q, n); weight, y : (n,); amplitudes : (q,) and gram_inverse : (q, q), written
    """
    q, n = basis.shape
    if q == 1:
        a = 0.0
        b = 0.0
        for i in range(n):
            a += weight[i] * basis[0, i] * basis[0, i]
            b += weight[i] * basis[0, i] * y[i]
        if not a > 0.0:
            return np.inf
        gram_inverse[0, 0] = 1.0 / a
        amplitudes[0] = b / a
    elif q == 2:
        a = 0.0
        h = 0.0
        d = 0.0
        b0 = 0.0
        b1 = 0.0
        for i in range(n):
            u = weight[i] * basis[0, i]
            v = weight[i] * basis[1, i]
            a += u * basis[0, i]
            h += u * basis[1, i]
            d += v * basis[1, i]
            b0 += u * y[i]
            b1 += v * y[i]
        det = a * d - h * h
        if not det > 1e-14 * a * d:
            return np.inf
        gram_inverse[0, 0] = d / det
        gram_inverse[0, 1] = -h / det
        gram_inverse[1, 0] = -h / det
        gram_inverse[1, 1] = a / det
        amplitudes[0] = (d * b0 - h * b1) / det
        amplitudes[1] = (a * b1 - h * b0) / det
    else:
        gram = np.zeros((q, q))
        right = np.zeros(q)
        for i in range(n):
            for k in range(q):
                u = weight[i] * basis[k, i]
                right[k] += u * y[i]
                for m in range(k + 1):
                    gram[k, m] += u * basis[m, i]
        for k in range(q):
            for m in range(k):
                gram[m, k] = gram[k, m]
        if not invert(gram, gram_inverse):
            return np.inf
        for k in range(q):
            c = 0.0
            for m in range(q):
                c += gram_inverse[k, m] * right[m]
            amplitudes[k] = c
    cost = 0.0
    if q == 1:
        c = amplitudes[0]
        for i in range(n):
            r = y[i] - c * basis[0, i]
            cost += weight[i] * r * r
        return cost
    for i in range(n):
        r = y[i]
        for k in range(q):
            r -= amplitudes[k] * basis[k, i]
        cost += weight[i] * r * r
    return cost
