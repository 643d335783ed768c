"""Echo trains on a whole grid at once: what the model itself says node by node, to the bit."""

from dataclasses import replace

import numpy as np
import pytest

from isocenter import models
from isocenter.fitting.direct import Direct

PULSES = {
    "ideal": {"profile": "none"},
    "slr": {"profile": "slr", "time_bandwidth": 5.0, "thickness_ratio": 1.1, "pulse_duration": 0.0025},
    "gaussian": {"profile": "gaussian", "time_bandwidth": 3.0, "thickness_ratio": 1.5},
}


@pytest.mark.parametrize("offset", [False, True, "quadrature"])
@pytest.mark.parametrize("pulses", PULSES)
@pytest.mark.parametrize("missing", [False, True])
def test_a_grid_is_that_of_its_nodes(pulses, offset, missing):
    number = np.array([2, 3, 5, 8, 13, 14]) if missing else np.arange(1, 17)
    acquisition = {"EchoTime": 0.0101 * number, "EchoNumber": number, "RefocusingFlipAngle": 160.0}
    bound = models.get("t2_extended_phase_graph").bind(
        acquisition, **PULSES[pulses], offset=offset, t1=np.array([0.4, 1.1, 2.0])
    )
    separable = bound.separable
    at_once = Direct(separable, len(bound.parameters)).problem.grid_basis
    one_by_one = Direct(replace(separable, tabulate=None), len(bound.parameters)).problem.grid_basis
    assert at_once.shape == (1 + (offset is True), number.size, len(separable.grid))
    assert np.isfinite(at_once).all()
    assert np.array_equal(at_once, one_by_one)


def test_a_known_b1_has_a_grid_of_its_own():
    """Its nodes have no B1: the model is asked at each of them."""
    acquisition = {"EchoTime": 0.01 * np.arange(1, 17), "B1": 0.93}
    bound = models.get("t2_extended_phase_graph").bind(acquisition, **PULSES["slr"])
    assert bound.separable.tabulate is None
    assert np.isfinite(Direct(bound.separable, len(bound.parameters)).problem.grid_basis).all()
