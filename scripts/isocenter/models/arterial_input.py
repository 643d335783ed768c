"""The arterial input of the DCE models: how much contrast agent the plasma brings, and when.

Three sources: a population average (Parker), a table, or the concentration measured in a region over an artery. All
give plasma concentration [mM] for `ArterialInputFunction`. Blood is not plasma: the contrast agent stays out of the red
cells, so Cp = Cb / (1 - Hct), and every function here takes the hematocrit by name, so that it is stated.

The population average (Parker et al. 2006, doi 10.1002/mrm.21066) is whole blood after 0.1 mmol/kg, t in minutes:

    Cb(t) = sum_i A_i / (sigma_i sqrt(2 pi)) exp(-(t - T_i)^2 / (2 sigma_i^2))
            + alpha exp(-beta t) / (1 + exp(-s (t - tau)))

Its constants stand in `config/arterial_input.yaml`; this floor reads no files and takes them as a mapping.
"""

from collections.abc import Mapping

import numpy as np

from isocenter.errors import ConfigError, SidecarError, TableError, explain

#: The constants of a population average and their units.
CONSTANTS = {
    "amplitude_1": "mM min",
    "center_1": "min",
    "width_1": "min",
    "amplitude_2": "mM min",
    "center_2": "min",
    "width_2": "min",
    "washout_amplitude": "mM",
    "washout_rate": "1/min",
    "sigmoid_slope": "1/min",
    "sigmoid_center": "min",
}


def plasma_from_blood(blood: np.ndarray, *, hematocrit: float) -> np.ndarray:
    """Plasma concentration [mM] of whole-blood concentration (...) [mM]; 0 for an input that is plasma already."""
    if not (np.ndim(hematocrit) == 0 and 0.0 <= hematocrit < 1.0):
        raise ConfigError(
            explain("The hematocrit is unusable", expected="a fraction from 0 to below 1", found=hematocrit)
        )
    return np.asarray(blood, dtype=float) / (1.0 - hematocrit)


def predict_population(
    times: np.ndarray, constants: Mapping[str, float], *, hematocrit: float, arrival: float = 0.0
) -> np.ndarray:
    """The population average as plasma concentration (n,) [mM], zero before the bolus is injected.

    Parameters
    ----------
    times : (n,) array [s]
        When to predict.
    constants : mapping
        The names and units of `CONSTANTS`.
    hematocrit : float [1]
        Volume fraction of red cells; 0 where the concentration is plasma already.
    arrival : float [s]
        The time that the average takes as its zero, on the axis of `times`.

    Raises
    ------
    ConfigError
        When a constant is missing, unknown or no number.
    """
    if set(constants) != set(CONSTANTS) or not all(np.isfinite(value) for value in constants.values()):
        raise ConfigError(
            explain(
                "The constants of the population input are unusable",
                expected=", ".join(f"{name} [{unit}]" for name, unit in CONSTANTS.items()),
                found=", ".join(f"{name} {value}" for name, value in constants.items()) or "nothing",
                remedy="mend config/arterial_input.yaml",
            )
        )
    t = (np.asarray(times, dtype=float) - arrival) / 60.0
    blood = np.zeros(t.shape)
    after = t >= 0.0
    t = t[after]
    total = constants["washout_amplitude"] * np.exp(-constants["washout_rate"] * t)
    total /= 1.0 + np.exp(-constants["sigmoid_slope"] * (t - constants["sigmoid_center"]))
    for pulse in ("1", "2"):
        width = constants[f"width_{pulse}"]
        distance = (t - constants[f"center_{pulse}"]) / width
        total += constants[f"amplitude_{pulse}"] / (width * np.sqrt(2.0 * np.pi)) * np.exp(-0.5 * distance**2)
    blood[after] = total
    return plasma_from_blood(blood, hematocrit=hematocrit)


def resample_table(
    times: np.ndarray, table_times: np.ndarray, table_blood: np.ndarray, *, hematocrit: float
) -> np.ndarray:
    """A tabulated input as plasma concentration (n,) [mM] at other times, by straight lines.

    Where the table has more points than the tissue, do not resample: bind it as it is with `ArterialInputTimes`.

    Parameters
    ----------
    times : (n,) array [s]
        Of the tissue samples.
    table_times : (m,) array [s]
        Ascending, from the first of `times` or before to the last or after.
    table_blood : (m,) array [mM]
        Whole-blood concentration.
    hematocrit : float [1]
        Volume fraction of red cells; 0 where the concentration is plasma already.

    Raises
    ------
    TableError
        When the table does not ascend, has gaps, or does not cover the times.
    """
    times = np.asarray(times, dtype=float)
    axis, blood = np.asarray(table_times, dtype=float), np.asarray(table_blood, dtype=float)
    is_table = axis.ndim == 1 and axis.shape == blood.shape and axis.size > 1
    if not is_table or not np.all(np.diff(axis) > 0) or not np.all(np.isfinite(blood)):
        raise TableError(
            explain(
                "The table of the arterial input is unusable",
                expected="two or more ascending times [s] and a concentration [mM] for each",
                found=f"times of shape {axis.shape}, concentrations of shape {blood.shape}",
            )
        )
    if times.min() < axis[0] or times.max() > axis[-1]:
        raise TableError(
            explain(
                "The table of the arterial input does not cover the series",
                expected=f"times from {times.min():g} to {times.max():g} s",
                found=f"{axis[0]:g} to {axis[-1]:g} s",
            )
        )
    return plasma_from_blood(np.interp(times, axis, blood), hematocrit=hematocrit)


def average_region(
    concentration: np.ndarray, region: np.ndarray, *, hematocrit: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mean input over a region of an artery: plasma concentration (n,) [mM] and its standard error (n,) [mM].

    Parameters
    ----------
    concentration : (..., n) array [mM]
        Whole-blood concentration; voxels that are NaN in any frame are left out of all, so that frames compare.
    region : (...,) booleans
        Voxels well inside the artery.
    hematocrit : float [1]
        Volume fraction of red cells; 0 where the concentration is plasma already.

    Raises
    ------
    SidecarError
        When the region holds no voxel with a concentration in every frame.
    """
    concentration = np.asarray(concentration, dtype=float)
    region = np.asarray(region, dtype=bool)
    if region.shape != concentration.shape[:-1]:
        raise SidecarError(
            explain("The region does not match the series", expected=concentration.shape[:-1], found=region.shape)
        )
    voxels = concentration[region]
    voxels = voxels[np.all(np.isfinite(voxels), axis=1)]
    if len(voxels) == 0:
        raise SidecarError(
            explain(
                "The region of the arterial input holds no voxel with a concentration in every frame",
                expected="at least one",
                found=f"{int(region.sum())} voxels, all with gaps",
                remedy="move the region, or check T1 and baseline: clipped or saturated blood has no concentration",
            )
        )
    spread = voxels.std(axis=0, ddof=1) if len(voxels) > 1 else np.full(voxels.shape[1], np.nan)
    return (
        plasma_from_blood(voxels.mean(axis=0), hematocrit=hematocrit),
        plasma_from_blood(spread / np.sqrt(len(voxels)), hematocrit=hematocrit),
    )
