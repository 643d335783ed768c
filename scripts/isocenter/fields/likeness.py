"""How alike two images of unlike contrast are: whether their edges lie at the same places, in the same directions."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

#: Fewer voxels than this have no edges to compare.
FEWEST_VOXELS = 500
#: Edge of the cubes that count as independent [mm].
CUBE = 20.0
#: A difference of this many standard errors is no chance.
SURELY = 2.0


@dataclass(frozen=True)
class Likeness:
    """How alike two images are to a third: 0 unrelated, 1 the same edges; NaN where too little can be compared.

    was, now : of the first and the second; stderr : standard error of their difference
    """

    was: float
    now: float
    stderr: float

    @property
    def is_more(self) -> bool:
        """Whether the second is more alike than the first, beyond what chance would make of it."""
        return self.now - self.was > SURELY * self.stderr

    @property
    def is_less(self) -> bool:
        """Whether the second is less alike than the first, beyond what chance would make of it."""
        return self.was - self.now > SURELY * self.stderr


def compare_likeness(
    first: np.ndarray, second: np.ndarray, other: np.ndarray | tuple[np.ndarray, np.ndarray], mask: np.ndarray,
    spacing: np.ndarray,
) -> Likeness:  # fmt: skip
    """Whether one image or another is more alike to a third: the squared cosine between their gradients, on average.

    Normalized gradient fields (Haber and Modersitzki 2006, doi 10.1007/11866763_89): gradients below the mean over the
    mask count for little. Unlike mutual information it does not hear shading, which squeezed signal makes. The standard
    error comes from cubes of `CUBE` as independent samples.

    Parameters
    ----------
    first, second : (x, y, z) arrays
        On one grid; what is not finite is left out with its neighbors, in both.
    other : (x, y, z) array, or two of them
        What the first and the second are compared with.
    mask : (x, y, z) booleans
        Where they are compared.
    spacing : (3,) array [mm]
        From voxel to voxel.
    """
    others = other if isinstance(other, tuple) else (other, other)
    finite = np.all([np.isfinite(image) for image in (first, second, *others)], axis=0)
    inside = mask & binary_erosion(finite, np.ones((3, 3, 3)), border_value=1)
    if np.count_nonzero(inside) < FEWEST_VOXELS:
        return Likeness(np.nan, np.nan, np.nan)
    alike = []
    for image, third in zip((first, second), others, strict=True):
        one, two = (_normal(np.where(finite, each, 0.0), inside, spacing) for each in (image, third))
        alike.append(np.square(np.sum(one * two, axis=0)[inside]))
    cubes = np.floor(np.argwhere(inside) * spacing / CUBE).astype(int)
    _, number = np.unique(cubes, axis=0, return_inverse=True)
    number = number.ravel()
    gain = alike[1] - alike[0]
    apart = np.bincount(number, gain - gain.mean())
    n = apart.size
    stderr = np.sqrt(n / (n - 1) * np.sum(apart**2)) / gain.size if n > 1 else np.inf
    return Likeness(float(alike[0].mean()), float(alike[1].mean()), float(stderr))


def _normal(image: np.ndarray, inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(3, x, y, z) array: gradients over their length, which counts as no less than its mean over the mask."""
    smooth = gaussian_filter(image.astype(float), 0.7)
    slopes = np.stack([
        np.gradient(smooth, step, axis=axis) if image.shape[axis] > 1 else np.zeros(image.shape)
        for axis, step in enumerate(spacing)
    ])  # fmt: skip
    length = np.sqrt(np.sum(slopes**2, axis=0))
    edge = length[inside].mean()
    return slopes / np.sqrt(length**2 + (edge or 1.0) ** 2)
