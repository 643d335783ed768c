"""Mean squares against pingouin: the two doors to the same six forms."""

import numpy as np
import pytest

from isocenter.statistics import agreement


@pytest.mark.parametrize(("n", "k", "rater_sd"), [(12, 4, 1.0), (30, 3, 0.0), (8, 5, 3.0)])
def test_mean_squares_answer_as_pingouin_does(n, k, rater_sd):
    rng = np.random.default_rng(n)
    y = rng.normal(0, 2, (n, 1)) + rng.normal(0, rater_sd, k) + rng.normal(0, 1, (n, k))
    subjects, raters = np.indices(y.shape)
    asked = agreement.find_iccs(subjects.ravel(), raters.ravel(), y.ravel())
    for icc, ours in zip(asked, agreement.answer_from_mean_squares(y), strict=True):
        assert ours == pytest.approx((icc.estimate, icc.low, icc.high), rel=1e-9, abs=1e-12)
