"""From the signal of a spoiled gradient echo to the concentration of a contrast agent, and back.

equation     S = M0 sin(a) (1 - E) / (1 - E cos(a)), E = exp(-TR R1), a = B1 * flip angle; R1 = 1/T1_0 + r1 C
assumptions  steady state; echo time short against T2*; fast exchange of water, so R1 is linear in C; the frames of the
             baseline hold no contrast agent
known bias   a concentration is as wrong as its T1_0 (in tissue about in proportion), and more so with a wrong B1;
             inflow raises the signal of blood; T2* bends the peak of the bolus down
reference    Schabel and Parker 2008, doi 10.1088/0031-9155/53/9/010

M0 and the receive gain follow from the baseline. A sample that no concentration explains is NaN: beyond what the
sequence can give at full recovery, or where there is no baseline. A fit leaves such samples out.
"""

from typing import Any

import numpy as np

from isocenter.errors import FitError, SidecarError, explain


def signal_from_concentration(
    concentration: np.ndarray,
    *,
    t1: Any,
    relaxivity: float,
    repetition_time: float,
    flip_angle: float,
    m0: Any = 1.0,
    b1: Any = 1.0,
) -> np.ndarray:
    """The signal (..., n) [as `m0`] of concentrations (..., n) [mM].

    Parameters
    ----------
    concentration : (..., n) array [mM]
        In tissue or blood.
    t1 : (...,) array or number [s]
        T1 without contrast agent.
    relaxivity : float [1/s/mM]
        r1 of the contrast agent at the field strength.
    repetition_time : float [s]
        From one excitation to the next.
    flip_angle : float [deg]
        Nominal.
    m0 : (...,) array or number [a.u.]
        Signal at full recovery after 90 degrees.
    b1 : (...,) array or number [1]
        Achieved over nominal flip angle.
    """
    _check_sequence(repetition_time, flip_angle, relaxivity)
    angle = np.deg2rad(flip_angle) * _each(b1)
    rate = 1.0 / _each(t1) + relaxivity * np.asarray(concentration, dtype=float)
    return _each(m0) * _steady_state(rate * repetition_time, angle)


def concentration_from_signal(
    signal: np.ndarray,
    *,
    baseline: slice | np.ndarray,
    t1: Any,
    relaxivity: float,
    repetition_time: float,
    flip_angle: float,
    b1: Any = 1.0,
) -> np.ndarray:
    """The concentration (..., n) [mM] of signals (..., n), NaN where no concentration explains the sample.

    Parameters
    ----------
    signal : (..., n) array [a.u.]
        Magnitude images of the dynamic series.
    baseline : slice or (n,) booleans
        The frames before the contrast agent arrives; the first frames, short of the steady state, are best left out.
    t1 : (...,) array or number [s]
        T1 without contrast agent: a map, or one number for all.
    relaxivity : float [1/s/mM]
        r1 of the contrast agent at the field strength.
    repetition_time : float [s]
        From one excitation to the next.
    flip_angle : float [deg]
        Nominal.
    b1 : (...,) array or number [1]
        Achieved over nominal flip angle.

    Raises
    ------
    FitError
        When the baseline names no frame.
    SidecarError
        When TR, flip angle or relaxivity is unusable.
    """
    _check_sequence(repetition_time, flip_angle, relaxivity)
    signal = np.asarray(signal, dtype=float)
    frames = np.zeros(signal.shape[-1], dtype=bool)
    frames[baseline] = True
    if not frames.any():
        raise FitError(
            explain(
                "The baseline names no frame",
                expected="the frames before the contrast agent arrives",
                found=f"{baseline} of {signal.shape[-1]} frames",
            )
        )
    angle = np.deg2rad(flip_angle) * _each(b1)
    rate = 1.0 / _each(t1)
    before = signal[..., frames].mean(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The signal as a fraction of M0, from the one that the baseline must have.
        fraction = signal / before * _steady_state(rate * repetition_time, angle)
        decay = (np.sin(angle) - fraction) / (np.sin(angle) - fraction * np.cos(angle))
        found = (-np.log(decay) / repetition_time - rate) / relaxivity
    # At complete recovery the fraction is sin(a): no concentration gives more. Negative ones are noise and stay.
    is_possible = (before > 0.0) & (rate > 0.0) & (fraction < np.sin(angle)) & np.isfinite(found)
    return np.where(is_possible, found, np.nan)


def _steady_state(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The signal over M0 for x = TR R1."""
    e = np.exp(-x)
    return np.sin(angle) * -np.expm1(-x) / (1.0 - e * np.cos(angle))


def _each(value: Any) -> np.ndarray:
    """A value per voxel, shaped to broadcast over the samples."""
    return np.asarray(value, dtype=float)[..., np.newaxis]


def _check_sequence(repetition_time: float, flip_angle: float, relaxivity: float) -> None:
    for name, value, unit, most in (
        ("RepetitionTimeExcitation", repetition_time, "s", np.inf),
        ("FlipAngle", flip_angle, "deg", 180.0),
        ("relaxivity", relaxivity, "1/s/mM", np.inf),
    ):
        if not (np.ndim(value) == 0 and 0.0 < value < most):
            raise SidecarError(
                explain(
                    f"{name} is unusable to turn signal into concentration",
                    expected=f"one positive number [{unit}]" + (f" below {most:g}" if np.isfinite(most) else ""),
                    found=value,
                )
            )
