"""T1 and T2 of a paramagnetic solution from its concentration: R = R_water + r c."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Relaxation:
    """A relaxation time of a solution with the parts of its uncertainty, each one standard uncertainty.

    value : relaxation time [s]
    own : concentration, solvent and slopes together [s]
    relaxivity : signed share of the relaxivity, one error common to all vials of the solution [s]
    slope : change with temperature [s/degC]
    """

    value: float
    own: float
    relaxivity: float
    slope: float


def relax_solution(
    rate: dict[str, Any], concentration: float, concentration_stderr: float, temperature_difference: float
) -> Relaxation:
    """The relaxation time of a solution.

    Parameters
    ----------
    rate : dict
        ``water`` and ``water_stderr`` [1/s], ``relaxivity`` and ``relaxivity_stderr`` [1/(mM s)]; optionally
        ``water_slope`` and ``relaxivity_slope``, relative changes [1/degC], and their ``slope_stderr``.
    concentration, concentration_stderr : float
        Of the paramagnetic ion [mM].
    temperature_difference : float
        From the temperature at which the rates hold [degC].
    """
    water_slope, ion_slope = rate.get("water_slope", 0.0), rate.get("relaxivity_slope", 0.0)
    water_change = float(np.exp(water_slope * temperature_difference))
    ion_change = float(np.exp(ion_slope * temperature_difference))
    water = rate["water"] * water_change
    relaxivity = rate["relaxivity"] * ion_change
    ion = relaxivity * concentration
    total = water + ion
    by_slope = rate.get("slope_stderr", 0.0) * temperature_difference
    variance = (
        (rate["water_stderr"] * water_change) ** 2
        + (relaxivity * concentration_stderr) ** 2
        + (water * by_slope) ** 2
        + (ion * by_slope) ** 2
    )
    # T = 1/R, so dT = −T² dR: a larger relaxivity shortens.
    time = 1.0 / total
    return Relaxation(
        value=time,
        own=time**2 * float(np.sqrt(variance)),
        relaxivity=-(time**2) * rate["relaxivity_stderr"] * ion_change * concentration,
        slope=-(time**2) * (water_slope * water + ion_slope * ion),
    )
