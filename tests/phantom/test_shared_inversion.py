"""One inversion pulse for all vials, and B1 from the other vials: simulated sessions whose truth is known."""

import numpy as np
import pytest

from isocenter import fitting, models
from isocenter.phantom.shared_inversion import share_inversion
from isocenter.phantom.transmit_field import estimate_transmit_field

T1 = np.array([1.9, 1.33, 0.98, 0.69, 0.48, 0.34, 0.24, 0.17, 0.12, 0.085, 0.06, 0.043, 0.03, 0.021])
TI = np.array([0.035, 0.075, 0.1, 0.125, 0.15, 0.25, 1.0, 1.5, 2.0, 3.0])
ACQUISITION = {"InversionTime": TI, "RepetitionTime": 4.5}


def share(signal, alone):
    told = (alone.value["T1"], alone.stderr["T1"], alone.value["inversion_efficiency"])
    return share_inversion(ACQUISITION, signal, *told)


@pytest.mark.parametrize(("efficiency", "delay"), [(0.95, 0.005), (1.0, 0.0), (0.9, 0.002)])
def test_efficiency_and_delay_are_recovered(efficiency, delay):
    bound = models.get("t1_inversion_recovery").bind(ACQUISITION)
    own = (1 + efficiency) * np.exp(delay / T1) - 1
    signal = bound.predict({"T1": T1, "M0": 3000.0, "inversion_efficiency": own})
    signal += np.random.default_rng(5).normal(0, 2, signal.shape)
    alone = fitting.fit(bound, signal)
    found = share(signal, alone)
    assert found.efficiency == pytest.approx(efficiency, abs=0.01)
    assert found.delay == pytest.approx(delay, abs=5e-4)
    seen = np.isfinite(found.t1)
    assert seen.sum() >= 12  # a vial whose own fit fails cannot be started
    assert np.abs(found.t1 / T1 - 1)[seen].max() < 0.02
    # Two unknowns fewer than alone: long vials are known better.
    assert (found.t1_stderr / T1)[:3].max() < (alone.stderr["T1"] / T1)[:3].max() * 1.2


def test_a_few_vials_share_nothing():
    few = np.array([1.0, 0.5, 0.3])
    assert share_inversion(ACQUISITION, np.ones((3, TI.size)), few, 0.01 * few, np.ones(3)) is None


@pytest.mark.parametrize("seed", range(5))
def test_empty_vials_have_no_say(seed):
    """Six of 14 vials hold noise alone, whose fits read any T1 and any efficiency: the others are as without them."""
    rng = np.random.default_rng(seed)
    bound = models.get("t1_inversion_recovery").bind(ACQUISITION)
    signal = bound.predict({"T1": T1, "M0": np.full(14, 3000.0), "inversion_efficiency": np.full(14, 0.95)})
    empty = rng.permutation(14)[:6]
    signal[empty] = 0.0
    signal += rng.normal(0, 8, signal.shape)
    signal[empty] = np.abs(signal[empty])
    alone = fitting.fit(bound, signal)
    found = share(signal, alone)
    if found is None:  # two more vials were too short for a fit of their own
        assert (alone.stderr["T1"] < 0.2 * alone.value["T1"]).sum() < 8
        return
    assert found.efficiency == pytest.approx(0.95, abs=0.03)
    seen = np.isfinite(found.t1)
    seen[empty] = False
    assert seen.sum() >= 6
    assert np.abs(found.t1 / T1 - 1)[seen].max() < 0.06


def test_a_vial_that_tells_nothing_stops_nobody():
    """No sample of it is left that would tell T1 from an amplitude."""
    bound = models.get("t1_inversion_recovery").bind(ACQUISITION)
    signal = bound.predict({"T1": T1, "M0": np.full(14, 3000.0), "inversion_efficiency": np.full(14, 0.95)})
    signal += np.random.default_rng(3).normal(0, 2, signal.shape)
    alone = fitting.fit(bound, signal)
    alone.value["T1"][2], alone.stderr["T1"][2], alone.value["inversion_efficiency"][2] = 1e-4, 1e-6, 0.9
    signal[2] = 5.0
    found = share(signal, alone)
    seen = np.isfinite(found.t1)
    seen[2] = False
    assert np.abs(found.t1 / T1 - 1)[seen].max() < 0.02


def simulate_flip_angles(b1, noise=0.3):
    acquisition = {"FlipAngle": np.array([2.0, 5, 10, 15, 20, 25, 30]), "RepetitionTimeExcitation": 0.0073}
    signal = np.array(
        [
            models.get("t1_variable_flip_angle").bind({**acquisition, "B1": float(b)}).predict({"T1": t, "M0": 10000.0})
            for b, t in zip(b1, T1, strict=True)
        ]
    )
    return acquisition, signal + np.random.default_rng(2).normal(0, noise, signal.shape)


def places(definition):
    layout = definition["geometry"]["layout"]
    return np.array([[*layout[vial], -56.5] for vial in sorted(layout)])


def test_a_smooth_field_is_found_without_the_vials_own_reference(definition):
    centers = places(definition)
    x, y = centers[:, 0] / 50, centers[:, 1] / 50
    b1 = 1.03 + 0.04 * x - 0.02 * y - 0.05 * (x**2 + y**2)
    acquisition, signal = simulate_flip_angles(b1)
    found = estimate_transmit_field(acquisition, signal, centers, T1, np.ones(14, bool))
    assert found.form == "plane and radial"
    assert np.abs(found.predicted - b1).max() < 0.01
    assert np.abs(found.t1 / T1 - 1).max() < 0.03
    # A wrong reference of one vial moves its own B1 by half as much, but hardly its value.
    wrong = T1.copy()
    wrong[3] *= 1.1
    moved = estimate_transmit_field(acquisition, signal, centers, wrong, np.ones(14, bool))
    assert moved.t1[3] == pytest.approx(found.t1[3], rel=1e-9) or moved.form != found.form
    assert abs(moved.t1[3] / T1[3] - 1) < 0.03


def test_few_vials_tell_no_field(definition):
    acquisition, signal = simulate_flip_angles(np.ones(14))
    usable = np.arange(14) < 4
    assert estimate_transmit_field(acquisition, signal, places(definition), T1, usable) is None
