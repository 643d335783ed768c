"""T2 by one exponential, 32 echoes."""

import numpy as np

from benchmarks.task import Task, decay_start


def reference(bound):
    return lambda te, s0, r2: s0 * np.exp(-te * r2)


TASK = Task(
    name="t2_monoexponential",
    title="T2, one exponential, 32 echoes",
    place=3,
    model="t2_multi_echo",
    acquisition={"EchoTime": [round(0.01 * k, 3) for k in range(1, 33)]},
    truth={"T2": (0.03, 0.2), "S0": (800.0, 1200.0)},
    primary="T2",
    reference=reference,
    start=lambda bound, y: decay_start(bound.acquisition["EchoTime"], y),
    read=lambda theta: 1 / theta[1],
    exponentials=lambda bound: bound.n,
    bar=800,
)
