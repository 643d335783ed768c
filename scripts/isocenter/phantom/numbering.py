"""Which vial is which: of all the ways in which the pattern maps onto itself, the one whose values are in order."""

from dataclasses import dataclass

import numpy as np

from isocenter.calibration.scale import scale_of
from isocenter.errors import CalibrationError, explain
from isocenter.phantom.library import SUSPECT, Geometry, VialReference
from isocenter.phantom.symmetry import Placement
from isocenter.volume import ParameterMap

#: The rank correlation that the right numbering must reach, and its lead over the next best. Real sessions give
#: 0.98–1.00 for the right one and at most 0.77 for the next (both arrays of the ISMRM/NIST phantom).
LEAST_RANK_CORRELATION = 0.90
LEAST_LEAD = 0.10
#: No scanner is this far off; another plate, whose order is the same, is (a factor of 2.7 for T2, 2.9 for T1).
MOST_RATIO = 1.6
#: Nor by this part of the whole, where values are shares.
MOST_OFF = 0.15
#: Values at a smaller share of the vials than this cannot tell the numbering (8 of 14).
LEAST_VALUES = 0.55
#: Share of a vial's radius within which its crude value is read, and of that region what must have a value.
CORE = 0.4
LEAST_FILLED = 1 / 3


@dataclass(frozen=True)
class Numbering:
    """The numbering that the values tell.

    placement : that lays vial i of the geometry where it lies
    ratio : median of the values over the reference; of shares 1 and the median difference [1]
    rank_correlation, runner_up : with the reference, for this numbering and the next best
    """

    placement: Placement
    rank_correlation: float
    runner_up: float
    ratio: float

    @property
    def lead(self) -> float:
        """How far the next best numbering is off, 0 to 1: half of it is the least that is believed."""
        return float(np.clip((self.rank_correlation - self.runner_up) / (2 * LEAST_LEAD), 0.0, 1.0))


def number_vials(
    parameter_map: ParameterMap,
    spacing: np.ndarray,
    geometry: Geometry,
    reference: list[VialReference],
    placements: list[Placement],
    to_voxels,
) -> Numbering:
    """The placement under which the values of the map are in the reference's order.

    Parameters
    ----------
    parameter_map : ParameterMap
        Its values tell the numbering.
    spacing : (3,) array
        Of its voxels [mm].
    geometry : Geometry
        Of the array.
    reference : list of VialReference
        What its vials should read; suspect ones are left out.
    placements : list of Placement
        All under which the pattern covers the same places.
    to_voxels : callable
        From a placement to the vials' (n, 3) voxels, in the geometry's order.

    Raises
    ------
    CalibrationError
        Too few values, no order, two orders, or the values of another array.
    """
    # A vial whose value is measured poorly still has its place in the order; one with another solution has none.
    scale = scale_of(parameter_map.unit)
    expected = {r.vial: r.value for r in reference if r.flag != SUSPECT}
    known = np.array([expected.get(v, np.nan) for v in geometry.vials.tolist()])
    radius = CORE * geometry.sphere_diameter / 2
    values = [crude_values(parameter_map, spacing, to_voxels(p), radius) for p in placements]
    least = int(np.ceil(LEAST_VALUES * len(known)))
    most = max(int((np.isfinite(v) & np.isfinite(known)).sum()) for v in values)
    if most < least:
        raise CalibrationError(
            explain(
                "Too few vials have a value: their numbering cannot be told",
                expected=f"at least {least}",
                found=most,
                remedy="check the fit of the phantom series",
            )
        )
    correlations = [_rank_correlation(v, known, least) for v in values]
    order = np.argsort(-np.array(correlations), kind="stable")
    best = int(order[0])
    first = correlations[best]
    runner_up = correlations[int(order[1])] if len(order) > 1 else -1.0
    if first < LEAST_RANK_CORRELATION or first - runner_up < LEAST_LEAD:
        raise CalibrationError(
            explain(
                f"The numbering of the {geometry.array} vials is ambiguous",
                expected=f"a rank correlation of {LEAST_RANK_CORRELATION} or more with the reference, "
                f"{LEAST_LEAD} above the next best",
                found=f"{first:.2f} and {runner_up:.2f}",
                remedy="check the phantom's serial and which plate the slice cuts",
            )
        )
    both = np.isfinite(values[best]) & np.isfinite(known)
    if not scale.is_relative:
        off = float(np.median(scale.error(values[best][both], known[both])))
        if abs(off) > MOST_OFF:
            raise CalibrationError(
                explain(
                    f"The values are not those of the {geometry.array} vials",
                    expected=f"a median within {100 * MOST_OFF:g} points of the reference",
                    found=f"{100 * off:+.1f} points",
                    remedy="check which phantom this is, its definition and its temperature",
                )
            )
        return Numbering(placements[best], first, runner_up, 1.0 + off)
    ratio = float(np.exp(np.median(np.log(np.maximum(values[best][both], 1e-12) / known[both]))))
    if not 1 / MOST_RATIO <= ratio <= MOST_RATIO:
        raise CalibrationError(
            explain(
                f"The values are not those of the {geometry.array} vials",
                expected=f"a median within a factor of {MOST_RATIO} of the reference",
                found=f"a factor of {ratio:.2f}",
                remedy="check which plate the slice cuts, the phantom's serial and the unit of the times",
            )
        )
    return Numbering(placements[best], first, runner_up, ratio)


def crude_values(parameter_map: ParameterMap, spacing: np.ndarray, voxels: np.ndarray, radius: float) -> np.ndarray:
    """(n,) medians of the map within `radius` [mm] of (n, 3) voxels; NaN when little of it has a value.

    The region is a ball, or the disk in the nearest slice where slices are thicker than the ball.
    """
    shape = np.array(parameter_map.value.shape)
    reach = np.maximum(np.ceil(radius / spacing).astype(int), [1, 1, 0])
    reach[2] = 0 if shape[2] == 1 or spacing[2] > radius else reach[2]
    values = np.full(len(voxels), np.nan)
    for n, voxel in enumerate(voxels):
        middle = np.rint(voxel).astype(int)
        low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, shape)
        if (low >= high).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        i, j, k = np.ogrid[box]
        near = ((i - voxel[0]) * spacing[0]) ** 2 + ((j - voxel[1]) * spacing[1]) ** 2
        near = near + (0 if reach[2] == 0 else ((k - voxel[2]) * spacing[2]) ** 2) <= radius**2
        near = np.broadcast_to(near, parameter_map.value[box].shape)
        good = near & parameter_map.ok[box]
        if near.any() and good.sum() >= LEAST_FILLED * near.sum():
            values[n] = np.median(parameter_map.value[box][good])
    return values


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation; 0 where one side does not vary."""
    a, b = (r - r.mean() for r in (rank(a), rank(b)))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def rank(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, those of equal values their mean: those of scipy.stats, which takes long to import."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def _rank_correlation(values: np.ndarray, known: np.ndarray, least: int) -> float:
    both = np.isfinite(values) & np.isfinite(known)
    return rank_correlation(values[both], known[both]) if both.sum() >= least else 0.0
