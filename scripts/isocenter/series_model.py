"""What a signal model says about the volumes of a series, for their alignment: predictions and residuals."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from isocenter import models
from isocenter.consensus import Predict
from isocenter.errors import ConfigError, explain
from isocenter.fitting import fit
from isocenter.fitting.maps import FIT_OPTIONS
from isocenter.models import Bound

#: The model bound to the acquisition of the volumes with these numbers.
Bind = Callable[[np.ndarray], Bound]
#: A fit without one volume needs this many samples more than parameters, else the volume stays in.
_SPARE = 1


def bind_series(model: str, acquisition: Mapping[str, Any], n: int, options: Mapping[str, Any] | None = None) -> Bind:
    """Prepare a model for n volumes and for subsets of them.

    acquisition : BIDS keys; what varies over the volumes is an (n,) array
    options : of the model; those of the fit among them are left out

    Raises
    ------
    ConfigError
        When the model does not describe the volumes as they are, but complex images, averages or concentrations.
    SidecarError
        When the acquisition lacks what the model needs.
    """
    known = models.get(model)
    chosen = {key: value for key, value in (options or {}).items() if key not in FIT_OPTIONS}

    def bind(volumes: np.ndarray) -> Bound:
        part = {
            key: np.asarray(value)[volumes] if np.ndim(value) == 1 and len(value) == n else value
            for key, value in acquisition.items()
        }
        return known.bind(part, **chosen)

    whole = None if hasattr(known, "prepare") else bind(np.arange(n))
    if whole is None or whole.n != n or whole.separable is None or whole.separable.is_complex:
        raise ConfigError(
            explain(
                f"The model {model} does not predict the volumes of a series as they are",
                expected="a model of magnitudes, one value a volume, such as t1_inversion_recovery",
                remedy="set align to rigid, which needs no model",
            )
        )
    return bind


def predict_volume(bind: Bind, samples: np.ndarray, k: int, *, robust: str | None = None) -> np.ndarray:
    """Volume k as a fit of the others expects it: (v,) array, NaN where there is no fit.

    samples : (v, n) array, NaN where a volume has none. Where the others are too few to be fitted, k is fitted with
    them.
    """
    n = samples.shape[1]
    whole = bind(np.arange(n))
    others = np.delete(np.arange(n), k)
    if others.size < len(whole.parameters) + _SPARE:
        others = np.arange(n)
    found = fit(bind(others), samples[:, others], robust=robust)
    values = {name: np.where(found.ok, found.value[name], np.nan) for name in found.parameters}
    values = {name: np.where(found.ok, value, np.nanmedian(value)) for name, value in values.items()}
    if not found.ok.any():
        return np.full(len(samples), np.nan)
    return np.where(found.ok, whole.predict(values)[:, k], np.nan)


def predict_from_others(bind: Bind) -> Predict:
    """`predict_volume` as :func:`isocenter.consensus.refine_motions` takes it."""
    return lambda samples, k: predict_volume(bind, samples, k)


def measure_residual(bind: Bind, data: np.ndarray, mask: np.ndarray, saturation: np.ndarray) -> np.ndarray:
    """The root-mean-square residual of a plain fit in every voxel: (x, y, z) array [a.u.], NaN where there is no fit.

    data : (x, y, z, n) array; mask : (x, y, z) booleans; saturation : (n,) array, the values of clipped samples
    """
    bound = bind(np.arange(data.shape[3]))
    if bound.separable.order.size != bound.n:
        return np.full(data.shape[:3], np.nan)
    return fit(bound, data, mask=mask, saturation=saturation).residual
