"""What a voxel's phase leaves open and its neighborhood decides: whole periods of B0, and which of two is fat.

``fit_volume(bound, signal)`` is ``fitting.fit`` for volumes: for models that fit a field offset it first chooses that
field over the neighborhood, and for all others it is ``fit`` itself.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from isocenter.errors import FitError, explain
from isocenter.fields.fat_and_water import choose_field
from isocenter.fields.noise import estimate_noise, smooth_field
from isocenter.fields.phase import evolution_times, measure_field
from isocenter.fields.unwrapping import unwrap_field
from isocenter.fitting import Fit, fit
from isocenter.models import Bound

__all__ = ["choose_field", "estimate_noise", "fit_volume", "measure_field", "unwrap_field"]

#: By a model's `field_map`: what finds the field offset over the neighborhood.
_FINDERS = {"phase": measure_field, "fat_and_water": choose_field}


def fit_volume(
    bound: Bound, signal: np.ndarray, *, mask: np.ndarray | None = None, sigma: Any = None, **options: Any
) -> Fit:
    """Fit a volume; B0 is chosen over the neighborhood where the model fits one.

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
    **options
        Further ones of `isocenter.fitting.fit`.

    Returns
    -------
    Fit
        Values of B0 [Hz] are continuous over each connected region, up to whole periods of equally spaced echoes.
    """
    signal = np.asarray(signal)
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
    start = finder(bound, signal, mask=mask)
    known = np.nan_to_num(start)
    # With the field turned back, what is left to fit is near zero: no grid has to reach further.
    turned = (signal * np.exp(-2j * np.pi * known[..., np.newaxis] * evolution_times(bound))).astype(signal.dtype)
    if bound.separable is not None:
        options = {**options, "start": {"B0": 0.0}}
    elif sigma is None and bound.n < 3:
        inside = np.isfinite(start)
        # Turned back by a smoothed field, lest the field's own noise or its slope count as the images' noise.
        smooth = np.exp(-2j * np.pi * smooth_field(known, inside)[..., np.newaxis] * evolution_times(bound))
        sigma = estimate_noise(signal * smooth, inside) if np.ptp(np.abs(signal[inside])) > 0 else None
    found = fit(bound, turned, mask=mask, sigma=sigma, **options)
    return replace(found, value={**found.value, "B0": found.value["B0"] + known})
