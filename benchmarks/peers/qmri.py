"""qmri: scipy voxel by voxel behind functions for inversion recovery, T2 and T2*, and linear ADC."""

import numpy as np

PACKAGE = "qmri"
TASKS = ("inversion_recovery", "t2_monoexponential", "t2star", "adc")
VOXELS = {"inversion_recovery": 60, "t2_monoexponential": 2_000, "t2star": 2_000, "adc": 2_000}
NOTE = "one voxel after the other"


def prepare(task, acquisition):
    if task == "inversion_recovery":
        from qmri.relaxometry import t1

        times = np.asarray(acquisition["InversionTime"])
        # Its classical model: the repetition time is long.
        return lambda signal: t1.fit_ir(signal, times, 100.0, model="classical").t1
    if task == "adc":
        from qmri.diffusion import adc

        b = np.asarray(acquisition["DiffusionBValue"])
        return lambda signal: np.array([adc.fit_iwlls(y, b).adc for y in signal])
    from qmri.relaxometry import t2

    te = np.asarray(acquisition["EchoTime"])
    return lambda signal: t2.fit(signal, te, model="reduced", skip_echoes=0).t2
