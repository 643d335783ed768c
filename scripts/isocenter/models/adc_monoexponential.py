"""Apparent diffusion coefficient, one exponential.

equation     S(b) = S0 exp(-b ADC)
assumptions  Gaussian diffusion; trace images, or directions that together sample the sphere evenly
needs        DiffusionBValue [s/mm2], one per volume; uses DiffusionGradientOrientation (n, 3), unit vectors
options      b_min, b_max [s/mm2, default null]: only b-values within (both included) are fitted; a b_min of 200 leaves
             out most of the perfusion, a b_max keeps off the noise floor and kurtosis
             average [default true]: volumes of one b-value and several directions become their geometric mean before
             the fit, which makes ADC the mean over the directions whatever the anisotropy; false fits every volume
             as a sample, which reads low where diffusion is anisotropic
parameters   ADC [mm2/s, 1e-6 to 0.1], S0 [arbitrary]
known bias   high b-values near the noise floor, and kurtosis, bend it down; perfusion bends it up; in fibers the error
             of averages is up to 15 % small: the direction of least signal makes them noisier than their number
reference    Stejskal and Tanner 1965, doi 10.1063/1.1695690; directions: Basser and Pierpaoli 1996, doi
             10.1006/jmrb.1996.0086
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, read_axis, read_options
from isocenter.models.compiled import evaluation
from isocenter.models.exponential_decay import bind_decay
from isocenter.volume import Series

#: What `prepare` adds to the acquisition: how many volumes each averaged one stands for.
AVERAGED = "AveragedVolumes"
#: b-values this close to the next (relative) are one: scanners vary them a little with the direction.
_SAME_B = 0.025
#: Directions whose lines lie closer than this (cosine) are one direction.
_SAME_DIRECTION = 0.999
#: The fewest samples that give a standard error besides the two parameters.
_LEAST_SAMPLES = 3


@evaluation
def evaluate_averaged_decay(theta, design, constants, basis, slope):
    """Basis w exp(-b ADC) and its slope with respect to -log ADC; w is the root of the number of averaged volumes."""
    rate = np.exp(-theta[0])
    for i in range(design.shape[1]):
        x = design[0, i] * rate
        e = design[1, i] * np.exp(-x)
        basis[0, i] = e
        slope[0, 0, i] = e * x


@register
class AdcMonoexponential:
    """ADC by one exponential; see the card at the top of this file."""

    name = "adc_monoexponential"
    title = "ADC by one exponential"
    parameters = (
        Parameter("ADC", "mm2/s", 1e-6, 0.1, "apparent diffusion coefficient"),
        Parameter("S0", "arbitrary", 0.0, np.inf, "signal without diffusion weighting"),
    )
    needs = ("DiffusionBValue",)
    uses = ("DiffusionGradientOrientation",)
    options: dict[str, Any] = {"b_min": None, "b_max": None, "average": True}  # noqa: RUF012
    example: dict[str, Any] = {"DiffusionBValue": [0.0, 300.0, 600.0, 1000.0]}  # noqa: RUF012
    typical: dict[str, float] = {"ADC": 1.0e-3, "S0": 1000.0}  # noqa: RUF012
    algorithm = "Nonlinear least squares (variable projection)"
    reference = "https://doi.org/10.1063/1.1695690"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to DiffusionBValue (n,) [s/mm2].

        Signals are taken as they are: several directions are averaged by :meth:`prepare`, which comes before.
        """
        options = read_options(self, options)
        b = _read_b_values(self, acquisition)
        fitted = _select(options, b)
        bound = bind_decay(self, {"DiffusionBValue": b[fitted]}, options, key="DiffusionBValue", is_rate=True)
        weight = np.sqrt(np.broadcast_to(np.asarray(acquisition.get(AVERAGED, 1.0), dtype=float), b.shape))
        separable = replace(bound.separable, order=fitted)
        if np.any(weight != 1.0):
            separable = replace(
                separable, evaluate=evaluate_averaged_decay, design=np.stack([b[fitted], weight[fitted]])
            )

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            return weight * p["S0"][..., np.newaxis] * np.exp(-b * p["ADC"][..., np.newaxis])

        used = {"DiffusionBValue": b}
        if fitted.size < b.size:
            used["FittedBValue"] = b[fitted]
        if AVERAGED in acquisition:
            used[AVERAGED] = np.asarray(acquisition[AVERAGED])
        return replace(bound, n=b.size, acquisition=used, forward=forward, separable=separable)

    def prepare(self, acquired: Series, options: Mapping[str, Any]) -> Series:
        """Average the directions of each b-value, where the option `average` asks for it and there are several.

        The mean is geometric: the mean of the exponents. A mean of k volumes comes out times sqrt(k), so that
        every volume of the result has the noise of one image: least squares then weighs them rightly, and residuals
        and a known sigma keep their meaning. A sample that is clipped, negative or not finite takes its whole b-value
        out, since the remaining directions would stand for a different mean.

        Raises
        ------
        ConfigError
            When fewer than three b-values remain, of which no standard error can come.
        """
        options = read_options(self, options)
        if not options["average"]:
            return acquired
        b = _read_b_values(self, acquired.acquisition)
        if b.size != acquired.n:
            raise SidecarError(
                explain("There must be one b-value per volume", expected=f"{acquired.n} numbers", found=b.size)
            )
        order = np.argsort(b, kind="stable")
        gap = np.diff(b[order]) > _SAME_B * b[order][:-1]
        shells = [np.sort(shell) for shell in np.split(order, np.flatnonzero(gap) + 1)]
        directions = acquired.acquisition.get("DiffusionGradientOrientation")
        if not any(_has_directions(b[shell], directions, shell) for shell in shells):
            return acquired
        if len(shells) < _LEAST_SAMPLES:
            raise ConfigError(
                explain(
                    f"The average over directions leaves {len(shells)} b-values, too few for a standard error",
                    where=f"model {self.name}",
                    expected=f"at least {_LEAST_SAMPLES} different b-values",
                    found=", ".join(f"{b[shell].mean():g} (×{shell.size})" for shell in shells),
                    remedy="set the option average to false: every volume is then a sample",
                )
            )
        data = np.empty((*acquired.data.shape[:3], len(shells)), np.float32)
        saturation = np.broadcast_to(acquired.saturation, b.shape)
        for i, shell in enumerate(shells):
            data[..., i] = np.sqrt(shell.size) * _geometric_mean(acquired.data, shell, saturation)
        kept = {k: v for k, v in acquired.acquisition.items() if k != "DiffusionGradientOrientation"}
        means = {
            "DiffusionBValue": np.array([b[shell].mean() for shell in shells]),
            AVERAGED: np.array([shell.size for shell in shells]),
        }
        return Series(data, acquired.affine, {**kept, **means})


