"""What a scanner read in each vial: one value, its standard error, and a word on whether it can be used."""

from dataclasses import dataclass

import numpy as np

from isocenter.calibration.scale import scale_of
from isocenter.entities import Flag
from isocenter.phantom.library import Geometry, VialReference
from isocenter.phantom.locate import VialLocations
from isocenter.phantom.slice_cut import is_cut
from isocenter.volume import ParameterMap, Series

#: A vial of which a larger share of voxels has no value because of clipped samples is not reported as measured.
MOST_CLIPPED = 0.25
#: Sidecar keys of the times that a series samples [s], and the relaxation times that they see: from this share of
#: the shortest to this multiple of the longest. An inversion recovery still keeps 14 % of what relaxes at the first
#: sample when T1 is half of it. Of an echo train of n echoes, spaced like the first, n - 2.5 ln(SNR) end in the noise
#: floor when T2 is 2.5 first echo times (4 of 16 at SNR 100); with shorter T2 the floor, which a Gaussian fit takes
#: for signal, lengthens T2 by more than 1 %. At twice the longest time the signal has gone 39 % of its way.
SAMPLED = {"InversionTime": (0.5, 2.0), "EchoTime": (2.5, 2.0)}
#: Fewer voxels than this give no scatter to speak of.
LEAST_VOXELS = 3
#: A value whose standard error is a larger share of it than this says nothing: noise alone read 0.29 to 1.1 in nine
#: empty vials.
MOST_STDERR = 0.2

#: The flag of a vial whose region does not lie inside it.
OFF_SLICE = "off_slice"
#: The words of a vial's flag and what a reader is told.
FLAGS = {
    "ok": "measured and fit for calibration",
    "suspect_solution": "the solution of this vial is not trusted",
    "unreliable": "this vial is known to be measured wrongly",
    "no_reference": "measured, but there is nothing to hold it against",
    "outlier": "does not follow the line of the other vials",
    "clipped": "samples at the top of the scanner's number range leave too little to fit",
    "out_of_range": "the sampled times cannot see a value this short or long",
    "no_value": "too few voxels of the vial have a value, or the values scatter like noise",
    OFF_SLICE: "the slice misses the middle of the vial, so that its region holds wall and fluid",
    "not_found": "the vial was not found in the image",
}


@dataclass(frozen=True)
class VialMeasurement:
    """One vial as measured.

    measured, stderr : [unit of the map], NaN when there is no value; flag : a word of :data:`FLAGS`
    n_voxels : voxels with a value; reason : why the vial is not used, "" when it is
    """

    vial: int
    measured: float
    stderr: float
    flag: str
    n_voxels: int
    reason: str

    @property
    def used(self) -> bool:
        """Whether the vial may enter a calibration."""
        return self.flag == "ok"


def measure_vials(
    series: Series,
    parameter_map: ParameterMap,
    geometry: Geometry,
    locations: VialLocations,
    reference: list[VialReference],
) -> list[VialMeasurement]:
    """Measure every vial: the median over the voxels of a disk (a sphere where there are slices) that have a value.

    The median, because a bubble or an edge voxel must not move the value. Its standard error comes from the larger
    of the scatter between voxels and the fit's own standard error, and from the number of *independent* voxels:
    scanners interpolate and Gibbs ringing is smooth, so neighbors repeat each other.
    """
    by_vial = {r.vial: r for r in reference}
    span = visible_span(series) if parameter_map.unit == "s" else None
    rows = []
    for n, (vial, voxel) in enumerate(zip(locations.vials.tolist(), locations.voxels, strict=True)):
        region = vial_region(series.data.shape[:3], series.affine, voxel, geometry.roi_diameter, geometry.roi_length)
        rows.append(_measure(vial, region, parameter_map, by_vial[vial], span, tell_cut(locations, n)))
    return rows


def tell_cut(locations: VialLocations, n: int) -> str:
    """Why the n-th vial does not count, where the slice misses its middle; "" where its region lies inside it."""
    if not is_cut(locations)[n]:
        return ""
    return (
        f"the slice passes {locations.depths[n]:.1f} mm from its middle: {locations.inside[n]:.0%} of its region lies "
        "inside the vial"
    )


def tell_undetermined(value: float, stderr: float, unit: str) -> str:
    """Why a value does not count, where its own error is of its size; "" where it does. Shares may be 0.

    A vial that is empty, or shows nothing in this series, is fitted to noise, by values that look like any other.
    """
    if not scale_of(unit).is_relative or not stderr > MOST_STDERR * value:
        return ""
    return f"its value is not determined: the standard error is {stderr / value:.0%} of it; the vial may be empty"


