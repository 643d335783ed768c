"""What a benchmark is: a model on an acquisition, a range of truths, how a user of scipy would fit it, and the bars."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isocenter import models
from isocenter.errors import ConfigError
from isocenter.models import Bound

Reference = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Task:
    """One row of the table.

    name, title : of the row; place : where in the table
    model, acquisition, options : what is bound; truth : limits (lower, upper) of uniform distributions
    reference : bound -> ``function(x, *theta) -> (m,) array`` for scipy, where complex samples are their real parts and
        then their imaginary parts
    start : (bound, samples (m,)) -> p0 for scipy, as someone would choose who knows the equation
    read : theta -> the parameter `primary`, in our unit
    exponentials : bound -> how many exponentials one evaluation of the equation takes
    bar : times scipy's speed that is asked for; peer_bars : times the speed of a peer
    scipy_voxels : how many voxels scipy fits
    is_unsigned : whether the noise is complex and the magnitude is taken (samples near zero change)
    """

    name: str
    title: str
    place: int
    model: str
    acquisition: Mapping[str, Any]
    truth: Mapping[str, tuple[float, float]]
    primary: str
    reference: Callable[[Bound], Reference]
    start: Callable[[Bound, np.ndarray], list[float]]
    read: Callable[[np.ndarray], float]
    exponentials: Callable[[Bound], int]
    bar: float
    options: Mapping[str, Any] = field(default_factory=dict)
    peer_bars: Mapping[str, float] = field(default_factory=dict)
    scipy_voxels: int = 1000
    is_unsigned: bool = False
    derive: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None

    def bind(self) -> Bound | None:
        """The model on its acquisition, or None while there is no such model or option."""
        if self.model not in models.names():
            return None
        try:
            return models.get(self.model).bind(self.acquisition, **self.options)
        except ConfigError:
            return None

    def draw(self, bound: Bound, count: int, *, snr: float, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Truths (count,) and noisy signals (count, n).

        One noise level for all voxels, as in an image: the largest noiseless sample of the median voxel over `snr`.
        """
        rng = np.random.default_rng(seed)
        truth = {name: rng.uniform(*limits, count) for name, limits in self.truth.items()}
        signal = bound.predict(truth)
        sigma = np.median(np.abs(signal).max(axis=-1)) / snr
        noise = rng.standard_normal(signal.shape) * sigma
        if np.iscomplexobj(signal) or self.is_unsigned:
            noise = noise + 1j * sigma * rng.standard_normal(signal.shape)
        signal = signal + noise
        return truth, np.abs(signal) if self.is_unsigned else signal

    def read_truth(self, bound: Bound, truth: Mapping[str, np.ndarray]) -> np.ndarray:
        """The true values of the primary parameter."""
        if self.primary in truth:
            return truth[self.primary]
        return self.derive(truth)


def load_tasks() -> list[Task]:
    """The tasks of `benchmarks.tasks`, in the order of the table."""
    folder = importlib.import_module("benchmarks.tasks")
    files = pkgutil.iter_modules(folder.__path__, "benchmarks.tasks.")
    return sorted((importlib.import_module(file.name).TASK for file in files), key=lambda task: task.place)


def stack(samples: np.ndarray) -> np.ndarray:
    """Real samples for scipy: complex ones as real parts, then imaginary parts, along the last axis."""
    return np.concatenate([samples.real, samples.imag], axis=-1) if np.iscomplexobj(samples) else samples


def decay_start(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Amplitude and rate from the first sample and the last that still stands well above nothing."""
    usable = np.flatnonzero(y > 0.1 * y[0])
    last = usable[-1] if usable.size and usable[-1] > 0 else 1
    rate = np.log(y[0] / max(y[last], 1e-3 * y[0])) / (x[last] - x[0])
    rate = max(rate, 1e-3 / x[-1])
    return [y[0] * np.exp(rate * x[0]), rate]
