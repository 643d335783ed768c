"""PDFF from the magnitude of multi-echo gradient echoes.

equation     S(TE) = |W + F c(TE)| exp(-R2* TE), c(TE) = sum_p a_p exp(i 2 pi f_p TE); PDFF = 100 F / (W + F)
assumptions  water and fat have one phase at TE 0 and one R2*; noise is far below the signal; the spectrum is known
needs        EchoTime [s], at least 4, MagneticFieldStrength [T] or, better, ImagingFrequency [MHz]; magnitudes. It does
             not matter whether the readouts
             were bipolar, nor which way the phase turned
options      spectrum, temperature [degC]: as in `pdff_complex`; dominant: "either", or "water" or "fat" where anatomy
             says which of the two is more than half, so that nothing is ambiguous
parameters   PDFF [percent, 0-100], R2star [1/s, 0-2000], W, F [arbitrary]
known bias   around 50 to 60 % the magnitude hardly changes with PDFF; where most voxels of a region are flagged as
             ambiguous, those that are left were selected by their noise; in- and out-of-phase echoes alone (2.2 ms
             at 1.5 T) leave nearly everything above 15 % ambiguous at SNR 100: say `dominant`; the Rician floor; T1
             weighting
reference    Yokoo et al. 2009, doi 10.1148/radiol.2511080666

A magnitude of mostly fat looks much like one of less fat: only the side peaks of fat tell them apart (Bydder 2008, doi
10.1016/j.mri.2007.08.012; Triay Bagur 2019, doi 10.1002/mrm.27728). The grid starts from both sides. Where the other
side would explain the same samples within the noise, the voxel is flagged singular instead of guessed at.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, SidecarError, explain
from isocenter.models import register
from isocenter.models.base import Bound, Parameter, Separable, read_axis, read_options
from isocenter.models.compiled import evaluation, reporting
from isocenter.models.fat_spectrum import read_spectrum
from isocenter.models.pdff_complex import check_amounts

_OK = int(Flag.OK)
_AT_BOUND = int(Flag.AT_BOUND)
_NO_SIGNAL = int(Flag.NO_SIGNAL)
_SINGULAR = int(Flag.SINGULAR)
_LEAST_PDFF, _MOST_PDFF = -5.0, 105.0
_LEAST_RATE = -20.0
_MOST_RATE = 2000.0
#: The box of the fat share: noise may carry pure water and pure fat a little outside of 0 and 1.
_SHARES = (-0.5, 1.5)
#: The least R2* times the last TE: noise may make it negative.
_LEAST_DECAY = -1.5
#: R2* of the starting nodes [1/s]: so dense that the nearest node on the right side beats the best on the other.
_RATES = np.array([0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0, 160.0, 220.0, 300.0])
#: Nodes of the table of ambiguity.
_TABLE_SHARES = np.linspace(-0.1, 1.1, 61)
_TABLE_RATES = np.array([0.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0])
#: The other side is told apart when it lies this many standard deviations of noise away: the wrong one then fits
#: better in less than one voxel in a hundred.
_APART = 5.0
_DOMINANT = {"either": _SHARES, "water": (-0.5, 0.5), "fat": (0.5, 1.5)}


@evaluation
def evaluate_magnitude(theta, design, constants, basis, slope):
    """|1 - f + f c(TE)| exp(-R2* TE) and its slopes by R2* (times the last TE, constants[1]) and the fat share f."""
    f = theta[1]
    for i in range(design.shape[1]):
        t = design[0, i] / constants[1]
        real = 1.0 - f + f * design[1, i]
        imaginary = f * design[2, i]
        size = np.sqrt(real * real + imaginary * imaginary)
        e = np.exp(-theta[0] * t)
        basis[0, i] = size * e
        # At a perfect null the slope has no sign; 0 lets the other samples decide.
        along = (real * (design[1, i] - 1.0) + imaginary * design[2, i]) / size if size > 0.0 else 0.0
        slope[0, 0, i] = -t * size * e
        slope[1, 0, i] = along * e


@reporting
def report_magnitude(theta, amplitudes, constants, covariance, values, errors):
    """PDFF, R2star, W and F; singular where the other side explains the samples as well.

    constants : whether ambiguity is judged, the last TE, then the table's squared distances to the other side, and
        after these the amplitude's variance, both for unit signal and unit noise (shares slowest,
        then rates)
    """
    f, s = theta[1], amplitudes[0]
    rate = theta[0] / constants[1]
    values[0] = 100.0 * f
    errors[0] = 100.0 * np.sqrt(covariance[1, 1])
    values[1] = rate
    errors[1] = np.sqrt(covariance[0, 0]) / constants[1]
    values[2] = s * (1.0 - f)
    values[3] = s * f
    common = s * s * covariance[1, 1]
    errors[2] = np.sqrt(common - 2.0 * s * (1.0 - f) * covariance[1, 2] + (1.0 - f) ** 2 * covariance[2, 2])
    errors[3] = np.sqrt(common + 2.0 * s * f * covariance[1, 2] + f * f * covariance[2, 2])
    if not s > 0.0:
        return _NO_SIGNAL
    if values[0] + 3.0 * errors[0] < _LEAST_PDFF or values[0] - 3.0 * errors[0] > _MOST_PDFF:
        return _AT_BOUND
    if values[1] + 3.0 * errors[1] < _LEAST_RATE:
        return _AT_BOUND
    if constants[0] > 0.0:
        shares, rates = _TABLE_SHARES.size, _TABLE_RATES.size
        step = _TABLE_SHARES[1] - _TABLE_SHARES[0]
        row = int(min(max((f - _TABLE_SHARES[0]) / step, 0.0), shares - 1.001))
        column = 0
        while column < rates - 2 and _TABLE_RATES[column + 1] < rate:
            column += 1
        # Of the four nodes around: the nearest other side, and the variance nearest to the voxel's own.
        apart = np.inf
        for i in range(2):
            for j in range(2):
                node = (row + i) * rates + column + j
                unit = constants[2 + shares * rates + node]
                apart = min(apart, constants[2 + node] * s * s * unit / covariance[2, 2])
        if apart < _APART**2:
            return _SINGULAR
    return _OK


@register
class PDFFMagnitude:
    """PDFF from magnitudes; see the card at the top of this file."""

    name = "pdff_magnitude"
    title = "Proton-density fat fraction, magnitude"
    parameters = (
        Parameter("PDFF", "percent", 0.0, 100.0, "share of fat in the protons that can be seen"),
        Parameter("R2star", "1/s", 0.0, _MOST_RATE, "decay rate of water and fat together"),
        Parameter("W", "arbitrary", 0.0, np.inf, "signal of water at echo time 0"),
        Parameter("F", "arbitrary", 0.0, np.inf, "signal of fat at echo time 0"),
    )
    needs = ("EchoTime", "MagneticFieldStrength")
    uses = ("ImagingFrequency",)
    options: dict[str, Any] = {"spectrum": None, "temperature": None, "dominant": "either"}  # noqa: RUF012
    example: dict[str, Any] = {  # noqa: RUF012
        "EchoTime": [0.0012, 0.0022, 0.0032, 0.0042, 0.0052, 0.0062], "MagneticFieldStrength": 3.0,
    }  # fmt: skip
    typical: dict[str, float] = {"PDFF": 20.0, "R2star": 45.0, "W": 800.0, "F": 200.0}  # noqa: RUF012
    algorithm = "Nonlinear least squares of magnitudes by variable projection, started from water and from fat"
    reference = "https://doi.org/10.1148/radiol.2511080666"

    def bind(self, acquisition: Mapping[str, Any], **options: Any) -> Bound:
        """Bind to EchoTime (n,) [s] and MagneticFieldStrength [T], or ImagingFrequency [MHz]."""
        options = read_options(self, options)
        te = read_axis(self, acquisition, "EchoTime")
        spectrum = read_spectrum(self, acquisition, options)
        fat = spectrum.signal(te)
        if options["dominant"] not in _DOMINANT:
            raise ConfigError(
                explain(
                    f"dominant is unusable for the model {self.name}",
                    where="option dominant",
                    expected=", ".join(_DOMINANT),
                    found=options["dominant"],
                )
            )
        if np.unique(te).size < 4:
            raise SidecarError(
                explain(
                    f"Too few echoes for the model {self.name}",
                    expected="at least 4 different EchoTime",
                    found=te.tolist(),
                    remedy="acquire more echoes",
                )
            )
        low, high = _DOMINANT[options["dominant"]]
        last = te.max()
        mesh = np.meshgrid(_RATES * last, np.linspace(max(low, -0.03), min(high, 1.03), 48), indexing="ij")

        def forward(p: dict[str, np.ndarray]) -> np.ndarray:
            amounts = check_amounts(p)
            return np.abs(amounts["W"] + amounts["F"] * fat) * np.exp(-p["R2star"][..., np.newaxis] * te)

        is_judged = options["dominant"] == "either"
        table = _tabulate_ambiguity(te, fat) if is_judged else np.empty(0)
        return Bound(
            model=self,
            parameters=self.parameters,
            n=te.size,
            acquisition={
                "EchoTime": te,
                "MagneticFieldStrength": spectrum.field,
            },
            options=options,
            forward=forward,
            defaults={"PDFF": np.nan},
            separable=Separable(
                evaluate=evaluate_magnitude,
                report=report_magnitude,
                design=np.stack([te, fat.real, fat.imag]),
                constants=np.append([float(is_judged), last], table),
                lower=np.array([_LEAST_DECAY, low]),
                upper=np.array([_MOST_RATE * last, high]),
                is_hard=np.array([[True, True], [True, True]]),
                visible=np.array([[-np.inf, 3.0 * last / np.sort(te)[2]], [-np.inf, np.inf]]),
                sides=1,
                grid=np.ascontiguousarray(np.stack([m.ravel() for m in mesh], axis=1)),
                order=np.arange(te.size),
                amplitudes=1,
                # |1 - f + f c|^2 as a polynomial in f.
                mixture=np.stack([np.ones(te.size), 2 * (fat.real - 1), np.abs(fat - 1) ** 2, te / last]),
            ),
        )


def _tabulate_ambiguity(te: np.ndarray, fat: np.ndarray) -> np.ndarray:
    """How far the other side lies: squared distances of signals, then the amplitude's variance.

    te, fat : (n,) arrays [s], [1]. Each of the two parts has an entry for each share and rate of the table, for unit
    signal W + F and unit noise; a distance is infinite where there is no other side.
    """
    # The other side's own share and rate are free: a fine scan over both.
    shares = np.linspace(-0.15, 1.15, 131)
    rates = np.linspace(-100.0, 1000.0, 111)
    sizes = np.abs(1 - shares[:, np.newaxis] + shares[:, np.newaxis] * fat)
    curves = sizes[:, np.newaxis] * np.exp(-rates[:, np.newaxis] * te)
    curves /= np.sqrt((curves**2).sum(axis=-1, keepdims=True))
    distance = np.full((_TABLE_SHARES.size, _TABLE_RATES.size), np.inf)
    variance = np.zeros(distance.shape)
    for i, share in enumerate(_TABLE_SHARES):
        for j, rate in enumerate(_TABLE_RATES):
            signal = np.abs(1 - share + share * fat) * np.exp(-rate * te)
            left = (signal**2).sum() - ((curves @ signal).max(axis=1)) ** 2
            own = int(np.argmin(np.abs(shares - share)))
            is_low = np.r_[True, left[1:] < left[:-1]] & np.r_[left[:-1] <= left[1:], True]
            is_low[max(own - 6, 0) : own + 7] = False
            if is_low.any():
                distance[i, j] = max(left[is_low].min(), 0.0)
            variance[i, j] = _amplitude_variance(share, rate, te, fat)
    return np.concatenate([distance.ravel(), variance.ravel()])


def _amplitude_variance(share: float, rate: float, te: np.ndarray, fat: np.ndarray) -> float:
    """The variance of the fitted W + F for unit signal and unit noise."""
    size = np.abs(1 - share + share * fat)
    e = np.exp(-rate * te)
    along = ((1 - share + share * fat.real) * (fat.real - 1) + share * fat.imag**2) / size
    jacobian = np.stack([along * e, -te * size * e, size * e], axis=1)
    return float(np.linalg.pinv(jacobian.T @ jacobian)[2, 2])
