"""The exponential decay that T2, T2* and ADC share: S(x) = S0 exp(-x/T), optionally plus a constant.

Internally the logarithm of the decay constant is searched. `x` is an echo time or a b-value; a model that reports
a rate (ADC) passes the sign -1, which turns the constant into its inverse.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, explain
from isocenter.models.base import Bound, Model, Parameter, Separable, read_axis, read_options
from isocenter.models.compiled import evaluation, lean_kernel, reporting

_OK = int(Flag.OK)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
#: Relative error of the signal after the first step beyond which it is not told from none.
_VAGUE = 1.0 / 3.0
#: Time constants within the first step below which a large error has other causes, such as directions that differ.
_FAR = 2.0


@evaluation
def evaluate_decay(theta, design, constants, basis, slope):
    """Basis exp(-x/T) [, 1] and its slope with respect to log T."""
    rate = np.exp(-theta[0])
    for i in range(design.shape[1]):
        x = design[0, i] * rate
        e = np.exp(-x)
        basis[0, i] = e
        slope[0, 0, i] = e * x
        if basis.shape[0] == 2:
            basis[1, i] = 1.0
            slope[0, 1, i] = 0.0


@lean_kernel
def judge_decay(rate, amplitude, first_step, variance):
    """The flag of a decay: no signal, or over within the first step of the series, where noise sets its rate.

    The signal after the first step, relative to the one before, is uncertain by the error of log T times the step over
    T. A third is three standard errors from nothing at all. variance : of log T. Numbers instead of the arrays that
    hold them: no reference is counted.
    """
    if not amplitude > 0.0:
        return _NO_SIGNAL
    steps = first_step * rate
    if steps > _FAR and variance * steps * steps > _VAGUE * _VAGUE:
        return _OUT_OF_RANGE
    return _OK


@reporting
def report_decay(theta, amplitudes, constants, covariance, values, errors):
    """The decay constant (or rate), S0 [, offset]; constants : 1 or -1 (rate), the first step of the series."""
    values[0] = np.exp(constants[0] * theta[0])
    errors[0] = values[0] * np.sqrt(covariance[0, 0])
    for k in range(amplitudes.size):
        values[1 + k] = amplitudes[k]
        errors[1 + k] = np.sqrt(covariance[1 + k, 1 + k])
    rate = values[0] if constants[0] < 0.0 else 1.0 / values[0]
    return judge_decay(rate, amplitudes[0], constants[1], covariance[0, 0])


OFFSET = Parameter("offset", "arbitrary", -np.inf, np.inf, "constant that does not decay")


def bind_decay(
    model: Model, acquisition: Mapping[str, Any], options: Mapping[str, Any], *, key: str, is_rate: bool = False
) -> Bound:
    """Bind a decay model to the axis `key` of an acquisition."""
    options = read_options(model, options)
    axis = read_axis(model, acquisition, key, positive=not is_rate)
    order = _choose_samples(model, axis, options)
    used = axis[order]
    has_offset = bool(options.get("offset", False))
    first = model.parameters[0]
    sign = -1.0 if is_rate else 1.0
    bounds = np.sort(sign * np.log([first.lower, first.upper]))
    levels = np.unique(used)
    spread = levels[-1] - levels[0]

    def forward(p: dict[str, np.ndarray]) -> np.ndarray:
        constant = p[first.name][..., np.newaxis]
        decay = np.exp(-axis * constant) if is_rate else np.exp(-axis / constant)
        signal = p["S0"][..., np.newaxis] * decay
        return signal + p["offset"][..., np.newaxis] if has_offset else signal

    return Bound(
        model=model,
        parameters=model.parameters + ((OFFSET,) if has_offset else ()),
        n=axis.size,
        acquisition={key: axis},
        options=options,
        forward=forward,
        separable=Separable(
            evaluate=evaluate_decay,
            report=report_decay,
            design=used[np.newaxis],
            constants=np.array([sign, levels[1] - levels[0]]),
            lower=bounds[:1],
            upper=bounds[1:],
            is_hard=np.array([[True, True]]),
            # A decay to exp(-4) within the first step leaves one sample to see; one of less than 2 % over the whole
            # series is a constant.
            # Repeated values are one step: several images at b = 0 see no more of a fast decay than one.
            visible=np.log([[levels[1] / 8, spread * 50]]),
            grid=np.linspace(bounds[0], bounds[1], 64)[:, np.newaxis],
            order=order,
            amplitudes=2 if has_offset else 1,
        ),
    )


def _choose_samples(model: Model, axis: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """Indices of the samples that the options `skip_first` and `even_echoes` leave, in the caller's order."""
    rank = np.argsort(np.argsort(axis, kind="stable"), kind="stable")
    chosen = np.ones(axis.size, dtype=bool)
    if options.get("skip_first", False):
        chosen &= rank > 0
    if options.get("even_echoes", False):
        chosen &= rank % 2 == 1
    parameters = len(model.parameters) + bool(options.get("offset", False))
    if chosen.sum() <= parameters < axis.size:
        raise ConfigError(
            explain(
                f"The options of {model.name} leave too few samples",
                expected=f"at least {parameters + 1} for {parameters} parameters",
                found=f"{chosen.sum()} of {axis.size}",
                remedy="leave out skip_first and even_echoes",
            )
        )
    return np.flatnonzero(chosen)
