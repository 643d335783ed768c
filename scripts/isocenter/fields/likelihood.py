"""What each voxel of a volume says of a smooth field, and how neighbors' words are added up.

A voxel says it by its sum of squares with the field held at a row of values. The noise of each voxel is concentrated
out, so what is left is its profile likelihood, and a voxel that no value explains says little.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import correlate1d

#: Kernels end at so many standard deviations.
_REACH = 3.0
#: Half the step [1] over which the curvature of a likelihood is taken.
_HALF_STEP = 0.01
_TINY = 1e-4


@dataclass(frozen=True)
class Profiles:
    """The sum of squares of v voxels over held values of the field, and the penalty (minus log likelihood) it makes.

    nodes : (k,) array, rising in equal steps, at least 4
    begin : (v,) integers, the first node of each voxel's window of w nodes, at least 4
    squares : (w, v) array, what is left on the nodes of the window; positive
    freedom : (v,) array, degrees of freedom
    """

    nodes: np.ndarray
    begin: np.ndarray
    squares: np.ndarray
    freedom: np.ndarray

    def take(self, rows: Any) -> "Profiles":
        """The profiles of some voxels."""
        return Profiles(self.nodes, self.begin[rows], np.ascontiguousarray(self.squares[:, rows]), self.freedom[rows])

    def penalties(self) -> np.ndarray:
        """(w, v) array: the penalty on the nodes, from 0 at the best of them."""
        return 0.5 * self.freedom * np.log(self.squares / self.squares.min(axis=0))

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(v,) arrays: the lowest and the highest value in each voxel's window."""
        return self.nodes[self.begin], self.nodes[self.begin + len(self.squares) - 1]

    def at(self, field: np.ndarray) -> np.ndarray:
        """(v,) array: the penalty of each voxel at a value of its own, on the same scale."""
        place = (field - self.nodes[self.begin]) / (self.nodes[1] - self.nodes[0])
        first = np.clip(np.floor(place).astype(np.int64) - 1, 0, len(self.squares) - 4)
        weights, rows = _cubic(place - first), np.arange(field.size)
        squares = sum(weights[k] * self.squares[first + k, rows] for k in range(4))
        # A cubic may undershoot a narrow valley.
        return 0.5 * self.freedom * np.log(np.maximum(squares / self.squares.min(axis=0), 0.5))

    def differentiate(self, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(v,) arrays: slope and curvature of the penalty at a value of each voxel."""
        low, high = self.ends()
        inner = np.clip(field, low + _HALF_STEP, high - _HALF_STEP)
        slope = (self.at(inner + _TINY) - self.at(inner - _TINY)) / (2 * _TINY)
        bend = self.at(inner + _HALF_STEP) - 2 * self.at(inner) + self.at(inner - _HALF_STEP)
        return slope, bend / _HALF_STEP**2


def interpolate(nodes: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cubic through the four nodes around values (v,): the first one (v,), all their weights and slopes (4, v)."""
    step = nodes[1] - nodes[0]
    place = (at - nodes[0]) / step
    first = np.clip(np.floor(place).astype(np.int64) - 1, 0, nodes.size - 4)
    t = place - first
    return first, _cubic(t), (_cubic(t + _TINY) - _cubic(t - _TINY)) / (2 * _TINY * step)


def _cubic(t: np.ndarray) -> np.ndarray:
    """(4, v) array: Lagrange's weights of nodes at 0, 1, 2 and 3."""
    return np.stack(
        [
            -(t - 1) * (t - 2) * (t - 3) / 6,
            t * (t - 2) * (t - 3) / 2,
            -t * (t - 1) * (t - 3) / 2,
            t * (t - 1) * (t - 2) / 6,
        ]
    )


class Kernel:
    """Gaussian sums over the voxels inside of a mask; a voxel counts 1 for itself.

    inside : (x, y, z) booleans; spacing : (3,) [mm]; width [mm] : the standard deviation
    """

    def __init__(self, inside: np.ndarray, spacing: np.ndarray, width: float):
        self.inside, self.taps, self.squared = inside, [], []
        for size, step in zip(inside.shape, spacing, strict=True):
            reach = min(int(_REACH * width / step), size - 1)
            t = np.arange(-reach, reach + 1) * step
            gauss = np.exp(-0.5 * (t / width) ** 2)
            self.taps.append([gauss * t**power for power in range(3)])
            self.squared.append([gauss**2 * t**power for power in range(3)])

    def sums(
        self, values: np.ndarray, powers: list[tuple[int, int, int]], *, is_squared: bool = False
    ) -> dict[tuple[int, int, int], np.ndarray]:
        """Sums (v,) of values (v,) of the neighbors times powers of their distance along each axis [mm].

        is_squared : with the square of the kernel, as variances need
        """
        taps = self.squared if is_squared else self.taps
        volume = np.zeros(self.inside.shape)
        volume[self.inside] = values
        partial = {(): volume}
        for power in powers:
            for axis in range(3):
                if power[: axis + 1] not in partial:
                    partial[power[: axis + 1]] = correlate1d(
                        partial[power[:axis]], taps[axis][power[axis]], axis=axis, mode="constant"
                    )
        return {power: partial[power][self.inside] for power in powers}

    def sum(self, values: np.ndarray, *, is_squared: bool = False) -> np.ndarray:
        """The plain sum (v,)."""
        return self.sums(values, [(0, 0, 0)], is_squared=is_squared)[0, 0, 0]
