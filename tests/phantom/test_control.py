"""Control charts: textbook run lengths, limits from few sessions, events, and the table a site gets."""

import numpy as np
import pandas as pd
import pytest

from isocenter.phantom.control import (
    AVERAGE,
    BASELINE,
    CONTROL_COLUMNS,
    INDIVIDUAL,
    LEAST_SESSIONS,
    WEIGHT,
    average_in_time,
    chart_sessions,
    chart_values,
    estimate_limits,
)
from isocenter.phantom.sessions import VIAL_COLUMNS
from isocenter.quality import check_control


# Run lengths -------------------------------------------------------------------------------------------
def run_length(signals: np.ndarray) -> tuple[float, float]:
    """Mean number of sessions to the first signal, and its standard error; (repetitions, sessions) booleans."""
    first = np.where(signals.any(1), signals.argmax(1) + 1, signals.shape[1])
    return float(first.mean()), float(first.std() / np.sqrt(len(first)))


@pytest.mark.parametrize(
    ("shift", "individuals", "average"),
    # Individuals: 1 / (Φ(δ - 3) + Φ(-δ - 3)). Moving average with weight 0.2 and limit 2.962: Lucas & Saccucci 1990,
    # doi 10.1080/00401706.1990.10484583.
    [(0.0, 370.4, 500.0), (0.5, 155.2, 41.8), (1.0, 43.9, 10.5), (1.5, 15.0, 5.5), (2.0, 6.3, 3.7), (3.0, 2.0, 2.4)],
)
def test_run_lengths_are_the_textbooks(shift, individuals, average):
    """2000 series: the mean run length is the published one within 3.5 standard errors and its rounding."""
    rng = np.random.default_rng(11)
    length = 5000 if shift == 0 else 1500  # nobody may reach the end: exp(-5000/500) do
    values = rng.standard_normal((2000, length), dtype=np.float32) + np.float32(shift)
    found, error = run_length(np.abs(values) > INDIVIDUAL)
    assert found == pytest.approx(individuals, abs=3.5 * error + 0.05)
    averages = average_in_time(values, np.zeros(2000))
    found, error = run_length(np.abs(averages) > AVERAGE * np.sqrt(WEIGHT / (2 - WEIGHT)))
    # The published run length at a shift of 1 counts 10.5; its table has one decimal and about 1 % of its own.
    assert found == pytest.approx(average, abs=3.5 * error + 0.05 + 0.01 * average)


@pytest.mark.parametrize("n", [8, 12, 20])
def test_limits_from_few_sessions_keep_the_rate_of_false_alarms(n):
    """A new session crosses limits from n sessions once in 370: within 10 % over 400 000 draws (σ 3 %)."""
    rng = np.random.default_rng(n)
    crossed = plain = 0
    for _ in range(4):
        center, sigma, single, _ = estimate_limits(rng.standard_normal((100_000, n)))
        off = np.abs(rng.standard_normal(100_000) - center)
        crossed += int((off > single * sigma).sum())
        plain += int((off > 3 * sigma).sum())
    assert crossed / 400_000 == pytest.approx(0.0027, rel=0.10)
    assert plain > 3 * crossed  # what three standard deviations would do, were the limits not widened


# One stretch -------------------------------------------------------------------------------------------
def test_a_steady_scanner_stays_in_control():
    """500 charts of 24 sessions: a signal anywhere in 24/370 of them by a jump and less by a drift, so at most 10 %."""
    rng = np.random.default_rng(3)
    charts = sum(any(chart_values(rng.standard_normal(24))["signal"]) for _ in range(500))
    assert charts <= 50


def test_a_jump_and_a_drift_are_told_apart():
    rng = np.random.default_rng(5)
    quiet = 0.2 * rng.standard_normal(24)
    jump = quiet.copy()
    jump[22] += 2.5
    assert "jump" in chart_values(jump)["signal"][22]
    drift = quiet + 0.06 * np.arange(24)
    found = chart_values(drift)["signal"]
    assert "drift" in found[-1]
    assert not any(chart_values(quiet)["signal"])


def test_a_drift_of_2_percent_a_year_is_seen_within_two_years():
    """Monthly sessions that repeat within 0.3 %: the moving average has signaled by session 25 in 95 % of 200."""
    rng = np.random.default_rng(6)
    seen = [
        any("drift" in s for s in chart_values(0.3 * rng.standard_normal(25) + 2 * np.arange(25) / 12)["signal"])
        for _ in range(200)
    ]
    assert np.mean(seen) >= 0.95


@pytest.mark.parametrize("bad", [0, 4, 7, 11])
def test_one_bad_session_among_the_first_is_found_and_sets_no_limits(bad):
    values = np.random.default_rng(13).standard_normal(12)
    clean = chart_values(values)
    values[bad] += 9.0
    found = chart_values(values)
    assert [bool(s) for s in found["signal"]] == [k == bad for k in range(12)]
    assert found["signal"][bad] == "jump"
    assert not found["baseline"][bad]
    width, before = (c["upper"][0] - c["lower"][0] for c in (found, clean))
    assert 0.6 < width / before < 1.6


