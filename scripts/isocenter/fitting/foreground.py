"""Which voxels are worth fitting: a plain threshold that keeps small dim vials."""

import numpy as np

#: The noise class ends this many robust standard deviations above its median.
_SPREADS = 6.0
_MOST_TURNS = 20
#: Two classes have at least this share of the variance between them; one even spread of values parts into 0.75.
_TWO_CLASSES = 0.8
#: A dark class of fewer voxels than this share is no air.
_LEAST_AIR = 0.01


def find_foreground(data: np.ndarray) -> np.ndarray:
    """Voxels that hold signal.

    Otsu's threshold (1979, doi 10.1109/TSMC.1979.4310076) on the maximum over the series parts dark from bright.
    It lies between air and the brightest tissue and would lose dim vials, so only its dark class is used: the median
    and the median absolute deviation of that class, with what stands out of it cut off in turns, describe the air,
    and all that stands above the air is foreground. An image that tissue fills has no such two classes: the dark
    one is then parted again until it holds air, or too few voxels to be any, and then all that is above zero is
    foreground.

    data : (x, y, z, n) array [a.u.]; returns (x, y, z) booleans
    """
    finite = np.isfinite(data)
    brightest = np.max(np.where(finite, data, -np.inf), axis=-1)
    brightest = np.where(np.isfinite(brightest), brightest, 0.0).astype(np.float64)
    positive = brightest > 0
    if not positive.any():
        return positive
    air_end = dark_end = _part_air(brightest)
    if air_end <= 0:
        return positive
    for _ in range(_MOST_TURNS):
        following = min(_end_of_noise(brightest[brightest <= air_end]), dark_end)
        if following >= air_end:
            break
        air_end = following
    return positive & (brightest > air_end)


def _part_air(brightest: np.ndarray) -> float:
    """A threshold above the air and below the brightest tissue; 0 where no air is seen."""
    values = brightest.ravel()
    while values.size >= _LEAST_AIR * brightest.size and np.ptp(values) > 0:
        dark_end = threshold_otsu(values)
        dark = values[values <= dark_end]
        share = dark.size / values.size
        apart = share * (1 - share) * (values.mean() - dark.mean()) ** 2 / (1 - share) ** 2
        if dark.size >= _LEAST_AIR * brightest.size and (
            apart >= _TWO_CLASSES * values.var() or _end_of_noise(dark) < dark_end
        ):
            return dark_end
        values = dark
    return 0.0


def _end_of_noise(dark: np.ndarray) -> float:
    middle = np.median(dark)
    return float(middle + _SPREADS * 1.4826 * np.median(np.abs(dark - middle)))


def threshold_otsu(values: np.ndarray, bins: int = 512) -> float:
    """The threshold that parts `values` into two classes with the largest variance between them."""
    counts, edges = np.histogram(values, bins)
    centers = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    sums = np.cumsum(counts * centers)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between))])
