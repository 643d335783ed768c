"""What the voxels of a complex model share whose basis is fixed but for one complex exponential.

Such a basis function is its own value at theta = 0, times exp(theta . exponents) at each sample (see
`Separable.exponents`): water and fat under one field offset and one decay. At a node of the grid the signal y leaves
y'y - y'Py, P the projector on what the basis can be there. A step along the first coordinate, which only turns phases,
takes P to UPU', U diagonal, so that

    y'Py = sum_i P_ii |y_i|^2 + 2 Re sum_(i<j) P_ij conj(y_i) y_j exp(-i theta_0 (w_j - w_i))

Products of two samples are made once a voxel; weighed by P_ij and added up over equal differences w_j - w_i (of n
equally spaced echoes there are n - 1) they cost two multiplications a difference and node.
"""

from typing import NamedTuple

import numpy as np

from isocenter.fitting.table import sample_basis
from isocenter.models.base import Separable

#: Differences count as equal when over the grid they differ by less than this [rad].
_SAME_TURN = 1e-3
#: Inner nodes that are weighed at once; the tables of weights are filled up with zeros.
GROUP = 8
#: The model's own basis and its slope must be repeated to this share of their largest value.
_ACCURACY = 1e-12


class Phasor(NamedTuple):
    """n complex samples, p coordinates, 2 complex amplitudes; a grid of L levels of the first coordinate, m nodes each.

    exponents : (p, n) complex; fixed : (2, n) complex, the basis at theta = 0
    reach : (p,), the largest size of the exponents; lower, upper : (p,)
    levels : (L,), inner : (m, p - 1), the coordinates of the grid
    first, second, group : (pairs,), the two samples of a pair, and which difference it belongs to
    own : (n, m), P_ii; weight_real, weight_imaginary : (pairs, m), 2 P_ij; both filled up to a multiple of GROUP
    cosine, sine : (differences, L), filled up with zeros to a multiple of 3
    unit : (2, n, m) complex, orthonormal vectors that span what the basis can be at each node of level 0
    turn_real, turn_imaginary : (n, L), U
    """

    exponents: np.ndarray
    fixed: np.ndarray
    reach: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    levels: np.ndarray
    inner: np.ndarray
    first: np.ndarray
    second: np.ndarray
    group: np.ndarray
    own: np.ndarray
    weight_real: np.ndarray
    weight_imaginary: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    unit: np.ndarray
    turn_real: np.ndarray
    turn_imaginary: np.ndarray


def build_phasor(separable: Separable) -> Phasor | None:
    """The tables of a model with `exponents` and two complex amplitudes; None when the model is of another kind."""
    exponents = separable.exponents
    if exponents is None or separable.amplitudes != 4 or separable.varying or not separable.is_complex:
        return None
    p, n = exponents.shape
    levels = np.unique(separable.grid[:, 0])
    grid = separable.grid.reshape(levels.size, -1, p)
    inner = grid[0, :, 1:]
    is_product = np.all(grid[:, :, 1:] == inner) and np.all(grid[:, :, 0] == levels[:, np.newaxis])
    if not is_product or np.any(exponents[0].real != 0):
        return None
    fixed = _evaluate(separable, np.zeros((1, p)))[0]
    if not _is_repeated(separable, fixed):
        return None
    at = np.concatenate([np.zeros((len(inner), 1)), inner], axis=1)
    unit = np.linalg.qr((fixed * np.exp(at @ exponents)[:, np.newaxis]).swapaxes(1, 2))[0]
    projector = np.einsum("min,mjn->ijm", unit, unit.conj())
    first, second = np.triu_indices(n, 1)
    difference = exponents[0].imag[second] - exponents[0].imag[first]
    rank = np.argsort(difference, kind="stable")
    first, second, difference = first[rank], second[rank], difference[rank]
    group = np.zeros(rank.size, np.int64)
    middle = [difference[0]]
    for k in range(1, rank.size):
        if (difference[k] - middle[-1]) * np.abs(levels).max() > _SAME_TURN:
            middle.append(difference[k])
        group[k] = len(middle) - 1
    phase = np.outer(middle, levels)

    def filled(rows: np.ndarray) -> np.ndarray:
        return np.pad(rows, ((0, -len(rows) % 3), (0, 0)))

    def beside(columns: np.ndarray) -> np.ndarray:
        return np.pad(columns, ((0, 0), (0, -columns.shape[1] % GROUP)))

    turns = np.outer(exponents[0].imag, levels)
    pairs = 2 * projector[first, second]
    return Phasor(
        exponents=np.ascontiguousarray(exponents),
        fixed=np.ascontiguousarray(fixed),
        reach=np.abs(exponents).max(axis=1),
        lower=separable.lower,
        upper=separable.upper,
        levels=levels,
        inner=np.ascontiguousarray(inner),
        first=first,
        second=second,
        group=group,
        own=_single(beside(projector[np.arange(n), np.arange(n)].real)),
        weight_real=_single(beside(pairs.real)),
        weight_imaginary=_single(beside(pairs.imag)),
        cosine=_single(filled(np.cos(phase))),
        sine=_single(filled(np.sin(phase))),
        unit=np.ascontiguousarray(unit.transpose(2, 1, 0), np.complex64),
        turn_real=_single(np.cos(turns)),
        turn_imaginary=_single(np.sin(turns)),
    )


def _single(table: np.ndarray) -> np.ndarray:
    """In single precision: tables that only rank nodes."""
    return np.ascontiguousarray(table, np.float32)


def _evaluate(separable: Separable, theta: np.ndarray) -> np.ndarray:
    """The complex basis (v, 2, n) at theta (v, p), of the real one that the engine knows."""
    n = separable.design.shape[1] // 2
    basis, slope = (np.zeros((len(theta), separable.amplitudes, 2 * n)) for _ in range(2))
    sample_basis(
        separable.evaluate.address, np.ascontiguousarray(theta), separable.design, separable.constants, basis, slope
    )
    return basis[:, ::2, :n] + 1j * basis[:, ::2, n:]


def _is_repeated(separable: Separable, fixed: np.ndarray) -> bool:
    """Whether the exponents say what the model computes, at nodes all over the grid."""
    theta = separable.grid[:: max(1, len(separable.grid) // 50)]
    wanted = _evaluate(separable, theta)
    found = fixed * np.exp(theta @ separable.exponents)[:, np.newaxis]
    return bool(np.abs(found - wanted).max() <= _ACCURACY * max(np.abs(wanted).max(), 1.0) * 10)
