"""Tofts model, 150 time points."""

from benchmarks.arterial_input import ACQUISITION, convolve, make_filter
from benchmarks.task import Task


def reference(bound):
    cp, step = make_filter()
    return lambda _, ktrans, kep: ktrans * convolve(cp, step, kep)


TASK = Task(
    name="tofts",
    title="Tofts, 150 time points",
    place=9,
    model="tofts",
    acquisition=ACQUISITION,
    truth={"Ktrans": (0.05, 0.4), "ve": (0.15, 0.5)},
    primary="Ktrans",
    reference=reference,
    start=lambda bound, y: [0.1, 0.5],
    read=lambda theta: theta[0],
    exponentials=lambda bound: 1,
    bar=400,
    scipy_voxels=600,
)
