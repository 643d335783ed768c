"""A smooth field from the likelihoods of single voxels: local likelihood, about a polynomial over the whole volume.

Where one voxel leaves two values open, the sum over its neighbors does not (Tibshirani and Hastie 1987,
doi 10.1080/01621459.1987.10478466). A polynomial of second order, fitted to all likelihoods at once, takes the large
part of the field and decides between its sides; what it leaves is taken as linear under a Gaussian kernel, and a second
pass over what that leaves gives back most of what a kernel smooths away (twicing, Buehlmann and Yu 2003,
doi 10.1198/016214503000125).
"""

from itertools import product
from math import comb

import numpy as np
from numpy.polynomial import legendre

from isocenter.fields.likelihood import Kernel, Profiles

#: The width [mm] of the first look, of which the polynomial only takes its start.
_FIRST_WIDTH = 13.0
#: Widths to choose from [mm]: the narrowest one that leaves the field these standard errors (median and ninth decile),
#: with the median over so many voxels (effective number).
_WIDTHS = (4.0, 6.0, 9.0, 13.0, 19.0, 28.0, 40.0)
_WANTED, _WANTED_MOST, _WANTED_VOXELS = 0.006, 0.01, 20.0
_PASSES = 2
_ORDER = 2
#: What the slope of a field may be thought to be [1/mm], where neighbors on one side alone do not tell.
_STEEP = 0.02
_LONGEST_STEP = 0.05
#: No neighborhood knows less of the field than this share of what is usual.
_LEAST_SHARE = 0.05
#: Of the polynomial's fit; a gain of the penalty below the last one is none.
_MOST_STEPS, _MOST_DAMPING, _LEAST_GAIN = 30, 1e6, 1e-3
_UNITS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
_PAIRS = sorted({tuple(np.add(a, b).tolist()) for a, b in product(_UNITS, _UNITS)})


def estimate_field(
    profiles: Profiles, inside: np.ndarray, spacing: np.ndarray, trend: np.ndarray, *, width: float | None = None
) -> tuple[np.ndarray, np.ndarray, Kernel]:
    """The field (v,) that the voxels inside of a mask (x, y, z) agree on, its standard error (v,) and the kernel.

    trend : (v,) the polynomial to start from; spacing : (3,) [mm] of the voxels
    width [mm] : of the kernel, chosen by the data where it is None
    """
    low, high = profiles.ends()
    field = np.clip(trend, low, high)
    spread = np.sqrt(_inflation(_PASSES, sum(size > 1 for size in inside.shape)))
    kernel = (
        _choose_kernel(profiles, inside, spacing, field, spread) if width is None else Kernel(inside, spacing, width)
    )
    for _ in range(_PASSES):
        step, error = _step(kernel, *profiles.differentiate(field))
        step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        field = np.clip(field + step, low, high)
    # What the last pass had to give back is about what the kernel still smooths away.
    bias = kernel.sum(step**2) / kernel.sum(np.ones(step.size))
    return field, np.sqrt((spread * error) ** 2 + bias), kernel


