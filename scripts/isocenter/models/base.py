"""What a signal model is: parameters with unit and bounds, what it needs to know, and a forward equation.

A model is bound to an acquisition and then predicts signals, or is fitted by `isocenter.fitting`. Models here are
separable: ``signal = sum_k c_k * basis_k(theta)``. The few nonlinear parameters ``theta`` are searched, the
amplitudes ``c`` follow in closed form (variable projection, Golub and Pereyra 1973, doi 10.1137/0710036).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from isocenter.errors import ConfigError, FitError, SidecarError, explain
from isocenter.models.compiled import Pointer
from isocenter.units import check_unit


@dataclass(frozen=True)
class Parameter:
    """One fitted quantity: its name, unit, the bounds [unit] of the search, and what it means."""

    name: str
    unit: str
    lower: float
    upper: float
    meaning: str

    def __post_init__(self):
        check_unit(self.unit)


@dataclass(frozen=True)
class Separable:
    """The numbers and kernels that the fitting engine needs of a bound model.

    p nonlinear parameters (0 to 3), q amplitudes (1 to 4), n samples, g grid nodes.

    evaluate : (theta (p,), design, constants, basis (q, n) out, slope (p, q, n) out)
    report : (theta, amplitudes (q,), constants, covariance (p+q, p+q), values out, errors out) -> Flag number; turns
        internal into reported parameters and their standard errors (delta method)
    design : (m, n) array, what varies over the samples; constants : (k,) array, what does not
    lower, upper : (p,) arrays, box of the search; is_hard : (p, 2) booleans, whether a bound that is met is a failure
    visible : (p, 2) array, outside of it the samples do not determine the parameter
    grid : (g, p) array, starting nodes
    order : (n,) integers, from the caller's samples to those of `design`
    is_complex : whether the samples are complex: the engine takes their real parts, then their imaginary parts, as 2n
        real samples, so `design` has 2n columns (`order` still n) and each complex amplitude is two real ones
    starts : parameters for which `fit` takes a starting value per voxel: name to the number of its nonlinear
        coordinate, whose unit is the parameter's; the grid's nodes nearest to the start are tried. Such a
        coordinate is the first and changes slowest over the grid
    is_magnitude : whether the sign of the signal was lost and is to be searched
    varying : constants that differ from voxel to voxel, as (index in `constants`, (...,) array or number): a map of B1;
        `constants` holds a typical value, on which the grid is computed
    sides : of two nonlinear coordinates the one along which several optima may lie, to be looked for; -1 for neither
    side_step : where several may be about as likely, the step of that coordinate (the second) over which standard
        errors add up what it makes likely; 0 where the curvature of the best optimum tells enough
    window : samples whose first row of `design` lies beyond this many exp(theta[0]) are left out in a second fit,
        where at least `window_least` samples remain
    exponents : (p, n) complex array, or None; each complex basis function is its value at theta = 0 times
        exp(theta . exponents). The first coordinate turns phases only
    mixture : (4, n) array of rows a, b, c, d, or None; the one basis function is
        sqrt(a + b theta[1] + c theta[1]^2) exp(-d theta[0])
    tabulate : (grid (g, p), design, constants, basis (q, n, g) out), or None; the basis of `evaluate` on every node,
        where that is quicker at once than node by node
    """

    evaluate: Pointer
    report: Pointer
    design: np.ndarray
    constants: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    is_hard: np.ndarray
    visible: np.ndarray
    grid: np.ndarray
    order: np.ndarray
    amplitudes: int
    is_magnitude: bool = False
    is_complex: bool = False
    starts: Mapping[str, int] = field(default_factory=dict)
    varying: tuple[tuple[int, Any], ...] = ()
    sides: int = -1
    side_step: float = 0.0
    window: float = np.inf
    window_least: int = 5
    exponents: np.ndarray | None = None
    mixture: np.ndarray | None = None
    tabulate: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None] | None = None


@dataclass(frozen=True)
class Bound:
    """A model that knows its acquisition.

    parameters : what a fit reports, in this order; n : how many samples
    separable : how the engine fits it; None for a model that is solved in closed form
    closed_form : (signal (v, n), sigma (v,) or NaN) -> values (v, r), errors (v, r), flag (v,), for such a model
    acquisition : the values [BIDS units] that the model used; options : the model's options that are in force
    """

    model: "Model"
    parameters: tuple[Parameter, ...]
    n: int
    acquisition: dict[str, Any]
    options: dict[str, Any]
    separable: Separable | None
    forward: Callable[[dict[str, np.ndarray]], np.ndarray]
    defaults: dict[str, float] = field(default_factory=dict)
    closed_form: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    def predict(self, parameters: Mapping[str, Any]) -> np.ndarray:
        """The signal (..., n) of parameters given by name, each a number or an array (...) that broadcasts."""
        known = {*self.names, *self.defaults}
        missing = [name for name in self.names if name not in parameters and name not in self.defaults]
        unknown = sorted(set(parameters) - known)
        if missing or unknown:
            raise FitError(
                explain(
                    f"The model {self.model.name} cannot predict from these parameters",
                    expected=", ".join(sorted(known)),
                    found=", ".join(parameters),
                    remedy=f"give {', '.join(missing)}" if missing else f"leave out {', '.join(unknown)}",
                )
            )
        given = {**self.defaults, **parameters}
        arrays = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in given.values()))
        return self.forward(dict(zip(given, arrays, strict=True)))


class Model(Protocol):
    """A signal model by name.

    needs : sidecar keys without which it cannot be bound; uses : keys that it takes where they are given
    options : names and defaults of what `bind` takes besides
    example : an acquisition that it can be bound to; typical : parameters that such an acquisition sees well
    algorithm, reference : the sidecar's EstimationAlgorithm and the DOI of the equation
    """

    name: str
    title: str
    parameters: tuple[Parameter, ...]
    needs: tuple[str, ...]
    uses: tuple[str, ...]
    options: dict[str, Any]
    example: dict[str, Any]
    typical: dict[str, float]
    algorithm: str
    reference: str

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind the model to an acquisition in BIDS keys and units."""
        ...


