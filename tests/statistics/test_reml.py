"""REML on the boundary, against brute force and against a dense likelihood."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy.optimize import minimize
from trials import simulate_values

from isocenter.statistics.components import count_residual_df, estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.deviance import (
    RATIOS,
    BalancedCriterion,
    Criterion,
    compile_criterion,
    find_balance,
    make_criterion,
)
from isocenter.statistics.elimination import eliminate
from isocenter.statistics.reml import _descend, find_neighbor, fit_near, fit_reml


def designs(count):
    """Small designs, a third with components that are truly zero, some with missing values."""
    rng = np.random.default_rng(11)
    for index in range(count):
        sd = dict(zip(("subject", "site", "subject:site", "session"), rng.choice([0.3, 1.0, 3.0], 4), strict=True))
        if index % 3 == 0:
            sd |= dict.fromkeys(rng.choice(list(sd), rng.integers(1, 3), replace=False), 0.0)
        table = simulate_values(
            rng,
            subjects=int(rng.integers(3, 8)),
            sites=int(rng.integers(2, 6)),
            sessions=int(rng.integers(1, 4)),
            repeats=int(rng.integers(1, 3)),
            sd=sd,
            missing=float(rng.choice([0.0, 0.2])),
        )
        design = build_design(table["value"], table["participant_id"], table["site"], table["session"])
        if design.active and design.n > design.n_subjects + design.n_sites + 2:
            yield design


def dense_deviance(design, variances):
    """−2 log restricted likelihood with full matrices, nothing profiled."""
    y = design.values
    V = variances["residual"] * np.eye(design.n)
    for name in design.active:
        code = design.levels(name)
        V += variances[name] * (code[:, None] == code)
    X = np.ones((design.n, 1))
    if design.is_site_fixed:
        X = np.eye(design.n_sites)[design.levels("site")]
    solved = np.linalg.solve(V, X)
    information = X.T @ solved
    r = y - X @ np.linalg.solve(information, solved.T @ y)
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(information)[1]
    return logs + r @ np.linalg.solve(V, r) + (design.n - X.shape[1]) * np.log(2 * np.pi)


def test_deviance_is_that_of_the_dense_likelihood():
    for design in designs(12):
        found = fit_reml(design)
        assert found.deviance == pytest.approx(dense_deviance(design, found.variances), abs=1e-7)


def test_gradient_and_balanced_form_are_those_of_the_general_deviance():
    """Against central differences of the value, and the five mean squares against elimination."""
    rng = np.random.default_rng(3)
    balanced = 0
    nested = simulate_values(rng, subjects=12, sites=4)
    nested = nested[nested["participant_id"].str[1:].astype(int) % 4 == nested["site"].str[4:].astype(int)]
    two_sites = nested[nested["site"].isin(["site0", "site2"])]
    apart = [build_design(t["value"], t["participant_id"], t["site"], t["session"]) for t in (nested, two_sites)]
    assert [find_balance(design) for design in apart] == ["nested", "nested"]
    for design in (*designs(24), *apart):
        general = Criterion(design)
        ratio = np.exp(rng.normal(0, 1, (3, 4))) * [name in design.active for name in RATIOS]
        value, gradient = general.differentiate(ratio)
        assert value == pytest.approx(general.evaluate(ratio)[0], abs=1e-9)
        for k, name in enumerate(RATIOS):
            if name in design.active:
                step = np.zeros(4)
                step[k] = 1e-6
                numeric = (general.evaluate(ratio + step)[0] - general.evaluate(ratio - step)[0]) / 2e-6
                assert gradient[:, k] == pytest.approx(numeric, rel=1e-5, abs=1e-5)
        if find_balance(design):
            balanced += 1
            other = BalancedCriterion(design)
            used = [name in design.active for name in RATIOS]
            assert other.differentiate(ratio)[0] == pytest.approx(value, abs=1e-8)
            assert other.differentiate(ratio)[1][:, used] == pytest.approx(gradient[:, used], rel=1e-8, abs=1e-7)
            (*mine, slopes), (*theirs, _) = astuple(other.solve(ratio[0])), astuple(general.solve(ratio[0]))
            assert mine == pytest.approx(theirs, rel=1e-9)
            assert slopes[used] == pytest.approx(gradient[0, used], rel=1e-8, abs=1e-7)
    assert balanced > 6


def test_the_kernel_that_set_up_compiles_serves_all_designs():
    """Another layout or type of an argument would compile once more, in a user's first run."""
    compile_criterion()
    compiled = list(eliminate.signatures)
    for design in designs(24):
        whole = fit_reml(design)
        for site in range(design.n_sites):
            less = design.leave_out_site(site)
            if less.n and less.active:
                Criterion(less).differentiate(np.ones((1, 4)))
        assert whole.is_converged
    assert eliminate.signatures == compiled


