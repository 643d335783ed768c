"""Linearity and bias of each site's phantom, as measured and as calibrated.

A calibration judged on the vials that it was fitted to flatters itself. The calibrated stage is therefore made anew:
each session is calibrated with the other sessions only (with one session, each vial with the other vials).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from isocenter.calibration import Calibration, fit_calibration_curve
from isocenter.calibration.scale import scale_of
from isocenter.errors import CalibrationError
from isocenter.statistics.linearity import Linearity, assess_linearity

_NUMBERS = ("reference", "reference_stderr", "measured", "stderr")


@dataclass(frozen=True)
class PhantomLine:
    """Linearity of one site's phantom at one stage; flags say how the calibrated stage was made."""

    biomarker: str
    unit: str
    field_strength: float
    site: str
    stage: str
    linearity: Linearity


def check_vials(vials: pd.DataFrame, field_of_site: dict[str, float]) -> pd.DataFrame:
    """The usable vials with text labels, numbers, and the field strength of their site [T]."""
    columns = {
        "site": "",
        "scanner": "",
        "session": "",
        "vial": "",
        "biomarker": "",
        "unit": "",
        "flag": "ok",
        "used": True,
    }
    table = vials.copy()
    for column, default in columns.items():
        table[column] = table[column] if column in table.columns else default
        if column != "used":
            table[column] = table[column].fillna(default).astype(str)
    for column in _NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce") if column in table.columns else np.nan
    if "field_strength" not in table.columns:
        table["field_strength"] = table["site"].map(field_of_site)
    table["field_strength"] = (pd.to_numeric(table["field_strength"], errors="coerce") * 2).round() / 2
    used = table["used"].astype(str).str.lower().isin(["true", "1", "1.0"])
    # Of a share, such as a fraction of fat, 0 is a reference like any other: pure water is a vial.
    known = [scale_of(unit).is_reference(value) for unit, value in zip(table["unit"], table["reference"], strict=True)]
    return table[used & np.isfinite(table["measured"]) & np.array(known, dtype=bool)]


def assess_phantoms(vials: pd.DataFrame, *, with_calibrated: bool) -> list[PhantomLine]:
    """Linearity per biomarker, field strength and site; `vials` as :func:`check_vials` gives them."""
    found = []
    for (biomarker, strength, site), rows in vials.groupby(
        ["biomarker", "field_strength", "site"], sort=True, dropna=False
    ):
        stages = (
            {"raw": rows["measured"].to_numpy(float)} if with_calibrated else {"": rows["measured"].to_numpy(float)}
        )
        flags: dict[str, list[str]] = {}
        if with_calibrated:
            stages["calibrated"], flags["calibrated"] = _cross_calibrate(rows)
        for stage, measured in stages.items():
            scale = scale_of(rows["unit"].iloc[0])
            line = assess_linearity(rows["reference"], measured, rows["vial"], rows["session"], scale=scale)
            line.flags += flags.get(stage, [])
            found.append(PhantomLine(biomarker, rows["unit"].iloc[0], float(strength), site, stage, line))
    return found


def _cross_calibrate(rows: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """(n,) values of each fold calibrated on the other folds, and flags."""
    if rows["scanner"].nunique() > 1:  # scanners are calibrated one by one
        calibrated, flags = pd.Series(np.nan, index=rows.index), []
        for _, own in rows.groupby("scanner", sort=True):
            calibrated[own.index], more = _cross_calibrate(own)
            flags += more
        return calibrated.to_numpy(float), list(dict.fromkeys(flags))
    by = "session" if rows["session"].nunique() > 1 else "vial"
    flags = [f"leave_one_{by}_out"]
    calibrated = rows["measured"].to_numpy(float).copy()
    folds = rows[by].to_numpy(str)
    for fold in np.unique(folds):
        try:
            calibration = _fit(rows[folds != fold])
        except CalibrationError:
            flags.append("not_calibrated")
            continue
        if calibration.refused:
            flags.append("calibration_refused")
        inside = folds == fold
        calibrated[inside] = calibration.apply(calibrated[inside], np.zeros(inside.sum()))[0]
    return calibrated, list(dict.fromkeys(flags))


def _fit(rows: pd.DataFrame) -> Calibration:
    # One point a vial: sessions of one vial share its reference.
    mean = rows.groupby("vial", sort=True)[list(_NUMBERS)].mean()
    scale = scale_of(rows["unit"].iloc[0])
    mean["stderr"] = mean["stderr"].fillna(0.0).clip(lower=1e-4 * scale.size(mean["measured"]))
    mean["reference_stderr"] = mean["reference_stderr"].fillna(0.0).clip(lower=1e-4 * scale.size(mean["reference"]))
    return fit_calibration_curve(
        mean["measured"].to_numpy(),
        mean["stderr"].to_numpy(),
        mean["reference"].to_numpy(),
        mean["reference_stderr"].to_numpy(),
        biomarker=rows["biomarker"].iloc[0],
        unit=rows["unit"].iloc[0],
    )
