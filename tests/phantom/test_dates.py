"""Calibration by date: a scanner that drifts, sessions near and far, what is told of a person's day."""

import datetime
import json

import numpy as np
import pandas as pd
import pytest

from isocenter.calibration import Calibration
from isocenter.errors import CalibrationError
from isocenter.phantom.dates import calibrate_by_date
from isocenter.phantom.drift import count_days, find_session_shifts, fit_drift
from isocenter.phantom.periods import PERIOD_DAYS, coarsen_day, spread_of_day
from isocenter.phantom.sessions import VIAL_COLUMNS, calibrate_vials

GAIN, YEAR = 1.07, 365.25
OFFSET = {"T1": 0.015, "T2": 0.003}  # s
TISSUE = {"T1": 0.9, "T2": 0.08}  # s
MONTHLY = [round(k * 365 / 12) for k in range(13)]


@pytest.fixture
def phantom(nist):
    return nist


def scan_sessions(rng, phantom, days, drift, biomarker="T1", wander=0.0, share=0.6):
    """Vials of sessions at `days`; reference = offset + 1.07 · measured at mid-year, measured drifting in time.

    Every session has its own temperature error (0.5 degC, of which `share` is the thermometer's), the phantom has
    solutions of its own, each vial noise of 0.4 %, and `wander` is how far a session lies off for no reason.
    """
    least = {"T1": 0.05, "T2": 0.015}[biomarker]
    rows = phantom.reference(biomarker, "130-0093", 3.0, 20.7, 0.5)
    rows = [r for r in rows if r.flag == "ok" and r.value > least]
    own = {r.vial: np.sqrt(r.stderr**2 - r.temperature_stderr**2) * rng.standard_normal() for r in rows}
    thermometer = rng.standard_normal()
    out = []
    for number, day in enumerate(days, 1):
        misread = share * thermometer + np.sqrt(1 - share**2) * rng.standard_normal()
        scale = np.exp(drift * (day - YEAR / 2) / YEAR + wander * rng.standard_normal())
        for r in rows:
            true = r.value + own[r.vial] + misread * r.temperature_stderr
            exact = (true - OFFSET[biomarker]) / GAIN * scale
            error = 0.004 * exact
            out.append(
                {
                    "session": f"{number:02d}",
                    "date": (datetime.date(2026, 1, 1) + datetime.timedelta(day)).isoformat(),
                    "phantom": "nist_system", "serial": "130-0093", "vial": r.vial, "biomarker": biomarker,
                    "reference": r.value, "reference_stderr": r.stderr,
                    "measured": exact + error * rng.standard_normal(), "stderr": error, "flag": "ok", "unit": "s",
                    "used": True, "reason": "", "temperature_stderr": r.temperature_stderr,
                    "thermometer_stderr": r.temperature_stderr * share,
                }
            )  # fmt: skip
    return pd.DataFrame(out, columns=list(VIAL_COLUMNS))


def recover(phantom, biomarker, n, wander):
    """(n, 4) of (found − true) / standard error: c0, c1 at mid-year, drift, and tissue scanned on day 60."""
    z = []
    for seed in range(n):
        table = scan_sessions(np.random.default_rng(50_000 + seed), phantom, MONTHLY, 0.02, biomarker, wander)
        curve = calibrate_by_date(table, biomarker, "s", ("none", "gain", "linear"), "drift", with_curves=False)
        at = curve.at(YEAR / 2)
        error = np.sqrt(np.diag(at.covariance))
        scanned = TISSUE[biomarker] / GAIN * np.exp(0.02 * (60 - YEAR / 2) / YEAR)
        tissue, tissue_error, _ = curve.at(60).apply(np.array(scanned), np.array(0.0))
        z.append(
            [
                (at.coefficients[0] - OFFSET[biomarker]) / error[0],
                (at.coefficients[1] - GAIN) / error[1],
                (curve.drift["per_day"] - 0.02 / YEAR) / curve.drift["stderr_per_day"],
                (tissue - TISSUE[biomarker] - OFFSET[biomarker]) / tissue_error,
            ]
        )
    return np.array(z)


def test_gain_offset_and_drift_of_a_year_are_recovered(phantom):
    """40 scanners with gain 1.07, offset 15 ms, 2 % a year: 95 % intervals hold them, but for 3 standard errors."""
    z = recover(phantom, "T1", 40, 0.0)
    assert ((np.abs(z) <= 1.96).mean(axis=0) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 40)).all()
    assert (np.abs(z.mean(axis=0)) < 3 / np.sqrt(40)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("biomarker", "wander"), [("T1", 0.0), ("T1", 0.003), ("T2", 0.0)])
