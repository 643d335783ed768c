"""T1 by variable flip angle, nonlinear, 6 angles."""

import numpy as np

from benchmarks.task import Task


def reference(bound):
    angle = np.deg2rad(np.asarray(TASK.acquisition["FlipAngle"]))
    sine, cosine = np.sin(angle), np.cos(angle)
    tr = TASK.acquisition["RepetitionTimeExcitation"]

    def signal(_, m0, t1):
        e1 = np.exp(-tr / t1)
        return m0 * sine * (1 - e1) / (1 - e1 * cosine)

    return signal


def start(bound, y):
    # The line S/sin against S/tan, unweighted.
    angle = np.deg2rad(np.asarray(TASK.acquisition["FlipAngle"]))
    tr = TASK.acquisition["RepetitionTimeExcitation"]
    x, z = y / np.tan(angle), y / np.sin(angle)
    x0, z0 = x.mean(), z.mean()
    slope = min(max(((x - x0) * (z - z0)).sum() / ((x - x0) ** 2).sum(), 0.5), 0.9999)
    return [(z0 - slope * x0) / (1 - slope), -tr / np.log(slope)]


TASK = Task(
    name="variable_flip_angle",
    title="variable flip angle, nonlinear, 6 angles",
    place=2,
    model="t1_variable_flip_angle",
    acquisition={"FlipAngle": [2.0, 4.0, 7.0, 11.0, 16.0, 25.0], "RepetitionTimeExcitation": 0.015},
    truth={"T1": (0.5, 2.5), "M0": (8000.0, 12000.0)},
    primary="T1",
    reference=reference,
    start=start,
    read=lambda theta: theta[1],
    exponentials=lambda bound: 1,
    bar=1200,
    peer_bars={"osipy": 10},
)
