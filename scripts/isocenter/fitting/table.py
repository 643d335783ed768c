"""A basis as polynomials: between the bounds of its one nonlinear coordinate, cell by cell.

For an acquisition that all voxels share, the basis is a function of the coordinate alone. It is computed once where
polynomials of degree 5 need it (Chebyshev points) and then costs a few multiplications instead of an exponential.
The table is refined until it repeats the model to 1e-10 of its largest value; a model that it cannot follow is fitted
without it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.models.base import Separable
from isocenter.models.compiled import kernel

DEGREE = 5
_ACCURACY = 1e-10
_FEWEST_CELLS, _MOST_CELLS = 32, 1024
#: Starts are tried at this many nodes at most, evenly spread over the model's grid.
_MOST_NODES = 40


@dataclass(frozen=True)
class Table:
    """The moving basis function f and, where there is one, the constant one g.

    coefficients : (cells, DEGREE + 1, n) in t = -1...1 across a cell; lower, width : of the cells [coordinate]
    moving : the number of f among the model's amplitudes; constant : (n,) g, zeros where there is none
    nodes : (g,) coordinates of starts; unit : (q, n, g) orthonormal basis at each; leverage : (n, g) 1 / (1 - h)
    """

    coefficients: np.ndarray
    lower: float
    width: float
    moving: int
    constant: np.ndarray
    nodes: np.ndarray
    unit: np.ndarray
    leverage: np.ndarray


def build_table(separable: Separable) -> Table | None:
    """The table of a model with one nonlinear coordinate, one moving basis function and at most one constant one.

    None when the model is of another kind or cannot be followed.
    """
    is_suited = separable.lower.size == 1 and separable.amplitudes <= 2 and not separable.varying
    if not is_suited or separable.starts or not np.isfinite([separable.lower, separable.upper]).all():
        return None
    evaluate = separable.evaluate.address
    lower, upper = float(separable.lower[0]), float(separable.upper[0])
    cells = _FEWEST_CELLS
    while cells <= _MOST_CELLS:
        width = (upper - lower) / cells
        centers = lower + width * (np.arange(cells) + 0.5)
        points = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
        basis = _sample(evaluate, separable, centers[:, np.newaxis] + points * width / 2)
        moves = np.flatnonzero(np.ptp(basis, axis=(0, 1)).max(axis=-1) > 0)
        if moves.size != 1 or not np.isfinite(basis).all():
            return None
        moving = int(moves[0])
        to_powers = np.linalg.inv(np.vander(points, DEGREE + 1, increasing=True))
        coefficients = np.einsum("dj,cjn->cdn", to_powers, basis[:, :, moving])
        # Between its points a polynomial errs the most at the ends and in the middles.
        between = np.array([-1.0, -0.83, -0.5, 0.0, 0.5, 0.83, 1.0])
        wanted = _sample(evaluate, separable, centers[:, np.newaxis] + between * width / 2)[:, :, moving]
        found = np.einsum("jd,cdn->cjn", np.vander(between, DEGREE + 1, increasing=True), coefficients)
        if np.abs(found - wanted).max() <= _ACCURACY * np.abs(wanted).max():
            break
        cells *= 2
    else:
        return None
    constant = basis[0, 0, 1 - moving].copy() if separable.amplitudes == 2 else np.zeros(basis.shape[-1])
    # Starts where the model's own grid lies: beyond, all coordinates look alike.
    nodes = np.linspace(separable.grid.min(), separable.grid.max(), min(len(separable.grid), _MOST_NODES))
    unit, leverage = _orthonormal(_sample(evaluate, separable, nodes)[:, moving], constant)
    return Table(np.ascontiguousarray(coefficients), lower, width, moving, constant, nodes, unit, leverage)


def _sample(evaluate: Any, separable: Separable, coordinates: np.ndarray) -> np.ndarray:
    """(..., q, n): the basis at coordinates (...)."""
    n = separable.design.shape[1]
    theta = np.ascontiguousarray(coordinates.reshape(-1, 1))
    out = np.empty((len(theta), separable.amplitudes, n))
    sample_basis(evaluate, theta, separable.design, separable.constants, out)
    return out.reshape(*coordinates.shape, separable.amplitudes, n)


@kernel
def sample_basis(evaluate, theta, design, constants, out):
    """Write the basis (v, q, n) at theta (v, p)."""
    v, q, n = out.shape
    slope = np.zeros((theta.shape[1], q, n))
    basis = np.zeros((q, n))
    for i in range(v):
        evaluate(theta[i], design, constants, basis, slope)
        for k in range(q):
            for j in range(n):
                out[i, k, j] = basis[k, j]


def _orthonormal(moving: np.ndarray, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis (q, n, g) from f (g, n) and g (n,), and 1 / (1 - leverage) of each sample (n, g).

    Zeros where the two cannot be told apart.
    """
    has_constant = bool(np.any(constant))
    unit = np.zeros((2 if has_constant else 1, *moving.shape))
    rest = moving
    if has_constant:
        unit[1] = constant / np.linalg.norm(constant)
        rest = rest - np.sum(rest * unit[1], axis=1, keepdims=True) * unit[1]
    size = np.linalg.norm(rest, axis=1, keepdims=True)
    is_seen = size > 1e-7 * np.linalg.norm(moving, axis=1, keepdims=True)
    unit[0] = np.where(is_seen, rest / np.where(is_seen, size, 1.0), 0.0)
    free = 1.0 - np.sum(unit**2, axis=0)
    leverage = np.where(free > 1e-9, 1.0 / np.maximum(free, 1e-9), 0.0)
    return np.ascontiguousarray(np.swapaxes(unit, 1, 2)), np.ascontiguousarray(leverage.T)
