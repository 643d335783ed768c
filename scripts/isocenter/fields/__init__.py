"""What a voxel leaves open and its neighborhood decides: whole periods of B0, which of two is fat, and B1 of a train.

``fit_volume(bound, signal)`` is ``fitting.fit`` for volumes: for models that fit a field it first chooses that field
over the neighborhood, and for all others it is ``fit`` itself.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from isocenter.errors import FitError, explain
from isocenter.fields.fat_and_water import choose_field
from isocenter.fields.noise import estimate_noise, smooth_field
from isocenter.fields.phase import evolution_times, measure_field
from isocenter.fields.single import fit_single, is_two_sided
from isocenter.fields.transmit import fit_transmit, takes_neighbors
from isocenter.fields.unwrapping import unwrap_field
from isocenter.fitting import Fit, fit
from isocenter.models import Bound

__all__ = ["choose_field", "estimate_noise", "fit_volume", "is_whole", "measure_field", "unwrap_field"]

#: By a model's `field_map`: what finds the field offset over the neighborhood.
_FINDERS = {"phase": measure_field, "fat_and_water": choose_field}
#: Samples that are turned back at a time.
_SLAB_SAMPLES = 4_000_000


def is_whole(bound: Bound) -> bool:
    """Whether voxels look at their neighbors, so that a volume is to be fitted in one piece."""
    return getattr(bound.model, "field_map", "") in _FINDERS or takes_neighbors(bound)


def fit_volume(
    bound: Bound,
    signal: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    sigma: Any = None,
    spacing: Any = (1.0, 1.0, 1.0),
    **options: Any,
) -> Fit:
    """Fit a volume; B0 or B1 is chosen over the neighborhood where the model fits one.

    Parameters
    ----------
    bound : Bound
        Any bound model of n samples.
    signal : (x, y, z, n) array [a.u.]
        Complex for models of complex signals; phases [rad] will do for `b0_dual_echo`.
    mask : (x, y, z) booleans, optional
        Voxels to fit.
    sigma : float or (x, y, z) array [a.u.], optional
        Noise of one channel. Two echoes leave no residual to learn it from: `b0_dual_echo` then measures it in
        complex images themselves.
    spacing : (3,) [mm]
        From voxel to voxel along each axis: B1 is smooth over centimeters.
    **options
        Further ones of `isocenter.fitting.fit`.

    Returns
    -------
    Fit
        Values of B0 [Hz] are continuous over each connected region, up to whole periods of equally spaced echoes;
        values of B1 are smooth over the whole volume.
    """
    signal = np.asarray(signal)
    if takes_neighbors(bound) and signal.ndim == 4:
        return fit_transmit(bound, signal, mask=mask, sigma=sigma, spacing=spacing, **options)
    if is_two_sided(bound) and signal.ndim == 4:
        where = np.ones(signal.shape[:3], bool) if mask is None else mask
        return fit_single(bound, signal, mask=where, sigma=sigma, **options)
    finder = _FINDERS.get(getattr(bound.model, "field_map", ""))
    if finder is None:
        return fit(bound, signal, mask=mask, sigma=sigma, **options)
    if signal.ndim != 4 or signal.shape[-1] != bound.n:
        raise FitError(
            explain(
                "A field is chosen over the neighborhood of a volume",
                where=f"model {bound.model.name}",
                expected=f"shape (x, y, z, {bound.n})",
                found=f"shape {signal.shape}",
            )
        )
    if not np.iscomplexobj(signal) and bound.separable is None:
        signal = np.exp(1j * signal)
    field = finder(bound, signal, mask=mask)
    inside = np.isfinite(field)
    field = np.nan_to_num(field)
    if bound.separable is not None:
        options = {**options, "start": {"B0": 0.0}}
    elif sigma is None and bound.n < 3 and inside.any():
        sigma = _measure_noise(bound, signal, field, inside)
    # A robust scale is shared by all voxels of a call.
    is_pooled = options.get("robust") is not None and sigma is None
    slices = signal.shape[2]
    depth = slices if is_pooled else max(1, _SLAB_SAMPLES // max(1, signal[:, :, 0].size))
    sigma = None if sigma is None else np.broadcast_to(sigma, signal.shape[:3])
    parts = []
    for first in range(0, slices, depth):
        slab = (slice(None), slice(None), slice(first, first + depth))
        # With the field turned back, what is left to fit is near zero: no grid has to reach further.
        found = fit(
            bound,
            turn_back(bound, signal[slab], field[slab]),
            mask=None if mask is None else mask[slab],
            sigma=None if sigma is None else sigma[slab],
            **options,
        )
        parts.append(replace(found, value={**found.value, "B0": found.value["B0"] + field[slab]}))
    return parts[0] if len(parts) == 1 else _join(parts)


def turn_back(bound: Bound, signal: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Signals (..., n) as they would be without a field offset (...,) [Hz]."""
    turned = np.empty(signal.shape, signal.dtype)
    for index, time in enumerate(evolution_times(bound)):
        turned[..., index] = signal[..., index] * np.exp(-2j * np.pi * time * field)
    return turned


def _measure_noise(bound: Bound, signal: np.ndarray, field: np.ndarray, inside: np.ndarray) -> float | None:
    """The noise of complex images; of phases alone [rad], whose magnitude is one and has none."""
    # Turned back by a smoothed field, lest the field's own noise or its slope count as the images' noise.
    turned = turn_back(bound, signal, smooth_field(field, inside))
    has_magnitude = np.ptp(np.abs(signal[inside])) > 1e-4
    noise = estimate_noise(turned if has_magnitude else np.angle(turned), inside)
    # Images without any (simulated ones) tell nothing of it.
    return noise if noise > 0 else None


def _join(parts: list[Fit]) -> Fit:
    """The fits of slabs as one of the volume."""

    def together(name: str) -> Any:
        first = getattr(parts[0], name)
        if isinstance(first, dict):
            return {key: np.concatenate([getattr(part, name)[key] for part in parts], axis=2) for key in first}
        if isinstance(first, np.ndarray):
            return np.concatenate([getattr(part, name) for part in parts], axis=2)
        return first

    return Fit(**{entry.name: together(entry.name) for entry in fields(Fit)})
