"""The forward models as the simulated scanners call them: one voxel a row, one time a column."""

import numpy as np

from isocenter import models


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
