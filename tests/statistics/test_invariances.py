"""Properties that hold for any trial, over designs drawn by hypothesis."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import simulate_values

from isocenter.statistics.bounds import COEFFICIENTS, bound_coefficient, find_component_iccs
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.planning import expect_bound
from isocenter.statistics.power import Plan
from isocenter.statistics.repeatability import estimate_repeatability
from isocenter.statistics.verdict import judge

DESIGNS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "subjects": st.integers(3, 7),
        "sites": st.integers(1, 5),
        "sessions": st.integers(1, 3),
        "repeats": st.integers(1, 3),
        "missing": st.sampled_from([0.0, 0.2, 0.4]),
        "sd": st.fixed_dictionaries({n: st.sampled_from([0.0, 0.5, 3.0]) for n in ("site", "subject:site", "session")}),
    }
)
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def draw(design):
    given_ = dict(design)
    return simulate_values(np.random.default_rng(given_.pop("seed")), **given_)


def fit(table, values=None, order=None):
    table = table if order is None else table.iloc[order]
    y = table["value"] if values is None else values
    return estimate_components(build_design(y, table["participant_id"], table["site"], table["session"]))


@FEW
@given(DESIGNS, st.integers(0, 1000))
def test_order_of_rows_changes_no_bit(design, shuffle):
    table = draw(design)
    if len(table) < 3:
        return
    first, second = fit(table), fit(table, order=np.random.default_rng(shuffle).permutation(len(table)))
    assert np.array_equal(list(first.variances.values()), list(second.variances.values()), equal_nan=True)
    for name in COEFFICIENTS:
        assert repr(bound_coefficient(first, name)) == repr(bound_coefficient(second, name))


@FEW
@given(DESIGNS, st.sampled_from([-1000.0, 0.0, 25.0]), st.sampled_from([1e-4, 0.5, 700.0]))
def test_affine_maps_scale_bounds_and_leave_iccs(design, a, b):
    table = draw(design)
    if len(table) < 3:
        return
    first, second = fit(table), fit(table, a + b * table["value"].to_numpy())
    for name in COEFFICIENTS:
        one, other = bound_coefficient(first, name), bound_coefficient(second, name)
        assert one.flags == other.flags
        for ours, theirs in (
            (one.estimate, other.estimate),
            (one.upper95, other.upper95),
            (one.lower95, other.lower95),
        ):
            assert theirs == pytest.approx(b * ours, rel=2e-4, abs=1e-9 * b, nan_ok=True)
    for one, other in zip(find_component_iccs(first, 0, 50), find_component_iccs(second, 0, 50), strict=True):
        assert other.estimate == pytest.approx(one.estimate, abs=2e-4, nan_ok=True)
    groups = table["participant_id"] + table["site"] + table["session"]
    one, other = (estimate_repeatability(y, groups) for y in (table["value"], a + b * table["value"]))
    assert other.rc == pytest.approx(b * one.rc, rel=1e-6, nan_ok=True)


@FEW
@given(DESIGNS, st.lists(st.floats(0.01, 1000), min_size=2, max_size=20))
def test_verdict_is_monotone_in_delta(design, deltas):
    rank = {"not_qualified": 0, "indeterminate": 1, "qualified": 2}
    table = draw(design)
    if len(table) < 3:
        return
    components = fit(table)
    for name in COEFFICIENTS:
        found = bound_coefficient(components, name)
        ranks = [rank[judge(found, delta).verdict] for delta in sorted(deltas)]
        assert ranks == sorted(ranks)


@FEW
@given(DESIGNS)
def test_bounds_stand_around_the_estimate(design):
    table = draw(design)
    if len(table) < 3:
        return
    components = fit(table)
    assert components.fit is None or components.fit.is_converged
    for name in COEFFICIENTS:
        found = bound_coefficient(components, name)
        if np.isfinite(found.estimate) and found.estimate > 0:
            assert 0 <= found.low <= found.lower95 <= found.estimate <= found.upper95 <= found.high


@pytest.mark.parametrize("more", ["n_sites", "n_subjects", "n_sessions", "n_repeats"])
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_more_data_never_widens_the_bound_in_expectation(coefficient, more):
    variances = {"residual": 1.0, "session": 0.5, "subject:site": 0.3, "site": 2.0}
    counts = {"n_sites": 4, "n_subjects": 5, "n_sessions": 2, "n_repeats": 2}
    bounds = [expect_bound(Plan(**counts | {more: counts[more] + k}), variances, coefficient).bound for k in range(5)]
    assert (np.diff(bounds) <= 1e-9).all(), bounds


#: What each kind of more data is about: the coefficient that it must narrow.
NARROWED = {
    "subjects": "repeatability", "sites": "reproducibility", "sessions": "intermediate_precision",
    "repeats": "repeatability",
}  # fmt: skip
SMALL = {"subjects": 5, "sites": 4, "sessions": 2, "repeats": 2}


@pytest.mark.parametrize("more", SMALL)
def test_more_of_anything_narrows_simulated_bounds(more):
    """Mean upper bounds of 40 seeded trials and of the part of each that a smaller trial would have had."""
    rng = np.random.default_rng(sorted(SMALL).index(more))
    column = {"subjects": "participant_id", "sites": "site", "sessions": "session", "repeats": "run"}[more]
    gains = {name: [] for name in COEFFICIENTS}
    for _ in range(40):
        whole = simulate_values(rng, **SMALL | {more: 2 * SMALL[more]})
        part = whole[whole[column].isin(sorted(whole[column].unique())[: SMALL[more]])]
        few, many = fit(part), fit(whole)
        for name in COEFFICIENTS:
            gains[name].append(bound_coefficient(few, name).upper95 - bound_coefficient(many, name).upper95)
    for name, gain in gains.items():
        stderr = np.std(gain, ddof=1) / np.sqrt(len(gain))
        assert np.mean(gain) > (3 if name == NARROWED[more] else -2) * stderr, (name, np.mean(gain), stderr)
