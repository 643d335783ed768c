"""Fit a bound model to signals: ``fit(bound, signal)`` gives values, standard errors and flags per voxel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import FitError, explain
from isocenter.fitting.batches import Batches
from isocenter.fitting.robust import KINDS, SPARE
from isocenter.models.base import Bound

__all__ = ["Fit", "compile_kernels", "fit"]

NOISES = ("gaussian", "rician")


@dataclass(frozen=True)
class Fit:
    """What a fit found.

    value, stderr : (...,) arrays by parameter name, NaN where the flag is not ok
    flag : (...,) uint8, numbers of `isocenter.entities.Flag`
    residual : (...,) root mean square of the residuals [a.u.], NaN where nothing was fitted
    outliers : (...,) fraction of the samples that a robust fit weighed less than half (0 for a plain fit)
    freedom : (...,) int, degrees of freedom of the standard errors: use Student's t with as many for intervals
    parameters, units : names and units, in the model's order
    """

    value: dict[str, np.ndarray]
    stderr: dict[str, np.ndarray]
    flag: np.ndarray
    residual: np.ndarray
    outliers: np.ndarray
    freedom: np.ndarray
    parameters: tuple[str, ...]
    units: tuple[str, ...]

    @property
    def ok(self) -> np.ndarray:
        """(...,) booleans: voxels that hold a value."""
        return self.flag == Flag.OK


def fit(
    bound: Bound,
    signal: np.ndarray,
    *,
    robust: str | None = None,
    noise: str = "gaussian",
    sigma: Any = None,
    mask: np.ndarray | None = None,
    saturation: Any = None,
    start: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> Fit:
    """Fit a bound model to signals, each voxel by itself.

    Parameters
    ----------
    bound : Bound
        A model bound to its acquisition of n samples.
    signal : (..., n) array [a.u.]
        Measurements, the acquisition axis last; complex for models of complex signals. Samples that are not finite
        are left out.
    robust : "tukey", "huber" or None
        Weigh down samples that stand off, from a start that one wild sample cannot move.
    noise : "gaussian" or "rician"
        The noise model. "rician" maximizes the likelihood of magnitudes (Gudbjartsson and Patz 1995, doi
        10.1002/mrm.1910340618) with the noise `sigma`, or where none is given with the median over all voxels of
        what a Gaussian fit leaves.
    sigma : float or (...,) array [a.u.], optional
        Known noise (of one channel). Gives the standard errors of a plain fit and the scale of a robust one. Without
        it both come from the residuals; a robust scale is then no smaller than the median over all voxels of the
        call, since the scale of a handful of samples alone is now and then far too small.
    mask : (...,) booleans, optional
        Voxels to fit.
    saturation : float or (n,) array [a.u.], optional
        Samples whose magnitude lies at and above it are clipped and left out.
    start : mapping of parameter to number or (...,) array, optional
        Where the search starts, for parameters that the model lists in ``separable.starts``.
    threads : int
        Threads to use; the result is the same to the bit for any number.

    Raises
    ------
    FitError
        When nothing can be fitted: too few samples, wrong shapes, unknown options.
    """
    signal = np.asarray(signal)
    _check_request(bound, signal, robust, noise, mask, start)
    batches = Batches(bound, signal, mask=mask, sigma=sigma, saturation=saturation, start=start, threads=threads)
    if bound.separable is None:
        found = batches.solve()
    else:
        found = batches.search(kind=KINDS[robust], is_rician=noise == "rician")
    shape = signal.shape[:-1]
    return Fit(
        value={name: found.values[i].reshape(shape) for i, name in enumerate(bound.names)},
        stderr={name: found.errors[i].reshape(shape) for i, name in enumerate(bound.names)},
        flag=found.flag.reshape(shape),
        residual=found.rms.reshape(shape),
        outliers=found.outliers.reshape(shape),
        freedom=found.freedom.reshape(shape),
        parameters=bound.names,
        units=tuple(parameter.unit for parameter in bound.parameters),
    )


def compile_kernels(names: list[str] | None = None) -> None:
    """Compile and keep the kernels of models (all by default), so that no later job waits for the compiler."""
    from isocenter import models

    done = set()
    for name in names or models.names():
        model = models.get(name)
        bound = model.bind(model.example)
        signal = np.atleast_2d(bound.predict(model.typical))
        if bound.separable is None or bound.separable.evaluate in done:
            continue
        done.add(bound.separable.evaluate)
        separable = bound.separable
        is_long = separable.design.shape[1] >= separable.lower.size + separable.amplitudes + SPARE
        fit(bound, signal, robust="tukey" if is_long else None)


def _check_request(bound: Bound, signal: np.ndarray, robust: str | None, noise: str, mask: Any, start: Any) -> None:
    where = f"model {bound.model.name}"
    if signal.ndim < 1 or signal.shape[-1] != bound.n:
        raise FitError(
            explain(
                "The signal does not match the acquisition",
                where=where,
                expected=f"{bound.n} samples on the last axis",
                found=f"shape {signal.shape}",
            )
        )
    separable = bound.separable
    is_complex = separable is not None and separable.is_complex
    if separable is not None and np.iscomplexobj(signal) != is_complex:
        kinds = ("real signals (magnitudes)", "complex signals")
        raise FitError(
            explain("The kind of signal does not suit the model", where=where, expected=kinds[is_complex],
                    found=kinds[not is_complex])
        )  # fmt: skip
    if robust not in KINDS:
        raise FitError(explain("Unknown option robust", where=where, expected="tukey, huber or none", found=robust))
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
