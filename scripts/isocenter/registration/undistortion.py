"""A map of B0 brought onto an echo-planar series, and the series corrected by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter import motion
from isocenter.fields.distortion import Readout, extend_field, find_room, find_shift, place_field, pull_back
from isocenter.fields.likeness import compare_likeness
from isocenter.registration.placement import Placement, place_by_scanner, place_scan, regrid
from isocenter.volume import ParameterMap, Series, Volume

#: The map is placed on an image that it corrected before; by the fourth turn nothing moves any more.
_TURNS = 4
#: Turns end when the placement moves less than this [mm].
_SETTLED = 0.1
#: Outside of the map there is no value: one that covers less of the object than this takes away more than it mends.
_LEAST_COVER = 0.5


@dataclass(frozen=True)
class Undistorted:
    """A corrected series and what was done.

    series : corrected, or where `reason` says why not, as it came
    image, corrected : (x, y, z) arrays, the volume of least weighting before and after
    magnitude : (x, y, z) array, the map's scan where it lies on the series
    shift : (x, y, z) array [voxels] · placement : of the map's scan · reason : "" where the series is corrected
    facts : for the sidecar
    """

    series: Series
    image: np.ndarray
    corrected: np.ndarray
    magnitude: np.ndarray
    shift: np.ndarray
    placement: Placement
    reason: str
    facts: dict[str, Any]


def undistort(
    acquired: Series,
    readout: Readout,
    field: ParameterMap,
    magnitude: Volume,
    *,
    matrices: Sequence[np.ndarray] | None = None,
    seed: int = 1,
) -> Undistorted:
    """Correct an echo-planar series along its phase-encoding axis by a map of B0 of the same session.

    The map is placed by its magnitude image, by turns: an image that is still distorted would draw it along. Where the
    correction surely leaves the series less alike to the magnitude than it was, it is not made: then the phase has
    another sign than that of the readout, or the map is of another shim.

    Parameters
    ----------
    acquired : Series
        As measured.
    readout : Readout
        Of the series.
    field : ParameterMap
        B0 [Hz], on any grid.
    magnitude : Volume
        Of the map's scan, on the grid of the map.
    matrices : n (4, 4) arrays, optional
        The motions of the volumes: reference point to point, RAS mm.
    seed : int
        Of ANTs' sampling.
    """
    shape, affine = acquired.data.shape[:3], acquired.affine
    chosen = _least_weighted(acquired)
    few = Series(acquired.data[..., chosen], affine, {}, np.full(len(chosen), np.inf))
    few_matrices = None if matrices is None else [matrices[k] for k in chosen]

    def correct(placed: Placement) -> tuple[np.ndarray, np.ndarray]:
        shift = find_shift(place_field(whole, shape, placed.matrix @ affine), readout)
        return shift, pull_back(few, shift, readout.axis, few_matrices).data.mean(axis=-1)

    whole = extend_field(field)
    image = pull_back(few, np.zeros(shape), readout.axis, few_matrices).data.mean(axis=-1)
    placed = place_by_scanner("not registered")
    for _ in range(_TURNS):
        before, (shift, corrected) = placed, correct(placed)
        placed = place_scan(corrected, affine, magnitude, start=placed.matrix, seed=seed)
        center = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
        if motion.largest_displacement(np.linalg.inv(before.matrix) @ placed.matrix, center) < _SETTLED:
            break
    shift, corrected = correct(placed)
    mask = motion.find_foreground(image[..., np.newaxis])
    lain = regrid(magnitude, shape, placed.matrix @ affine)
    both = mask & np.isfinite(corrected)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    alike = compare_likeness(image, corrected, lain, both, spacing)
    inside = shift[both]
    facts = {
        "PhaseEncodingDirection": acquired.acquisition["PhaseEncodingDirection"],
        "TotalReadoutTime": readout.time,
        "ShiftVoxels": dict(
            zip(("5%", "50%", "95%"), np.percentile(inside, [5, 50, 95]).round(4).tolist(), strict=True)
        )
        if inside.size
        else {},
        "ShareWithoutField": float(np.mean(~np.isfinite(shift[mask]))),
        "ShareFolded": float(np.mean(np.isnan(find_room(shift, readout.axis)) & np.isfinite(shift), where=mask)),
        "Likeness": [round(value, 5) for value in (alike.was, alike.now, alike.stderr)],
        **placed.describe(),
    }
    covered = 1 - facts["ShareWithoutField"]
    if not inside.size:
        reason = "the field map does not cover this series"
    elif covered < _LEAST_COVER:
        reason = (
            f"the field map covers {100 * covered:.0f} % of this series, at least {100 * _LEAST_COVER:.0f} % are needed"
        )
    elif alike.is_less:
        reason = f"the correction made it less alike to the field map's scan: {alike.was:.4f} to {alike.now:.4f}"
    else:
        reason = ""
    series = acquired if reason else pull_back(acquired, shift, readout.axis, matrices)
    return Undistorted(series, image, corrected, lain, shift, placed, reason, facts)


def _least_weighted(acquired: Series) -> list[int]:
    """The volumes of the lowest b-value; all of them where there are none."""
    b = np.asarray(acquired.acquisition.get("DiffusionBValue", np.zeros(acquired.n)), dtype=float)
    return np.flatnonzero(b == b.min()).tolist() if b.shape == (acquired.n,) else list(range(acquired.n))
