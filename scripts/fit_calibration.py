"""Fit the calibration of one scanner and biomarker from the vials of its phantom sessions.

Reads   the vials of each session (none: the site has no phantom)
Writes  the calibration: form, coefficients, covariance, valid range, vials used, dates, checks, each session
"""

import logging

import pandas as pd

from isocenter.calibration import Calibration
from isocenter.io.nifti import write_json
from isocenter.io.outcome import Exclusion
from isocenter.io.tables import read_table
from isocenter.phantom.dates import calibrate_by_date
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.step import Ins, Out, run_step

log = logging.getLogger("isocenter")


def fit_calibration(
    vials: Ins,
    *,
    calibration: Out,
    biomarker: str,
    unit: str,
    forms: list,
    dates: str = "pooled",
    first_date: str | None = None,
) -> None:
    """Fit the calibration; without usable vials it is refused with the reason and values stay as measured.

    `dates` says which session stands for a scan's day (``pooled``, ``nearest``, ``drift``), `first_date` is day 0.
    """
    try:
        tables = [read_table(path, required=VIAL_COLUMNS, text=VIAL_TEXT) for path in vials]
        if tables:
            result = calibrate_by_date(
                pd.concat(tables, ignore_index=True), biomarker, unit, tuple(forms), dates, first_date
            )
        else:
            result = Calibration.refuse(biomarker, unit, "No phantom session was received")
    except Exception as error:  # the trial goes on with uncalibrated values, and says so
        result = Calibration.refuse(biomarker, unit, Exclusion.from_error("calibrate", error).reason)
    log.info("%s: %s %s %s", biomarker, result.form, result.coefficients, result.reason)
    write_json(calibration, result.to_dict())


if __name__ == "__main__":
    run_step(fit_calibration, globals())
