"""ADC by one exponential, 4 b-values."""

import numpy as np

from benchmarks.task import Task, decay_start


def reference(bound):
    return lambda b, s0, adc: s0 * np.exp(-b * adc)


TASK = Task(
    name="adc",
    title="ADC, 4 b-values",
    place=6,
    model="adc_monoexponential",
    acquisition={"DiffusionBValue": [0.0, 300.0, 600.0, 1000.0]},
    truth={"ADC": (0.5e-3, 2.5e-3), "S0": (800.0, 1200.0)},
    primary="ADC",
    reference=reference,
    start=lambda bound, y: decay_start(bound.acquisition["DiffusionBValue"], y),
    read=lambda theta: theta[1],
    exponentials=lambda bound: bound.n,
    bar=1000,
    peer_bars={"dipy": 50},
)