def test_no_start_finds_a_lower_deviance():
    """Bounded quasi-Newton on the ratios from many starts never gets 1e-6 below, and every fit is a checked minimum."""
    rng = np.random.default_rng(12)
    zeros = 0
    for design in designs(12):
        criterion = Criterion(design)
        found = fit_reml(design, None)
        assert found.is_converged
        zeros += len(found.boundary)
        free = [k for k, name in enumerate(RATIOS) if name in design.active]

        def deviance(root, criterion=criterion, free=free):
            ratio = np.zeros((1, 4))
            ratio[0, free] = root**2
            return float(criterion.evaluate(ratio)[0][0])

        best = min(
            minimize(deviance, start, method="L-BFGS-B", bounds=[(0, None)] * len(free)).fun
            for start in np.exp(rng.normal(0, 1.2, (3, len(free))))
        )
        assert found.deviance <= best + 1e-6
    assert zeros > 2, "the designs must reach the boundary"


def test_scale_of_the_values_does_not_change_the_boundary():
    for design in designs(9):
        other = design.replace_values(1e4 + 1e-3 * design.values)
        assert fit_reml(design).boundary == fit_reml(other).boundary


def test_balanced_interior_reml_is_anova():
    table = simulate_values(np.random.default_rng(5), subjects=10, sites=5)
    found = estimate_components(build_design(table["value"], table["participant_id"], table["site"], table["session"]))
    assert not found.fit.boundary
    assert found.variances == pytest.approx(found.moments, rel=1e-5)


@pytest.mark.parametrize(
    ("sessions", "repeats", "active", "merged"),
    [
        (2, 2, {"subject", "site", "subject:site", "session"}, {}),
        (1, 2, {"subject", "site", "subject:site"}, {"session": "subject:site"}),
        (2, 1, {"subject", "site", "subject:site"}, {"session": "residual"}),
        (1, 1, {"subject", "site"}, {"session": "residual", "subject:site": "residual"}),
    ],
)
def test_design_knows_what_it_cannot_tell_apart(sessions, repeats, active, merged):
    table = simulate_values(np.random.default_rng(6), sessions=sessions, repeats=repeats)
    design = build_design(table["value"], table["participant_id"], table["site"], table["session"])
    assert set(design.active) == active
    assert design.merged == merged


def test_sites_share_a_place_when_they_are_left_out():
    table = simulate_values(np.random.default_rng(7))
    design = build_design(
        table["value"], table["participant_id"], table["site"], table["session"], components=("subject", "session")
    )
    found = fit_reml(design)
    assert found.deviance == pytest.approx(dense_deviance(design, found.variances), abs=1e-7)


def test_a_site_less_is_the_design_and_the_fit_that_a_whole_search_makes():
    """Cut out of the whole design against built anew; descents from the whole trial's answer against the search."""
    descents = 0
    for design in designs(40):
        whole = fit_reml(design)
        near = find_neighbor(design, whole)
        for site in range(design.n_sites):
            kept = design.levels("site") != site
            less = design.leave_out_site(site)
            labels = [design.levels(name)[kept] for name in ("subject", "site", "session")]
            anew = build_design(design.values[kept], *labels, is_sorted=True)
            for name in ("values", "session", "session_cell", "cell_subject", "cell_site"):
                assert (getattr(less, name) == getattr(anew, name)).all()
            assert (less.active, less.merged, less.additive_rank) == (anew.active, anew.merged, anew.additive_rank)
            if near is None or count_residual_df(less) < 1 or not less.active:
                continue
            found, searched = fit_near(less, near), fit_reml(less)
            assert found.is_converged
            assert found.deviance == pytest.approx(searched.deviance, abs=1e-7)
            for name, variance in searched.variances.items():
                assert found.variances[name] == pytest.approx(
                    variance, rel=1e-4, abs=1e-6 * sum(whole.variances.values())
                )
            free = np.array([k for k, name in enumerate(RATIOS) if name in less.active], int)
            is_same = tuple(RATIOS[k] for k in free) == near.names and not find_balance(less)
            descents += bool(is_same and _descend(make_criterion(less), near, free) is not None)
    assert descents >= 5


def test_answers_do_not_depend_on_where_the_search_came_from():
    """The last steps end at the limit of double precision, whether from other starts or from a neighbor."""
    compared = 0
    for design in designs(40):
        found = fit_reml(design)
        other = fit_reml(design, dict.fromkeys((*RATIOS, "residual"), 1.0))
        assert other.boundary == found.boundary
        if not found.boundary and not find_balance(design):
            assert found.variances == pytest.approx(other.variances, rel=1e-8)
        near = find_neighbor(design, found)
        if near is None:
            continue
        # Large values whose logarithms are nearly a line of them.
        logs = design.replace_values(np.log(1e3 + design.values))
        searched, started = fit_reml(logs), fit_near(logs, near)
        assert started.boundary == searched.boundary
        if not searched.boundary:
            compared += 1
            assert started.variances == pytest.approx(searched.variances, rel=1e-8)
    assert compared > 10


def test_balanced_trials_are_solved_by_their_mean_squares():
    rng = np.random.default_rng(21)
    for repeats in (1, 2):
        table = simulate_values(rng, subjects=8, sites=6, repeats=repeats)
        design = build_design(table["value"], table["participant_id"], table["site"], table["session"])
        free = np.array([k for k, name in enumerate(RATIOS) if name in design.active], int)
        ratio = BalancedCriterion(design).equate_squares(free)
        assert ratio is not None
        assert np.abs(BalancedCriterion(design).differentiate(ratio[None, :])[1][0, free]).max() < 1e-8
