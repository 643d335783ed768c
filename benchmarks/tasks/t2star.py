"""T2* of a gradient echo, 12 echoes."""

import numpy as np

from benchmarks.task import Task, decay_start


def reference(bound):
    return lambda te, s0, r2: s0 * np.exp(-te * r2)


TASK = Task(
    name="t2star",
    title="T2*, 12 echoes",
    place=5,
    model="t2star_multi_echo",
    acquisition={"EchoTime": [round(0.004 * k, 3) for k in range(1, 13)]},
    truth={"T2star": (0.01, 0.06), "S0": (800.0, 1200.0)},
    primary="T2star",
    reference=reference,
    start=lambda bound, y: decay_start(bound.acquisition["EchoTime"], y),
    read=lambda theta: 1 / theta[1],
    exponentials=lambda bound: bound.n,
    bar=1000,
)
