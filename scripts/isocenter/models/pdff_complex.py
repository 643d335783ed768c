"""PDFF from complex multi-echo gradient echoes.

equation     S(TE) = (W + F c(TE)) exp(i phase) exp(i 2 pi B0 TE) exp(-R2* TE), c(TE) = sum_p a_p exp(i 2 pi f_p TE);
             PDFF = 100 F / (W + F)
assumptions  water and fat leave the coil with one phase and decay with one R2*; the spectrum of fat is known; a small
             flip angle (else the short T1 of fat raises PDFF)
needs        EchoTime [s], at least 4 (3 with a given R2*), MagneticFieldStrength [T] or, better,
             ImagingFrequency [MHz]; complex signals
options      spectrum: mapping of ppm and amplitude (config/spectra.yaml), null for six peaks; temperature [degC] of the
             sample, null for the spectrum's own; R2star [1/s]: a known one instead of a fitted one; bipolar: readouts
             of alternating polarity, whose phase is fitted (within 45 degrees; more reads as another field, half a
             period away, with the same PDFF); clockwise: data whose phase turns the other way round (B0 keeps the
             sign of the phase in the data)
parameters   PDFF [percent, 0-100], R2star [1/s, 0-2000], B0 [Hz], W, F [arbitrary], phase [deg]; readout_phase [deg]
known bias   a fat-water swap where B0 starts in the wrong minimum: take `isocenter.fields.fit_volume`, which chooses
             the field over the neighborhood; wrong spectrum; T1 weighting
reference    Yu et al. 2008, doi 10.1002/mrm.21737

Water and fat are fitted as two complex amplitudes and then projected on the phase of their sum, PDFF =
Re F/(W + F): noise of the lesser one is neither rectified nor clipped, so PDFF is unbiased at 0 and at 100 %, and a
voxel of pure water may read a little below zero. R2* has no wall at 0 either, for the same reason.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_options
from isocenter.models.compiled import evaluation, reporting
from isocenter.models.fat_spectrum import read_spectrum

_OK = int(Flag.OK)
_AT_BOUND = int(Flag.AT_BOUND)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
#: Beyond these by three standard errors the model is wrong, not the noise large.
_LEAST_PDFF, _MOST_PDFF = -5.0, 105.0
_LEAST_RATE = -20.0
_MOST_RATE = 2000.0
#: R2* of the starting nodes [1/s].
_RATES = (15.0, 45.0, 90.0, 160.0, 300.0, 550.0, 950.0)
_READOUT_PHASES = (0.0, -0.6, 0.6)


@evaluation
def evaluate_water_and_fat(theta, design, constants, basis, slope):
    """Real and imaginary water, real and imaginary fat, and their slopes by B0, R2* and the readouts' phase.

    design : rows TE, real and imaginary c(TE), polarity; its columns repeat for real and imaginary parts
    constants : the known R2* or NaN
    """
    n = design.shape[1] // 2
    psi = 2.0 * np.pi * theta[0]
    is_rate_free = not constants[0] >= 0.0
    rate = theta[1] if is_rate_free else constants[0]
    free = 2 if is_rate_free else 1
    flip = theta[free] if theta.size > free else 0.0
    for i in range(n):
        t = design[0, i]
        e = np.exp(-rate * t)
        turn = psi * t + flip * design[3, i]
        wr = e * np.cos(turn)
        wi = e * np.sin(turn)
        fr = wr * design[1, i] - wi * design[2, i]
        fi = wr * design[2, i] + wi * design[1, i]
        basis[0, i] = wr
        basis[0, n + i] = wi
        basis[1, i] = -wi
        basis[1, n + i] = wr
        basis[2, i] = fr
        basis[2, n + i] = fi
        basis[3, i] = -fi
        basis[3, n + i] = fr
        for j in range(theta.size):
            if j == 1 and is_rate_free:
                for k in range(4):
                    slope[j, k, i] = -t * basis[k, i]
                    slope[j, k, n + i] = -t * basis[k, n + i]
            else:
                # A turn of the phase: i times the signal.
                by = 2.0 * np.pi * t if j == 0 else design[3, i]
                for k in range(4):
                    slope[j, k, i] = -by * basis[k, n + i]
                    slope[j, k, n + i] = by * basis[k, i]


@reporting
def report_water_and_fat(theta, amplitudes, constants, covariance, values, errors):
    """PDFF, [R2star,] B0, W, F, phase [, readout_phase] from the two complex amplitudes."""
    is_rate_free = not constants[0] >= 0.0
    free = 2 if is_rate_free else 1
    p = theta.size
    wr, wi, fr, fi = amplitudes[0], amplitudes[1], amplitudes[2], amplitudes[3]
    sr, si = wr + fr, wi + fi
    square = sr * sr + si * si
    size = np.sqrt(square)
    # F/s with s = W + F; its derivatives are W/s^2 by F and -F/s^2 by W.
    share = (fr * sr + fi * si) / square
    s2r = (sr * sr - si * si) / square**2
    s2i = 2.0 * sr * si / square**2
    g = np.zeros((4, 4))  # PDFF, W, F, phase by the amplitudes (Wr, Wi, Fr, Fi)
    g[0, 0] = -(fr * s2r + fi * s2i)
    g[0, 1] = fi * s2r - fr * s2i
    g[0, 2] = wr * s2r + wi * s2i
    g[0, 3] = -(wi * s2r - wr * s2i)
    for k in range(4):
        by_size = sr / size if k % 2 == 0 else si / size
        g[2, k] = share * by_size + size * g[0, k]
        g[1, k] = by_size - g[2, k]
        g[3, k] = -si / square if k % 2 == 0 else sr / square
    deviation = np.zeros(4)
    for r in range(4):
        variance = 0.0
        for k in range(4):
            for m in range(4):
                variance += g[r, k] * g[r, m] * covariance[p + k, p + m]
        deviation[r] = np.sqrt(variance)
    degrees = 180.0 / np.pi
    values[0] = 100.0 * share
    errors[0] = 100.0 * deviation[0]
    at = 1
    if is_rate_free:
        values[at] = theta[1]
        errors[at] = np.sqrt(covariance[1, 1])
        at += 1
    values[at] = theta[0]
    errors[at] = np.sqrt(covariance[0, 0])
    values[at + 1] = size * (1.0 - share)
    errors[at + 1] = deviation[1]
    values[at + 2] = size * share
    errors[at + 2] = deviation[2]
    values[at + 3] = degrees * np.arctan2(si, sr)
    errors[at + 3] = degrees * deviation[3]
    if p > free:
        values[at + 4] = degrees * theta[free]
        errors[at + 4] = degrees * np.sqrt(covariance[free, free])
    if not size > 0.0:
        return _NO_SIGNAL
    if values[0] + 3.0 * errors[0] < _LEAST_PDFF or values[0] - 3.0 * errors[0] > _MOST_PDFF:
        return _AT_BOUND
    if is_rate_free and values[1] + 3.0 * errors[1] < _LEAST_RATE:
        return _AT_BOUND
    return _OK


READOUT_PHASE = Parameter("readout_phase", "deg", -90.0, 90.0, "phase of even echoes; odd ones have its negative")


@register
class PDFFComplex:
    """PDFF from complex echoes; see the card at the top of this file."""

    name = "pdff_complex"
    title = "Proton-density fat fraction, complex"
    parameters = (
        Parameter("PDFF", "percent", 0.0, 100.0, "share of fat in the protons that can be seen"),
        Parameter("R2star", "1/s", 0.0, _MOST_RATE, "decay rate of water and fat together"),
        Parameter("B0", "Hz", -np.inf, np.inf, "field offset"),
        Parameter("W", "arbitrary", 0.0, np.inf, "signal of water at echo time 0"),
        Parameter("F", "arbitrary", 0.0, np.inf, "signal of fat at echo time 0"),
        Parameter("phase", "deg", -180.0, 180.0, "phase at echo time 0"),
    )
    needs = ("EchoTime", "MagneticFieldStrength")
    uses = ("ImagingFrequency",)
    options: dict[str, Any] = {  # noqa: RUF012
        "spectrum": None, "temperature": None, "R2star": None, "bipolar": False, "clockwise": False,
    }  # fmt: skip
    example: dict[str, Any] = {  # noqa: RUF012
        "EchoTime": [0.0012, 0.0022, 0.0032, 0.0042, 0.0052, 0.0062], "MagneticFieldStrength": 3.0,
    }  # fmt: skip
    typical: dict[str, float] = {  # noqa: RUF012
        "PDFF": 20.0, "R2star": 45.0, "B0": 60.0, "W": 800.0, "F": 200.0, "phase": 30.0,
    }  # fmt: skip
    algorithm = "Variable projection of complex echoes, water and fat projected on their common phase"
    reference = "https://doi.org/10.1002/mrm.21737"
    #: How `isocenter.fields.fit_volume` uses the neighborhood of a voxel.
    field_map = "fat_and_water"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to EchoTime (n,) [s] and MagneticFieldStrength [T], or ImagingFrequency [MHz]."""
        options = read_options(self, options)
        te = read_axis(self, acquisition, "EchoTime")
        spectrum = read_spectrum(self, acquisition, options)
        rate = _read_rate(self, options["R2star"])
        least = 4 if rate is None else 3
        if np.unique(te).size < least:
            raise SidecarError(
                explain(
                    f"Too few echoes for the model {self.name}",
                    expected=f"at least {least} different EchoTime",
                    found=te.tolist(),
                    remedy="give a known R2star (3 echoes), or acquire more echoes",
                )
            )
        order = np.argsort(te, kind="stable")
        polarity = np.empty(te.size)
        polarity[order] = np.where(np.arange(te.size) % 2 == 0, -1.0, 1.0)
        fat = np.conj(spectrum.signal(te)) if options["clockwise"] else spectrum.signal(te)
        is_bipolar = bool(options["bipolar"])
        has_rate = rate is None

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            amounts = check_amounts(p)
            turn = 2 * np.pi * p["B0"][..., np.newaxis] * te + np.deg2rad(p["phase"][..., np.newaxis])
            if is_bipolar:
                turn = turn + np.deg2rad(p["readout_phase"][..., np.newaxis]) * polarity
            decay = np.exp(-(p["R2star"][..., np.newaxis] if has_rate else rate) * te)
            return (amounts["W"] + amounts["F"] * fat) * decay * np.exp(1j * turn)

        columns = np.stack([te, fat.real, fat.imag, polarity])
        first = [p for p in self.parameters if has_rate or p.name != "R2star"]
        nodes, axes = _start_nodes(te, has_rate, is_bipolar)
        # Beyond this rate the third echo has lost 95 % of the signal: what is left cannot tell water from fat.
        visible = 3.0 / np.sort(te)[2]
        turns = {"B0": 2j * np.pi * te, "R2star": -te + 0j, "readout": 1j * polarity}
        limits = {"B0": (-np.inf, np.inf), "R2star": (-_MOST_RATE, _MOST_RATE), "readout": (-np.pi / 2, np.pi / 2)}
        return Bound(
            model=self,
            parameters=(*first, *((READOUT_PHASE,) if is_bipolar else ())),
            n=te.size,
            acquisition={
                "EchoTime": te,
                "MagneticFieldStrength": spectrum.field,
            },
            options=options,
            forward=forward,
            defaults={"PDFF": np.nan, "phase": 0.0, **({"readout_phase": 0.0} if is_bipolar else {})},
            separable=Separable(
                evaluate=evaluate_water_and_fat,
                report=report_water_and_fat,
                design=np.ascontiguousarray(np.concatenate([columns, columns], axis=1)),
                constants=np.array([np.nan if rate is None else rate]),
                lower=np.array([limits[axis][0] for axis in axes]),
                upper=np.array([limits[axis][1] for axis in axes]),
                is_hard=np.array([[axis != "B0"] * 2 for axis in axes]),
                visible=np.array([[-np.inf, visible if axis == "R2star" else np.inf] for axis in axes]),
                grid=nodes,
                order=np.arange(te.size),
                amplitudes=4,
                is_complex=True,
                starts={"B0": 0},
                exponents=np.stack([turns[axis] for axis in axes]),
            ),
        )


