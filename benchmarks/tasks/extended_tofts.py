"""Extended Tofts model, 150 time points."""

from benchmarks.arterial_input import ACQUISITION, convolve, make_filter
from benchmarks.task import Task


def reference(bound):
    cp, step = make_filter()
    return lambda _, ktrans, kep, vp: ktrans * convolve(cp, step, kep) + vp * cp


TASK = Task(
    name="extended_tofts",
    title="extended Tofts, 150 time points",
    place=10,
    model="extended_tofts",
    acquisition=ACQUISITION,
    truth={"Ktrans": (0.05, 0.4), "ve": (0.15, 0.5), "vp": (0.01, 0.1)},
    primary="Ktrans",
    reference=reference,
    start=lambda bound, y: [0.1, 0.5, 0.02],
    read=lambda theta: theta[0],
    exponentials=lambda bound: 1,
    bar=200,
    peer_bars={"osipy": 100},
    scipy_voxels=600,
)
