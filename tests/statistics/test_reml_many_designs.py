"""REML against the best of many starts on 200 designs: unbalanced, with cells missing, a third on the boundary."""

import numpy as np
import pytest
from scipy.optimize import minimize
from trials import simulate_values

from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.deviance import RATIOS, Criterion


def draw_design(index):
    """One design of the series; every third has components that are truly zero."""
    rng = np.random.default_rng((20260101, index))
    sd = dict(zip(("subject", "site", "subject:site", "session"), rng.choice([0.3, 1.0, 3.0, 10.0], 4), strict=True))
    if index % 3 == 0:
        sd |= dict.fromkeys(rng.choice(list(sd), rng.integers(1, 4), replace=False), 0.0)
    table = simulate_values(
        rng, subjects=int(rng.integers(3, 12)), sites=int(rng.integers(1, 8)), sessions=int(rng.integers(1, 4)),
        repeats=int(rng.integers(1, 4)), sd=sd,
    )  # fmt: skip
    if index % 2:  # whole cells go first, then single runs
        cell = table["participant_id"] + table["site"]
        gone = rng.choice(cell.unique(), int(0.2 * cell.nunique()), replace=False)
        table = table[~cell.isin(gone)]
        table = table[rng.random(len(table)) >= rng.choice([0.1, 0.3])]
    return build_design(table["value"], table["participant_id"], table["site"], table["session"])


def search_best(design, starts, rng):
    """The lowest deviance that bounded quasi-Newton finds from many starts, components at zero among them."""
    criterion = Criterion(design)
    free = [k for k, name in enumerate(RATIOS) if name in design.active]

    def deviance(root):
        ratio = np.zeros((1, 4))
        ratio[0, free] = root**2
        value, slope = criterion.differentiate(ratio)
        return float(value[0]), 2 * root * slope[0, free]

    points = np.exp(rng.normal(0, 1.5, (starts, len(free)))) * (rng.random((starts, len(free))) < 0.8)
    bounds = [(0, None)] * len(free)
    found = [minimize(deviance, p, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9})
             for p in points]  # fmt: skip
    return min(answer.fun for answer in found)


def check_designs(indices, starts):
    fitted = on_boundary = 0
    for index in indices:
        design = draw_design(index)
        components = estimate_components(design)
        if components.fit is None or not design.active:
            continue
        fitted += 1
        on_boundary += bool(components.fit.boundary)
        assert components.fit.is_converged, index
        best = search_best(design, starts, np.random.default_rng(index))
        assert components.fit.deviance <= best + 1e-6, (index, components.fit.deviance - best)
        for name in components.fit.boundary:
            # No false zero: from beside it the deviance does not fall.
            k, ratio = RATIOS.index(name), np.array([components.fit.variances.get(n, 0.0) for n in RATIOS])
            ratio = np.repeat(ratio[None, :] / components.fit.variances["residual"], 4, axis=0)
            ratio[1:, k] = (1e-3, 0.1, 1.0)
            values = Criterion(design).evaluate(ratio)[0]
            assert (values[1:] >= values[0] - 1e-7).all(), index
    return fitted, on_boundary


def test_twelve_of_the_designs():
    fitted, on_boundary = check_designs(range(12), 4)
    assert fitted >= 9
    assert on_boundary >= 3


@pytest.mark.slow
def test_two_hundred_designs():
    fitted, on_boundary = check_designs(range(240), 12)
    assert fitted >= 200
    assert on_boundary >= fitted / 3
