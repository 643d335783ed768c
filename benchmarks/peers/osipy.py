"""osipy: its nonlinear variable flip angle and its DCE models."""

import logging

import numpy as np

PACKAGE = "osipy"
TASKS = ("variable_flip_angle", "tofts", "extended_tofts")
VOXELS = {"variable_flip_angle": 50_000, "tofts": 5_000, "extended_tofts": 5_000}
NOTE = "its own Levenberg-Marquardt over batches"


def prepare(task, acquisition):
    logging.disable(logging.INFO)
    if task == "variable_flip_angle":
        from osipy.dce.t1_mapping.vfa import compute_t1_vfa

        def fit_t1(signal):
            found = compute_t1_vfa(
                method="nonlinear",
                signal=signal[:, np.newaxis, np.newaxis, :],
                flip_angles=acquisition["FlipAngle"],
                tr=1e3 * acquisition["RepetitionTimeExcitation"],
            )
            return found.t1_map.values / 1e3

        return fit_t1

    from osipy.dce.fitting import fit_model

    times = np.asarray(acquisition["FrameTimesStart"])
    plasma = np.asarray(acquisition["ArterialInputFunction"])

    def fit_tracer(signal):
        found = fit_model(task, signal[:, np.newaxis, np.newaxis, :], plasma, times)
        return found.parameter_maps["Ktrans"].values

    return fit_tracer
