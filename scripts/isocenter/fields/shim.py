"""How well a magnet was shimmed: the spread of the field offset over an object."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from isocenter.errors import FitError, explain

#: Fewer voxels than this have no histogram.
FEWEST_VOXELS = 100
#: Bins within a standard deviation of the smoothing.
_BINS_PER_WIDTH = 8
#: The histogram reaches this many widths of the main half of the values to either side: what lies beyond is no peak's.
_REACH = 20.0


@dataclass(frozen=True)
class Shim:
    """The field offset over a mask [Hz].

    n_voxels : voxels with a value in the mask
    median : the middle of the field, which the transmitter's frequency may take away
    sd : standard deviation
    range : from the 5th to the 95th percentile
    fwhm : full width at half maximum of the histogram
    """

    n_voxels: int
    median: float
    sd: float
    range: float
    fwhm: float


def measure_shim(field: np.ndarray, mask: np.ndarray) -> Shim:
    """The shim figures of a field map.

    Standard deviation, percentiles and line width are the figures by which shimming is judged (Juchem and de Graaf
    2017, doi 10.1016/j.ab.2016.06.003). The three differ in what they hear of a few voxels far out: the standard
    deviation all, the range little, the width of the histogram nothing.

    Parameters
    ----------
    field : (x, y, z) array [Hz]
        The offset; voxels that are not finite are left out.
    mask : (x, y, z) booleans
        The object.

    Raises
    ------
    FitError
        When fewer than `FEWEST_VOXELS` voxels of the mask hold a value.
    """
    values = np.asarray(field, dtype=float)[np.asarray(mask, dtype=bool) & np.isfinite(field)]
    if values.size < FEWEST_VOXELS:
        raise FitError(
            explain(
                "Too few voxels hold a field offset to judge the shim by",
                expected=f"at least {FEWEST_VOXELS}",
                found=values.size,
                remedy="look at the phase images of this series",
            )
        )
    low, high = np.percentile(values, [5, 95])
    return Shim(values.size, float(np.median(values)), float(values.std()), float(high - low), find_fwhm(values))


def find_fwhm(values: np.ndarray) -> float:
    """Full width at half maximum of the distribution of values (v,), in their unit; 0 when all are the same.

    The histogram is smoothed by a Gaussian of Silverman's width (1986, rule of thumb 3.31: 0.9 SD v^-1/5), which widens
    a normal distribution of 10 000 values by 1 %. The SD is that of the main peak, from the shortest interval that
    holds half of the values. Of several peaks the highest counts, from its first crossing of the half on either side.
    """
    ranked, half = np.sort(values), values.size // 2
    lengths = ranked[half:] - ranked[: ranked.size - half]
    first = int(np.argmin(lengths))
    main = lengths[first] or values.std()
    if main == 0:
        return 0.0
    smoothing = 0.9 * main / 1.349 * values.size**-0.2
    step, margin = smoothing / _BINS_PER_WIDTH, 5 * smoothing
    low = max(values.min(), ranked[first] - _REACH * main) - margin
    high = min(values.max(), ranked[first + half] + _REACH * main) + margin
    edges = np.arange(low, high + step, step)
    density = gaussian_filter1d(np.histogram(values, edges)[0].astype(float), smoothing / step)
    peak = int(np.argmax(density))
    half = density[peak] / 2
    right = _cross(density[peak:], half)
    left = _cross(density[peak::-1], half)
    return float((left + right) * step)


def _cross(falling: np.ndarray, level: float) -> float:
    """Where numbers (n,) that start above a level first fall below it, by linear interpolation [steps]."""
    after = int(np.argmax(falling < level))
    above, below = falling[after - 1], falling[after]
    return after - 1 + (above - level) / (above - below)
