"""The basis of a model with two nonlinear coordinates as polynomials, cell by cell.

Like `table`, for a basis that takes tens of microseconds to compute, such as an echo train through a slice profile.
It is followed to 1e-7 of its largest value, far below what noise leaves to see; a model that takes more than
the most cells is fitted without.
"""

from dataclasses import dataclass, field

import numpy as np

from isocenter.fitting.directions import NONE as NO_DIRECTIONS
from isocenter.fitting.directions import build_directions
from isocenter.fitting.series import LANES, POINTS, TERMS, expand_tile, fit_series, tile_series
from isocenter.fitting.sides import NONE as ONE_SIDE
from isocenter.fitting.sides import Sides, lay_sides
from isocenter.models.base import Separable
from isocenter.models.compiled import kernel, lean_vector_kernel, vector_kernel

_ACCURACY = 1e-7
#: A train without a profile takes 768; with fewer allowed it is fitted the slow way, whose M-estimates scatter more.
_FEWEST_CELLS, _MOST_CELLS = (6, 2), 1024


@dataclass(frozen=True)
class Plane:
    """coefficients : (cells, cells, tiles, 36 * LANES) in both coordinates, see `series`; lower, width : (2,).

    direction : see `directions`; empty where the model has no optima side by side to be sought, or cannot be followed
    sides : what standard errors add up over such optima, see `sides`
    """

    coefficients: np.ndarray
    lower: np.ndarray
    width: np.ndarray
    direction: np.ndarray = field(default_factory=lambda: NO_DIRECTIONS)
    sides: Sides = ONE_SIDE


#: What stands for "no plane" in kernels.
NONE = Plane(np.empty((0, 0, 0, 0)), np.zeros(2), np.ones(2))


def build_plane(separable: Separable) -> Plane:
    """The plane of a model with one moving basis function (the first) and at most one constant 1; else `NONE`."""
    is_suited = separable.lower.size == 2 and separable.amplitudes <= 2 and not separable.varying
    lower, upper = separable.lower, separable.upper
    if not is_suited or separable.starts or not np.isfinite([lower, upper]).all():
        return NONE
    evaluate = separable.evaluate.address
    n = separable.design.shape[1]
    to_powers = np.linalg.inv(np.vander(POINTS, TERMS, increasing=True))
    between = np.array([-0.98, -0.55, 0.0, 0.55, 0.98])
    powers = np.vander(between, TERMS, increasing=True)
    middle = np.zeros(1)

    def sample(cells: tuple[int, int], at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """(cells, cells, points, points, q, n)"""
        axes = []
        for k in (0, 1):
            width = (upper[k] - lower[k]) / cells[k]
            axes.append((lower[k] + width * (np.arange(cells[k])[:, np.newaxis] + (at[k] + 1) / 2)).ravel())
        theta = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        out = np.empty((len(theta), separable.amplitudes, n))
        sample_plane(evaluate, theta, separable.design, separable.constants, out)
        out = out.reshape(cells[0], at[0].size, cells[1], at[1].size, separable.amplitudes, n)
        return np.swapaxes(out, 1, 2)

    # First how many cells each coordinate needs, along lines; then all of them.
    cells = list(_FEWEST_CELLS)
    for k in (0, 1):
        while True:
            along = [1, 1]
            along[k] = cells[k]
            lines = [np.array([-0.9, -0.3, 0.3, 0.9])] * 2
            lines[k] = POINTS
            got = sample(tuple(along), tuple(lines))[..., 0, :]
            lines[k] = between
            wanted = sample(tuple(along), tuple(lines))[..., 0, :]
            got = np.moveaxis(got, 2 + k, -1) @ (powers @ to_powers).T
            wanted = np.moveaxis(wanted, 2 + k, -1)
            if not np.isfinite(wanted).all():
                return NONE
            if np.abs(got - wanted).max() <= _ACCURACY * np.abs(wanted).max():
                break
            cells[k] *= 2
            if cells[0] * cells[1] > _MOST_CELLS:
                return NONE
    while True:
        basis = sample(tuple(cells), (POINTS, POINTS))
        coefficients, left_out = fit_series(basis[..., 0, :])
        if left_out <= _ACCURACY * np.abs(basis[..., 0, :]).max():
            break
        cells[int(cells[1] < cells[0])] *= 2
        if cells[0] * cells[1] > _MOST_CELLS:
            return NONE
    if separable.amplitudes == 2:
        rest = sample(tuple(cells), (middle, middle))[..., 1, :]
        if np.abs(rest - 1.0).max() > 0 or np.abs(basis[..., 1, :] - 1.0).max() > 0:
            return NONE
    coefficients = tile_series(coefficients)
    direction, sides = NO_DIRECTIONS, ONE_SIDE
    if separable.sides >= 0:

        def point(theta: np.ndarray) -> np.ndarray:
            return sample_direction(separable, theta)

        direction = build_directions(point, lower, upper)
    if separable.side_step > 0 and direction.size:

        def follow(theta: np.ndarray) -> np.ndarray:
            return sample_moving(separable, theta)

        has_constant = separable.amplitudes == 2
        sides = lay_sides(direction, follow, lower, upper, step=separable.side_step, has_constant=has_constant)
    return Plane(coefficients, lower.copy(), (upper - lower) / np.array(cells), direction, sides)


def sample_moving(separable: Separable, theta: np.ndarray) -> np.ndarray:
    """The moving basis function at theta (v, 2): (v, n)."""
    basis = np.empty((len(theta), separable.amplitudes, separable.design.shape[1]))
    sample_plane(separable.evaluate.address, theta, separable.design, separable.constants, basis)
    return basis[:, 0]


def sample_direction(separable: Separable, theta: np.ndarray) -> np.ndarray:
    """The moving basis function at theta (v, 2) without its part along the constant one, of length 1: (v, n).

    Zeros where nothing is left of it.
    """
    e = sample_moving(separable, theta)
    if separable.amplitudes == 2:
        e = e - e.mean(axis=1, keepdims=True)
    return e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-300)


