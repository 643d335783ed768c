"""PDFF of complex echoes, 6 echoes, six peaks, R2* and field map."""

import numpy as np

from benchmarks.task import Task

TE = np.array([0.0012, 0.0022, 0.0032, 0.0042, 0.0052, 0.0062])
FIELD = 3.0
PEAKS = ((-3.80, 0.087), (-3.40, 0.693), (-2.60, 0.128), (-1.94, 0.004), (-0.39, 0.039), (0.60, 0.048))
#: The fat signal for one unit of fat, six peaks at 42.577 MHz/T; the published amplitudes add up to 0.999.
FAT = sum(part * np.exp(2j * np.pi * ppm * 42.577 * FIELD * TE) for ppm, part in PEAKS) / sum(a for _, a in PEAKS)


def reference(bound):
    def signal(_, w_real, w_imaginary, f_real, f_imaginary, field, rate):
        spin = np.exp((2j * np.pi * field - rate) * TE)
        s = (w_real + 1j * w_imaginary + (f_real + 1j * f_imaginary) * FAT) * spin
        return np.concatenate([s.real, s.imag])

    return signal


def start(bound, y):
    # Water and fat by linear least squares where there is no field and little decay.
    s = (y[: TE.size] + 1j * y[TE.size :]) * np.exp(40 * TE)
    w, f = np.linalg.lstsq(np.stack([np.ones(TE.size), FAT], axis=1), s, rcond=None)[0]
    return [w.real, w.imag, f.real, f.imag, 0.0, 40.0]


def read(theta):
    water, fat = theta[0] + 1j * theta[1], theta[2] + 1j * theta[3]
    return 100 * (fat / (water + fat)).real


TASK = Task(
    name="pdff_complex",
    title="PDFF complex, 6 echoes, six peaks, R2*, field",
    place=7,
    model="pdff_complex",
    acquisition={"EchoTime": TE.tolist(), "MagneticFieldStrength": FIELD},
    # A field that one voxel can tell: choosing among swaps is the neighborhood's, and is not measured here.
    truth={
        "W": (500.0, 900.0),
        "F": (50.0, 400.0),
        "R2star": (20.0, 80.0),
        "B0": (-50.0, 50.0),
        "phase": (-60.0, 60.0),
    },
    primary="PDFF",
    derive=lambda truth: 100 * truth["F"] / (truth["W"] + truth["F"]),
    reference=reference,
    start=start,
    read=read,
    exponentials=lambda bound: 3 * bound.n,  # a decay, a sine and a cosine
    bar=300,
    scipy_voxels=600,
)
