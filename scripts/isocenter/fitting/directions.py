"""The basis of a plane made directions: what least squares asks of it, as polynomials, cell by cell.

As in `table`: with the constant basis function projected out and its length divided out, f becomes a direction e(u),
and the sum of squares that a point u of the plane explains is h(u)^2 with h = y.e(u). Inside a cell h is one polynomial
in both coordinates, whose 64 coefficients are 64 sums over the samples; h and all its derivatives then cost as much as
a few samples of the basis.
"""

from collections.abc import Callable

import numpy as np

#: Coefficients along each coordinate.
TERMS = 8
#: Of a direction, whose length is 1.
_ACCURACY = 1e-7
_FEWEST_CELLS, _MOST_CELLS = (6, 2), 1024

#: Where f hardly differs from a constant its direction is no smooth function.
NONE = np.empty((0, 0, 0, 0))


def build_directions(evaluate: Callable[[np.ndarray], np.ndarray], lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Coefficients (cells, cells, m, TERMS * TERMS), the first coordinate's changing fastest; m, a multiple of 4.

    evaluate : points (v, 2) to directions (v, n)
    Samples are padded with zeros. `NONE` where polynomials cannot follow.
    """
    points = np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
    to_powers = np.linalg.inv(np.vander(points, TERMS, increasing=True))
    between = np.array([-0.98, -0.55, 0.0, 0.55, 0.98])
    follow = np.vander(between, TERMS, increasing=True) @ to_powers

    def sample(cells: list[int], at: list[np.ndarray]) -> np.ndarray:
        """(cells, cells, points, points, n)"""
        axes = []
        for k in (0, 1):
            width = (upper[k] - lower[k]) / cells[k]
            axes.append((lower[k] + width * (np.arange(cells[k])[:, np.newaxis] + (at[k] + 1) / 2)).ravel())
        out = evaluate(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2))
        return np.swapaxes(out.reshape(cells[0], at[0].size, cells[1], at[1].size, -1), 1, 2)

    cells = list(_FEWEST_CELLS)
    for k in (0, 1):
        while True:
            along, at = [1, 1], [np.array([-1.0, -0.3, 0.3, 1.0])] * 2
            along[k], at[k] = cells[k], points
            found = np.moveaxis(sample(along, at), 2 + k, -1) @ follow.T
            at[k] = between
            if np.abs(found - np.moveaxis(sample(along, at), 2 + k, -1)).max() <= _ACCURACY:
                break
            cells[k] *= 2
            if cells[0] * cells[1] > _MOST_CELLS:
                return NONE
    basis = sample(cells, [points, points])
    coefficients = np.einsum("ai,bj,xyijn->xynba", to_powers, to_powers, basis, optimize=True)
    coefficients = coefficients.reshape(*coefficients.shape[:3], TERMS * TERMS)
    return np.ascontiguousarray(np.pad(coefficients, ((0, 0), (0, 0), (0, -basis.shape[-1] % 4), (0, 0))))
