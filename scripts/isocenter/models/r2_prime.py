"""R2' from a map of R2* (or T2*) and one of R2 (or T2) of the same run.

equation     R2' = R2* - R2
assumptions  both maps show the same place; nothing moved between the two scans
needs        no series of its own: the biomarker's `uses_maps` names a T2star or R2star and a T2 or R2
parameters   R2prime [1/s]
known bias   an R2 that is too low (stimulated echoes) raises R2' by as much; a gradient echo across a field gradient
             through the slice reads R2* too high
reference    Yablonskiy and Haacke 1994, doi 10.1002/mrm.1910320610

No signal is fitted here, so this is no model of `models.get`: `fitting.derived` computes it from maps.
"""

import numpy as np

from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, explain
from isocenter.volume import ParameterMap

#: A difference of rates this many standard errors below zero contradicts R2* = R2 + R2'.
_IMPOSSIBLE = 3.0


def subtract_r2(r2star: ParameterMap, t2: ParameterMap) -> ParameterMap:
    """R2' = R2* - R2 [1/s] from a map of R2* [1/s] and one of T2 [s] or R2 [1/s] on the same grid.

    The two are measured by different scans, so their errors are independent and add in squares; the error of R2 is
    that of T2 over T2 squared. A voxel keeps the flag of the map that lacks it. R2' may come out slightly negative by
    noise, which is kept so that averages stay unbiased; more than three standard errors below zero is impossible and
    flagged out of range.

    Reference: Yablonskiy and Haacke 1994, doi 10.1002/mrm.1910320610.
    """
    if r2star.unit != "1/s" or t2.unit not in ("s", "1/s"):
        raise ConfigError(
            explain(
                "R2' needs a rate and a time", expected="R2* in 1/s, T2 in s or R2 in 1/s",
                found=f"{r2star.unit} and {t2.unit}",
            )
        )  # fmt: skip
    if r2star.value.shape != t2.value.shape or not np.allclose(r2star.affine, t2.affine, atol=1e-3):
        raise FitError(
            explain(
                "The maps of R2* and T2 lie on different grids",
                expected=r2star.value.shape,
                found=t2.value.shape,
                remedy="align the two series first",
            )
        )
    flag = np.where(r2star.flag != Flag.OK, r2star.flag, t2.flag).astype(np.uint8)
    ok = flag == Flag.OK
    second = np.where(ok, t2.value, np.nan).astype(float)
    second_error = np.where(ok, t2.stderr, np.nan).astype(float)
    if t2.unit == "s":
        second, second_error = 1.0 / second, second_error / second**2
    value = np.where(ok, r2star.value, np.nan) - second
    error = np.hypot(np.where(ok, r2star.stderr, np.nan), second_error)
    impossible = ok & (value < -_IMPOSSIBLE * error)
    flag[impossible] = Flag.OUT_OF_RANGE
    value[impossible] = error[impossible] = np.nan
    return ParameterMap(value, error, flag, r2star.affine, "1/s")


def rate_of(time: ParameterMap) -> ParameterMap:
    """A map of rates [1/s] from one of times [s]; one of rates as it is."""
    if time.unit != "s":
        return time
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(time.ok, 1.0 / time.value.astype(float), np.nan)
        error = np.where(time.ok, time.stderr / time.value.astype(float) ** 2, np.nan)
    return ParameterMap(value, error, time.flag, time.affine, "1/s")
