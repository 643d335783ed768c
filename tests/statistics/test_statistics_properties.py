"""What must hold for any data: order, labels, affine maps, monotone verdicts, and bounds that cover."""

import numpy as np
import pandas as pd
import pytest
from trials import simulate_values

from isocenter.statistics.analyze import analyze_table
from isocenter.statistics.bounds import COEFFICIENTS, bound_coefficient
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.quantiles import K
from isocenter.statistics.verdict import judge


def fit(table):
    return estimate_components(build_design(table["value"], table["participant_id"], table["site"], table["session"]))


def test_row_order_does_not_matter_to_the_bit():
    table = simulate_values(np.random.default_rng(1), missing=0.2)
    shuffled = table.sample(frac=1, random_state=3)
    first, second = analyze_table(table, seed=5), analyze_table(shuffled, seed=5)
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name], check_exact=True)


def test_labels_do_not_matter():
    table = simulate_values(np.random.default_rng(2), missing=0.1)
    renamed = table.assign(
        participant_id=table["participant_id"].str.replace("P", "Z"),
        site="x" + table["site"],
        session="s" + table["session"],
    )
    assert fit(table).variances == pytest.approx(fit(renamed).variances, rel=1e-12)
    reversed_labels = table.assign(participant_id=table["participant_id"].map(lambda p: f"Q{99 - int(p[1:]):02d}"))
    assert fit(table).variances == pytest.approx(fit(reversed_labels).variances, rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1000.0), (50.0, 1e-3), (7.0, 3.0)])
def test_affine_maps_scale_precision_and_leave_the_icc(a, b):
    table = simulate_values(np.random.default_rng(3), missing=0.15)
    mapped = table.assign(value=a + b * table["value"])
    first, second = analyze_table(table), analyze_table(mapped)
    for column in ("wsd", "wsd_low", "rc", "rc_upper95"):
        assert second["repeatability"][column].to_numpy() == pytest.approx(
            b * first["repeatability"][column].to_numpy()
        )
    for column in ("estimate", "lower95", "upper95"):
        assert second["reproducibility"][column].to_numpy() == pytest.approx(
            b * first["reproducibility"][column].to_numpy(), rel=1e-5
        )
    assert second["agreement"]["estimate"].to_numpy() == pytest.approx(
        first["agreement"]["estimate"].to_numpy(), rel=1e-5
    )


def test_verdict_is_monotone_in_delta():
    rank = {"not_qualified": 0, "indeterminate": 1, "qualified": 2}
    for seed in range(5):
        components = fit(simulate_values(np.random.default_rng(seed), subjects=12, sites=8))
        for name in COEFFICIENTS:
            found = bound_coefficient(components, name)
            ranks = [rank[judge(found, delta).verdict] for delta in np.geomspace(0.1, 100, 60)]
            assert ranks == sorted(ranks)
            assert set(ranks) == {0, 1, 2}


@pytest.mark.parametrize(
    ("sites", "missing"),
    [(3, 0.2), *(pytest.param(*design, marks=pytest.mark.slow) for design in ((3, 0.0), (5, 0.0), (5, 0.2)))],
)
def test_upper_bounds_cover(sites, missing):
    """One-sided 95 % bounds of 150 simulated trials, seeded: the share that covers is a fixed number."""
    rng = np.random.default_rng(20260101)
    sd = {"subject": 5.0, "site": 2.0, "subject:site": 0.5, "session": 0.7, "residual": 1.0}
    within = sd["residual"] ** 2
    truth = {
        "repeatability": K * sd["residual"],
        "intermediate_precision": K * np.sqrt(within + sd["session"] ** 2),
        "reproducibility": K * np.sqrt(within + sd["session"] ** 2 + sd["subject:site"] ** 2 + sd["site"] ** 2),
    }
    runs = 150
    covered = dict.fromkeys(truth, 0)
    for _ in range(runs):
        components = fit(simulate_values(rng, subjects=6, sites=sites, sd=sd, missing=missing))
        assert components.fit.is_converged
        for name, value in truth.items():
            covered[name] += bound_coefficient(components, name).upper95 >= value
    assert min(covered.values()) >= 0.93 * runs, covered
