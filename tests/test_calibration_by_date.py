"""A calibration by date through the steps: the curve of the scan's day, and no value where the day is not known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_calibration import phantom, sessions_table  # noqa: F401  (a fixture)
from test_extract_rois import measure, write_run

from calibrate_map import calibrate_map
from fit_calibration import fit_calibration
from isocenter.calibration import Calibration
from isocenter.io.nifti import read_map, read_sidecar, write_json, write_map
from isocenter.io.outcome import read_exclusion
from isocenter.io.tables import write_table
from isocenter.quality import check_phantom, compute_phantom_statistics
from isocenter.volume import ParameterMap

PLAIN = Calibration("T1", "s", "gain", (0.0, 1.05), ((0, 0), (0, 1e-6)), (0.1, 2.0), 9, ("2026-01-12",))
DRIFT = {"per_day": 1e-4, "stderr_per_day": 1e-6, "first_day": 0.0, "last_day": 200.0}
DRIFTING = replace(PLAIN, rule="drift", day=100.0, drift=DRIFT)


def test_a_map_gets_the_curve_of_its_day(tmp_path):
    value = np.full((3, 3, 1), 1.0, np.float32)
    raw = ParameterMap(value, 0.01 * value, np.zeros(value.shape, np.uint8), np.eye(4), "s")
    inputs = [tmp_path / f"{name}.nii.gz" for name in ("map", "stderr", "flag")]
    write_map(inputs[0], raw, *inputs[1:], {})
    write_json(tmp_path / "c.json", DRIFTING.to_dict())
    found = {}
    for day in (0.0, 100.0, 200.0, None):
        out = {n: tmp_path / f"{day}_{n}.nii.gz" for n in ("calibrated", "calibrated_stderr", "calibrated_flag")}
        calibrate_map(*inputs, tmp_path / "c.json", **out, day=day)
        found[day] = read_map(*out.values())[0].value[0, 0, 0]
        last = read_sidecar(out["calibrated"])
        if day is not None:
            assert last["Calibration"]["rule"] == "drift"
    # The scanner reads 1e-4 a day more: on day 0 less than on day 100, and so the curve is steeper.
    assert found[0.0] == pytest.approx(1.05 * np.exp(0.01), rel=1e-6)
    assert found[100.0] == pytest.approx(1.05, rel=1e-6)
    assert found[200.0] == pytest.approx(1.05 * np.exp(-0.01), rel=1e-6)
    assert np.isnan(found[None])
    assert "the scan's day is not known" in read_exclusion(last).reason


def test_rows_of_regions_get_the_curve_of_their_day(tmp_path, monkeypatch):
    import test_extract_rois

    table = {}
    for day in (0.0, 200.0):
        monkeypatch.setitem(test_extract_rois.WHO, "day", day)
        table[day], _ = measure(tmp_path, *write_run(tmp_path), calibration=DRIFTING)
    assert (table[0.0]["value"] / table[200.0]["value"]).to_numpy() == pytest.approx(np.exp(0.02), rel=1e-6)
    assert (table[0.0]["raw_value"] == table[200.0]["raw_value"]).all()
    assert set(table[0.0]["calibration"]) == {"gain 2026-01-12 (drift)"}
    monkeypatch.delitem(test_extract_rois.WHO, "day")
    rows, reasons = measure(tmp_path, *write_run(tmp_path), calibration=DRIFTING)
    assert len(rows) == 0
    assert reasons["reason"].str.contains("the scan's day is not known").all()


def test_the_step_writes_the_rule_and_each_sessions_curve(phantom, tmp_path):  # noqa: F811
    table = sessions_table(np.random.default_rng(1), phantom, [-0.01, 0.0, 0.01])
    write_table(tmp_path / "v.tsv", table)
    fit_calibration(
        [tmp_path / "v.tsv"], calibration=tmp_path / "c.json", biomarker="T1", unit="s", forms=["gain"],
        dates="nearest", first_date="2025-12-31",
    )  # fmt: skip
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert content["rule"] == "nearest"
    assert [s["day"] for s in content["sessions"]] == [1.0, 32.0, 60.0]
    gains = [s["curve"]["coefficients"][1] for s in content["sessions"]]
    assert gains == pytest.approx([1.0606, 1.05, 1.0396], rel=0.005)
    assert [s["shift_percent"] for s in content["sessions"]] == pytest.approx([-1, 0, 1], abs=0.3)
    # The verdict holds each session against its own curve: what is left is the noise, not the drift of 1 %.
    rows = table[table["session"] == "03"].to_dict("records")
    assert compute_phantom_statistics(rows, content)["rms_percent_residual"] < 1.0
    (check,) = check_phantom([], [content], [])
    assert "leave-one-out error" in check.found
    assert "drift" in check.found


def test_a_calibration_that_helps_nobody_is_said_in_the_verdict():
    """Worse than none: refused where a correction is demanded, none with its reason where none is allowed."""
    checks = {"loo_rms_percent": 1.0}
    reason = "leave-one-out error 1.20 % with a gain calibration, 1.00 % without"
    left, refused = (
        check_phantom(
            [], [{"biomarker": "T1", "form": "none", "refused": r, "reason": reason, "checks": checks}], [{}]
        )[0]
        for r in (False, True)
    )
    assert (left.verdict, refused.verdict) == ("pass", "fail")
    assert reason in left.found
    assert refused.found == f"refused: {reason}"


def test_a_quadratic_is_used_by_the_verdict():
    rows = [{"measured": m, "reference": 0.01 + 1.1 * m - 0.1 * m**2, "used": True} for m in (0.2, 0.5, 1.0)]
    found = compute_phantom_statistics(rows, {"coefficients": [0.01, 1.1, -0.1]})
    assert found["rms_percent_residual"] == pytest.approx(0.0, abs=1e-9)
    assert found["slope"] == 1.1


def test_quality_figures_of_the_scanner_are_medians_over_the_vials_used():
    rows = [
        {"measured": 1.0, "reference": 1.0, "used": used, "inversion_efficiency": k, "b1": 0.9}
        for used, k in ((True, 0.9), (True, 0.8), (True, 0.95), (False, 0.1))
    ]
    found = compute_phantom_statistics(rows, {})
    assert (found["inversion_efficiency"], found["b1"]) == (0.9, 0.9)
    assert np.isnan(found["snr"])
    rules = [
        {"id": "inversion", "statistic": "inversion_efficiency", "minimum": 0.92, "severity": "warn", "remedy": "x"}
    ]
    (check,) = [c for c in check_phantom(rows, [], rules) if c.id == "inversion"]
    assert (check.verdict, check.found, check.expected) == ("warn", "0.9", "at least 0.92")
