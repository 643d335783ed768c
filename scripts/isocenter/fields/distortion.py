"""Distortion of echo-planar images along the phase-encoding axis, from a map of B0.

Lines of one image are read out over the total readout time T. A field offset dB0 turns the phase from line to line as
the phase-encoding gradient does, and so shifts the signal by dB0 T voxels along the direction in which the lines were
encoded (Jezzard and Balaban 1995, doi 10.1002/mrm.1910340111). A map of B0 by gradient echoes is not distorted, so the
image is pulled back: ``corrected(y) = distorted(y + s(y)) (1 + ds/dy)``, where the second factor gives signal that was
squeezed together or drawn apart its density back.

BIDS writes the direction as an axis of the image, ``i``, ``j`` or ``k``, with a minus where lines were encoded against
it; its total readout time is that between the centers of the first and the last line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from isocenter import motion
from isocenter.errors import SidecarError, explain
from isocenter.volume import ParameterMap, Series

#: Standard deviation [mm] of the Gaussian that takes a map's own noise out of it. Twice as much would take 4 % off the
#: top of a bump as steep as that over the sinuses (12 mm).
SMOOTHING = 1.0
#: Standard deviations [voxels] of the Gaussians that carry a map into the air around the object.
_REACHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: What a reach counts against the one before it: voxels near by decide where there are any.
_FADE = 1e-3
#: No echo-planar readout is shorter or longer [s].
_READOUT_RANGE = (1e-4, 1.0)
#: Where signal was squeezed into less than this share of its room, it cannot be told apart again.
LEAST_ROOM = 0.1


@dataclass(frozen=True)
class Readout:
    """How the lines of an echo-planar image were encoded.

    axis : of the image, 0 to 2; sign : 1 along it, -1 against it; time : total readout time [s]
    """

    axis: int
    sign: int
    time: float


def read_readout(acquisition: Mapping[str, Any]) -> Readout:
    """The readout from PhaseEncodingDirection and TotalReadoutTime [s]; SidecarError where either cannot be used."""
    direction, time = acquisition.get("PhaseEncodingDirection"), acquisition.get("TotalReadoutTime")
    if "ReadoutConflict" in acquisition:
        raise SidecarError(
            explain(
                str(acquisition["ReadoutConflict"]),
                expected="one direction and one time of the readout",
                remedy="look at the protocol on the console, and mend `readouts` of site.yaml",
            )
        )
    if not isinstance(direction, str) or direction not in ("i", "i-", "j", "j-", "k", "k-"):
        raise SidecarError(
            explain(
                "PhaseEncodingDirection is " + ("missing" if direction is None else "unusable"),
                expected="i, j or k, with a minus where lines were encoded against the axis",
                found="none" if direction is None else direction,
                remedy="send the series as the scanner made it, private elements included; or state it in site.yaml, "
                "under readouts",
            )
        )
    times = np.unique(np.asarray(np.nan if time is None else time, dtype=float))
    low, high = _READOUT_RANGE
    if times.size != 1 or not low <= times[0] <= high:
        guess = acquisition.get("EstimatedTotalReadoutTime")
        hint = f" (the converter estimates {guess} s)" if time is None and guess is not None else ""
        raise SidecarError(
            explain(
                "TotalReadoutTime is " + ("missing" if time is None else "unusable") + hint,
                expected=f"one number between {low:g} and {high:g} s",
                found="none" if time is None else time,
                remedy="send the series as the scanner made it, private elements included; or state it in site.yaml, "
                "under readouts",
            )
        )
    return Readout("ijk".index(direction[0]), -1 if direction.endswith("-") else 1, float(times[0]))


def name_source(acquisition: Mapping[str, Any]) -> str:
    """Where the readout of a series comes from: ``header``, or ``site`` when the site stated any of it."""
    stated = (acquisition.get(f"{key}Source") for key in ("PhaseEncodingDirection", "TotalReadoutTime"))
    return "site" if any(source is not None for source in stated) else "header"


def extend_field(field: ParameterMap) -> ParameterMap:
    """A map of B0 without gaps: smoothed by `SMOOTHING`, and carried on smoothly where it holds no value.

    Distorted signal lies outside of the object too, so its shift must be known there. Voxels count by their certainty
    where the map has standard errors.

    Returns
    -------
    ParameterMap
        A value [Hz] in every voxel of the grid, flagged as in `field`.
    """
    has_value = field.ok & np.isfinite(field.value)
    error = np.where(has_value & np.isfinite(field.stderr), field.stderr, np.nan)
    typical = np.nanmedian(error) if np.isfinite(error).any() else 1.0
    weight = np.where(has_value, 1 / (1 + np.square(np.nan_to_num(error, nan=0.0) / (typical or 1.0))), 0.0)
    value = np.where(has_value, field.value, 0.0).astype(float)
    sigma = SMOOTHING / np.linalg.norm(field.affine[:3, :3], axis=0)
    near = _average(value, weight, [sigma])
    beyond = _average(value, weight, [np.maximum(sigma, reach) for reach in _REACHES])
    return ParameterMap(np.where(has_value, near, beyond), field.stderr, field.flag, field.affine, field.unit)


def _average(value: np.ndarray, weight: np.ndarray, sigmas: list[np.ndarray]) -> np.ndarray:
    """Weighted mean of a neighborhood whose kernel is a sum of Gaussians, each counting less than the one before."""
    total, weights = np.zeros(value.shape), np.zeros(value.shape)
    for k, sigma in enumerate(sigmas):
        size = _FADE**k
        total += size * gaussian_filter(value * weight, sigma, mode="nearest")
        weights += size * gaussian_filter(weight, sigma, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / weights


def place_field(field: ParameterMap, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """(x, y, z) array [Hz]: a map without gaps on another grid, by cubic interpolation; NaN outside of its own.

    shape, affine : the other grid; the affine, voxel to RAS mm, takes it to where the map was measured
    """
    voxel = np.linalg.inv(field.affine) @ affine
    found = affine_transform(
        field.value.astype(float), voxel[:3, :3], voxel[:3, 3], output_shape=shape, order=3, mode="nearest"
    )
    index = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij", sparse=True)
    for axis, n in enumerate(field.value.shape):
        place = sum(voxel[axis, j] * index[j] for j in range(3)) + voxel[axis, 3]
        # The half voxel between the last center and the border of the map belongs to it.
        found[(place < -0.5) | (place > n - 0.5)] = np.nan
    return found


def find_shift(field: np.ndarray, readout: Readout) -> np.ndarray:
    """(x, y, z) array [voxels]: how far a field offset (x, y, z) [Hz] moves signal along the image's axis."""
    return readout.sign * readout.time * np.asarray(field, dtype=float)


