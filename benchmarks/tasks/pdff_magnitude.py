"""PDFF of magnitudes, 6 echoes, six peaks, R2*."""

import numpy as np

from benchmarks.task import Task
from benchmarks.tasks.pdff_complex import FAT, FIELD, TE


def reference(bound):
    return lambda _, water, fat, rate: np.abs(water + fat * FAT) * np.exp(-rate * TE)


TASK = Task(
    name="pdff_magnitude",
    title="PDFF magnitude, 6 echoes, six peaks, R2*",
    place=8,
    model="pdff_magnitude",
    acquisition={"EchoTime": TE.tolist(), "MagneticFieldStrength": FIELD},
    # Less fat than water: magnitudes alone cannot tell the one from the other.
    truth={"W": (500.0, 900.0), "F": (50.0, 250.0), "R2star": (20.0, 80.0)},
    primary="PDFF",
    derive=lambda truth: 100 * truth["F"] / (truth["W"] + truth["F"]),
    reference=reference,
    start=lambda bound, y: [0.8 * y.max() * 1.1, 0.2 * y.max() * 1.1, 40.0],
    read=lambda theta: 100 * theta[1] / (theta[0] + theta[1]),
    exponentials=lambda bound: bound.n,
    bar=400,
    is_unsigned=True,
)