def test_intervals_of_a_drifting_scanner_cover_at_the_nominal_rate(phantom, biomarker, wander):
    """400 scanners: coverage of c0, c1, drift and tissue is 0.95 within two binomial standard errors (0.022)."""
    covered = (np.abs(recover(phantom, biomarker, 400, wander)) <= 1.96).mean(axis=0)
    print(biomarker, wander, covered)
    assert (np.abs(covered - 0.95) <= 0.022).all()


# The rules ----------------------------------------------------------------------------------------------
def by(phantom, rule, days=MONTHLY, drift=0.02, **options):
    table = scan_sessions(np.random.default_rng(4), phantom, days, drift, **options)
    return calibrate_by_date(table, "T1", "s", ("gain", "linear"), rule, "2026-01-01")


def tissue_at(curve, day, spread=0.0):
    """Calibrated value and standard error of tissue of 0.915 s scanned on `day`, of a scanner that drifts by 2 %."""
    held = np.array(0.9 / GAIN * np.exp(0.02 * (day - YEAR / 2) / YEAR))
    value, error, _ = curve.at(day, spread).apply(held, np.array(0.0))
    return float(value), float(error)


def test_pooled_sessions_are_as_before_and_need_no_day(phantom):
    table = scan_sessions(np.random.default_rng(4), phantom, MONTHLY, 0.0)
    forms = ("gain", "linear")
    pooled, plain = calibrate_by_date(table, "T1", "s", forms, "pooled"), calibrate_vials(table, "T1", "s", forms)
    assert pooled.coefficients == plain.coefficients
    assert pooled.covariance == plain.covariance
    assert pooled.at(None) is pooled
    assert len(pooled.sessions) == 13
    assert pooled.checks["drift_within_interval"]
    assert "no more than its uncertainty explains" in pooled.checks["drift_note"]


def test_a_drift_beyond_its_interval_is_said(phantom):
    checks = by(phantom, "pooled").checks
    assert not checks["drift_within_interval"]
    assert checks["drift_percent_per_year"] == pytest.approx(2.0, abs=3 * checks["drift_stderr_percent_per_year"])


def test_drift_follows_the_scanner_where_pooled_cannot(phantom):
    drift, pooled = by(phantom, "drift"), by(phantom, "pooled")
    errors = {}
    for name, curve in (("drift", drift), ("pooled", pooled)):
        errors[name] = [tissue_at(curve, day)[0] / 0.915 - 1 for day in (0, 365)]
    assert abs(errors["drift"][1] - errors["drift"][0]) < 0.004
    assert errors["pooled"][1] - errors["pooled"][0] == pytest.approx(0.02, abs=0.003)


def test_nearest_takes_the_curve_of_the_closest_session(phantom):
    curve = by(phantom, "nearest", days=[0, 100, 300])
    for day, session in ((-20, 0), (40, 0), (50, 0), (51, 1), (199, 1), (201, 2), (999, 2)):
        expected = curve.sessions[session]["curve"]
        assert curve.at(day).coefficients == expected["coefficients"]
        assert curve.at(day).dates == tuple(expected["dates"])
    assert curve.at(51).describe() == f"{curve.at(51).form} 2026-04-11 (nearest)"


def test_nearest_passes_by_a_session_without_a_curve(phantom):
    table = scan_sessions(np.random.default_rng(4), phantom, [0, 100, 300], 0.0)
    table.loc[(table["session"] == "02") & (table["vial"] > 2), ["used", "flag"]] = [False, "clipped"]
    curve = calibrate_by_date(table, "T1", "s", ("gain",), "nearest", "2026-01-01")
    assert curve.sessions[1]["curve"]["refused"]
    assert curve.at(100).dates == ("2026-01-01",)


def test_outside_the_sessions_the_drift_is_held_and_the_interval_grows(phantom):
    curve = by(phantom, "drift")
    last = curve.drift["last_day"]
    assert curve.at(last + 200).coefficients == curve.at(last).coefficients
    errors = [tissue_at(curve, last + more)[1] for more in (0, 100, 200, 400)]
    assert (np.diff(errors) > 0).all()
    # What the scanner went on to do, 1.1 % in 200 days, lies within the interval.
    value, error = tissue_at(curve, last + 200)
    assert abs(value / 0.915 - 1) < 1.96 * error / 0.915
    assert errors[0] < 0.01 * 0.9


