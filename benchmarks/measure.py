"""Our speed and scipy's on the same voxels, in turns, and how far both are from each other and from the truth."""

import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import OptimizeWarning, curve_fit

from benchmarks.roofline import measure_floor
from benchmarks.task import Task, stack
from isocenter import fitting
from isocenter.errors import FitError
from isocenter.models import Bound

#: Bytes of signal that one call gets at most.
_LARGEST_SIGNAL = 400e6


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds a call of ours lasts at least, rounds whose median counts, share of scipy's voxels.

    truth_voxels : voxels that accuracy and coverage are taken from; snr : see `Task.draw`; threads : of ours
    """

    seconds: float = 1.0
    rounds: int = 5
    scipy_share: float = 1.0
    truth_voxels: int = 20_000
    snr: float = 100.0
    threads: int = 2


QUICK = Effort(seconds=0.25, rounds=3, scipy_share=0.25, truth_voxels=4_000)
TINY = Effort(seconds=0.0, rounds=1, scipy_share=0.02, truth_voxels=200)


@dataclass
class Measurement:
    """What was found for one task; speeds are voxels per second of wall time.

    ours, ours_cpu : per wall second and per second of processor; robust_cost : Tukey over plain, NaN where refused
    scipy : one process; ratio : ours / scipy
    difference, difference_95 : median and 95th percentile of |ours - scipy| / |scipy| of the primary parameter
    scipy_failed : share of voxels without a result; worse : share of voxels whose sum of squares is above scipy's
    error, scipy_error : median |estimate / truth - 1|, on the voxels that scipy fitted
    bias : median of estimate / truth - 1; coverage : of 95 % intervals; ok : share of voxels with a value
    floor : seconds a voxel that the exponentials and the memory alone take; floor_share : that over our time
    prediction_share : seconds of four evaluations of the whole equation over our time
    """

    task: str
    voxels: int
    samples: int
    ours: float
    ours_cpu: float
    robust_cost: float
    scipy: float
    ratio: float
    bar: float
    difference: float
    difference_95: float
    worse: float
    scipy_failed: float
    error: float
    scipy_error: float
    bias: float
    coverage: float
    ok: float
    floor: float
    floor_share: float
    prediction_share: float
    peers: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers that are not finite become null."""
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}