def find_room(shift: np.ndarray, axis: int) -> np.ndarray:
    """(x, y, z) array: the Jacobian 1 + ds/dy of shifts [voxels]; NaN where it is below `LEAST_ROOM`."""
    room = 1 + np.gradient(shift, axis=axis) if shift.shape[axis] > 1 else np.ones(shift.shape)
    return np.where(room >= LEAST_ROOM, room, np.nan)


def pull_back(acquired: Series, shift: np.ndarray, axis: int, matrices: Sequence[np.ndarray] | None = None) -> Series:
    """A series as it would be in a homogeneous field, and, given its motions, where the object did not move.

    Motion and distortion are undone by one interpolation of each volume. The field is taken to move with the object.

    Parameters
    ----------
    acquired : Series
        As measured, n volumes.
    shift : (x, y, z) array [voxels]
        From :func:`find_shift`, for the object where the reference volume has it; NaN where it is not known.
    axis : int
        That it goes along.
    matrices : n (4, 4) arrays, optional
        The motions: reference point to point in each volume, RAS mm.

    Returns
    -------
    Series
        NaN where the shift is not known, or the signal was squeezed beyond recovery. Samples that a clipped one has
        touched stand at the saturation, which is raised above what the Jacobian makes of all others.
    """
    affine, shape = acquired.affine, acquired.data.shape[:3]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    room = find_room(shift, axis)
    largest = float(np.nanmax(room)) if np.isfinite(room).any() else 1.0
    saturation = np.broadcast_to(acquired.saturation, (acquired.n,))
    raised = (saturation * largest * 1.001).astype(np.float32).astype(float)  # as images hold it
    data = np.empty(acquired.data.shape, np.float32)
    for k in range(acquired.n):
        moved = _displacements(shape, affine, None if matrices is None else matrices[k]) * spacing
        moved[..., axis] += np.nan_to_num(shift) * spacing[axis]
        volume = motion.resample_series(
            acquired.data[..., k : k + 1], saturation[k : k + 1], [np.eye(4)], affine, moved[np.newaxis]
        )[..., 0]
        # A clipped sample stays known as one, whatever room it had.
        data[..., k] = np.where((volume >= saturation[k]) & np.isfinite(room), raised[k], volume * room)
    return replace(acquired, data=data, saturation=raised)


def _displacements(shape: tuple[int, ...], affine: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """(x, y, z, 3) array [voxels]: how far a rigid motion (RAS mm) moves each voxel of a grid."""
    if matrix is None or np.array_equal(matrix, np.eye(4)):
        return np.zeros((*shape, 3))
    voxel = np.linalg.inv(affine) @ matrix @ affine - np.eye(4)
    places = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    return places @ voxel[:3].T
