"""Fit a bound model to signals: ``fit(bound, signal)`` gives values, standard errors and flags per voxel."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.fitting.batches import Batches
from isocenter.fitting.direct import Direct
from isocenter.fitting.request import check_request, read_signal
from isocenter.fitting.robust import KINDS, SPARE
from isocenter.models.base import Bound
from isocenter.processes import run_in_order

__all__ = ["Fit", "compile_kernels", "fit"]


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
        Known noise (of one channel), above 0; in an array NaN where it is not known. Gives the standard errors of a
        plain fit and the scale of a robust one. Without
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
    signal = read_signal(bound, signal)
    check_request(
        bound, signal, robust=robust, noise=noise, sigma=sigma, mask=mask, saturation=saturation, start=start,
        threads=threads,
    )  # fmt: skip
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


def compile_kernels(names: list[str] | None = None, processes: int = 1) -> None:
    """Compile and keep the kernels of models, so that no later job waits for the compiler.

    names : models; by default all of them, and the kernels of registration and statistics
    processes : how many compile at the same time; what one has kept, the others load
    """
    from isocenter import models

    wanted: dict[Any, Bound] = {}
    for name in names or models.names():
        model = models.get(name)
        bound = model.bind(model.example)
        if bound.separable is not None:
            wanted.setdefault(bound.separable.evaluate, (bound, model.typical))
    # Models of two nonlinear coordinates take the longest: beside the others, not after them.
    tasks = sorted(wanted.values(), key=lambda task: task[0].separable.lower.size, reverse=True)
    jobs = [partial(_compile, *task) for task in tasks]
    if names is None:
        from isocenter.consensus import compile_regression
        from isocenter.interpolation import compile_bspline
        from isocenter.statistics.deviance import compile_criterion

        jobs += [compile_criterion, compile_bspline, compile_regression]
    for _ in run_in_order(lambda index: jobs[index](), len(jobs), processes):
        pass


def _compile(bound: Bound, typical: Any) -> None:
    signal, separable = np.atleast_2d(bound.predict(typical)), bound.separable
    is_long = separable.design.shape[1] >= separable.lower.size + separable.amplitudes + SPARE
    fit(bound, signal, robust="tukey" if is_long else None)
    if separable.tabulate is not None:  # of the engine that computes trains as it goes
        Direct(separable, len(bound.parameters))
