"""Ktrans and kep of the Tofts model, dynamic contrast-enhanced series.

equation     Ct(t) = Ktrans * integral of Cp(s) exp(-kep (t - s)) ds; ve = Ktrans / kep
assumptions  one well-mixed extravascular space; no signal from the plasma inside the voxel; Cp known
needs        FrameTimesStart [s], ArterialInputFunction [mM, plasma]; uses ArterialInputTimes [s] where the input was
             sampled at other times than the tissue. `fit` takes tissue concentration [mM]; a series of signal is turned
             into concentration where the option relaxivity says so, which uses T1, B1, FlipAngle and
             RepetitionTimeExcitation (`dynamic_series`)
options      delay [s, default 0: the tissue sees the input at once; a number; or "fit"]; delay_limits [s, default
             -10 to 30, the search of a fitted delay]; hematocrit [default none: the input is plasma; a number: it is
             whole blood, Cp = Cb / (1 - Hct)]; interpolation of the input ["linear", "cubic" (monotone); default
             linear, with a fitted delay cubic]; arterial_input: a population of config/arterial_input.yaml instead of
             a measured one, with arrival [s]; for signal: relaxivity [1/s/mM], baseline [the number of frames before
             the bolus, or first and one after the last], t1 [s] where no map of T1 is given, t1_blood [s]
parameters   Ktrans [1/min, from 0], kep [1/min, 0.0001-200], ve [1, 0-1], option delay "fit": delay [s]
known bias   plasma inside the voxel is read as Ktrans (5 % of it: about +50 %; use extended_tofts); a bolus
             narrower than the sampling of the input; a delay that is wrong by a second or two bends kep
reference    Tofts and Kermode 1991, doi 10.1002/mrm.1910170208

A voxel without uptake is flagged: its kep means nothing. So is a kep that the sampling cannot see.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import FitError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Model, Parameter, Separable
from isocenter.models.compiled import evaluation, reporting
from isocenter.models.dynamic_series import prepare_dynamic
from isocenter.models.tracer_uptake import OPTIONS, USES, bind_input, example_input, fill_uptake
from isocenter.volume import Series

_OK = int(Flag.OK)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_AT_BOUND = int(Flag.AT_BOUND)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE)
#: Standard errors that a contradiction, or an uptake worth a kep, must reach.
_SIGNIFICANCE = 3.0
#: A volume fraction this far outside of 0 to 1 is what the sampling of the input does, no contradiction.
_SLACK = 0.01
#: A standard error of log kep above this leaves kep within two standard errors of none at all.
_VAGUE = 0.5

KTRANS = Parameter("Ktrans", "1/min", 0.0, np.inf, "volume transfer constant from plasma to the extravascular space")
KEP = Parameter("kep", "1/min", 1e-4, 200.0, "rate constant from the extravascular space back to plasma")
VE = Parameter("ve", "1", 0.0, 1.0, "volume fraction of the extravascular extracellular space")
VP = Parameter("vp", "1", 0.0, 1.0, "volume fraction of plasma")


@evaluation
def evaluate_uptake(theta, design, constants, basis, slope):
    """Basis uptake [, input] and its slopes with respect to log kep [and the delay]."""
    fill_uptake(np.exp(theta[0]), 0, theta, design[0], constants, basis, slope)


@reporting
def report_uptake(theta, amplitudes, constants, covariance, values, errors):
    """Ktrans, kep, ve [, vp] [, delay] from log kep [, delay] and the amplitudes."""
    p = theta.size
    q = amplitudes.size
    kep = np.exp(theta[0])
    ktrans = amplitudes[0]
    ve = ktrans / kep
    variance_ve = covariance[p, p] / kep**2 + ve**2 * covariance[0, 0] - 2.0 * ve / kep * covariance[0, p]
    values[0] = ktrans
    errors[0] = np.sqrt(covariance[p, p])
    values[1] = kep
    errors[1] = kep * np.sqrt(covariance[0, 0])
    values[2] = ve
    errors[2] = np.sqrt(max(variance_ve, 0.0))
    if q == 2:
        values[3] = amplitudes[1]
        errors[3] = np.sqrt(covariance[p + 1, p + 1])
    if p == 2:
        values[2 + q] = theta[1]
        errors[2 + q] = np.sqrt(covariance[1, 1])
    if q == 2:
        # Only a significant contradiction counts: noise may push a small fraction below zero.
        vp, far = values[3], _SIGNIFICANCE * errors[3]
        if vp + far < -_SLACK or vp - far > 1.0 + _SLACK:
            return _AT_BOUND
    elif not ktrans > 0.0:
        return _NO_SIGNAL
    # Plasma alone (Ktrans 0) explains the curve: nothing is left that could tell kep.
    if ktrans < _SIGNIFICANCE * errors[0] or not covariance[0, 0] < _VAGUE**2:
        return _OUT_OF_RANGE
    if ve - _SIGNIFICANCE * errors[2] > 1.0 + _SLACK:
        return _AT_BOUND
    return _OK


def bind_tofts(model: Model, acquisition: Mapping[str, Any], options: Mapping[str, Any], *, has_plasma: bool) -> Bound:
    """Bind the Tofts model, with the plasma inside the voxel or without."""
    given = bind_input(model, acquisition, options)
    minutes = given.times / 60.0
    bounds = np.log([KEP.lower, KEP.upper])
    # A washout of less than 2 % over the whole series is none. One that is over within a quarter of a step makes the
    # tissue a copy of the input, whose size is ve: Ktrans and kep trade off.
    visible = np.log([0.02 / (minutes[-1] - minutes[0]), 4.0 / np.median(np.diff(minutes))])
    nodes = np.linspace(max(visible[0] - 1.0, bounds[0]), min(visible[1] + 0.7, bounds[1]), 40)[:, np.newaxis]
    lower, upper, seen = bounds[:1], bounds[1:], visible[np.newaxis]
    if given.is_delay_fitted:
        limits = np.array(given.options["delay_limits"])
        lower, upper = np.append(lower, limits[0]), np.append(upper, limits[1])
        seen = np.vstack([seen, limits])
        rates, delays = np.meshgrid(_rate_nodes(visible, 56 if has_plasma else 24), given.delay_nodes, indexing="ij")
        nodes = np.column_stack([rates.reshape(-1), delays.reshape(-1)])

    def forward(p: dict[str, np.ndarray]) -> np.ndarray:
        kep = _find_rate(model, p)
        delay = p["delay"] if given.is_delay_fitted else 0.0 * kep + given.options["delay"]
        uptake, arrived = given.predict(kep, delay)
        signal = p["Ktrans"][..., np.newaxis] * uptake
        return signal + p["vp"][..., np.newaxis] * arrived if has_plasma else signal

    return Bound(
        model=model,
        parameters=model.parameters + given.delay_parameters,
        n=given.times.size,
        acquisition=given.acquisition,
        options=given.options,
        forward=forward,
        # Of kep and ve, one is enough to predict.
        defaults={"kep": np.nan, "ve": np.nan},
        separable=Separable(
            evaluate=evaluate_uptake,
            report=report_uptake,
            design=minutes[np.newaxis],
            constants=given.constants,
            lower=lower,
            upper=upper,
            is_hard=np.ones((lower.size, 2), dtype=bool),
            visible=seen,
            grid=np.ascontiguousarray(nodes),
            order=given.order,
            amplitudes=2 if has_plasma else 1,
        ),
    )


def _rate_nodes(visible: np.ndarray, count: int) -> np.ndarray:
    """Starting values of log kep beside those of a delay.

    With plasma they stand dense: between wide ones a wrong delay with negative vp looks better than the right one.
    """
    low, high = max(visible[0], np.log(0.02)), min(visible[1], np.log(20.0))
    if not low < high:
        low, high = visible
    return np.linspace(low, high, count)


def _find_rate(model: Model, p: dict[str, np.ndarray]) -> np.ndarray:
    """The kep [1/min] of parameters that name kep, ve, or both alike."""
    ktrans, kep, ve = p["Ktrans"], p["kep"], p["ve"]
    by_ve = ktrans / np.where(ve == 0.0, np.nan, ve)
    disagree = np.isfinite(kep) & np.isfinite(ve) & (np.abs(ktrans - kep * ve) > 1e-6 * np.abs(ktrans))
    if np.any(disagree) or np.all(np.isnan(kep) & np.isnan(ve) & np.isfinite(ktrans)):
        raise FitError(
            explain(
                f"The model {model.name} cannot predict from these parameters",
                expected="kep [1/min] or ve; where both are given, ve = Ktrans / kep",
                found="kep and ve that disagree" if np.any(disagree) else "neither",
            )
        )
    return np.where(np.isnan(kep), by_ve, kep)


@register
class Tofts:
    """Ktrans, kep and ve by the Tofts model; see the card at the top of this file."""

    name = "tofts"
    title = "Ktrans by the Tofts model"
    parameters = (KTRANS, KEP, VE)
    needs = ("FrameTimesStart", "ArterialInputFunction")
    uses = USES
    options: dict[str, Any] = OPTIONS
    example: dict[str, Any] = example_input()
    typical: dict[str, float] = {"Ktrans": 0.2, "kep": 0.5, "ve": 0.4}  # noqa: RUF012
    algorithm = "Tofts model, nonlinear least squares over kep (variable projection), exact convolution"
    reference = "https://doi.org/10.1002/mrm.1910170208"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to FrameTimesStart (n,) [s] and ArterialInputFunction (m,) [mM]."""
        return bind_tofts(self, acquisition, options, has_plasma=False)

    def prepare(self, acquired: Series, options: Mapping[str, Any]) -> Series:
        """A series of signal turned into concentration: see `isocenter.models.dynamic_series`."""
        return prepare_dynamic(self, acquired, options)
