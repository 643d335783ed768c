"""Region statistics: the median of a map in a region, and a standard error that says what it is worth.

Two things make a region's median uncertain. Noise: the voxels' own standard errors, averaged, where neighboring
voxels do not count in full because resampling and anatomy make them alike. And the region: the label is not exactly
the tissue, and the median moves when the label is drawn more tightly.
"""

from dataclasses import dataclass, field

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import TableError, explain
from isocenter.volume import ParameterMap

#: Columns of a run's region table: those of ``measurements.tsv``.
COLUMNS = (
    "site",
    "scanner",
    "participant_id",
    "kind",
    "session",
    "run",
    "biomarker",
    "roi",
    "value",
    "stderr",
    "raw_value",
    "raw_stderr",
    "unit",
    "n_voxels",
    "n_valid",
    "calibration",
    "map",
    "field_strength",
    "calibrated_flag",
    "flags",
)
#: A region with fewer voxels that hold a value has no row but an exclusion: a few voxels at the tissue's border
#: would speak for all of it.
FEWEST_VOXELS = 20
#: Standard error of a median over that of a mean, normal noise: sqrt(π/2).
MEDIAN_FACTOR = np.sqrt(np.pi / 2)
#: Neighbors more alike than this count as this.
LARGEST_CORRELATION = 0.9


@dataclass(frozen=True)
class RoiStatistic:
    """What a region says about one map.

    value, stderr : median and its standard error [unit]; NaN without a valid voxel
    stderr_noise, stderr_label : the two parts of the standard error [unit]
    n_voxels, n_valid : voxels of the region, and those with a value
    n_effective : independent voxels that `n_valid` correlated ones are worth
    flags : share of the region's voxels by flag name, ``ok`` left out [1]
    """

    value: float
    stderr: float
    stderr_noise: float
    stderr_label: float
    n_voxels: int
    n_valid: int
    n_effective: float
    flags: dict[str, float] = field(default_factory=dict)

    def describe_flags(self) -> str:
        """The flags as text: ``at_bound 0.02; clipped 0.10``."""
        return "; ".join(f"{name} {share:.2g}" for name, share in self.flags.items())


def measure_region(
    parameter_map: ParameterMap, region: np.ndarray, probability: np.ndarray | None = None
) -> RoiStatistic:
    """Median of a map in a region with its standard error.

    Parameters
    ----------
    parameter_map : ParameterMap
        Value, standard error and flag.
    region : (x, y, z) booleans
        Where the label is.
    probability : (x, y, z) array, optional
        Of the region's tissue [1]. With it the standard error holds a part for the label's uncertainty.
    """
    if region.shape != parameter_map.value.shape:
        raise TableError(
            explain("Label and map differ in shape", expected=parameter_map.value.shape, found=region.shape)
        )
    valid = region & parameter_map.ok & np.isfinite(parameter_map.value)
    n_voxels, n_valid = int(np.count_nonzero(region)), int(np.count_nonzero(valid))
    flags = share_of_flags(parameter_map.flag[region])
    if n_valid == 0:
        return RoiStatistic(np.nan, np.nan, np.nan, np.nan, n_voxels, 0, 0.0, flags)
    value = float(np.median(parameter_map.value[valid].astype(float)))
    n_effective = effective_count(parameter_map.value, valid)
    noise = MEDIAN_FACTOR * typical_stderr(parameter_map.stderr[valid]) / np.sqrt(n_effective)
    label = 0.0 if probability is None else label_uncertainty(parameter_map.value, valid, probability)
    return RoiStatistic(value, float(np.hypot(noise, label)), noise, label, n_voxels, n_valid, n_effective, flags)


def typical_stderr(stderr: np.ndarray) -> float:
    """The standard error that counts for a median: the harmonic mean of those given, (n,) [unit].

    A median is decided by the density of values around it, to which a voxel adds in proportion to 1/stderr: noisy
    voxels hardly widen it.
    """
    finite = stderr[np.isfinite(stderr) & (stderr > 0)].astype(float)
    return float(finite.size / np.sum(1 / finite)) if finite.size else np.nan


def effective_count(values: np.ndarray, valid: np.ndarray) -> float:
    """How many independent voxels the valid ones are worth.

    n · Π (1 − ρ) / (1 + ρ) over the three axes, ρ the correlation of neighbors within the region along each. It holds
    the smoothness of resampling and of the anatomy alike: an anatomy that varies within the region is sampled by the
    label, and that, too, makes the median uncertain.

    Parameters
    ----------
    values : (x, y, z) array
        Read where `valid` only.
    valid : (x, y, z) booleans
        The region's voxels that hold a value.
    """
    n = np.count_nonzero(valid)
    centered = np.where(valid, values - np.median(values[valid]), 0.0).astype(float)
    # Outlying voxels must not decide how smooth a region is.
    limit = 3 * 1.4826 * np.median(np.abs(centered[valid]))
    centered = np.clip(centered, -limit, limit)
    worth = float(n)
    for axis in range(3):
        first = [slice(None)] * 3
        second = [slice(None)] * 3
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        both = valid[tuple(first)] & valid[tuple(second)]
        a, b = centered[tuple(first)][both], centered[tuple(second)][both]
        power = np.sqrt(np.sum(a**2) * np.sum(b**2))
        correlation = float(np.clip(np.sum(a * b) / power, 0, LARGEST_CORRELATION)) if power > 0 else 0.0
        worth *= (1 - correlation) / (1 + correlation)
    return max(worth, 1.0)


def label_uncertainty(values: np.ndarray, valid: np.ndarray, probability: np.ndarray) -> float:
    """Half of what the median moves when only the more probable half of the region's voxels count [unit]."""
    inner = valid & (probability >= np.median(probability[valid]))
    return 0.5 * abs(float(np.median(values[inner])) - float(np.median(values[valid])))


def share_of_flags(flags: np.ndarray) -> dict[str, float]:
    """Share of voxels by flag name, ``ok`` left out: from (n,) flags of a region."""
    if flags.size == 0:
        return {}
    numbers, counts = np.unique(flags, return_counts=True)
    return {
        Flag(int(number)).name.lower(): count / flags.size
        for number, count in zip(numbers, counts, strict=True)
        if number != Flag.OK
    }
