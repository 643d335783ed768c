"""Fractions of fat: pure water is a vial like any other, and biases are in points."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from isocenter.calibration.scale import scale_of
from isocenter.statistics.linearity import assess_linearity
from isocenter.statistics.phantom_lines import assess_phantoms, check_vials

REFERENCE = np.array([0, 2.6, 5.3, 7.9, 10.5, 15.7, 20.9, 31.2, 41.3, 51.4, 100.0])


def rows(reference, measured, unit="percent", **columns):
    table = pd.DataFrame({"vial": np.arange(1, len(reference) + 1), "reference": reference, "measured": measured})
    more = {"site": "a", "session": "1", "biomarker": "PDFF", "unit": unit, "reference_stderr": 0.2, "stderr": 0.2}
    return table.assign(**{**more, "field_strength": 3.0, "used": True, "flag": "ok", **columns})


def test_pure_water_counts_and_nothing_else_changes():
    rng = np.random.default_rng(0)
    measured = 0.6 + 1.02 * REFERENCE + 0.2 * rng.standard_normal(REFERENCE.size)
    line = assess_linearity(REFERENCE, measured, np.arange(11), scale=scale_of("percent"))
    assert line.n_vials == 11
    own = stats.linregress(REFERENCE, measured)
    assert (line.slope, line.intercept) == pytest.approx((own.slope, own.intercept))
    half = stats.t.ppf(0.975, 9) * own.stderr
    assert (line.slope_low, line.slope_high) == pytest.approx((own.slope - half, own.slope + half))
    assert line.r2 == pytest.approx(own.rvalue**2)
    # Errors of shares are as large everywhere: no vial weighs more.
    assert line.weighted_slope == pytest.approx(own.slope)
    error = measured - REFERENCE
    mean = stats.ttest_1samp(error, 0.0).confidence_interval()
    assert (line.percent_bias, line.percent_bias_low, line.percent_bias_high) == pytest.approx((error.mean(), *mean))
    assert line.max_percent_bias == pytest.approx(np.abs(error).max())


def test_a_relaxation_time_of_zero_is_no_reference():
    line = assess_linearity([0.0, 0.5, 1.0, 2.0, 3.0], [0.1, 0.5, 1.0, 2.0, 3.0], np.arange(5))
    assert line.n_vials == 4
    assert line.percent_bias == pytest.approx(0.0)


def test_vials_of_a_trial_keep_pure_water():
    table = pd.concat(
        [
            rows(REFERENCE, REFERENCE + 0.5),
            rows([0.0, 1.0], [0.1, 1.0], unit="s", biomarker="T1"),
            rows([np.nan, 101.0, -1.0], [3.0, 100.0, 0.0]),
        ],
        ignore_index=True,
    )
    kept = check_vials(table, {})
    assert len(kept) == 12
    assert kept[kept["biomarker"] == "PDFF"]["reference"].tolist() == REFERENCE.tolist()


def test_both_stages_of_a_phantom_hold_pure_water():
    rng = np.random.default_rng(1)
    measured = 1.04 * REFERENCE + 0.1 * rng.standard_normal(REFERENCE.size)
    raw, calibrated = assess_phantoms(check_vials(rows(REFERENCE, measured), {}), with_calibrated=True)
    assert (raw.stage, calibrated.stage) == ("raw", "calibrated")
    assert raw.linearity.n_vials == calibrated.linearity.n_vials == 11
    assert raw.linearity.slope == pytest.approx(1.04, abs=0.01)
    assert calibrated.linearity.slope == pytest.approx(1.0, abs=0.01)
    assert "leave_one_vial_out" in calibrated.linearity.flags