def _read_b_values(model: AdcMonoexponential, acquisition: Mapping[str, Any]) -> np.ndarray:
    """(n,) array [s/mm2]; SidecarError when they are absent, negative or all the same."""
    b = read_axis(model, acquisition, "DiffusionBValue", positive=False)
    if np.any(b < 0):
        raise SidecarError(
            explain(
                f"DiffusionBValue is unusable for the model {model.name}",
                expected="no negative numbers [s/mm2]",
                found=b.tolist(),
                remedy="some scanners write -1 for a computed image: leave such volumes out",
            )
        )
    return b


def _select(options: Mapping[str, Any], b: np.ndarray) -> np.ndarray:
    """Indices of the b-values within the range of the options."""
    limits = {}
    for name, default in (("b_min", -np.inf), ("b_max", np.inf)):
        value = default if options[name] is None else options[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or np.isnan(value):
            raise ConfigError(explain(f"The option {name} is no number", expected="a b-value [s/mm2]", found=value))
        limits[name] = value
    fitted = np.flatnonzero((b >= limits["b_min"]) & (b <= limits["b_max"]))
    is_restricted = fitted.size < b.size
    if is_restricted and (fitted.size < _LEAST_SAMPLES or np.unique(b[fitted]).size < 2):
        raise ConfigError(
            explain(
                "Too few b-values lie within b_min and b_max",
                expected=f"at least {_LEAST_SAMPLES} volumes and two different b-values",
                found=", ".join(f"{value:g}" for value in b[fitted]) or "none",
                remedy=f"widen the range; the series has {', '.join(f'{value:g}' for value in np.unique(b))}",
            )
        )
    return fitted


def _has_directions(b: np.ndarray, directions: Any, shell: np.ndarray) -> bool:
    """Whether a shell holds several directions. Without a record of them repeated b-values count as directions."""
    if shell.size < 2 or not np.any(b > 0):
        return False
    if directions is None:
        return True
    vectors = np.asarray(directions, dtype=float)[shell]
    length = np.linalg.norm(vectors, axis=1)
    vectors = vectors[length > 0] / length[length > 0, np.newaxis]
    # A direction and its opposite encode the same; volumes without one are trace images.
    return bool(vectors.size) and bool(np.any(np.abs(vectors @ vectors[0]) < _SAME_DIRECTION))


def _geometric_mean(data: np.ndarray, shell: np.ndarray, saturation: np.ndarray) -> np.ndarray:
    """(x, y, z) array: the geometric mean over some volumes, NaN where one of them cannot be used."""
    total = np.zeros(data.shape[:3])
    with np.errstate(divide="ignore", invalid="ignore"):
        for volume in shell:
            sample = data[..., volume].astype(float)
            total += np.log(np.where(sample < saturation[volume], sample, np.nan))
        return np.exp(total / shell.size)
