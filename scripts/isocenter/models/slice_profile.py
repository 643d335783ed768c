"""What a pair of slice-selective pulses does across the slice: excited magnetization and local refocusing angle.

The pulses are simulated (Bloch equations without relaxation, by the spinor of the rotation), for a range of B1, and
kept as Chebyshev series in B1: a fit then knows the whole profile, and its slope, at any B1.

Why two numbers per position are enough. For a pulse that is real and symmetric in time, the rotation at a position is
a turn about z, a turn about the pulse's axis, and the same turn about z again. In a train of equal spacing with
crushers the turns about z only add to the dephasing between pulses and are undone at each echo. What remains is the
angle of the middle turn. The excited magnetization along that axis makes the echoes; what lies across it is odd in
position and cancels over the slice.

Pulses last, and while they turn the magnetization it lies along z for a part of the time, where it hardly decays. To
first order this takes a time `hold` off each echo spacing, in which T1 acts instead of T2. It scales T2 without any
mark on the shape of a train, so no residual can tell it; it comes from the simulated pulse and its duration.

Reference: Lebel and Wilman 2010, doi 10.1002/mrm.22487; Pauly et al. 1991, doi 10.1109/42.75611 (spinors and SLR).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

from isocenter.errors import ConfigError, explain

#: Steps of constant B1 that stand for a pulse, and terms of the series in B1 (errors of w below 2e-4 and 1e-8: tests).
STEPS = 256
TERMS = 14
SHAPES = ("sinc", "slr", "gaussian")


@dataclass(frozen=True)
class SliceProfile:
    """Excitation and refocusing across half a slice, for B1 between `lowest` and `highest`.

    position : (s,) array, from the center of the slice [nominal slice thickness]
    excitation : (s, TERMS) Chebyshev series in B1 of the excited magnetization along the refocusing axis, times the
        weight of the position; over all positions it sums to 1 at B1 = 1
    transmission : (s, TERMS) likewise of w = cos^2(refocusing angle / 2), without a weight
    hold : share of the refocusing pulse's duration in which transverse magnetization does not decay with T2, mean over
        the slice at B1 = 1
    """

    position: np.ndarray
    excitation: np.ndarray
    transmission: np.ndarray
    lowest: float
    highest: float
    hold: float

    def at(self, b1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted excitation and w = cos^2(angle/2), both (..., s), at B1 (...)."""
        x = (2.0 * np.asarray(b1, dtype=float) - self.lowest - self.highest) / (self.highest - self.lowest)
        return tuple(
            np.moveaxis(chebyshev.chebval(x, np.moveaxis(series, -1, 0)), 0, -1)
            for series in (self.excitation, self.transmission)
        )


def shape_pulse(shape: str, time_bandwidth: float, angle: float, steps: int = STEPS) -> np.ndarray:
    """(steps,) array: B1 over time, of unit sum, in the middle of equal steps.

    sinc : Hann-windowed, `time_bandwidth` zero crossings of the sinc in all
    slr : the pulse whose profile is that of a Hamming-windowed sinc at the flip angle `angle` [rad] itself, not only
        at small ones (Shinnar-Le Roux), as product sequences use for matched pairs of pulses
    gaussian : `time_bandwidth` is duration times the full width at half maximum of the spectrum
    """
    t = (np.arange(steps) + 0.5) / steps - 0.5
    if shape == "sinc":
        pulse = np.sinc(time_bandwidth * t) * np.cos(np.pi * t) ** 2
    elif shape == "slr":
        pulse = _invert_profile(np.sinc(time_bandwidth * t) * (0.54 + 0.46 * np.cos(2.0 * np.pi * t)), angle)
    elif shape == "gaussian":
        pulse = np.exp(-((np.pi * time_bandwidth * t) ** 2) / (4.0 * np.log(2.0)))
    else:
        raise ConfigError(explain("Unknown pulse shape", expected=", ".join(SHAPES), found=shape))
    return pulse / pulse.sum()


