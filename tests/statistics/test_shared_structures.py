"""What is computed once for several metrics or points is what each would give by itself."""

import numpy as np
import pytest

from isocenter.statistics import design as designs
from isocenter.statistics.comparison import fit_passing_bablok
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.quantiles import Z975, find_quantiles, pick_ordered


def test_ranks_found_one_by_one_are_those_of_the_sorted_list():
    rng = np.random.default_rng(4)
    for _ in range(500):
        n = int(rng.integers(1, 40))
        values = rng.integers(0, 20, n).astype(float)
        ranks = tuple(rng.integers(0, n, int(rng.integers(1, 6))).tolist())
        assert (pick_ordered(values.copy(), ranks) == np.sort(values)[list(ranks)]).all()
        shares = tuple(rng.random(3).tolist())
        assert find_quantiles(values, shares) == pytest.approx(np.quantile(values, shares), rel=1e-13, abs=1e-13)


def test_ranks_among_many_values_are_those_of_the_sorted_list():
    """Values in order, with ties, infinities and NaN, in rows of one value: where a sample tells, and where not."""
    rng = np.random.default_rng(5)
    n = 30_000
    base = rng.standard_cauchy(n)
    wild = base.copy()
    wild[:200], wild[200:300], wild[300:400] = np.inf, -np.inf, np.nan
    waves = np.sin(np.arange(n) * 2 * np.pi / (n // 2048)) + 1e-6 * base
    for values in (base, np.sort(base), base.round(), wild, waves, np.ones(n), np.full(n, np.nan)):
        ordered = np.sort(values)
        for ranks in ((14_000, 15_000, 15_001, 16_000), (15_000,), (0, n - 1), (10, 20), (n - 2, n - 1)):
            assert np.array_equal(pick_ordered(values.copy(), ranks), ordered[list(ranks)], equal_nan=True)


@pytest.mark.parametrize("n", [30, 31, 250, 251])
@pytest.mark.parametrize("has_ties", [False, True])
def test_passing_bablok_takes_every_pair_once(n, has_ties):
    """Against the plain definition: all slopes sorted, ranks from Passing and Bablok 1983."""
    rng = np.random.default_rng(n)
    x = rng.normal(50, 10, n)
    y = 3 + 1.1 * x + rng.normal(0, 4, n)
    if has_ties:
        x, y = x.round(), y.round()
    slopes = []
    for i in range(n):
        for j in range(i + 1, n):
            dx, dy = x[j] - x[i], y[j] - y[i]
            if dx or dy:
                slopes.append(dy / dx if dx else np.copysign(np.inf, dy))
    slopes = np.sort([s for s in slopes if s != -1])
    count, offset = len(slopes), int((slopes < -1).sum())
    first = round((count - Z975 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)) / 2)
    found = fit_passing_bablok(x, y)
    middle = (slopes[(count - 1) // 2 + offset] + slopes[count // 2 + offset]) / 2
    assert found.slope == middle
    assert (found.slope_low, found.slope_high) == (slopes[first - 1 + offset], slopes[count - first + offset])
    assert found.intercept == np.median(y - middle * x)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_metrics_that_share_a_structure_keep_their_own_values(monkeypatch, missing):
    rng = np.random.default_rng(8)
    subject, site, session, _ = (index.ravel() for index in np.indices((9, 4, 2, 2)))
    kept = rng.random(len(subject)) >= missing
    subject, site, session = subject[kept], site[kept], session[kept]
    metrics = [rng.normal(50, 3, 9)[subject] + rng.normal(0, 2, 4)[site] + rng.normal(0, 1, len(site)) for _ in "abc"]
    monkeypatch.setattr(designs, "_latest", [])
    together = [build_design(y, subject, site, session) for y in metrics]
    assert len({id(d.shared) for d in together}) == 1
    found = [[estimate_components(d.leave_out_site(k)).variances for k in range(4)] for d in together]
    for y, own in zip(metrics, found, strict=True):
        for k in range(4):
            monkeypatch.setattr(designs, "_latest", [])
            less = site != k
            alone = estimate_components(build_design(y[less], subject[less], site[less], session[less])).variances
            assert own[k] == pytest.approx(alone, rel=1e-6, abs=1e-8 * sum(alone.values()), nan_ok=True)


def test_another_structure_is_not_taken_for_the_last_one(monkeypatch):
    monkeypatch.setattr(designs, "_latest", [])
    y, subject, site = np.arange(12.0), np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    one, other = build_design(y, subject, site), build_design(y, subject, np.roll(site, 1))
    third = build_design(y, subject, site, components=("site",))
    assert one.shared is build_design(y[::-1], subject[::-1], site[::-1]).shared
    assert one.shared is not other.shared or np.array_equal(one.cell_site, other.cell_site)
    assert third.active == ("site",)
    assert third.shared is not one.shared
