"""What cannot be avoided: exponentials, memory traffic, and evaluating the equation at all."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks.task import Task
from isocenter.models import Bound

#: Evaluations of the equation that a fit without foreknowledge needs: a start and three Gauss-Newton steps.
EVALUATIONS = 4
_IN_CACHE = 4096


def measure_floor(task: Task, bound: Bound, threads: int) -> tuple[float, float]:
    """Seconds a voxel, with perfect threads.

    Returns
    -------
    floor : float
        `EVALUATIONS` times the exponentials of the equation, at numpy's speed out of the cache, plus reading the
        samples and writing value, error and flag once.
    prediction : float
        `EVALUATIONS` times the forward equation as the model computes it for many voxels (no slopes, no noise).
    """
    complexity = 2 if bound.separable is not None and bound.separable.is_complex else 1
    traffic = 8 * (complexity * bound.n + 2 * len(bound.parameters)) + 1
    floor = EVALUATIONS * task.exponentials(bound) * exponential_seconds() / threads + traffic * byte_seconds()
    rng = np.random.default_rng(0)
    truth = {name: rng.uniform(*limits, 500) for name, limits in task.truth.items()}
    bound.predict(truth)
    prediction = _fastest(lambda: bound.predict(truth)) / 500
    return floor, EVALUATIONS * prediction / threads


@cache
def exponential_seconds() -> float:
    """One exponential by numpy on one core, arguments in the cache [s]."""
    x = np.linspace(-5.0, 0.0, _IN_CACHE)
    out = np.empty_like(x)
    return _fastest(lambda: np.exp(x, out=out)) / _IN_CACHE


@cache
def byte_seconds() -> float:
    """Moving one byte that is not in the cache, by a copy on one core [s]."""
    source = np.ones(16_000_000)
    target = np.empty_like(source)
    return _fastest(lambda: np.copyto(target, source), rounds=5) / (2 * source.nbytes)


def _fastest(work: Callable[[], Any], rounds: int = 30) -> float:
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