def estimate_trend(profiles: Profiles, inside: np.ndarray, wanted: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(v,) array: the polynomial of second order that all voxels inside of a mask (x, y, z) together favor.

    Given at the v voxels of another mask, `wanted`.
    """
    low, high = profiles.nodes[0], profiles.nodes[-1]
    x = _polynomials(inside, spacing)
    # So little that it only decides what no voxel tells.
    ridge = 1e-6 * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(_dot(x, x) + ridge, _dot(x, look_around(profiles, inside, spacing)))
    penalty = profiles.at(np.clip(_dot(x.T, weights), low, high)).sum()
    damping = 1e-3
    for _ in range(_MOST_STEPS):
        slope, bend = profiles.differentiate(np.clip(_dot(x.T, weights), low, high))
        normal = _dot(x * np.maximum(bend, 0.0)[:, np.newaxis], x) + ridge
        gain = 0.0
        while damping < _MOST_DAMPING:
            trial = weights - np.linalg.solve(normal + damping * np.diag(np.diag(normal)), _dot(x, slope))
            gain = penalty - profiles.at(np.clip(_dot(x.T, trial), low, high)).sum()
            if gain >= 0:
                break
            damping *= 5
        if damping >= _MOST_DAMPING:
            break
        weights, penalty, damping = trial, penalty - gain, max(damping / 5, 1e-6)
        if gain < _LEAST_GAIN:
            break
    return np.clip(_dot(_polynomials(wanted, spacing).T, weights), low, high)


def look_around(profiles: Profiles, inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(v,) array: the best value for each voxel's neighborhood, as if the field were constant there."""
    kernel = Kernel(inside, spacing, _FIRST_WIDTH)
    total = np.stack([kernel.sum(one) for one in profiles.penalties()])
    nodes, rows = profiles.nodes, np.arange(total.shape[1])
    lowest = np.clip(np.argmin(total, axis=0), 1, nodes.size - 2)
    before, here, after = (total[lowest + k, rows] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 0, 0.5 * (before - after) / np.where(bend > 0, bend, 1.0), 0.0)
    return nodes[lowest] + np.clip(shift, -1, 1) * (nodes[1] - nodes[0])


def _polynomials(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """(v, m) array: products of Legendre polynomials at the voxels inside; no order that an axis is too short for."""
    last = np.array(inside.shape) - 1
    half = max(float((last * spacing).max()) / 2, 1e-9)
    places = (np.argwhere(inside) - last / 2) * spacing / half
    along = [legendre.legvander(places[:, axis], _ORDER) for axis in range(3)]
    orders = [order for order in product(range(_ORDER + 1), repeat=3) if sum(order) <= _ORDER and np.all(order <= last)]
    return np.stack([along[0][:, a] * along[1][:, b] * along[2][:, c] for a, b, c in orders], axis=1)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The transpose of a (v, m) times b (v, k) or (v,), summed in one order whatever the number of BLAS threads."""
    return np.einsum("vm,vk->mk", a, b) if b.ndim == 2 else np.einsum("vm,v->m", a, b)


def _choose_kernel(
    profiles: Profiles, inside: np.ndarray, spacing: np.ndarray, field: np.ndarray, spread: float
) -> Kernel:
    """The narrowest kernel that is good enough, else the widest: what a kernel smooths away grows with its square."""
    slope, bend = profiles.differentiate(field)
    for width in _WIDTHS:
        kernel = Kernel(inside, spacing, width)
        ones = np.ones(field.size)
        voxels = kernel.sum(ones) ** 2 / kernel.sum(ones, is_squared=True)
        error = spread * np.sqrt(kernel.sum(slope**2, is_squared=True)) / np.maximum(kernel.sum(bend), 1e-9)
        median, most = np.quantile(error, [0.5, 0.9])
        if np.median(voxels) >= _WANTED_VOXELS and median <= _WANTED and most <= _WANTED_MOST:
            break
    return kernel


def _step(kernel: Kernel, slope: np.ndarray, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's step (v,) of a field that is linear under the kernel, and its standard error (v,) (sandwich)."""
    # The curvature of single voxels may be negative, the mean over the kernel is that of their sum.
    mean = kernel.sum(bend) / kernel.sum(np.ones(bend.size))
    mean = np.maximum(mean, max(_LEAST_SHARE * float(np.median(mean)), 1e-6))
    information = _square(kernel.sums(mean, _PAIRS))
    level = information[:, 0, 0]
    size = np.array([float(taps[2].sum() / taps[0].sum()) for taps in kernel.taps])
    for axis in range(3):
        # Some of the kernel's own spread, where neighbors lie on one line.
        information[:, axis + 1, axis + 1] += 1e-3 * level * size[axis] + 1 / _STEEP**2
    inverse = np.linalg.inv(information)[:, 0]
    score = kernel.sums(slope, list(_UNITS))
    step = -sum(inverse[:, k] * score[unit] for k, unit in enumerate(_UNITS))
    scatter = _square(kernel.sums(slope**2, _PAIRS, is_squared=True))
    return step, np.sqrt(np.maximum(np.einsum("va,vab,vb->v", inverse, scatter, inverse), 0.0))


def _square(sums: dict[tuple[int, int, int], np.ndarray]) -> np.ndarray:
    """(v, 4, 4) array of the sums over 1, x, y, z times 1, x, y, z."""
    rows = [[sums[tuple(np.add(a, b).tolist())] for b in _UNITS] for a in _UNITS]
    return np.ascontiguousarray(np.moveaxis(np.array(rows), -1, 0))


def _inflation(passes: int, dimensions: int) -> float:
    """By how much passes over what is left raise the variance of a mean under a Gaussian kernel."""
    share = {k: comb(passes, k) * (-1) ** (k + 1) for k in range(1, passes + 1)}
    return sum(share[a] * share[b] * (2 / (a + b)) ** (dimensions / 2) for a in share for b in share)