def _invert_profile(beta: np.ndarray, angle: float) -> np.ndarray:
    """(m,) array: flip angle of each step [rad] of the pulse whose spinor's beta is this polynomial (Pauly 1991)."""
    m = beta.size
    spectrum = np.fft.fft(beta, 128 * m)
    # Below 1 everywhere: at exactly 180 degrees alpha would vanish and its logarithm with it.
    scale = min(np.sin(0.5 * angle) / abs(beta.sum()), 0.9999 / np.abs(spectrum).max())
    beta, spectrum = beta * scale, spectrum * scale
    # alpha of the least energy has the smallest phase: its spectrum follows from its magnitude alone.
    cepstrum = np.fft.ifft(0.5 * np.log(1.0 - np.abs(spectrum) ** 2))
    cepstrum[1 : 64 * m] *= 2.0
    cepstrum[64 * m + 1 :] = 0.0
    alpha = np.fft.ifft(np.exp(np.fft.fft(cepstrum))).real[:m]
    pulse = np.empty(m)
    for k in range(m):
        ratio = beta[0] / alpha[0]
        pulse[k] = 2.0 * np.arctan(ratio)
        c = 1.0 / np.sqrt(1.0 + ratio * ratio)
        alpha, beta = c * (alpha + ratio * beta)[: m - 1 - k], c * (beta - ratio * alpha)[1:]
    return pulse


