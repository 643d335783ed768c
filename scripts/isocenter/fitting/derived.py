"""Biomarkers that are computed from maps of others instead of a series: R2' from R2* and R2."""

from collections.abc import Callable, Mapping

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, explain
from isocenter.fitting.lending import resample_map
from isocenter.models.r2_prime import rate_of, subtract_r2
from isocenter.volume import ParameterMap


def _derive_r2_prime(lent: Mapping[str, ParameterMap]) -> ParameterMap:
    star = lent.get("R2star") or lent.get("T2star")
    spin = lent.get("R2") or lent.get("T2")
    if star is None or spin is None:
        raise ConfigError(
            explain(
                "R2' needs two maps of the same run",
                expected="T2star or R2star, and T2 or R2, in uses_maps, each with a map in this run",
                found=", ".join(lent) or "none",
                remedy="send the missing series, or name its biomarker in uses_maps",
            )
        )
    star = rate_of(star)
    return subtract_r2(star, resample_map(spin, star.value.shape, star.affine))


#: By the name in a block's `model`: the parameter that it gives, its unit, and how.
DERIVED: dict[str, tuple[str, str, Callable[[Mapping[str, ParameterMap]], ParameterMap]]] = {
    "r2_prime": ("R2prime", "1/s", _derive_r2_prime),
}


def derive_map(
    name: str, lent: Mapping[str, ParameterMap], parameter: str, unit: str, plausible_range: list
) -> ParameterMap:
    """A map computed from others; a value that nobody should believe becomes NaN, flagged out of range.

    Raises ConfigError when the derived quantity does not give this parameter in this unit, or a map is missing.
    """
    known, known_unit, derive = DERIVED[name]
    if (parameter, unit) != (known, known_unit):
        raise ConfigError(
            explain(
                f"{name} does not give {parameter} in {unit}",
                expected=f"{known} [{known_unit}]",
                remedy="mend the biomarker's block in config/biomarkers.yaml",
            )
        )
    found = derive(lent)
    low, high = plausible_range
    flag = found.flag.copy()
    with np.errstate(invalid="ignore"):
        flag[(flag == Flag.OK) & ((found.value < low) | (found.value > high))] = Flag.OUT_OF_RANGE
    value, error = (np.where(flag == Flag.OK, layer, np.nan) for layer in (found.value, found.stderr))
    return ParameterMap(value, error, flag, found.affine, unit)