def measure(task: Task, bound: Bound, effort: Effort) -> Measurement:
    """Measure one task."""
    signal = _fill_a_second(task, bound, effort)
    count = max(int(task.scipy_voxels * effort.scipy_share), 5)
    truth, few = task.draw(bound, max(count, effort.truth_voxels), snr=effort.snr, seed=2)
    parts = np.array_split(np.arange(count), effort.rounds)
    ours, ours_cpu, theirs, optima = [], [], [], []
    for part in parts:
        wall, cpu = _time_fit(bound, signal, effort)
        ours.append(wall / len(signal))
        ours_cpu.append(cpu / len(signal))
        begin = time.perf_counter()
        optima += fit_by_scipy(task, bound, few[part])
        theirs.append((time.perf_counter() - begin) / max(len(part), 1))
    ours_s, theirs_s = float(np.median(ours)), float(np.median(theirs))
    some = signal[: max(len(signal) // 4, min(len(signal), 2000))]
    floor, prediction = measure_floor(task, bound, effort.threads)
    return Measurement(
        task=task.name,
        voxels=len(signal),
        samples=bound.n,
        ours=1 / ours_s,
        ours_cpu=1 / float(np.median(ours_cpu)),
        robust_cost=_robust_cost(bound, some, effort),
        scipy=1 / theirs_s,
        ratio=theirs_s / ours_s,
        bar=task.bar,
        floor=floor,
        floor_share=floor / ours_s,
        prediction_share=prediction / ours_s,
        **_compare(task, bound, few, truth, optima, effort),
    )


def fit_by_scipy(task: Task, bound: Bound, signal: np.ndarray) -> list[np.ndarray | None]:
    """One curve_fit a voxel with its own Levenberg-Marquardt; None where it gives up."""
    function = task.reference(bound)
    x = next(iter(bound.acquisition.values()))
    x = np.asarray(x, dtype=float) if np.ndim(x) == 1 else np.arange(bound.n, dtype=float)
    found = []
    for y in stack(signal):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OptimizeWarning)
                found.append(curve_fit(function, x, y, p0=task.start(bound, y))[0])
        except RuntimeError:
            found.append(None)
    return found


def _fill_a_second(task: Task, bound: Bound, effort: Effort) -> np.ndarray:
    """As many voxels as keep our fit busy for the time that is asked for."""
    count = 2_000 if effort.seconds else 200
    limit = None
    while True:
        _, signal = task.draw(bound, count, snr=effort.snr, seed=1)
        if limit is None:
            fitting.fit(bound, signal, threads=effort.threads)
            limit = int(_LARGEST_SIGNAL / signal[0].nbytes)
        wall = _time_fit(bound, signal, effort)[0]
        if wall >= effort.seconds or count >= limit:
            return signal
        count = min(int(count * min(max(1.3 * effort.seconds / wall, 1.5), 20.0)), limit)


def _time_fit(bound: Bound, signal: np.ndarray, effort: Effort, robust: str | None = None) -> tuple[float, float]:
    """Seconds of wall and of processor that one call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    fitting.fit(bound, signal, robust=robust, threads=effort.threads)
    return time.perf_counter() - wall, time.process_time() - cpu


def _robust_cost(bound: Bound, signal: np.ndarray, effort: Effort) -> float:
    """Seconds of a Tukey fit over those of a plain one, the median over rounds in turns."""
    try:
        fitting.fit(bound, signal[:200], robust="tukey", threads=effort.threads)
    except FitError:
        return float("nan")
    costs = []
    for _ in range(min(effort.rounds, 3)):
        plain, _ = _time_fit(bound, signal, effort)
        tukey, _ = _time_fit(bound, signal, effort, "tukey")
        costs.append(tukey / plain)
    return float(np.median(costs))


def _compare(
    task: Task,
    bound: Bound,
    signal: np.ndarray,
    truth: dict[str, np.ndarray],
    optima: list[np.ndarray | None],
    effort: Effort,
) -> dict[str, float]:
    """Accuracy beside speed."""
    fit = fitting.fit(bound, signal, threads=effort.threads)
    value, true = fit.value[task.primary], task.read_truth(bound, truth)
    half = stats.t.ppf(0.975, np.maximum(fit.freedom, 1)) * fit.stderr[task.primary]
    count = len(optima)
    scipy = np.array([np.nan if theta is None else task.read(theta) for theta in optima])
    both = np.isfinite(scipy) & fit.ok[:count]
    difference = np.abs(value[:count] / scipy - 1)[both]
    function = task.reference(bound)
    samples = stack(signal[:count])
    x = next(iter(bound.acquisition.values()))
    x = np.asarray(x, dtype=float) if np.ndim(x) == 1 else np.arange(bound.n, dtype=float)
    worse = []
    for i in np.flatnonzero(both):
        theirs = np.sum((samples[i] - function(x, *optima[i])) ** 2)
        ours = fit.residual[i] ** 2 * samples.shape[-1]
        worse.append(ours > theirs * (1 + 1e-4))
    return {
        "difference": float(np.median(difference)),
        "difference_95": float(np.percentile(difference, 95)),
        "worse": float(np.mean(worse)),
        "scipy_failed": float(1 - np.isfinite(scipy).mean()),
        "error": float(np.median(np.abs(value[:count] / true[:count] - 1)[both])),
        "scipy_error": float(np.median(np.abs(scipy / true[:count] - 1)[both])),
        "bias": float(np.median((value / true - 1)[fit.ok])),
        "coverage": float(np.mean((np.abs(value - true) < half)[fit.ok])),
        "ok": float(fit.ok.mean()),
    }
