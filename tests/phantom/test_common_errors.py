"""An error that all vials share, a relaxivity's, is in the calibration's interval and does not average out."""

import numpy as np
import pandas as pd
import pytest
import yaml
from phantom.conftest import ROOT

from isocenter.phantom.library import load_phantom
from isocenter.phantom.measure import VialMeasurement
from isocenter.phantom.sessions import calibrate_vials, pool_sessions, tabulate_vials

GAIN = 1.05


@pytest.fixture(scope="module")
def own_solutions():
    path = ROOT / "config" / "phantoms" / "own_solutions.yaml"
    return load_phantom(yaml.safe_load(path.read_text(encoding="utf-8")))


def draw_session(rng, reference, quantity):
    """The table of a scanner that reads 5 % low, of a phantom whose every error is drawn from its uncertainty."""
    value, total, warmth, common = (
        np.array([getattr(r, name) for r in reference])
        for name in ("value", "stderr", "temperature_stderr", "common_stderr")
    )
    own = np.sqrt(total**2 - warmth**2 - common**2)
    true = value + own * rng.standard_normal(len(value))
    true = true + warmth * rng.standard_normal() + common * rng.standard_normal()
    stderr = 0.004 * true
    read = true / GAIN + stderr * rng.standard_normal(len(true))
    measured = [
        VialMeasurement(r.vial, float(m), float(s), "ok", 50, "")
        for r, m, s in zip(reference, read, stderr, strict=True)
    ]
    return tabulate_vials(
        reference, measured, session="01", date="2026-01-12", phantom="own_solutions", serial="1",
        biomarker=quantity, unit="s",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "form", "at"),
    [("T1", "gain", 1.0), pytest.param("T2", "linear", 0.08, marks=pytest.mark.slow)],
)
def test_the_truth_is_covered_over_many_draws_of_the_common_error(own_solutions, quantity, form, at):
    """95 % of 400 draws, give or take two standard errors of that count; without the common part it is two thirds."""
    reference = own_solutions.reference(quantity, "1", 3.0, 20.0, 0.3)
    assert all(r.common_stderr < 0 for r in reference)  # a larger relaxivity shortens every vial
    gains, values, without = [], [], []
    for seed in range(400):
        table = draw_session(np.random.default_rng(seed), reference, quantity)
        curve = calibrate_vials(table, quantity, "s", (form,))
        gains.append(abs(curve.coefficients[1] - GAIN) <= 1.96 * np.sqrt(curve.covariance[1][1]))
        value, error, _ = curve.apply(np.array(at / GAIN), np.array(0.0))
        values.append(abs(float(value) - at) <= 1.96 * float(error))
        if seed < 100:  # the interval of vials that are taken as independent is far too short
            value, error, _ = calibrate_vials(table.assign(common_stderr=0.0), quantity, "s", (form,)).apply(
                np.array(at / GAIN), np.array(0.0)
            )
            without.append(abs(float(value) - at) <= 1.96 * float(error))
    assert 0.93 <= np.mean(gains) <= 0.97
    assert 0.93 <= np.mean(values) <= 0.97
    assert np.mean(without) < 0.8


def test_it_does_not_shrink_with_sessions(own_solutions):
    reference = own_solutions.reference("T1", "1", 3.0, 20.0, 0.3)
    one = draw_session(np.random.default_rng(1), reference, "T1")
    many = pd.concat([one.assign(session=f"{i:02d}") for i in range(1, 9)], ignore_index=True)
    common = np.array([r.common_stderr for r in reference])
    for table in (one, many):
        assert pool_sessions(table).common == pytest.approx(common[None])
    least = np.min(np.abs(common) / [r.value for r in reference])
    curve = calibrate_vials(many, "T1", "s", ("gain",))
    assert np.sqrt(curve.covariance[1][1]) > least


def test_two_kinds_of_phantom_have_an_error_each(own_solutions):
    reference = own_solutions.reference("T1", "1", 3.0, 20.0, 0.3)
    one = draw_session(np.random.default_rng(1), reference, "T1")
    other = one.assign(phantom="another", serial="2", common_stderr=0.0)
    pooled = pool_sessions(pd.concat([one, other], ignore_index=True))
    assert (pooled.common != 0).sum(axis=1).tolist() == [0, len(reference)]


def test_a_phantom_without_one_is_calibrated_as_before(nist):
    reference = nist.reference("T1", "130-0093", 3.0, 20.0, 0.3)
    assert not any(r.common_stderr for r in reference)
    table = draw_session(np.random.default_rng(2), reference, "T1")
    old = table.drop(columns="common_stderr")  # as tables were written
    assert calibrate_vials(table, "T1", "s", ("gain",)) == calibrate_vials(old, "T1", "s", ("gain",))