def rotate_spins(
    pulse: np.ndarray, angle: np.ndarray, turns: np.ndarray, *, is_timed: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The spinor (alpha, beta) of a pulse and the share of its time spent upright, of the broadcast shape.

    pulse : (m,) array of unit sum; angle : flip angle on resonance [rad]
    turns : off-resonance [turns over the pulse's duration]
    is_timed : whether the share is wanted, which takes as long as the rest; else it is None

    From equilibrium the pulse leaves the transverse magnetization 2 conj(alpha) beta and the longitudinal one
    abs(alpha)^2 - abs(beta)^2. The share is the mean over time of the squared z component of magnetization that was
    transverse, with any phase, before.
    """
    angle, turns = np.broadcast_arrays(np.asarray(angle, dtype=float), np.asarray(turns, dtype=float))
    # Half a step of precession, the step's whole B1 at once, half a step of precession: exact to second order.
    half = np.exp(-0.5j * np.pi * turns / pulse.size)
    back = np.conj(half)
    alpha, beta = np.ones(angle.shape, complex), np.zeros(angle.shape, complex)
    upright = np.zeros(angle.shape) if is_timed else None
    turned = np.multiply.outer(0.5 * pulse, angle)
    for c, s in zip(np.cos(turned), -1j * np.sin(turned), strict=True):
        alpha, beta = alpha * half, beta * back
        before = np.abs(alpha * beta) ** 2 if is_timed else None
        alpha, beta = c * alpha + s * beta, s * alpha + c * beta
        if is_timed:
            # The squared z component is 2 abs(alpha beta)^2 for a random phase; its mean over the step by trapezoids.
            upright += (before + np.abs(alpha * beta) ** 2) / pulse.size
        alpha, beta = alpha * half, beta * back
    return alpha, beta, upright


@lru_cache(maxsize=128)
def make_profile(
    shape: str,
    time_bandwidth: tuple[float, float],
    thickness_ratio: float,
    slices: int,
    refocusing_angle: float,
    lowest: float,
    highest: float,
) -> SliceProfile:
    """Simulate a 90 degree excitation and a refocusing pulse across half a slice.

    Parameters
    ----------
    shape : str
        ``sinc``, ``slr`` or ``gaussian``, of both pulses.
    time_bandwidth : (float, float)
        Of the excitation and the refocusing pulse.
    thickness_ratio : float
        Nominal thickness of the refocused slab over that of the excited slice.
    slices : int
        Positions across the half-profile (Gauss-Legendre nodes).
    refocusing_angle : float
        Nominal, on resonance [rad].
    lowest, highest : float
        Range of B1 [achieved over nominal amplitude of both pulses].
    """
    excitation_tb, refocusing_tb = time_bandwidth
    position, weights = _place(shape, excitation_tb, slices)
    b1 = _sample_b1(lowest, highest)
    nominal, excited = _excite(shape, excitation_tb, slices, lowest, highest)
    slab = _shape_once(shape, refocusing_tb, refocusing_angle)
    offset = refocusing_tb * position / thickness_ratio
    alpha, _, _ = rotate_spins(slab, refocusing_angle * b1[:, np.newaxis], offset, is_timed=False)
    transmitted = np.abs(alpha) ** 2
    # An instant pulse in the middle of the interval already puts what it stores upright for half of the interval.
    alpha, beta, upright = rotate_spins(slab, refocusing_angle, offset)
    kept = upright - np.abs(alpha * beta) ** 2
    share_of_echo = np.abs(beta) ** 2 * nominal * weights
    hold = float(share_of_echo @ kept / share_of_echo.sum())

    def expand(values: np.ndarray) -> np.ndarray:
        k = np.arange(TERMS)
        cosines = np.cos(np.pi * np.outer(k, k + 0.5) / TERMS) * np.where(k == 0, 1.0, 2.0)[:, np.newaxis] / TERMS
        return np.ascontiguousarray((cosines @ values).T)

    return SliceProfile(position, expand(excited), expand(transmitted), lowest, highest, hold)


def _sample_b1(lowest: float, highest: float) -> np.ndarray:
    """(TERMS,) array: the B1 at which pulses are simulated, zeros of the Chebyshev polynomial after the last term."""
    return 0.5 * (lowest + highest) + 0.5 * (highest - lowest) * np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)


def _place(shape: str, time_bandwidth: float, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions across half the slice and their weights, both (slices,) [nominal slice thickness]."""
    # Beyond it nothing is excited: a window smears the edges by 1.5 / time-bandwidth thicknesses; a Gaussian has
    # fallen below 1 % of its middle.
    edge = 1.4 if shape == "gaussian" else 0.5 + 1.5 / time_bandwidth
    nodes, weights = np.polynomial.legendre.leggauss(slices)
    return 0.5 * edge * (nodes + 1.0), 0.5 * edge * weights


@lru_cache(maxsize=32)
def _excite(
    shape: str, time_bandwidth: float, slices: int, lowest: float, highest: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a 90 degree pulse excites along its axis: (slices,) at B1 = 1, and (TERMS, slices) over B1, weighted.

    Refocusing pulses of any thickness follow the same excitation: kept, it is simulated once for all of them.
    """
    position, weights = _place(shape, time_bandwidth, slices)
    pulse = shape_pulse(shape, time_bandwidth, 0.5 * np.pi)
    turns = time_bandwidth * position

    def excite(amplitude: np.ndarray) -> np.ndarray:
        alpha, beta, _ = rotate_spins(
            pulse, 0.5 * np.pi * np.atleast_1d(amplitude)[:, np.newaxis], turns, is_timed=False
        )
        return 2.0 * np.conj(alpha) * beta * 1j

    # The scanner rephases the slice once, for the nominal pulse: about half a pulse's worth of its gradient.
    nominal = excite(np.array([1.0]))[0]

    def lost(share: float) -> float:
        return -float(weights @ (nominal * np.exp(-2j * np.pi * share * turns)).real)

    from scipy.optimize import minimize_scalar  # slow to import, and every step that fits imports this module

    share = minimize_scalar(lost, bounds=(0.3, 0.7), method="bounded", options={"xatol": 1e-6}).x
    rephased = np.exp(-2j * np.pi * share * turns)
    excited = (excite(_sample_b1(lowest, highest)) * rephased).real * weights / -lost(share)
    return (nominal * rephased).real, excited


@lru_cache(maxsize=32)
def _shape_once(shape: str, time_bandwidth: float, angle: float) -> np.ndarray:
    """`shape_pulse`, kept; not to be written into."""
    return shape_pulse(shape, time_bandwidth, angle)