def vial_region(shape, affine: np.ndarray, voxel: np.ndarray, diameter: float, length: float = 0.0) -> np.ndarray:
    """(x, y, z) booleans: the voxels whose centers lie within a sphere of `diameter` [mm] around a point.

    Across a single slice, or slices thicker than the sphere, this is the disk in the nearest slice. With a `length`
    [mm] it is a cylinder along the third axis, and never less than that disk.
    """
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    across = (k - voxel[2]) * spacing[2]
    is_nearest = k == int(np.rint(voxel[2]))
    if length:
        across = np.where((np.abs(across) <= length / 2) | is_nearest, 0.0, np.inf)
    elif shape[2] == 1 or spacing[2] >= diameter / 2:
        across = np.where(is_nearest, 0.0, np.inf)
    squared = ((i - voxel[0]) * spacing[0]) ** 2 + ((j - voxel[1]) * spacing[1]) ** 2 + across**2
    return squared <= (diameter / 2) ** 2


def visible_span(series: Series) -> tuple[float, float] | None:
    """The shortest and longest relaxation time [s] that a series of inversion or echo times can see.

    None for other series, whose limits are not known here.
    """
    for key, (share, multiple) in SAMPLED.items():
        times = np.atleast_1d(np.asarray(series.acquisition.get(key, np.nan), dtype=float))
        if times.size > 1 and np.isfinite(times).all():
            return share * float(times.min()), multiple * float(times.max())
    return None


def _measure(vial, region, parameter_map, reference, span, cut) -> VialMeasurement:
    ok = region & parameter_map.ok & np.isfinite(parameter_map.value)
    n, size = int(ok.sum()), int(region.sum())
    clipped = float((region & (parameter_map.flag == Flag.CLIPPED)).sum() / max(size, 1))
    value = stderr = np.nan
    if n >= LEAST_VOXELS:
        value = float(np.median(parameter_map.value[ok]))
        stderr = _stderr_of_median(parameter_map, ok)
    flag, reason = "ok", ""
    if size == 0:
        flag, reason = "not_found", "the vial lies outside the image"
    elif cut:
        flag, reason = OFF_SLICE, cut
    elif clipped > MOST_CLIPPED:
        flag, reason = "clipped", f"{clipped:.0%} of its voxels are clipped"
    elif span and not all(span[0] <= x <= span[1] for x in (reference.value, value) if np.isfinite(x)):
        seen = f"{span[0]:.4g} to {span[1]:.4g} s"
        flag, reason = "out_of_range", f"the sampled times see {seen}; the reference is {reference.value:.4g} s"
    elif reference.flag != "ok":
        flag, reason = reference.flag, reference.reason
    elif n < max(LEAST_VOXELS, size / 2) or not stderr > 0:
        flag, reason = "no_value", f"{n} of {size} voxels have a value"
    elif why := tell_undetermined(value, stderr, parameter_map.unit):
        flag, reason = "no_value", why
    return VialMeasurement(vial, value, stderr, flag, n, reason)


def _stderr_of_median(parameter_map: ParameterMap, ok: np.ndarray) -> float:
    """Standard error of the median over the voxels of `ok`, neighbors' likeness accounted for."""
    values = parameter_map.value[ok].astype(float)
    errors = parameter_map.stderr[ok].astype(float)
    scatter = 1.4826 * np.median(np.abs(values - np.median(values)))
    errors = errors[np.isfinite(errors)]
    single = max(scatter, float(np.median(errors)) if errors.size else 0.0)
    deviation = np.where(ok, parameter_map.value - np.median(values), np.nan)
    # 1.2533 = √(π/2): the median's standard error over the mean's, for normal errors.
    return float(1.2533 * single / np.sqrt(count_independent(deviation, len(values))))


def count_independent(deviation: np.ndarray, n: int) -> float:
    """How many independent voxels `n` correlated ones are worth, from the correlation of neighbors in the slice.

    deviation : (x, y, z) array, from the middle value; NaN where a voxel does not count
    """
    worth = float(n)
    for axis in (0, 1):
        a = np.moveaxis(deviation, axis, 0)
        pairs = np.isfinite(a[1:]) & np.isfinite(a[:-1])
        if pairs.sum() < 5:
            continue
        x, y = a[1:][pairs], a[:-1][pairs]
        norm = np.sqrt((x**2).sum() * (y**2).sum())
        r = float((x * y).sum() / norm) if norm > 0 else 0.0
        r = min(max(r, 0.0), 0.9)
        worth *= (1 - r) / (1 + r)
    return max(worth, 1.0)
