"""B-splines of a volume whose outermost samples go on beyond its edges, evaluated on an affinely moved grid.

The coefficients are exact for samples that are repeated without end (scipy pads by twelve of them on all sides, which
multiplies a thin stack), and the kernel is compiled: a seventh of the time of ``scipy.ndimage.affine_transform``, of
whose ``mode="nearest"`` the values are, within the rounding of float32 (`tests/test_bspline.py`).

References
----------
Unser, Aldroubi & Eden 1993, doi 10.1109/78.193220 (recursive filters); Thévenaz, Blu & Unser 2000,
doi 10.1109/42.875199 (interpolation).
"""

import numpy as np

from isocenter.errors import RegistrationError, explain
from isocenter.models.compiled import lean_kernel

#: How far coefficients reach beyond the samples, so that half a voxel beyond the last one finds all of its own.
PAD = 3
#: Coefficients that a value is made of, along each axis; of lower orders the last ones weigh nothing.
TAPS = 4
#: The pole of the recursive filter by order; a linear spline's coefficients are its samples.
_POLES = {1: 0.0, 2: np.sqrt(8.0) - 3.0, 3: np.sqrt(3.0) - 2.0}


def fit_bspline(data: np.ndarray, order: int = 3) -> np.ndarray:
    """The coefficients of the spline through a volume's samples.

    data : (x, y, z) array, finite
    order : 1 linear, 2 quadratic, 3 cubic

    Returns
    -------
    (x + 2·PAD, y + 2·PAD, z + 2·PAD) float64 array
    """
    coefficients = np.pad(np.asarray(data, dtype=np.float64), PAD, mode="edge")
    pole = _POLES[order]
    if pole:
        nx, ny, nz = coefficients.shape
        # One axis after the other, each as (before, along, after).
        _filter_lines(coefficients.reshape(1, nx, ny * nz), pole)
        _filter_lines(coefficients.reshape(nx, ny, nz), pole)
        _filter_lines(coefficients.reshape(nx * ny, nz, 1), pole)
    return coefficients


def sample_affine(
    coefficients: np.ndarray, voxel: np.ndarray, *, order: int = 3, outside: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The spline's values on its own grid after a motion, and which of them lie among the samples.

    Parameters
    ----------
    coefficients : float64 or float32 array
        Of :func:`fit_bspline`.
    voxel : (4, 4) array
        From an index of the grid to where it lies among the samples, in voxels.
    order : int
        That of the coefficients.
    outside : float, optional
        What a value is that lies more than half a voxel beyond the outermost samples; without it the value at the
        nearest place that does not.

    Returns
    -------
    values : (x, y, z) float32 array
    inside : (x, y, z) booleans

    Raises
    ------
    RegistrationError
        When the motion is not finite: the kernel would read beside the array.
    """
    if not np.isfinite(voxel).all():
        raise RegistrationError(
            explain("A volume cannot be brought back", expected="a finite motion", found=voxel.tolist())
        )
    shape = tuple(n - 2 * PAD for n in coefficients.shape)
    values, inside = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.bool_)
    fill = 0.0 if outside is None else float(outside)
    matrix = np.ascontiguousarray(voxel, dtype=np.float64)
    _sample(coefficients, matrix, order, outside is not None, fill, values, inside, np.empty((3, TAPS)))
    return values, inside


def compile_bspline() -> None:
    """Compile and keep the kernels, so that no job waits for the compiler."""
    spline = fit_bspline(np.zeros((2, 2, 2)))
    for coefficients in (spline, spline.astype(np.float32)):
        sample_affine(coefficients, np.eye(4))


@lean_kernel
def _filter_lines(lines, pole):
    """Samples to coefficients along the middle axis of (before, along, after), in place.

    The samples at both ends go on without end: the sums over them are geometric series, which start the recursions.
    """
    before, along, after = lines.shape
    gain = (1.0 - pole) * (1.0 - 1.0 / pole)
    steady = 1.0 / (1.0 - pole)
    for b in range(before):
        for a in range(after):
            lines[b, 0, a] *= gain * steady
        last = along - 1
        for i in range(1, last):
            for a in range(after):
                lines[b, i, a] = gain * lines[b, i, a] + pole * lines[b, i - 1, a]
        for a in range(after):
            end = gain * lines[b, last, a]
            forward = end + pole * lines[b, last - 1, a]
            lines[b, last, a] = -pole * (end * steady * steady + (forward - end * steady) / (1.0 - pole * pole))
        for i in range(last - 1, -1, -1):
            for a in range(after):
                lines[b, i, a] = pole * (lines[b, i + 1, a] - lines[b, i, a])


@lean_kernel
def _weigh(order, position, weights):
    """Fill the weights of four coefficients at a position [voxels] among the samples; which sample the first is of."""
    if order == 3:
        first = np.floor(position)
        t = position - first
        s = 1.0 - t
        weights[0] = s * s * s / 6.0
        weights[1] = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
        weights[2] = 2.0 / 3.0 - 0.5 * s * s * (2.0 - s)
        weights[3] = t * t * t / 6.0
        return int(first) - 1
    if order == 2:
        nearest = np.floor(position + 0.5)
        t = position - nearest
        weights[0] = 0.5 * (0.5 - t) * (0.5 - t)
        weights[1] = 0.75 - t * t
        weights[2] = 0.5 * (0.5 + t) * (0.5 + t)
        weights[3] = 0.0
        return int(nearest) - 1
    first = np.floor(position)
    weights[0] = 1.0 - (position - first)
    weights[1] = position - first
    weights[2] = 0.0
    weights[3] = 0.0
    return int(first)


@lean_kernel
def _sample(coefficients, voxel, order, is_filled, fill, values, inside, weights):
    nx, ny, nz = values.shape
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                x = voxel[0, 0] * i + voxel[0, 1] * j + voxel[0, 2] * k + voxel[0, 3]
                y = voxel[1, 0] * i + voxel[1, 1] * j + voxel[1, 2] * k + voxel[1, 3]
                z = voxel[2, 0] * i + voxel[2, 1] * j + voxel[2, 2] * k + voxel[2, 3]
                inside[i, j, k] = (
                    x >= -0.5 and x <= nx - 0.5 and y >= -0.5 and y <= ny - 0.5 and z >= -0.5 and z <= nz - 0.5
                )
                if is_filled and not inside[i, j, k]:
                    values[i, j, k] = fill
                    continue
                p = _weigh(order, min(max(x, -0.5), nx - 0.5), weights[0]) + PAD
                q = _weigh(order, min(max(y, -0.5), ny - 0.5), weights[1]) + PAD
                r = _weigh(order, min(max(z, -0.5), nz - 0.5), weights[2]) + PAD
                s0 = s1 = s2 = s3 = 0.0
                for a in range(TAPS):
                    for b in range(TAPS):
                        w = weights[0, a] * weights[1, b]
                        s0 += w * coefficients[p + a, q + b, r]
                        s1 += w * coefficients[p + a, q + b, r + 1]
                        s2 += w * coefficients[p + a, q + b, r + 2]
                        s3 += w * coefficients[p + a, q + b, r + 3]
                values[i, j, k] = s0 * weights[2, 0] + s1 * weights[2, 1] + s2 * weights[2, 2] + s3 * weights[2, 3]
