"""Fit the calibration of one biomarker from the vials of a site's phantom sessions, a curve a scanner.

Reads   the vials of each session (none: the site has no phantom)
Writes  the calibration, of several scanners one each: form, coefficients, covariance, valid range, vials used, dates,
        checks, each session
"""

import logging

import pandas as pd

from isocenter.calibration import Calibration
from isocenter.calibration.scanners import NO_SESSION, hold_curves
from isocenter.io.nifti import write_json
from isocenter.io.outcome import Exclusion
from isocenter.io.tables import read_table
from isocenter.phantom.dates import calibrate_by_date
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.step import Ins, Out, run_step
from isocenter.trouble import raise_trouble

log = logging.getLogger("isocenter")

#: No scanner is named.
NOBODY: list[str] = []


def fit_calibration(
    vials: Ins,
    *,
    calibration: Out,
    biomarker: str,
    unit: str,
    forms: list,
    dates: str = "pooled",
    first_date: str | None = None,
    scanners: list = NOBODY,
) -> None:
    """Fit the calibration; without usable vials it is refused with the reason and values stay as measured.

    `dates` says which session stands for a scan's day (``pooled``, ``nearest``, ``drift``), `first_date` is day 0.
    `scanners` are the ids of all scanners of the site; with more than one each has a curve of its own.
    """
    how = (biomarker, unit, tuple(forms), dates, first_date)
    if len(scanners) < 2:
        write_json(calibration, _fit(vials, None, how).to_dict())
        return
    write_json(calibration, hold_curves(biomarker, unit, {one: _fit(vials, one, how) for one in scanners}))


def _fit(vials: Ins, scanner: str | None, how: tuple) -> Calibration:
    """The curve of one scanner, or of whatever was measured; refused with the reason where there is none."""
    biomarker, unit = how[:2]
    try:
        tables = [read_table(path, required=VIAL_COLUMNS, text=VIAL_TEXT) for path in vials]
        if scanner is not None:
            tables = [table for table in tables if len(table) and (table["scanner"] == scanner).all()]
        if tables:
            result = calibrate_by_date(pd.concat(tables, ignore_index=True), *how)
        else:
            reason = "No phantom session was received" if scanner is None else NO_SESSION
            result = Calibration.refuse(biomarker, unit, reason)
    except Exception as error:  # the trial goes on with uncalibrated values, and says so
        raise_trouble(error)
        result = Calibration.refuse(biomarker, unit, Exclusion.from_error("calibrate", error).reason)
    where = f"{biomarker} of {scanner}" if scanner else biomarker
    log.info("%s: %s %s %s", where, result.form, result.coefficients, result.reason)
    return result


if __name__ == "__main__":
    run_step(fit_calibration, globals())