def echo_period(te: np.ndarray) -> float:
    """The period [Hz] of B0: its inverse is the spacing of equally spaced echoes (n,) [s]; infinite for others."""
    times = np.sort(te)
    index = np.arange(times.size)
    step, first = np.polyfit(index, times, 1)
    # Headers round to 10 microseconds; a hundredth of a spacing is 4 degrees of phase in one period.
    is_uniform = np.abs(times - first - step * index).max() <= 0.01 * step
    return float(1.0 / step) if is_uniform else np.inf


def field_nodes(te: np.ndarray, density: float) -> np.ndarray:
    """Field offsets [Hz] to start from: one period, or twice the fastest step's range for unequal spacing."""
    steps = np.diff(np.unique(te))
    period = echo_period(te)
    width = period if np.isfinite(period) else 2.0 / steps.min()
    count = int(np.ceil(width * np.ptp(te) * density))
    return (np.arange(count) - count // 2) * (width / count)


def _start_nodes(te: np.ndarray, has_rate: bool, is_bipolar: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """The grid (g, p), B0 slowest, and the names of its coordinates."""
    axes: dict[str, Any] = {"B0": field_nodes(te, 16.0)}
    if has_rate:
        axes["R2star"] = _RATES
    if is_bipolar:
        axes["readout"] = _READOUT_PHASES
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    return np.ascontiguousarray(np.stack([m.ravel() for m in mesh], axis=1)), tuple(axes)


def check_amounts(p: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """W and F (..., 1) of parameters; FitError where a PDFF that was given besides contradicts them."""
    w, f = p["W"], p["F"]
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = 100 * f / (w + f)
    if np.any(np.abs(p["PDFF"] - expected) > 1e-3):
        raise FitError(
            explain(
                "PDFF contradicts W and F",
                expected=f"{np.ravel(expected)[0]:g} percent or none",
                found=f"{np.ravel(p['PDFF'])[0]:g} percent",
                remedy="leave out PDFF: W and F say it",
            )
        )
    return {"W": w[..., np.newaxis], "F": f[..., np.newaxis]}


def _read_rate(model: PDFFComplex, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MOST_RATE:
        raise ConfigError(
            explain(
                f"R2star is unusable for the model {model.name}",
                where="option R2star",
                expected=f"a rate from 0 to {_MOST_RATE:g} 1/s, or null to fit it",
                found=value,
            )
        )
    return float(value)
