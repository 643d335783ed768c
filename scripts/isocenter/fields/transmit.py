"""T2 of echo trains with the transmit field B1 taken from the neighborhood.

Of each voxel B1 is known to some hundredths only, and where it is near 1 a train looks much the same with a little less
and a little more than 180 degrees. B1 is smooth over centimeters, though, whatever the tissue. So every voxel is fitted
with B1 held at a row of values, the neighborhood chooses among them (`smooth`), and the fits at the values on both
sides of the chosen one are interpolated.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.fields.likelihood import Profiles, interpolate
from isocenter.fields.single import fit_single, hold_values, is_two_sided
from isocenter.fields.smooth import estimate_field, estimate_trend
from isocenter.fitting import Fit, fit
from isocenter.models import Bound

#: Voxels that tell where the field lies in the large, at most, and how many nodes around it all voxels look at.
_MOST_VOXELS, _WINDOW = 20_000, 13
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
#: A voxel with fewer neighbors (the kernel's effective number), or of which they know B1 no better than this, is fitted
#: by itself.
_LEAST_NEIGHBORS, _MOST_ERROR = 5.0, 0.05
#: What twice the penalty of voxels is in the mean where B1 is smooth: 1. Beyond this it is not, and voxels are fitted
#: by themselves.
_MOST_EXCESS = 6.0
#: Share of the signal that no model explains better than: noise-free voxels are no more certain than that.
_MODEL_ERROR = 1e-3


def takes_neighbors(bound: Bound) -> bool:
    """Whether a bound model of echo trains leaves B1 to the neighborhood."""
    return is_two_sided(bound) and bound.options["b1_from"] == "neighborhood"


def fit_transmit(
    bound: Bound,
    signal: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    sigma: Any = None,
    spacing: Any = (1.0, 1.0, 1.0),
    **options: Any,
) -> Fit:
    """Fit echo trains of a volume (x, y, z, n) with B1 from the neighborhood; see `fields.fit_volume`.

    spacing : (3,) [mm] of the voxels

    Standard errors are those of a fit with that B1, and what its own error adds: sqrt(own^2 + (dT2/dB1 u(B1))^2).
    Voxels with too few neighbors, or of which the neighborhood's B1 explains nothing, are fitted by themselves
    (`single`).
    """
    shape = signal.shape[:3]
    inside = np.ones(shape, bool) if mask is None else np.asarray(mask, dtype=bool)
    sigma = None if sigma is None else np.broadcast_to(np.asarray(sigma, dtype=float), shape)

    def fit_some(model: Bound, where: np.ndarray, how: Callable[..., Fit] = fit) -> Fit:
        return how(model, signal[where], sigma=None if sigma is None else sigma[where], **options)

    nodes = hold_values(bound)
    spacing = np.asarray(spacing, dtype=float)
    whole = _empty(bound, shape)
    known = np.zeros(shape, bool)
    part = _thin_out(inside)
    coarse = nodes if nodes.size < 9 else np.linspace(nodes[0], nodes[-1], (nodes.size + 1) // 2)
    begin = np.zeros(int(part.sum()), np.int64)
    profiles, usable = _profile(bound, coarse, begin, coarse.size, signal, part, fit_some)
    if usable.any():
        trend = estimate_trend(profiles, usable, inside, spacing)
        count = min(_WINDOW, nodes.size)
        middle = np.rint((trend - nodes[0]) / (nodes[1] - nodes[0])).astype(np.int64)
        begin = np.clip(middle - count // 2, 0, nodes.size - count)
        profiles, usable = _profile(bound, nodes, begin, count, signal, inside, fit_some)
    if usable.any():
        field, error, kernel = estimate_field(profiles, usable, spacing, trend[usable[inside]])
        count = np.ones(field.size)
        neighbors = kernel.sum(count) ** 2 / kernel.sum(count, is_squared=True)
        excess = kernel.sum(2 * profiles.at(field)) / kernel.sum(count)
        is_known = (neighbors >= _LEAST_NEIGHBORS) & (error <= _MOST_ERROR) & (excess <= _MOST_EXCESS)
        known[usable] = is_known
        _fit_held(bound, nodes, known, field[is_known], error[is_known], fit_some, whole)
        # A value on one side of B1 only, at the end of what can be seen.
        known &= (whole.flag != Flag.OK) | np.isfinite(whole.value["T2"])
    alone = inside & ~known
    if alone.any():
        _paste(whole, fit_some(_take(bound, alone), alone, fit_single), alone)
    return whole


def _hold(bound: Bound, b1: float, where: np.ndarray) -> Bound:
    """The model of some voxels with a known B1."""
    options = {**bound.options}
    if np.ndim(options["t1"]):
        options["t1"] = np.broadcast_to(options["t1"], where.shape)[where]
    return bound.model.bind({**bound.acquisition, "B1": float(b1)}, **options)


def _take(bound: Bound, where: np.ndarray) -> Bound:
    """The model of some voxels."""
    if not np.ndim(bound.options["t1"]):
        return bound
    t1 = np.broadcast_to(bound.options["t1"], where.shape)[where]
    return bound.model.bind(bound.acquisition, **{**bound.options, "t1": t1})


def _thin_out(inside: np.ndarray) -> np.ndarray:
    """Evenly spread voxels (x, y, z) of a mask, enough to tell where the field lies in the large."""
    flat = np.flatnonzero(inside)
    part = np.zeros(inside.shape, bool)
    if flat.size > _MOST_VOXELS:
        # Multiples of the golden ratio: a plain stride would share a factor with an axis, and miss most of its slices.
        flat = flat[(np.arange(_MOST_VOXELS) * _GOLDEN % 1.0 * flat.size).astype(np.int64)]
    part.reshape(-1)[flat] = True
    return part


def _profile(
    bound: Bound,
    nodes: np.ndarray,
    begin: np.ndarray,
    count: int,
    signal: np.ndarray,
    inside: np.ndarray,
    fit_some: Callable[[Bound, np.ndarray], Fit],
) -> tuple[Profiles, np.ndarray]:
    """The profiles of voxels that can be fitted whatever B1 is, and where these lie (x, y, z).

    begin, count : the first node (v,) that a voxel inside is fitted at, and how many of them
    """
    squares = np.full((count, begin.size), np.nan, np.float32)
    is_seen, freedom = np.zeros(begin.size, bool), np.zeros(begin.size)
    for k in range(begin.min(initial=0), begin.max(initial=-count) + count):
        rows = np.flatnonzero((begin <= k) & (k < begin + count))
        if not rows.size:
            continue
        where = inside.copy()
        where[inside] = (begin <= k) & (k < begin + count)
        found = fit_some(_hold(bound, nodes[k], where), where)
        squares[k - begin[rows], rows] = found.residual**2
        is_seen[rows] |= found.ok
        freedom[rows] = found.freedom
    is_kept = is_seen & np.isfinite(squares).all(axis=0)
    usable = inside.copy()
    usable[inside] = is_kept
    energy = np.mean(np.nan_to_num(signal[usable], posinf=0.0, neginf=0.0).astype(float) ** 2, axis=-1)
    squares = squares[:, is_kept] + (_MODEL_ERROR**2 * energy).astype(np.float32)
    return Profiles(nodes, begin[is_kept], squares, freedom[is_kept]), usable


def _fit_held(
    bound: Bound,
    nodes: np.ndarray,
    known: np.ndarray,
    b1: np.ndarray,
    error: np.ndarray,
    fit_some: Callable[[Bound, np.ndarray], Fit],
    whole: Fit,
) -> None:
    """Write the fits of voxels (x, y, z) with a known B1 (v,) and its standard error (v,) into `whole`."""
    first, weights, slopes = interpolate(nodes, b1)
    names = [name for name in bound.names if name != "B1"]
    value, own, slope = ({name: np.zeros(b1.size) for name in names} for _ in range(3))
    squares, outliers = np.zeros(b1.size), np.zeros(b1.size)
    flag, freedom = np.full(b1.size, Flag.SINGULAR, np.uint8), np.zeros(b1.size, np.int16)
    nearest = first + np.argmax(weights, axis=0)
    for k in range(nodes.size):
        rows = np.flatnonzero((first <= k) & (k < first + 4))
        if not rows.size:
            continue
        where = known.copy()
        where[known] = (first <= k) & (k < first + 4)
        found = fit_some(_hold(bound, nodes[k], where), where)
        weight, change = (each[k - first[rows], rows] for each in (weights, slopes))
        for name in names:
            value[name][rows] += weight * found.value[name]
            own[name][rows] += weight * found.stderr[name]
            slope[name][rows] += change * found.value[name]
        squares[rows] += weight * found.residual**2
        here = nearest[rows] == k
        for mine, theirs in ((flag, found.flag), (freedom, found.freedom), (outliers, found.outliers)):
            mine[rows[here]] = theirs[here]
    # The ends of the whole range are a failure, as for a voxel by itself; ends that were asked for are a result.
    low, high = (hard & (np.abs(b1 - end) < 1e-9) for hard, end in zip(_is_hard(bound), nodes[[0, -1]], strict=True))
    flag[(flag == Flag.OK) & (low | high)] = Flag.AT_BOUND
    value["B1"], own["B1"], slope["B1"] = b1, np.zeros(b1.size), np.ones(b1.size)
    is_ok = flag == Flag.OK
    found = Fit(
        value={name: np.where(is_ok, value[name], np.nan) for name in bound.names},
        stderr={name: np.where(is_ok, np.hypot(own[name], slope[name] * error), np.nan) for name in bound.names},
        flag=flag,
        residual=np.sqrt(np.maximum(squares, 0.0)),
        outliers=outliers,
        freedom=freedom,
        parameters=whole.parameters,
        units=whole.units,
    )
    _paste(whole, found, known)


def _is_hard(bound: Bound) -> np.ndarray:
    """(2,) booleans: whether the lower and the upper end of B1's range are failures."""
    return bound.separable.is_hard[1]


def _empty(bound: Bound, shape: tuple[int, ...]) -> Fit:
    return Fit(
        value={name: np.full(shape, np.nan) for name in bound.names},
        stderr={name: np.full(shape, np.nan) for name in bound.names},
        flag=np.full(shape, Flag.MASKED, np.uint8),
        residual=np.full(shape, np.nan),
        outliers=np.full(shape, np.nan),
        freedom=np.zeros(shape, np.int16),
        parameters=bound.names,
        units=tuple(parameter.unit for parameter in bound.parameters),
    )


def _paste(whole: Fit, found: Fit, where: np.ndarray) -> None:
    for name in whole.parameters:
        whole.value[name][where], whole.stderr[name][where] = found.value[name], found.stderr[name]
    for name in ("flag", "residual", "outliers", "freedom"):
        getattr(whole, name)[where] = getattr(found, name)
