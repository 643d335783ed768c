"""T2 and B1 by extended phase graphs through a slice profile, 32 echoes."""

import numpy as np

from benchmarks.task import Task


def reference(bound):
    # Nobody fits this with a graph in plain Python: scipy gets our compiled one.
    def signal(_, s0, t2, b1):
        return bound.predict({"S0": s0, "T2": max(t2, 1e-4), "B1": min(max(b1, 0.3), 1.5)})

    return signal


def start(bound, y):
    te = bound.acquisition["EchoTime"]
    last = np.flatnonzero(y > 0.2 * y[0])[-1]
    return [y[0] * 1.2, max((te[last] - te[0]) / np.log(y[0] / y[last]), 0.01) if last else 0.02, 0.9]


TASK = Task(
    name="t2_phase_graph",
    title="T2, phase graph, slice profile and B1, 32 echoes",
    place=4,
    model="t2_extended_phase_graph",
    acquisition={"EchoTime": [round(0.01 * k, 3) for k in range(1, 33)], "RefocusingFlipAngle": 180.0},
    options={"profile": "sinc", "time_bandwidth": 3.0, "thickness_ratio": 1.2},
    truth={"T2": (0.03, 0.2), "B1": (0.7, 1.1), "S0": (800.0, 1200.0)},
    primary="T2",
    reference=reference,
    start=start,
    read=lambda theta: theta[1],
    # Two relaxation factors; the graph itself is no exponential: see the cost of a prediction beside it.
    exponentials=lambda bound: 2,
    bar=100,
    peer_bars={"ukat": 10_000},
    scipy_voxels=300,
)