def test_a_day_that_is_told_to_a_period_widens_by_what_the_drift_does_in_it(phantom):
    curve = by(phantom, "drift")
    exact, coarse = (np.array(curve.at(100, spread).covariance)[1, 1] for spread in (0.0, spread_of_day(False)))
    rate = curve.drift["per_day"] * spread_of_day(False)
    assert coarse - exact == pytest.approx((rate * curve.at(100).coefficients[1]) ** 2, rel=1e-6)


@pytest.mark.parametrize("rule", ["nearest", "drift"])
def test_without_the_scans_day_there_is_no_value(phantom, rule):
    with pytest.raises(CalibrationError, match="the scan's day is not known"):
        by(phantom, rule).at(None)


@pytest.mark.parametrize("rule", ["nearest", "drift"])
def test_one_session_serves_all_days(phantom, rule):
    curve = by(phantom, rule, days=[0])
    assert "fewer than two dated sessions" in curve.checks["drift_note"]
    assert curve.at(10).coefficients == curve.at(400).coefficients


def test_no_usable_vial_is_refused_whatever_the_rule(phantom):
    table = scan_sessions(np.random.default_rng(4), phantom, [0, 100], 0.0).assign(used=False, reason="too warm")
    for rule in ("pooled", "nearest", "drift"):
        curve = calibrate_by_date(table, "T1", "s", ("gain",), rule)
        assert curve.refused
        assert curve.at(5).refused
    with pytest.raises(CalibrationError, match="Unknown calibration_dates"):
        calibrate_by_date(table, "T1", "s", ("gain",), "weekly")


@pytest.mark.parametrize("rule", ["pooled", "nearest", "drift"])
def test_file_round_trip(phantom, rule):
    curve = by(phantom, rule, days=[0, 50, 100])
    again = Calibration.from_dict(json.loads(json.dumps(curve.to_dict(), allow_nan=False)))
    assert again.at(60).coefficients == curve.at(60).coefficients
    assert again.at(60).covariance == curve.at(60).covariance


# Parts --------------------------------------------------------------------------------------------------
def test_a_missing_vial_shifts_no_session(phantom):
    """Every vial reads its own percent off; leaving three out of one session leaves that session where it was."""
    table = scan_sessions(np.random.default_rng(4), phantom, MONTHLY, 0.0)
    whole = find_session_shifts(table)
    part = find_session_shifts(table[~((table["session"] == "05") & (table["vial"] <= 3))])
    assert np.abs(whole["shift"] - part["shift"]).max() < 3 * whole["stderr"].max()
    assert part["n_vials"].tolist()[4] == whole["n_vials"].tolist()[4] - 3


def test_two_sessions_give_a_line_and_one_none():
    two = fit_drift(np.array([0.0, 100.0]), np.array([0.0, 0.01]), np.array([0.002, 0.002]))
    assert two.per_day == pytest.approx(1e-4)
    assert two.stderr_per_day == pytest.approx(0.002 * np.sqrt(2) / 100)
    assert fit_drift(np.array([5.0]), np.array([0.0]), np.array([0.1])) is None
    assert fit_drift(np.array([5.0, 5.0]), np.array([0.0, 0.1]), np.array([0.1, 0.1])) is None


def test_wander_between_sessions_widens_the_slope():
    rng = np.random.default_rng(2)
    day, error = np.arange(13) * 30.0, np.full(13, 0.001)
    quiet = fit_drift(day, 0.001 * rng.standard_normal(13), error)
    wild = fit_drift(day, 0.01 * rng.standard_normal(13), error)
    assert wild.stderr_per_day > 5 * quiet.stderr_per_day
    assert wild.scatter == pytest.approx(0.01, rel=0.5)


def test_days_are_counted_from_the_first_phantom():
    assert count_days(["2026-01-11", "n/a", "2026-03-01"], "2026-01-01").tolist()[::2] == [10.0, 59.0]
    assert np.isnan(count_days(["n/a"], "2026-01-01")).all()
    assert count_days(["2026-01-11", "2026-01-01"], None).tolist() == [10.0, 0.0]


def test_a_persons_day_is_told_to_its_period():
    days = np.arange(-60, 400)
    coarse = np.array([coarsen_day(int(d)) for d in days])
    assert np.abs(coarse - days).max() <= PERIOD_DAYS / 2
    assert all((coarse == c).sum() >= PERIOD_DAYS for c in set(coarse[30:-30]))
    assert (coarse - days).std() == pytest.approx(spread_of_day(False), rel=0.02)
    assert spread_of_day(True) == 0.0
