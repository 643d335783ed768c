"""T1 by inversion recovery, 10 inversion times, magnitude."""

import numpy as np

from benchmarks.task import Task


def reference(bound):
    # The general form with its magnitude; scipy has no search over polarities.
    return lambda ti, a, b, t1: np.abs(a + b * np.exp(-ti / t1))


def start(bound, y):
    ti = bound.acquisition["InversionTime"]
    return [y[-1], -y[-1] - y[0], ti[np.argmin(y)] / np.log(2)]


TASK = Task(
    name="inversion_recovery",
    title="inversion recovery, 10 TI, magnitude",
    place=1,
    model="t1_inversion_recovery",
    # The longest time stays below eight times the shortest T1, so that no sample is left out and scipy fits the same.
    acquisition={"InversionTime": [0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2, 1.8, 2.7, 4.0]},
    truth={"T1": (0.6, 2.5), "M0": (800.0, 1200.0), "inversion_efficiency": (0.85, 1.0)},
    primary="T1",
    reference=reference,
    start=start,
    read=lambda theta: theta[2],
    exponentials=lambda bound: bound.n,
    bar=600,
    is_unsigned=True,
)
