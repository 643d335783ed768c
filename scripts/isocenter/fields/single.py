"""Standard errors of single echo trains that hold every B1 which explains the samples, not only the best one.

Where B1 is near 1, trains with a little less and a little more than 180 degrees differ by less than the noise, and the
curvature of the better optimum does not know of the other. `fitting.fit` weighs both sides where all samples of a train
can be used (`fitting.both_sides`). For the others B1 is held at a row of values here: the interval of T2 holds all
values that some B1 makes about as likely as the best (Venzon and Moolgavkar 1988, doi 10.2307/2347496), and the
standard error is what reaches to its farther end, which is wide. The value itself stays the best one, and with it a
bias that no error mends.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

from isocenter.fitting import Fit, fit
from isocenter.fitting.batches import holds_sides
from isocenter.models import Bound

#: B1 is held at values this far apart: cubics between them are good to 1e-4 of T2 and a tenth of a unit of chi squared.
_STEP = 0.02


def is_two_sided(bound: Bound) -> bool:
    """Whether a bound model fits B1 of a train through a slice profile."""
    return "b1_from" in bound.options and "B1" in bound.names and bound.options["profile"] != "none"


def hold_values(bound: Bound, step: float = _STEP) -> np.ndarray:
    """(k,) array: the values that B1 is held at, over the whole range of its search."""
    low, high = bound.options["b1_bounds"]
    return np.linspace(low, high, max(5, int(np.ceil((high - low) / step - 1e-9)) + 1))


def fit_single(
    bound: Bound, signal: np.ndarray, *, mask: np.ndarray | None = None, sigma: Any = None, **options: Any
) -> Fit:
    """Fit echo trains (..., n) each by itself; arguments as of `fitting.fit`.

    Values are those of `fitting.fit`; standard errors are never smaller than its own.
    """
    found = fit(bound, signal, mask=mask, sigma=sigma, **options)
    left = found.ok & ~_is_weighed(bound, signal, **options)
    if left.any():
        sigma = sigma if np.ndim(sigma) == 0 else np.broadcast_to(sigma, left.shape)[left]
        for name, error in _reach_farther(bound, signal[left], _take(found, left), sigma, options).items():
            found.stderr[name][left] = error
    return found


def _is_weighed(bound: Bound, signal: np.ndarray, *, saturation: Any = None, noise: str = "gaussian", **_: Any) -> Any:
    """Of which trains (...,) the standard errors of `fitting.fit` hold both sides."""
    if noise != "gaussian" or not holds_sides(bound):
        return False
    return (np.isfinite(signal) & (signal < (np.inf if saturation is None else saturation))).all(axis=-1)


def _take(found: Fit, where: np.ndarray) -> Fit:
    """The fits of some trains."""
    return replace(
        found,
        value={name: value[where] for name, value in found.value.items()},
        stderr={name: error[where] for name, error in found.stderr.items()},
        **{name: getattr(found, name)[where] for name in ("flag", "residual", "outliers", "freedom")},
    )


def _reach_farther(
    bound: Bound, signal: np.ndarray, found: Fit, sigma: Any, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Standard errors (v,) by parameter that reach to the farther ends of the profile likelihood's intervals."""
    count = found.freedom + len(bound.parameters)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = count * found.residual**2
        variance = squares / found.freedom if sigma is None else np.asarray(sigma, dtype=float) ** 2
        reach = stdtrit(found.freedom, 0.975)
    # One T1 for all: it hardly matters here, and an array would have every train computed anew.
    held = {**bound.options, "t1": float(np.median(bound.options["t1"]))}
    fits = [(b1, fit(bound.model.bind({**bound.acquisition, "B1": float(b1)}, **held), signal, sigma=sigma, **options))
            for b1 in hold_values(bound)]  # fmt: skip
    least = np.fmin.reduce([squares, *(count * one.residual**2 for _, one in fits)])
    farthest = {name: np.zeros(found.flag.shape) for name in bound.names}
    for b1, one in fits:
        with np.errstate(invalid="ignore", divide="ignore"):
            room = reach**2 - (count * one.residual**2 - least) / variance
        for name in bound.names:
            value, error = (b1, 0.0) if name == "B1" else (one.value[name], one.stderr[name])
            distance = np.abs(value - found.value[name]) + error * np.sqrt(np.maximum(room, 0.0))
            farthest[name] = np.where(room > 0, np.fmax(farthest[name], distance), farthest[name])
    return {name: np.fmax(found.stderr[name], farthest[name] / reach) for name in bound.names}
