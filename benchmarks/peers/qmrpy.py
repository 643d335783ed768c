"""qmrpy: T2 by extended phase graphs with a fitted B1, without a slice profile."""

PACKAGE = "qmrpy"
TASKS = ("t2_phase_graph",)
VOXELS = {"t2_phase_graph": 60}
NOTE = "its phase graph has no slice profile: an easier equation, which is biased on these voxels"


def prepare(task, acquisition):
    import numpy as np
    from qmrpy.models.t2 import T2EPG

    te = acquisition["EchoTime"]
    model = T2EPG(n_te=len(te), te_ms=1e3 * te[0], alpha_deg=acquisition["RefocusingFlipAngle"])

    def fit(signal):
        return np.array([model.fit(y, estimate_b1=True).params["t2_ms"] for y in signal]) / 1e3

    return fit
