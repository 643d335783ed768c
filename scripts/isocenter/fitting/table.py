"""A basis as polynomials: between the bounds of its one nonlinear coordinate, cell by cell.

For an acquisition that all voxels share, the basis is a function of the coordinate alone. It is computed once where
polynomials of degree 7 need it (Chebyshev points) and then costs a few multiplications instead of an exponential.
The table is refined until it repeats the model to 1e-10 of its largest value; a model that it cannot follow is fitted
without it.

What a plain fit needs is less than the basis: with the constant basis function projected out and its length divided
out, f becomes a direction e(u), and the sum of squares that a coordinate explains is (y.e(u))^2. Inside a cell y.e is
one polynomial, whose 8 coefficients are 8 sums over the samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.models.base import Separable
from isocenter.models.compiled import kernel

DEGREE = 7
_ACCURACY = 1e-10
_FEWEST_CELLS, _MOST_CELLS = 24, 768
#: Starts are tried on nodes this far apart (or as the model's own grid is, where that is coarser): a parabola through
#: three of them tells where the optimum lies between.
_SPACING = 0.42


@dataclass(frozen=True)
class Table:
    """The moving basis function f and, where there is one, the constant one g.

    coefficients : (cells, DEGREE + 1, n) of f in t = -1...1 across a cell; lower, width : of the cells [coordinate]
    direction : (cells, m, DEGREE + 1) of e, samples padded with zeros to m, a multiple of 4
    scalars : (cells, DEGREE + 1, 4) of |f| (projected), |de/du|^2, and f.g
    moving : the number of f among the model's amplitudes; constant : (n,) g, zeros where there is none
    nodes : (k,) coordinates of starts; unit : (q, m, k) e (and g over its length) at each
    leverage : (m, k) 1 / (1 - h)
    few : (j,) coordinates of starts of plain fits, see `_thin`; few_unit : (q, m, j) as unit
    """

    coefficients: np.ndarray
    lower: float
    width: float
    direction: np.ndarray
    scalars: np.ndarray
    moving: int
    constant: np.ndarray
    nodes: np.ndarray
    unit: np.ndarray
    leverage: np.ndarray
    few: np.ndarray
    few_unit: np.ndarray


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
        at = centers[:, np.newaxis] + points * width / 2
        basis, slope = _sample(evaluate, separable, at)
        moves = np.flatnonzero(np.ptp(basis, axis=(0, 1)).max(axis=-1) > 0)
        if moves.size != 1 or not (np.isfinite(basis).all() and np.isfinite(slope).all()):
            return None
        moving = int(moves[0])
        to_powers = np.linalg.inv(np.vander(points, DEGREE + 1, increasing=True))
        coefficients = np.einsum("dj,cjn->cdn", to_powers, basis[:, :, moving])
        # Between its points a polynomial errs the most at the ends and in the middles.
        between = np.array([-1.0, -0.92, -0.7, -0.4, 0.0, 0.4, 0.7, 0.92, 1.0])
        wanted = _sample(evaluate, separable, centers[:, np.newaxis] + between * width / 2)[0][:, :, moving]
        found = np.einsum("jd,cdn->cjn", np.vander(between, DEGREE + 1, increasing=True), coefficients)
        if np.abs(found - wanted).max() <= _ACCURACY * np.abs(wanted).max():
            break
        cells *= 2
    else:
        return None
    constant = basis[0, 0, 1 - moving].copy() if separable.amplitudes == 2 else np.zeros(basis.shape[-1])
    unit, scalars = _project(basis[:, :, moving], slope[:, :, moving], constant)
    n = basis.shape[-1]
    padded = np.pad(np.einsum("dj,cjn->cnd", to_powers, unit), ((0, 0), (0, -n % 4), (0, 0)))
    # Starts where the model's own grid lies: beyond, all coordinates look alike.
    first, last = separable.grid.min(), separable.grid.max()
    nodes = np.linspace(first, last, min(len(separable.grid), int((last - first) / _SPACING) + 2))
    units = _lay(evaluate, separable, nodes, moving, constant)
    few = _thin(nodes, units[0].T)
    few_units = _lay(evaluate, separable, few, moving, constant)
    free = 1.0 - np.sum(units**2, axis=0)
    leverage = np.where(free > 1e-9, 1.0 / np.maximum(free, 1e-9), 0.0)
    return Table(
        coefficients=np.ascontiguousarray(coefficients),
        lower=lower,
        width=width,
        direction=np.ascontiguousarray(padded),
        scalars=np.ascontiguousarray(np.einsum("dj,cjk->cdk", to_powers, scalars)),
        moving=moving,
        constant=constant,
        nodes=nodes,
        unit=np.ascontiguousarray(np.pad(units, ((0, 0), (0, -n % 4), (0, 0)))),
        leverage=np.ascontiguousarray(np.pad(leverage, ((0, -n % 4), (0, 0)))),
        few=few,
        few_unit=np.ascontiguousarray(np.pad(few_units, ((0, 0), (0, -n % 4), (0, 0)))),
    )


def _lay(evaluate: Any, separable: Separable, nodes: np.ndarray, moving: int, constant: np.ndarray) -> np.ndarray:
    """(q, n, k): e at each of the nodes (k,) and, where there is one, the constant basis function over its length."""
    e, _ = _project(*(a[:, moving] for a in _sample(evaluate, separable, nodes)), constant)
    size = np.linalg.norm(constant)
    return np.stack([e.T, np.tile(constant[:, np.newaxis] / size, nodes.size)]) if size else e.T[np.newaxis]


def _thin(nodes: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Nodes (j,) over the range of others (k,) with directions e (k, n): as far apart where e moves the most.

    Elsewhere they are up to four times as far apart, so that e moves by about as much from each to the next: where a
    decay is over before the first echo, or hardly begun at the last, nodes side by side tell the same.
    """
    if nodes.size < 5:
        return nodes
    way = np.linalg.norm(np.diff(e, axis=0), axis=1)
    if not way.max() > 0.0:
        return nodes
    way = np.hypot(way, 0.25 * way.max())
    along = np.append(0.0, np.cumsum(way))
    count = int(along[-1] / way.max()) + 2
    return np.interp(np.linspace(0.0, along[-1], count), along, nodes)