def read_options(model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options in force: the model's defaults and what is given; an unknown one raises ConfigError."""
    unknown = sorted(set(options) - set(model.options))
    if unknown:
        raise ConfigError(
            explain(
                f"The model {model.name} has no option {', '.join(unknown)}",
                expected=", ".join(sorted(model.options)) or "no options",
                remedy="mend `options` of the biomarker in config/biomarkers.yaml",
            )
        )
    return {**model.options, **options}


def read_axis(model: Model, acquisition: Mapping[str, Any], key: str, *, positive: bool = True) -> np.ndarray:
    """(n,) array: the acquisition value that varies over the series; SidecarError when it is absent or no number."""
    value = acquisition.get(key) if isinstance(acquisition, Mapping) else None
    if value is None:
        raise SidecarError(
            explain(
                f"The model {model.name} needs {key}, which the sidecar lacks",
                expected=f"{key}, one number per volume",
                found=", ".join(sorted(acquisition or {})) or "an empty sidecar",
                remedy="check the DICOM header of the series; the value is never guessed",
            )
        )
    try:
        axis = np.atleast_1d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        axis = np.array([np.nan])
    if axis.ndim != 1 or not np.all(np.isfinite(axis)) or (positive and np.any(axis <= 0)):
        raise SidecarError(
            explain(
                f"{key} is unusable for the model {model.name}",
                expected="positive numbers, one per volume" if positive else "numbers, one per volume",
                found=value,
            )
        )
    if np.unique(axis).size < 2:
        raise SidecarError(
            explain(
                f"{key} does not vary over the series, so the model {model.name} cannot be fitted",
                expected="at least two different values",
                found=value,
            )
        )
    return axis


def read_constant(model: Model, acquisition: Mapping[str, Any], key: str, default: float, *, unit: str) -> float:
    """A positive value common to the series, `default` when absent; SidecarError when it varies or is no number."""
    value = acquisition.get(key)
    if value is None:
        return default
    try:
        values = np.unique(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if values.size != 1 or not np.isfinite(values[0]) or values[0] <= 0:
        raise SidecarError(
            explain(
                f"{key} is unusable for the model {model.name}",
                expected=f"one positive number [{unit}] for the whole series",
                found=value,
            )
        )
    return float(values[0])