@kernel
def sample_plane(evaluate, theta, design, constants, out):
    """Write the basis (v, q, n) at theta (v, p)."""
    v, q, n = out.shape
    slope = np.zeros((theta.shape[1], q, n))
    basis = np.zeros((q, n))
    for i in range(v):
        evaluate(theta[i], design, constants, basis, slope)
        for k in range(q):
            for j in range(n):
                out[i, k, j] = basis[k, j]


@vector_kernel
def expand_plane(coefficients, lower, width, theta, basis, slope):
    """Write basis (q, n) and slope (2, q, n) at theta (2,)."""
    n = basis.shape[1]
    tile = np.empty(6 * LANES)
    i, j, s, t = _find_cell(coefficients, lower, width, theta)
    p, q = 2.0 / width[0], 2.0 / width[1]
    for part in range(coefficients.shape[2]):
        expand_tile(coefficients[i, j, part], s, t, tile)
        first = LANES * part
        for k in range(min(LANES, n - first)):
            basis[0, first + k] = tile[k]
            slope[0, 0, first + k] = p * tile[LANES + k]
            slope[1, 0, first + k] = q * tile[2 * LANES + k]
    if basis.shape[0] == 2:
        for k in range(n):
            basis[1, k] = 1.0
            slope[0, 1, k] = 0.0
            slope[1, 1, k] = 0.0


@lean_vector_kernel
def expand_plane_twice(coefficients, lower, width, theta, solution, curves, tile):
    """As `expand_plane`, into a solution; writes the second derivatives of f besides: curves (3, n).

    tile : (6 * LANES,), scratch
    """
    n = solution.basis.shape[1]
    i, j, s, t = _find_cell(coefficients, lower, width, theta)
    f, fs, ft = solution.basis[0], solution.slope[0, 0], solution.slope[1, 0]
    fss, fst, ftt = curves[0], curves[1], curves[2]
    p, q = 2.0 / width[0], 2.0 / width[1]
    for part in range(coefficients.shape[2]):
        expand_tile(coefficients[i, j, part], s, t, tile)
        first = LANES * part
        for k in range(min(LANES, n - first)):
            f[first + k] = tile[k]
            fs[first + k] = p * tile[LANES + k]
            ft[first + k] = q * tile[2 * LANES + k]
            fss[first + k] = p * p * tile[3 * LANES + k]
            fst[first + k] = p * q * tile[4 * LANES + k]
            ftt[first + k] = q * q * tile[5 * LANES + k]
    if solution.basis.shape[0] == 2:
        for k in range(n):
            solution.basis[1, k] = 1.0
            solution.slope[0, 1, k] = 0.0
            solution.slope[1, 1, k] = 0.0


@lean_vector_kernel
def _find_cell(coefficients, lower, width, theta):
    """The cell of theta (2,), and the place within."""
    x = (theta[0] - lower[0]) / width[0]
    z = (theta[1] - lower[1]) / width[1]
    i = min(max(int(x), 0), coefficients.shape[0] - 1)
    j = min(max(int(z), 0), coefficients.shape[1] - 1)
    return i, j, 2.0 * (x - i) - 1.0, 2.0 * (z - j) - 1.0