def _project(f: np.ndarray, slope: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions e (..., n) and the scalars (..., 4) that go with them, from f and df/du (..., n) and g (n,).

    Zeros where f and g cannot be told apart.
    """
    fg = f @ g
    squared = g @ g
    if squared > 0:
        along = g / squared
        rest = f - fg[..., np.newaxis] * along
        rest_slope = slope - (slope @ g)[..., np.newaxis] * along
    else:
        rest, rest_slope = f, slope
    size = np.linalg.norm(rest, axis=-1, keepdims=True)
    is_seen = size > 1e-7 * np.linalg.norm(f, axis=-1, keepdims=True)
    safe = np.where(is_seen, size, 1.0)
    e = np.where(is_seen, rest / safe, 0.0)
    turn = np.where(is_seen, (rest_slope - np.sum(rest_slope * e, axis=-1, keepdims=True) * e) / safe, 0.0)
    return e, np.stack([size[..., 0], np.sum(turn**2, axis=-1), fg, np.zeros_like(fg)], axis=-1)


def _sample(evaluate: Any, separable: Separable, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The basis and its slope at coordinates (...): (..., q, n) each."""
    n = separable.design.shape[1]
    theta = np.ascontiguousarray(coordinates.reshape(-1, 1))
    basis, slope = (np.zeros((len(theta), separable.amplitudes, n)) for _ in range(2))
    sample_basis(evaluate, theta, separable.design, separable.constants, basis, slope)
    shape = (*coordinates.shape, separable.amplitudes, n)
    return basis.reshape(shape), slope.reshape(shape)


@kernel
def sample_basis(evaluate, theta, design, constants, basis, slope):
    """Write the basis (v, q, n) and its slope with respect to the first coordinate at theta (v, p)."""
    v, q, n = basis.shape
    one_slope = np.zeros((theta.shape[1], q, n))
    one_basis = np.zeros((q, n))
    for i in range(v):
        evaluate(theta[i], design, constants, one_basis, one_slope)
        for k in range(q):
            for j in range(n):
                basis[i, k, j] = one_basis[k, j]
                slope[i, k, j] = one_slope[0, k, j]
