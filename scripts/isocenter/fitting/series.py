"""Polynomials in two coordinates, up to the seventh degree in both together: how the tables of a plane are kept.

Terms of a higher degree together, as s^5 t^6, are as small as those of the eighth degree in one coordinate, which
nobody keeps; without them 36 of 64 terms are left, of every sample and in every step.
"""

import numpy as np
from numpy.polynomial import chebyshev

from isocenter.models.compiled import inlined_kernel, lean_vector_kernel

#: Powers of one coordinate, and terms of both.
TERMS, COUNT = 8, 36
#: Samples of which the coefficients lie side by side in `tile_series`: a loop over fewer is not made into vector code.
LANES = 16
#: Places across a cell at which a polynomial is given.
POINTS = np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
_FIRST, _SECOND = np.nonzero(np.add.outer(np.arange(TERMS), np.arange(TERMS)) < TERMS)


def fit_series(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients (..., 36, n) from values (..., 8, 8, n) at `POINTS` of both coordinates, -1...1 across a cell.

    The second coordinate's powers change fastest: 1, t, ... t^7, s, s t, ... Also returns the most that is left out.
    """
    to_chebyshev = np.linalg.inv(chebyshev.chebvander(POINTS, TERMS - 1))
    terms = np.einsum("ai,bj,...ijn->...abn", to_chebyshev, to_chebyshev, values, optimize=True)
    is_kept = np.zeros((TERMS, TERMS), bool)
    is_kept[_FIRST, _SECOND] = True
    # A Chebyshev polynomial is at most 1.
    left_out = float(np.abs(np.where(is_kept[..., np.newaxis], 0.0, terms)).sum(axis=(-3, -2)).max())
    terms = np.where(is_kept[..., np.newaxis], terms, 0.0)
    to_powers = np.zeros((TERMS, TERMS))
    for k in range(TERMS):
        to_powers[: k + 1, k] = chebyshev.cheb2poly(np.eye(TERMS)[k])[: k + 1]
    powers = np.einsum("ai,bj,...ijn->...abn", to_powers, to_powers, terms, optimize=True)
    return powers[..., _FIRST, _SECOND, :], left_out


def square_series(coefficients: np.ndarray) -> np.ndarray:
    """(..., 8, 8): the coefficients (..., 36) by the powers of the first and the second coordinate."""
    square = np.zeros((*coefficients.shape[:-1], TERMS, TERMS))
    square[..., _FIRST, _SECOND] = coefficients
    return square


def tile_series(coefficients: np.ndarray) -> np.ndarray:
    """(..., tiles, 36 * LANES): coefficients (..., 36, n) of `LANES` samples side by side, zeros after the last."""
    n = coefficients.shape[-1]
    wide = np.pad(coefficients, [(0, 0)] * (coefficients.ndim - 1) + [(0, -n % LANES)])
    wide = wide.reshape(*wide.shape[:-1], -1, LANES)
    return np.ascontiguousarray(np.moveaxis(wide, -2, -3)).reshape(*coefficients.shape[:-2], -1, COUNT * LANES)


@inlined_kernel
def read_series(c, stride, first, s, t):
    """A polynomial at (s, t): f, df/ds, df/dt, and the second derivatives by s twice, by s and t, by t twice.

    Its coefficients are c[first], c[first + stride], ...
    """
    f, fs, fss, ft, fst, ftt = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    i = 35
    for a in range(7, -1, -1):
        r, d, e = c[i * stride + first], 0.0, 0.0
        i -= 1
        for _ in range(7 - a):
            e = e * t + d
            d = d * t + r
            r = r * t + c[i * stride + first]
            i -= 1
        fss = fss * s + fs
        fs = fs * s + f
        f = f * s + r
        fst = fst * s + ft
        ft = ft * s + d
        ftt = ftt * s + e
    return f, fs, ft, 2.0 * fss, fst, 2.0 * ftt


@lean_vector_kernel
def expand_tile(c, s, t, tile):
    """Write f and its derivatives (6 * LANES,), in the order of `read_series`, of a tile (36 * LANES,) at (s, t)."""
    for k in range(16):
        f, fs, ft, fss, fst, ftt = read_series(c, 16, k, s, t)
        tile[k] = f
        tile[16 + k] = fs
        tile[32 + k] = ft
        tile[48 + k] = fss
        tile[64 + k] = fst
        tile[80 + k] = ftt
