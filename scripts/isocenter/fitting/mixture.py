"""What the voxels of a magnitude model share that mixes two species under one decay: water and fat.

Such a model has one amplitude and one basis function, sqrt(a + b share + c share^2) exp(-d decay), where the
coordinates are theta = (decay, share) and a, b, c, d differ from sample to sample (`Separable.mixture`). All
derivatives follow in closed form. The nodes of the grid are sorted into levels of the share, along which two optima
may lie: mostly water, and mostly fat.
"""

from typing import NamedTuple

import numpy as np

from isocenter.fitting.table import sample_basis
from isocenter.models.base import Separable

#: Levels of the share over the grid's span, and decays of each: coarse, as a step of Newton's method costs no more
#: than a few nodes.
LEVELS = 16
_DECAYS = np.array([-0.1, 0.15, 0.4, 0.7, 1.05, 1.5, 2.1, 3.0, 4.2])
#: Where both sides may meet.
_MIDDLE = (0.4, 0.7)
#: Samples that a scan takes at once; the nodes are filled up with zeros.
GROUP = 6
#: The model's own basis must be repeated to this share of its largest value.
_ACCURACY = 1e-11
#: The largest d times decay for which `exponential` is accurate.
FARTHEST = 32.0


class Mixture(NamedTuple):
    """n samples; a grid of k shares and m decays.

    a, b, c, d : (n,), the coefficients; lower, upper : (2,), the box; plain : (2, 2), within it what can be seen
    shares : (k,), decays : (m,); unit : (n filled up, m k), the unit vectors along the basis at the nodes
    mirror : (m,), what the shares of an optimum and of its image on the other side add up to, about
    leverage : (n, m k), 1 over what of a sample's residual the fitted amplitude leaves
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    plain: np.ndarray
    shares: np.ndarray
    decays: np.ndarray
    unit: np.ndarray
    mirror: np.ndarray
    leverage: np.ndarray


def build_mixture(separable: Separable) -> Mixture | None:
    """The tables of a model with a `mixture`; None when the model is of another kind."""
    if separable.mixture is None or separable.amplitudes != 1 or separable.varying or separable.starts:
        return None
    if separable.is_complex or separable.is_magnitude or separable.lower.size != 2:
        return None
    a, b, c, d = separable.mixture
    lower, upper = separable.lower.copy(), separable.upper.copy()
    if not _is_repeated(separable):
        return None
    upper[0] = min(upper[0], FARTHEST / d.max())
    span = separable.grid[:, 1]
    shares = np.linspace(span.min(), span.max(), LEVELS)
    decays = _DECAYS / d.max()
    decays = decays[(decays > lower[0]) & (decays < upper[0])]
    basis = _compute(separable.mixture, decays, shares[:, np.newaxis])
    unit = basis / np.linalg.norm(basis, axis=-1, keepdims=True)
    nodes = unit.transpose(2, 1, 0).reshape(a.size, -1)
    return Mixture(
        a=np.ascontiguousarray(a),
        b=np.ascontiguousarray(b),
        c=np.ascontiguousarray(c),
        d=np.ascontiguousarray(d),
        lower=lower,
        upper=upper,
        plain=np.stack(
            [np.maximum(lower, separable.visible[:, 0]), np.minimum(upper, separable.visible[:, 1])], axis=1
        ),
        shares=shares,
        decays=decays,
        unit=np.ascontiguousarray(np.pad(nodes, ((0, -a.size % GROUP), (0, 0))), np.float32),
        mirror=np.array([2 * _find_middle(separable.mixture, decay) for decay in decays]),
        leverage=np.ascontiguousarray(1.0 / np.maximum(1.0 - nodes**2, 1e-6), np.float32),
    )


def _compute(mixture: np.ndarray, decay: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The basis (..., n) at decays and shares (...)."""
    a, b, c, d = mixture
    share = share[..., np.newaxis]
    square = a + share * (b + share * c)
    return np.sqrt(np.maximum(square, 0.0)) * np.exp(-d * decay[..., np.newaxis])


def _find_middle(mixture: np.ndarray, decay: float) -> float:
    """Where both sides meet: the share whose change a change of decay and amplitude can best undo."""
    a, b, c, d = mixture
    share = np.linspace(*_MIDDLE, 601)
    square = np.maximum(a + share[:, np.newaxis] * (b + share[:, np.newaxis] * c), 1e-30)
    e = np.exp(-d * decay)
    basis = np.sqrt(square) * e
    slope = (0.5 * b + share[:, np.newaxis] * c) / np.sqrt(square) * e
    unit = np.linalg.qr(np.stack([basis, d * basis], axis=-1))[0]
    left = slope - np.einsum("sij,skj,sk->si", unit, unit, slope)
    return float(share[np.argmin(np.linalg.norm(left, axis=1) / np.linalg.norm(basis, axis=1))])


def _is_repeated(separable: Separable) -> bool:
    """Whether the coefficients say what the model computes, at nodes all over the grid."""
    theta = np.ascontiguousarray(separable.grid[:: max(1, len(separable.grid) // 50)])
    n = separable.design.shape[1]
    basis, slope = np.zeros((len(theta), 1, n)), np.zeros((len(theta), 1, n))
    sample_basis(separable.evaluate.address, theta, separable.design, separable.constants, basis, slope)
    found = _compute(separable.mixture, theta[:, 0], theta[:, 1])
    # Near a null the square is a small difference: compared as squares.
    return bool(np.abs(found**2 - basis[:, 0] ** 2).max() <= _ACCURACY * np.abs(basis).max() ** 2)
