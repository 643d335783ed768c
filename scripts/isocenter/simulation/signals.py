"""The forward models as the simulated scanners call them: one voxel a row, one time a column."""

import numpy as np

from isocenter import models

#: Peaks of fat, from water [ppm], and their shares [1].
FAT_SHIFTS = np.array([-3.80, -3.40, -2.60, -1.94, -0.39, 0.60])
FAT_AMPLITUDES = np.array([0.087, 0.693, 0.128, 0.004, 0.039, 0.048])


def inversion_recovery(
    amplitude: np.ndarray, t1: np.ndarray, times: np.ndarray, repetition_time: float, efficiency: float
) -> np.ndarray:
    """Magnitudes after inversion.

    amplitude : (v,) array [a.u.]; t1 : (v,) array [s]; times : (n,) array, real inversion times [s]
    repetition_time : real [s]; efficiency : the inversion turns Mz into -efficiency Mz

    Returns
    -------
    (v, n) array [a.u.]
    """
    model = models.get("t1_inversion_recovery")
    bound = model.bind({"InversionTime": times, "RepetitionTime": repetition_time})
    return bound.predict({"T1": t1, "M0": amplitude, "inversion_efficiency": efficiency})


def multi_echo(
    amplitude: np.ndarray,
    t1: np.ndarray,
    t2: np.ndarray,
    times: np.ndarray,
    refocusing_angle: float,
    b1: np.ndarray,
) -> np.ndarray:
    """Magnitudes of a spin-echo train with imperfect refocusing.

    amplitude : (v,) array [a.u.]; t1, t2 : (v,) arrays [s]; times : (n,) array, real echo times [s]
    refocusing_angle : nominal [deg]; b1 : (v,) array, achieved over nominal angle [1]

    Returns
    -------
    (v, n) array [a.u.]
    """
    model = models.get("t2_extended_phase_graph")
    bound = model.bind({"EchoTime": times, "RefocusingFlipAngle": refocusing_angle})
    return bound.predict({"T2": t2, "B1": b1, "S0": amplitude, "T1": t1})


def diffusion(amplitude: np.ndarray, adc: np.ndarray, b_values: np.ndarray) -> np.ndarray:
    """Magnitudes of trace images, S0 exp(-b ADC).

    amplitude : (v,) array, at b = 0 [a.u.]; adc : (v,) array [mm2/s]; b_values : (n,) array, real ones [s/mm2]

    Returns
    -------
    (v, n) array [a.u.]
    """
    return amplitude[:, np.newaxis] * np.exp(-adc[:, np.newaxis] * b_values)


def look_locker(
    amplitude: np.ndarray, t1: np.ndarray, times: np.ndarray, flip_angle: float, spacing: float
) -> np.ndarray:
    """Magnitudes of a recovery that is read by small pulses all along, after a perfect inversion.

    The pulses hasten the recovery, 1/T1* = 1/T1 - ln(cos(flip_angle))/spacing, and hold it below equilibrium at
    M0 T1*/T1 (to first order in spacing/T1): what the Look-Locker correction undoes. Deichmann and Haase 1992,
    doi 10.1016/0022-2364(92)90347-A.

    amplitude : (v,) array, M0 [a.u.]; t1 : (v,) array [s]; times : (n,) array [s]; flip_angle : [rad]; spacing : of
    the pulses [s]

    Returns
    -------
    (v, n) array [a.u.]
    """
    apparent = 1 / (1 / t1 - np.log(np.cos(flip_angle)) / spacing)
    driven = amplitude * (1 - np.exp(-spacing / t1)) / (1 - np.cos(flip_angle) * np.exp(-spacing / t1))
    recovery = np.exp(-times / apparent[:, np.newaxis])
    return np.abs(driven[:, np.newaxis] - (driven + amplitude)[:, np.newaxis] * recovery)


def fat_and_water(
    water: np.ndarray, fat: np.ndarray, r2star: np.ndarray, field: np.ndarray, times: np.ndarray, frequency: float
) -> np.ndarray:
    """Complex signal of water and of fat with six peaks, one decay for both, off resonance.

    Peaks by Hamilton 2011 (doi 10.1002/nbm.1622).

    water, fat : (v,) arrays [a.u.]; r2star : (v,) array [1/s]; field : (v,) array [Hz]; times : (n,) array [s];
    frequency : of the scanner [MHz]

    Returns
    -------
    (v, n) complex array [a.u.]
    """
    shifts = frequency * FAT_SHIFTS
    spectrum = FAT_AMPLITUDES / FAT_AMPLITUDES.sum() @ np.exp(2j * np.pi * shifts[:, np.newaxis] * times)
    decay = np.exp((2j * np.pi * field - r2star)[:, np.newaxis] * times)
    return (water[:, np.newaxis] + fat[:, np.newaxis] * spectrum) * decay