def test_too_few_sessions_have_no_limits():
    found = chart_values(np.arange(LEAST_SESSIONS - 1.0))
    assert np.isnan(found["center"]).all()
    assert not any(found["signal"])


def test_later_sessions_do_not_move_the_limits():
    values = np.random.default_rng(8).standard_normal(BASELINE + 10)
    few, many = chart_values(values[:BASELINE]), chart_values(values)
    assert many["center"][0] == few["center"][0]
    assert many["upper"][-1] == few["upper"][0]
    assert many["baseline"].sum() == BASELINE


# The table ----------------------------------------------------------------------------------------------
def vials(shifts, *, efficiency=None, missing=()):
    """Ten vials of as many monthly sessions as `shifts` [percent]; `missing` is (session, vial) pairs not used."""
    rng = np.random.default_rng(1)
    rows = []
    for k, shift in enumerate(shifts):
        for vial in range(1, 11):
            reference = 2.0 / 1.4**vial
            offset = 0.05 * (vial - 5)  # each vial reads its own way, the same in every session
            measured = reference * (1 + shift / 100) * (1 + offset) * (1 + 0.002 * rng.standard_normal())
            rows.append(
                {
                    "session": f"{k + 1:02d}", "date": f"{2024 + k // 12}-{k % 12 + 1:02d}-10", "phantom": "p",
                    "serial": "1", "vial": vial, "biomarker": "T1", "reference": reference,
                    "reference_stderr": 0.01 * reference, "measured": measured, "stderr": 0.002 * measured,
                    "flag": "ok", "unit": "s", "used": (k + 1, vial) not in missing, "reason": "",
                    "temperature_stderr": 0.0, "thermometer_stderr": 0.0,
                    "inversion_efficiency": np.nan if efficiency is None else efficiency[k],
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(VIAL_COLUMNS))


SCANNERS = {f"{k:02d}": "s1" for k in range(1, 60)}


def test_a_vial_that_is_missing_is_no_shift_of_the_scanner():
    table = chart_sessions(vials([0.0] * 10, missing={(4, 10), (4, 9), (4, 8)}), [], SCANNERS)
    # Each vial's own offset (up to 25 %) must not show; noise of ten vials of 0.2 % is 0.06 %.
    assert table["value"].std() < 0.2
    assert list(table.columns) == list(CONTROL_COLUMNS)
    assert table["n_vials"].tolist() == [10, 10, 10, 7, *[10] * 6]


def test_an_event_with_new_limits_closes_the_old_ones():
    shifts = [0.0] * 12 + [5.0] * 12
    event = {"date": "2025-01-05", "text": "software E11 to XA30", "rebase": True}
    plain = chart_sessions(vials(shifts), [], SCANNERS)
    based = chart_sessions(vials(shifts), [event], SCANNERS)
    assert (plain["state"] == "out").sum() > 0
    assert (based["state"] == "in").all()
    assert sorted(set(based["segment"])) == [1, 2]
    assert based["events"].tolist().count("2025-01-05 software E11 to XA30") == 1
    assert based.loc[12, "events"]
    assert based.loc[20, "center"] - based.loc[3, "center"] == pytest.approx(5.0, abs=0.3)


def test_an_event_explains_what_was_before_it_and_only_on_its_scanner():
    shifts = [0.0] * 20
    shifts[17] = 6.0
    event = {"date": "2025-06-20", "text": "coil replaced"}
    states = [
        chart_sessions(vials(shifts), events, SCANNERS)["state"].iloc[17]
        for events in ([], [event], [event | {"scanner": "s1"}], [event | {"scanner": "s2"}])
    ]
    assert states == ["out", "explained", "explained", "out"]


def test_scanner_quality_is_charted_where_there_is_some():
    efficiency = [0.95, 0.951, 0.949, 0.95, 0.952, 0.948, 0.95, 0.951, 0.949, 0.95, 0.95, 0.80]
    table = chart_sessions(vials([0.0] * 12, efficiency=efficiency), [], SCANNERS)
    assert set(table["quantity"]) == {"bias", "inversion_efficiency"}
    row = table[table["quantity"] == "inversion_efficiency"].iloc[-1]
    assert row["value"] == pytest.approx(0.80)
    assert row["state"] == "out"
    assert row["unit"] == "1"


def test_the_verdict_says_in_out_or_too_few():
    few = chart_sessions(vials([0.0] * 3), [], SCANNERS)
    shifts = [0.0] * 20
    shifts[17] = 6.0
    out = chart_sessions(vials(shifts), [], SCANNERS)
    (check,) = check_control(few.to_dict("records"))
    assert (check.verdict, check.found) == ("pass", "too few sessions for limits (3)")
    (check,) = check_control(out.to_dict("records"))
    assert check.verdict == "warn"
    assert "out of control: ses-18 (jump" in check.found
    assert "events in site.yaml" in check.remedy
    (check,) = check_control(chart_sessions(vials([0.0] * 12), [], SCANNERS).to_dict("records"))
    assert (check.verdict, check.found) == ("pass", "in control (12 sessions)")
    assert check_control([]) == []
    assert len(chart_sessions(vials([]), [], {})) == 0
