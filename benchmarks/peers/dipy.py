"""dipy: the mean diffusivity of a weighted linear tensor fit."""

import numpy as np

PACKAGE = "dipy"
TASKS = ("adc",)
VOXELS = {"adc": 100_000}
NOTE = "weighted tensor on 7 volumes filled from our 4: b = 0 and two directions at each b, the fewest it takes"


_DIRECTIONS = np.array([[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]) / np.sqrt(2)


def prepare(task, acquisition):
    from dipy.core.gradients import gradient_table
    from dipy.reconst.dti import TensorModel

    b = np.asarray(acquisition["DiffusionBValue"])
    which = np.array([0, 1, 1, 2, 2, 3, 3])
    table = gradient_table(b[which], bvecs=np.vstack([np.zeros(3), _DIRECTIONS]))
    model = TensorModel(table, fit_method="WLS")
    # An isotropic voxel: both directions of a b-value see the same trace-weighted sample.
    return lambda signal: model.fit(signal[:, which]).md
