"""Ranks of our own are those of scipy."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from isocenter.phantom.numbering import rank, rank_correlation


@pytest.mark.parametrize("seed", range(5))
def test_ranks_and_their_correlation_are_scipys(seed):
    draw = np.random.default_rng(seed)
    a, b = draw.integers(0, 9, 14).astype(float), draw.normal(size=14)  # with ties, and without
    np.testing.assert_array_equal(rank(a), rankdata(a))
    np.testing.assert_array_equal(rank(b), rankdata(b))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_what_does_not_vary_is_correlated_with_nothing():
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0
