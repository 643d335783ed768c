"""Polynomials in two coordinates: against numpy's own."""

import numpy as np
from numpy.polynomial import polynomial

from isocenter.fitting.series import POINTS, expand_tile, fit_series, square_series, tile_series


def sample(square):
    """Values (8, 8, n) at the points, of coefficients (n, 8, 8)."""
    return np.moveaxis(polynomial.polygrid2d(POINTS, POINTS, np.moveaxis(square, 0, -1)), 0, -1)


def draw(n=20):
    """Coefficients (n, 8, 8) up to the seventh degree in both coordinates together."""
    square = np.random.default_rng(4).normal(size=(n, 8, 8))
    return np.where(np.add.outer(np.arange(8), np.arange(8)) < 8, square, 0.0)


def test_what_fits_comes_back():
    square = draw()
    coefficients, left_out = fit_series(sample(square))
    assert coefficients.shape == (36, 20)
    np.testing.assert_allclose(square_series(coefficients.T), square, atol=1e-10)
    assert left_out < 1e-12


def test_what_is_left_out_is_told():
    square = draw(1)
    # s^5 t^4 is T5 T4 / 2^7 and polynomials of lower degrees, of which T3 T4, T5 T2 and their like stay.
    square[0, 5, 4] = 1.0
    coefficients, left_out = fit_series(sample(square))
    places = np.random.default_rng(5).uniform(-1.0, 1.0, (1000, 2))
    found = polynomial.polyval2d(*places.T, square_series(coefficients[:, 0]))
    worst = np.abs(found - polynomial.polyval2d(*places.T, square[0])).max()
    assert 0.5 * left_out < worst <= left_out * (1.0 + 1e-9)


def test_values_and_derivatives_are_numpys():
    square = draw()
    tiles = tile_series(np.ascontiguousarray(fit_series(sample(square))[0]))
    assert tiles.shape == (2, 36 * 16)
    s, t = 0.37, -0.81
    found = np.empty((2, 6, 16))
    for k in range(2):
        expand_tile(tiles[k], s, t, found[k].reshape(-1))
    found = np.moveaxis(found, 0, 1).reshape(6, 32)
    for row, (along, across) in zip(found, [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)], strict=True):
        wanted = polynomial.polyder(polynomial.polyder(np.moveaxis(square, 0, -1), along, axis=0), across, axis=1)
        np.testing.assert_allclose(row[:20], polynomial.polyval2d(s, t, wanted), rtol=1e-9, atol=1e-9)
        assert not row[20:].any()
