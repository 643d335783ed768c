"""The basis of a plane made directions: what least squares asks of it, as polynomials, cell by cell.

As in `table`: with the constant basis function projected out and its length divided out, f becomes a direction e(u),
and the sum of squares that a point u of the plane explains is h(u)^2 with h = y.e(u). Inside a cell h is one polynomial
in both coordinates (`series`), whose 36 coefficients are 36 sums over the samples; h and all its derivatives then cost
as much as a few samples of the basis.
"""

from collections.abc import Callable

import numpy as np

from isocenter.fitting.series import COUNT, POINTS, TERMS, fit_series

#: Of a direction, whose length is 1.
_ACCURACY = 1e-7
_FEWEST_CELLS, _MOST_CELLS = (6, 2), 1024

#: Where f hardly differs from a constant its direction is no smooth function.
NONE = np.empty((0, 0, 0, COUNT))


def build_directions(evaluate: Callable[[np.ndarray], np.ndarray], lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Coefficients (cells, cells, m, 36) as of `series`; m, a multiple of 4.

    evaluate : points (v, 2) to directions (v, n)
    Samples are padded with zeros. `NONE` where polynomials cannot follow.
    """
    to_powers = np.linalg.inv(np.vander(POINTS, TERMS, increasing=True))
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
            along[k], at[k] = cells[k], POINTS
            found = np.moveaxis(sample(along, at), 2 + k, -1) @ follow.T
            at[k] = between
            if np.abs(found - np.moveaxis(sample(along, at), 2 + k, -1)).max() <= _ACCURACY:
                break
            cells[k] *= 2
            if cells[0] * cells[1] > _MOST_CELLS:
                return NONE
    while True:
        coefficients, left_out = fit_series(sample(cells, [POINTS, POINTS]))
        if left_out <= _ACCURACY:
            break
        cells[int(cells[1] < cells[0])] *= 2
        if cells[0] * cells[1] > _MOST_CELLS:
            return NONE
    coefficients = np.moveaxis(coefficients, -1, -2)
    return np.ascontiguousarray(np.pad(coefficients, ((0, 0), (0, 0), (0, -coefficients.shape[2] % 4), (0, 0))))
