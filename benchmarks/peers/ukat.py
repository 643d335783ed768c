"""ukat: StimFit, and its T2, T2* and inversion recovery maps."""

import sys
import types

import numpy as np

PACKAGE = "ukat"
TASKS = ("t2_phase_graph", "t2_monoexponential", "t2star", "inversion_recovery")
VOXELS = {"t2_phase_graph": 64, "t2_monoexponential": 2_000, "t2star": 2_000, "inversion_recovery": 500}
NOTE = "one voxel after the other, on all cores where it can; StimFit with its own pulses, so T2 is not ours"


def prepare(task, acquisition):
    # The package imports a network that outlines kidneys; the maps do not use it, and it is large.
    sys.modules.setdefault("segment", types.SimpleNamespace(Tkv=object))
    affine = np.eye(4)

    def image(signal):
        return signal[:, np.newaxis, np.newaxis, :]

    if task == "inversion_recovery":
        from ukat.mapping.t1 import T1

        times = 1e3 * np.asarray(acquisition["InversionTime"])
        return lambda signal: T1(image(signal), times, affine, parameters=3).t1_map / 1e3
    te = 1e3 * np.asarray(acquisition["EchoTime"])
    if task == "t2star":
        from ukat.mapping.t2star import T2Star

        return lambda signal: T2Star(image(signal), te, affine, method="2p_exp").t2star_map / 1e3
    if task == "t2_monoexponential":
        from ukat.mapping.t2 import T2

        return lambda signal: T2(image(signal), te, affine, method="2p_exp").t2_map / 1e3
    from ukat.mapping.t2_stimfit import StimFitModel, T2StimFit

    model = StimFitModel(mode="selective", ukrin_vendor="siemens")
    model.opt.update(esp=te[0] / 1e3, etl=te.size, te=te / 1e3, T1=1.0)
    model.opt["RFr"]["FA_array"] = np.ones(te.size)
    return lambda signal: T2StimFit(image(signal), affine, model).t2_map / 1e3
