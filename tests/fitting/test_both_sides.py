"""The interval that holds 95 % of a mixture of normal distributions, against scipy's."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from isocenter.fitting.both_sides import _NORMAL, _reach


def test_half_width_of_the_interval_of_a_mixture():
    """Two clusters of many widths: half a percent of a standard error is far below what one is known to."""
    rng = np.random.default_rng(2)
    missed = []
    for _ in range(300):
        count = 16 * int(rng.integers(1, 4))
        weight, far = rng.exponential(1.0, count), rng.uniform(0.0, 8.0)
        distance = np.abs(rng.normal(0.0, 1.0, count)) + far * (rng.uniform(size=count) < 0.3)
        spread = np.exp(rng.normal(-1.0, 0.7, count))
        # What fills up sixteen weighs nothing.
        weight[-3:], distance[-3:], spread[-3:] = 0.0, 0.0, 1e-9

        def hold(reach, weight=weight, distance=distance, spread=spread):
            held = norm.cdf((reach - distance) / spread) - norm.cdf((-reach - distance) / spread)
            return weight @ held / weight.sum()

        found = _reach(weight.copy(), distance.copy(), spread.copy(), count, _NORMAL)
        missed.append(abs(found / brentq(lambda reach: hold(reach) - 0.95, 0.0, 100.0) - 1.0))
    assert max(missed) < 5e-3
    assert np.median(missed) < 1e-4
