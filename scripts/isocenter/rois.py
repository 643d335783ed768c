"""Region statistics: the median of a map in a region, and a standard error that says what it is worth.

A region's median is uncertain because its voxels are a sample of the tissue: another label, as good, would hold other
voxels. Their spread holds noise, the tissue's own variation and the partial volume that a label lets in, so the
standard error is that of a median of this spread, with neighboring voxels counting less than in full because
resampling and anatomy make them alike. It is never less than what the voxels' own standard errors say.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, TableError, explain
from isocenter.regions.partial_volume import MARK, measure_partial_volume
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
    "raw_stderr_noise",
    "unit",
    "n_voxels",
    "n_valid",
    "calibration",
    "map",
    "field_strength",
    "calibrated_flag",
    "flags",
    "lent_maps",
    "raw_median",
    "raw_mean",
    "raw_sd",
    "raw_iqr",
    "raw_p10",
    "raw_p90",
    "n_effective",
    "interior",
    "lean",
    "erosion",
    "transform_hash",
)
#: A region with fewer voxels that hold a value has no row but an exclusion: a few voxels at the tissue's border
#: would speak for all of it.
FEWEST_VOXELS = 20
#: What may stand for a region.
STATISTICS = ("median", "mean")
#: Standard error of a median over that of a mean, normal noise: sqrt(π/2).
MEDIAN_FACTOR = np.sqrt(np.pi / 2)
#: Voxels further apart than this along an axis count as independent.
REACH = 2
#: Of the correlation of near voxels at least this share is taken to be seen [1]: less is noise divided by nothing.
LEAST_SEEN = 0.1


@dataclass(frozen=True)
class RoiStatistic:
    """What a region says about one map.

    value, stderr : median (or mean) and its standard error [unit]; NaN without a valid voxel
    stderr_noise : the part of it that a repeat draws anew: the noise of the voxels' fits, theirs alone [unit]
    n_voxels, n_valid : voxels of the region, and those with a value
    n_effective : independent voxels that `n_valid` correlated ones are worth
    median, mean, sd, iqr, p10, p90 : of the valid voxels, all alike [unit]
    interior : share of the valid voxels whose six neighbors are the region's too [1]
    lean : how far partial volume draws the value, to first order [unit]
    flags : share of the region's voxels by flag name, ``ok`` left out [1]; ``partial_volume``: the lean over the value,
        where it is more than 1 % and no chance
    """

    value: float
    stderr: float
    stderr_noise: float
    n_voxels: int
    n_valid: int
    n_effective: float
    median: float = np.nan
    mean: float = np.nan
    sd: float = np.nan
    iqr: float = np.nan
    p10: float = np.nan
    p90: float = np.nan
    interior: float = np.nan
    lean: float = np.nan
    flags: dict[str, float] = field(default_factory=dict)

    def describe_flags(self) -> str:
        """The flags as text: ``at_bound 0.02; clipped 0.10``."""
        return "; ".join(f"{name} {share:.2g}" for name, share in self.flags.items())


def measure_region(parameter_map: ParameterMap, region: np.ndarray, statistic: str = "median") -> RoiStatistic:
    """Median (or mean) of a map in a region with its standard error.

    Parameters
    ----------
    parameter_map : ParameterMap
        Value, standard error and flag.
    region : (x, y, z) booleans
        Where the label is.
    statistic : str
        ``median`` or ``mean``.
    """
    if statistic not in STATISTICS:
        raise ConfigError(explain("Unknown region statistic", expected=" or ".join(STATISTICS), found=statistic))
    if region.shape != parameter_map.value.shape:
        raise TableError(
            explain("Label and map differ in shape", expected=parameter_map.value.shape, found=region.shape)
        )
    known = parameter_map.ok & np.isfinite(parameter_map.value)
    valid = region & known
    n_voxels, n_valid = int(np.count_nonzero(region)), int(np.count_nonzero(valid))
    flags = share_of_flags(parameter_map.flag[region])
    if n_valid == 0:
        return RoiStatistic(np.nan, np.nan, np.nan, n_voxels, 0, 0.0, flags=flags)
    rim = measure_partial_volume(parameter_map.value, known, region, statistic)
    flags |= {MARK: rim.share} if rim.is_marked else {}
    values = parameter_map.value[valid].astype(float)
    shape = describe_spread(values)
    value = shape["median"]
    spread = 1.4826 * float(np.median(np.abs(values - value)))  # the SD of normal values, deaf to outliers
    n_effective = effective_count(parameter_map.value, valid)
    errors, factor = typical_stderr(parameter_map.stderr[valid]), MEDIAN_FACTOR
    if statistic == "mean":
        # A mean is moved by every voxel, the noisy and the odd ones too: their root mean square and plain SD count.
        value, spread, factor = shape["mean"], shape["sd"], 1.0
        errors = float(np.sqrt(np.nanmean(np.square(parameter_map.stderr[valid].astype(float)))))
    least, sampling = (factor * sd / np.sqrt(n_effective) for sd in (errors, spread))
    noise = errors if statistic == "mean" else find_median_noise(errors, spread)
    # Fitted noise is all but independent between voxels; what correlates them is the anatomy, the same in a repeat.
    worth = (float(np.fmax(least, sampling)), float(noise / np.sqrt(n_valid)), n_voxels, n_valid, n_effective)
    return RoiStatistic(value, *worth, **shape, interior=rim.interior, lean=rim.lean, flags=flags)


def describe_spread(values: np.ndarray) -> dict[str, float]:
    """How the (n,) valid values of a region lie, in their own unit: median, mean, SD, interquartile range, P10, P90."""
    p10, p25, p75, p90 = (float(p) for p in np.percentile(values, (10, 25, 75, 90)))
    sd = float(values.std(ddof=min(1, values.size - 1)))
    return {
        "median": float(np.median(values)),
        "mean": float(values.mean()),
        "sd": sd,
        "iqr": p75 - p25,
        "p10": p10,
        "p90": p90,
    }


def typical_stderr(stderr: np.ndarray) -> float:
    """The standard error that counts for a median: the harmonic mean of those given, (n,) [unit].

    A median is decided by the density of values around it, to which a voxel adds in proportion to 1/stderr: noisy
    voxels hardly widen it.
    """
    finite = stderr[np.isfinite(stderr) & (stderr > 0)].astype(float)
    return float(finite.size / np.sum(1 / finite)) if finite.size else np.nan


def find_median_noise(noise: float, spread: float) -> float:
    """Standard error of the median of n voxels of one anatomy, times √n: what noise alone makes of it [unit].

    The median moves where voxels change sides, and of an anatomy of SD σ with noise of SD s around it a share of
    arccos(1 − s²/(σ² + s²)) / 2π of the variance of sides is the noise's: all of it where the anatomy is flat, which
    gives √(π/2)·s, and √(√2·s·σ) where it is wide.

    Parameters
    ----------
    noise, spread : float
        SD of the noise and of the voxels' values, which hold both [unit].
    """
    spread = max(spread, noise)
    if not spread > 0:
        return spread
    return spread * float(np.sqrt(np.arccos(1 - (noise / spread) ** 2)))


def effective_count(values: np.ndarray, valid: np.ndarray) -> float:
    """How many independent voxels the valid ones are worth for their median.

    A median errs as the mean of sign(value − median) does, whose variance is Σᵢⱼ sᵢ sⱼ / n² over pairs of voxels: of
    independent ones 1/n, of alike neighbors more. Pairs up to `REACH` voxels apart along each axis are summed. That
    holds the smoothness of resampling and of the anatomy alike: an anatomy that varies within the region is sampled
    by the label, and that, too, makes the median uncertain.

    Signs about the region's own median add up to nothing, so those of all pairs do too: near pairs, which are the share
    p of all, are seen with 1 − p of their correlation, by which the sum is divided. Where nearly all pairs are near, as
    in a cube of three voxels, hardly anything is left to see, and the count is too high.

    Parameters
    ----------
    values : (x, y, z) array
        Read where `valid` only.
    valid : (x, y, z) booleans
        The region's voxels that hold a value.
    """
    n = int(np.count_nonzero(valid))
    signs = np.where(valid, np.sign(values - np.median(values[valid])), 0.0)
    where = np.argwhere(valid)
    box = tuple(slice(low, high + 1) for low, high in zip(where.min(axis=0), where.max(axis=0), strict=True))
    signs = np.pad(signs[box], REACH)
    core = signs[(slice(REACH, -REACH),) * 3]
    own = total = float(np.sum(np.abs(core)))
    inside = np.pad(valid[box], REACH)
    pairs = n
    for shift in itertools.product(range(-REACH, REACH + 1), repeat=3):
        if shift > (0, 0, 0):  # each pair once
            there = tuple(slice(REACH + h, REACH + h + size) for h, size in zip(shift, core.shape, strict=True))
            total += 2 * float(np.sum(core * signs[there]))
            pairs += 2 * int(np.count_nonzero(valid[box] & inside[there]))
    seen = max(1 - pairs / n**2, LEAST_SEEN)
    return n / max(total / max(own, 1.0) / seen, 1.0)


def place_labels(labels: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], target: np.ndarray) -> np.ndarray:
    """Labels drawn on one grid, on another: each voxel takes the label that its center lies in, 0 outside.

    labels : (x, y, z) integers; affine, target : (4, 4) arrays, voxel to scanner mm; shape : of the other grid
    """
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    matrix = np.linalg.inv(affine) @ target
    found = np.rint(index @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
    inside = np.all((found >= 0) & (found < labels.shape), axis=-1)
    placed = np.zeros(shape, labels.dtype)
    placed[inside] = labels[tuple(found[inside].T)]
    return placed


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
