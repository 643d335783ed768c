"""What a caller of `fit` hands over, checked before any voxel is touched: every mistake has its error."""

from numbers import Integral
from typing import Any

import numpy as np

from isocenter.errors import FitError, explain
from isocenter.fitting.robust import KINDS, SPARE
from isocenter.models.base import Bound

NOISES = ("gaussian", "rician")


def read_signal(bound: Bound, signal: Any) -> np.ndarray:
    """The signal (..., n) as an array of numbers with the acquisition axis last; FitError where it is none."""
    where = f"model {bound.model.name}"
    try:
        array = np.asarray(signal)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "biufc":
        raise FitError(explain("The signal is no array of numbers", where=where, expected="numbers", found=array.dtype))
    if array.ndim < 1 or array.shape[-1] != bound.n:
        raise FitError(
            explain(
                "The signal does not match the acquisition",
                where=where,
                expected=f"{bound.n} samples on the last axis",
                found=f"shape {array.shape}",
            )
        )
    return array


def check_request(
    bound: Bound,
    signal: np.ndarray,
    *,
    robust: str | None,
    noise: str,
    sigma: Any,
    mask: Any,
    saturation: Any,
    start: Any,
    threads: Any,
) -> None:
    """Refuse what has no meaning before any voxel is touched; arguments as of :func:`isocenter.fitting.fit`."""
    where = f"model {bound.model.name}"
    separable = bound.separable
    is_complex = separable is not None and separable.is_complex
    if separable is not None and np.iscomplexobj(signal) != is_complex:
        kinds = ("real signals (magnitudes)", "complex signals")
        raise FitError(
            explain("The kind of signal does not suit the model", where=where, expected=kinds[is_complex],
                    found=kinds[not is_complex])
        )  # fmt: skip
    if robust not in KINDS:
        raise FitError(
            explain(
                "Unknown option robust",
                where=where,
                expected="tukey or huber, or nothing (null) for a plain fit",
                found=robust,
            )
        )
    if noise not in NOISES:
        raise FitError(explain("Unknown noise model", where=where, expected=" or ".join(NOISES), found=noise))
    if noise == "rician" and (robust or is_complex or separable is None):
        raise FitError(
            explain(
                "A Rician likelihood is for plain fits of magnitudes",
                where=where,
                found="robust weights" if robust else "a model of complex signals or in closed form",
                remedy="leave out one of the two options",
            )
        )
    unknown = sorted(set(start or {}) - set(separable.starts if separable else {}))
    if unknown:
        raise FitError(
            explain(
                "The model takes no start for this parameter",
                where=where,
                expected=", ".join(separable.starts) if separable and separable.starts else "no starts",
                found=", ".join(unknown),
            )
        )
    if mask is not None and np.shape(mask) != signal.shape[:-1]:
        raise FitError(
            explain("The mask does not match the signal", where=where, expected=signal.shape[:-1], found=np.shape(mask))
        )
    _check_noise(signal, sigma, mask, where)
    _check_saturation(bound.n, saturation, where)
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1:
        raise FitError(explain("threads is unusable", where=where, expected="a whole number from 1", found=threads))
    if separable is None:
        if robust is not None:
            raise FitError(
                explain("A closed form has no residuals to weigh", where=where, remedy="leave out the option robust")
            )
        return
    parameters = separable.lower.size + separable.amplitudes
    samples = separable.order.size * (2 if is_complex else 1)
    if samples <= parameters:
        raise FitError(
            explain(
                "Too few samples for a fit with a standard error",
                where=where,
                expected=f"at least {parameters + 1} for {parameters} parameters",
                found=samples,
                remedy="acquire more, or fit fewer parameters",
            )
        )
    if robust is not None and samples < parameters + SPARE:
        raise FitError(
            explain(
                "Robustness is not available with so few samples: without a wild one the others could not tell it",
                where=where,
                expected=f"at least {parameters + SPARE} for {parameters} parameters",
                found=samples,
                remedy="leave out the option robust (plain least squares)",
            )
        )


def _check_noise(signal: np.ndarray, sigma: Any, mask: Any, where: str) -> None:
    """A known noise is positive; in an array NaN says that it is not known there."""
    if sigma is None:
        return
    try:
        values = np.asarray(sigma, dtype=float)
        spread = np.broadcast_to(values, signal.shape[:-1])
    except (TypeError, ValueError):
        values = spread = np.array(-1.0)
    wanted = spread if mask is None or values.ndim == 0 else spread[np.asarray(mask, dtype=bool)]
    is_known = (wanted > 0) & (wanted < np.inf)
    if not np.all(is_known if values.ndim == 0 else is_known | np.isnan(wanted)):
        raise FitError(
            explain(
                "The noise sigma is unusable",
                where=where,
                expected=f"a positive number, or an array that broadcasts to {signal.shape[:-1]}",
                found=sigma if np.ndim(sigma) == 0 else f"shape {np.shape(sigma)}, at least {np.min(wanted):g}",
            )
        )


def _check_saturation(n: int, saturation: Any, where: str) -> None:
    if saturation is None:
        return
    kind = np.asarray(saturation).dtype.kind
    if kind not in "iuf" or np.shape(saturation) not in ((), (1,), (n,)):
        raise FitError(
            explain(
                "The saturation is unusable",
                where=where,
                expected=f"a number, or one for each of the {n} samples",
                found=saturation if np.ndim(saturation) == 0 else f"shape {np.shape(saturation)}",
            )
        )
