"""Fit a bound model to signals: ``fit(bound, signal)`` gives values, standard errors and flags per voxel."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import FitError, explain
from isocenter.fitting.passes import finish_voxels, start_voxels
from isocenter.fitting.problem import Problem, tabulate_grid
from isocenter.fitting.robust import KINDS
from isocenter.models.base import Bound, Separable

__all__ = ["Fit", "compile_kernels", "fit"]

#: Voxels per block of work. Fixed, though results do not depend on it.
_BLOCK = 2048


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
    threads: int = 1,
) -> Fit:
    """Fit a bound model to signals, each voxel by itself.

    Parameters
    ----------
    bound : Bound
        A model bound to its acquisition of n samples.
    signal : (..., n) array [a.u.]
        Measurements, the acquisition axis last. Samples that are not finite are left out.
    robust : "tukey", "huber" or None
        Weigh down samples that stand off, from a start that one wild sample cannot move.
    noise : "gaussian"
        The noise model. A Rician likelihood is not built yet and is refused.
    sigma : float or (...,) array [a.u.], optional
        Known noise. Gives the standard errors of a plain fit and the scale of a robust one. Without it both come
        from the residuals; a robust scale is then no smaller than the median over all voxels of the call, since
        the scale of a handful of samples alone is now and then far too small.
    mask : (...,) booleans, optional
        Voxels to fit.
    saturation : float or (n,) array [a.u.], optional
        Samples at and above it are clipped and left out.
    threads : int
        Threads to use; the result is the same to the bit for any number.

    Raises
    ------
    FitError
        When nothing can be fitted: too few samples, wrong shapes, unknown options.
    """
    signal = np.asarray(signal)
    _check_request(bound, signal, robust, noise, mask)
    shape = signal.shape[:-1]
    y = signal.reshape(-1, bound.n)
    flag = np.full(y.shape[0], Flag.OK, np.uint8)
    if mask is not None:
        flag[~np.asarray(mask, dtype=bool).reshape(-1)] = Flag.MASKED
    chosen = np.flatnonzero(flag == Flag.OK)
    separable = bound.separable
    y = np.ascontiguousarray(y[chosen][:, separable.order], dtype=np.float64)
    usable = np.isfinite(y)
    clipped = np.zeros(y.shape, dtype=bool)
    if saturation is not None:
        limit = np.broadcast_to(np.asarray(saturation, dtype=float), (bound.n,))[separable.order]
        clipped = usable & (y >= limit)
    has_signal = np.any(usable & (y != 0), axis=1)
    usable &= ~clipped
    parameters = len(bound.parameters)
    enough = usable.sum(axis=1) > parameters
    status = np.where(enough, Flag.OK, np.where(clipped.any(axis=1), Flag.CLIPPED, Flag.SINGULAR)).astype(np.uint8)
    status[~has_signal] = Flag.NO_SIGNAL
    flag[chosen] = status

    fitted = status == Flag.OK
    y, usable, chosen = y[fitted], usable[fitted], chosen[fitted]
    y[~usable] = 0.0
    known = np.full(chosen.size, np.nan)
    if sigma is not None:
        known[:] = np.broadcast_to(np.asarray(sigma, dtype=float), shape).reshape(-1)[chosen]
    result = _run(separable, y, usable.astype(np.float64), known, KINDS[robust], threads)
    _narrow(separable, y, usable, known, KINDS[robust], threads, result)

    flag[chosen] = result.flag
    ok = result.flag == Flag.OK
    result.values[~ok] = np.nan
    result.errors[~ok] = np.nan
    total = flag.size

    def spread(values: np.ndarray, fill: float) -> np.ndarray:
        full = np.full(total, fill, values.dtype)
        full[chosen] = values
        return full.reshape(shape)

    return Fit(
        value={name: spread(result.values[:, i], np.nan) for i, name in enumerate(bound.names)},
        stderr={name: spread(result.errors[:, i], np.nan) for i, name in enumerate(bound.names)},
        flag=flag.reshape(shape),
        residual=spread(result.rms, np.nan),
        outliers=spread(result.outliers, np.nan),
        freedom=spread(result.freedom, 0),
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
        if bound.separable.evaluate in done:
            continue
        done.add(bound.separable.evaluate)
        fit(bound, np.atleast_2d(bound.predict(model.typical)), robust="tukey")


def _check_request(bound: Bound, signal: np.ndarray, robust: str | None, noise: str, mask: Any) -> None:
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
    if np.iscomplexobj(signal):
        raise FitError(explain("The signal is complex", where=where, expected="magnitude images"))
    if robust not in KINDS:
        raise FitError(explain("Unknown option robust", where=where, expected="tukey, huber or none", found=robust))
    if noise != "gaussian":
        raise FitError(explain("Unknown noise model", where=where, expected="gaussian", found=noise))
    parameters = len(bound.parameters)
    if bound.n <= parameters:
        raise FitError(
            explain(
                "Too few samples for a fit with a standard error",
                where=where,
                expected=f"at least {parameters + 1} for {parameters} parameters",
                found=bound.n,
                remedy="acquire more, or fit fewer parameters",
            )
        )
    if robust is not None and bound.n <= parameters + 1:
        raise FitError(
            explain(
                "Robust weights mean nothing with so few samples: any one of them can be fitted away",
                where=where,
                expected=f"at least {parameters + 2} for {parameters} parameters",
                found=bound.n,
                remedy="leave out the option robust (plain least squares)",
            )
        )
    if mask is not None and np.shape(mask) != signal.shape[:-1]:
        raise FitError(
            explain("The mask does not match the signal", where=where, expected=signal.shape[:-1], found=np.shape(mask))
        )


def _run(
    separable: Separable, y: np.ndarray, usable: np.ndarray, known: np.ndarray, kind: int, threads: int
) -> SimpleNamespace:
    """Both passes over all voxels, block by block."""
    v, n = y.shape
    p, q = separable.lower.size, separable.amplitudes
    evaluate, report = separable.evaluate.address, separable.report.address
    problem = Problem(
        lower=separable.lower,
        upper=separable.upper,
        is_hard=separable.is_hard,
        visible=separable.visible,
        design=separable.design,
        constants=separable.constants,
        grid=separable.grid,
        grid_basis=np.empty((q, n, len(separable.grid))),
        is_magnitude=separable.is_magnitude,
    )
    tabulate_grid(evaluate, problem)
    theta = np.empty((v, p))
    negative = np.zeros(v, np.int64)
    scale = np.full(v, np.nan)
    result = SimpleNamespace(
        theta=theta,
        values=np.full((v, p + q), np.nan),
        errors=np.full((v, p + q), np.nan),
        flag=np.full(v, Flag.SINGULAR, np.uint8),
        rms=np.full(v, np.nan),
        outliers=np.zeros(v),
        freedom=np.zeros(v, np.int64),
    )

    def start(b: slice) -> None:
        start_voxels(evaluate, problem, y[b], usable[b], kind > 0, theta[b], negative[b], scale[b])

    def finish(b: slice) -> None:
        given = (y[b], usable[b], theta[b], negative[b], scale[b], known[b], kind)
        found = (result.values[b], result.errors[b], result.flag[b], result.rms[b], result.outliers[b])
        finish_voxels(evaluate, report, problem, *given, *found, result.freedom[b])

    blocks = [slice(i, min(i + _BLOCK, v)) for i in range(0, v, _BLOCK)]
    _for_each(start, blocks, threads)
    if kind:
        measured = np.isfinite(scale)
        floor = np.median(scale[measured]) if measured.any() else np.nan
        # Noise-free data: rounding errors are no scale to weigh by.
        least = 1e-7 * np.abs(y).max(axis=1, initial=0.0)
        scale = np.maximum(np.where(known > 0, known, np.maximum(scale, floor)), least)
        scale = np.where(measured, scale, np.nan)
    _for_each(finish, blocks, threads)
    return result


def _narrow(
    separable: Separable,
    y: np.ndarray,
    usable: np.ndarray,
    known: np.ndarray,
    kind: int,
    threads: int,
    result: SimpleNamespace,
) -> None:
    """Fit again, into `result`, where samples lie beyond the model's window."""
    reach = separable.window * np.exp(result.theta[:, 0])
    narrow = usable & (separable.design[0] <= reach[:, np.newaxis])
    again = (result.flag == Flag.OK) & (narrow.sum(axis=1) >= separable.window_least)
    again &= narrow.sum(axis=1) < usable.sum(axis=1)
    if not again.any():
        return
    second = _run(separable, y[again], narrow[again].astype(np.float64), known[again], kind, threads)
    for name, values in vars(second).items():
        getattr(result, name)[again] = values


def _for_each(work: Any, blocks: list[slice], threads: int) -> None:
    if threads <= 1 or len(blocks) < 2:
        for block in blocks:
            work(block)
        return
    # The first block runs alone: it compiles, which threads must not do side by side.
    work(blocks[0])
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, blocks[1:]))
