"""Voxels in lanes: nothing depends on neighbors, and the split of signs that is chosen is the best one."""

from types import SimpleNamespace

import numpy as np
import pytest

from isocenter import models
from isocenter.fitting import fit
from isocenter.fitting.batches import choose_engine
from isocenter.fitting.lanes import LANES, find_middle, sort_lanes
from isocenter.fitting.line import ascend

INVERSION_TIMES = ([0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2, 1.8, 2.7, 4.0], [0.1, 0.3, 0.6, 1.0, 2.0, 4.0])


def noisy(name, count, snr, seed, **options):
    """A bound model and signals (count, n) of many first parameters."""
    model = models.get(name)
    bound = model.bind(model.example, **options)
    rng = np.random.default_rng(seed)
    first = bound.parameters[0].name
    truth = {k: np.full(count, v) for k, v in model.typical.items()}
    truth[first] = truth[first] * np.exp(rng.uniform(-0.7, 0.7, count))
    if "ve" in truth:  # what the others leave of it
        truth["ve"] = truth["Ktrans"] / truth["kep"]
    signal = bound.predict(truth)
    signal = signal + rng.normal(0, np.abs(signal).max() / snr, signal.shape)
    return bound, np.abs(signal) if bound.separable.is_magnitude else signal


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 12, 31, 32, 33])
def test_every_lane_is_sorted(n):
    x = np.random.default_rng(n).uniform(size=(n + 2, LANES)).round(1)
    found = x.copy()
    sort_lanes(found, n)
    np.testing.assert_array_equal(found[:n], np.sort(x[:n], axis=0))
    np.testing.assert_array_equal(found[n:], x[n:])


KINDS_OF_VALUES = {
    "normal": lambda rng, shape: np.abs(rng.normal(size=shape)),
    "some far off": lambda rng, shape: np.abs(rng.normal(size=shape) * np.where(rng.uniform(size=shape) < 0.2, 50, 1)),
    "over ten decades": lambda rng, shape: 10.0 ** rng.uniform(-5, 5, shape),
    "equals": lambda rng, shape: np.abs(rng.normal(size=shape)).round(1),
    "all the same": lambda rng, shape: np.full(shape, 0.3),
    "nothing": lambda rng, shape: np.zeros(shape),
}


@pytest.mark.parametrize("kind", KINDS_OF_VALUES)
@pytest.mark.parametrize("n", [5, 32, 33, 34, 35, 150])
def test_the_middle_is_that_of_the_sorted_ones(n, kind):
    """To the bit, whatever the first guess, and nothing is written into lanes that do not want it."""
    rng = np.random.default_rng(n)
    room = np.full(8 * LANES, np.nan)
    for parameters in (1, 2, 3):
        low, high = parameters + (n - parameters - 1) // 2, parameters + (n - parameters) // 2
        for typical in (1.0, 1e-3, 1e3, 0.0, np.nan):
            x = KINDS_OF_VALUES[kind](rng, (n + 3, LANES))
            sorted_ones = np.sort(x[:n], axis=0)
            wanted = (rng.uniform(size=LANES) < 0.7).astype(float)
            middle = np.full(LANES, -1.0)
            find_middle(x, n, low, high, np.full(LANES, typical), wanted, room, middle)
            expected = np.where(wanted > 0, 0.5 * sorted_ones[low] + 0.5 * sorted_ones[high], -1.0)
            np.testing.assert_array_equal(middle, expected)


@pytest.mark.parametrize("robust", [None, "tukey", "huber"])
@pytest.mark.parametrize("name", ["t1_inversion_recovery", "t2_multi_echo", "t2star_multi_echo", "extended_tofts"])
def test_no_voxel_depends_on_its_neighbors(name, robust):
    """Any part of a batch gives the same bytes, whatever lanes its voxels come to lie in."""
    bound, signal = noisy(name, 700, 30, seed=3)
    sigma = 20.0 if robust else None
    whole = fit(bound, signal, robust=robust, sigma=sigma)
    part = np.random.default_rng(4).permutation(700)[:333]
    some = fit(bound, signal[part], robust=robust, sigma=sigma)
    for parameter in whole.parameters:
        np.testing.assert_array_equal(some.value[parameter], whole.value[parameter][part])
        np.testing.assert_array_equal(some.stderr[parameter], whole.stderr[parameter][part])
    np.testing.assert_array_equal(some.flag, whole.flag[part])
    np.testing.assert_array_equal(some.residual, whole.residual[part])


@pytest.mark.parametrize("snr", [20, 50, 100, 300])
@pytest.mark.parametrize("times", INVERSION_TIMES)
def test_no_split_of_the_signs_explains_more_than_the_chosen_one(times, snr):
    """Magnitudes of an inversion recovery: every split is followed to its top.

    At SNR 20 the nodes may lead to the wrong side in one voxel of a thousand.
    """
    model = models.get("t1_inversion_recovery")
    rng = np.random.default_rng(snr)
    count = 3000
    truth = {
        "T1": np.exp(rng.uniform(np.log(0.1), np.log(4), count)),
        "M0": np.full(count, 1000.0),
        "inversion_efficiency": rng.uniform(0.7, 1.0, count),
    }
    signal = model.bind({"InversionTime": times}, data="real").predict(truth)
    noise = rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape)
    signal = np.abs(signal + 1000 / snr * noise)
    engine = choose_engine(model.bind({"InversionTime": times}))
    batch = SimpleNamespace(y=signal, count=np.full(count, len(times)), start={})
    engine.start(batch, False)
    found = batch.height**2 + batch.level**2
    most = follow_all_splits(engine.table, signal)
    left = np.sum(signal**2, axis=1) - most
    assert np.mean(most - found > 1e-5 * left) <= (1e-3 if snr < 50 else 0.0)


def test_two_samples_side_by_side_change_their_signs_together():
    """MOLLI takes them in pairs. Volumes differ as breathing makes them; one sample at a time misses 12 in 1,000."""
    model, count = models.get("t1_look_locker"), 4000
    rng = np.random.default_rng(5)
    truth = {"T1": rng.uniform(0.3, 2.2, count), "A": rng.uniform(500, 1500, count)}
    bound = model.bind({"InversionTime": [0.118, 0.201, 1.118, 1.201, 2.118, 2.201, 3.118, 4.118]})
    signal = bound.predict(truth | {"T1star": 0.8 * truth["T1"]})
    signal = np.abs(signal * rng.normal(1.0, 0.15, signal.shape) + rng.normal(0.0, 40.0, signal.shape))
    engine = choose_engine(bound)
    batch = SimpleNamespace(y=signal, count=np.full(count, signal.shape[1]), start={})
    engine.start(batch, False)
    found = batch.height**2 + batch.level**2
    most = follow_all_splits(engine.table, signal)
    left = np.sum(signal**2, axis=1) - most
    assert np.mean(most - found > 1e-3 * left) < 5e-4


def follow_all_splits(table, signal):
    """(v,) the most that any split of the signs explains of samples (v, n), each from its highest node."""
    count, n = signal.shape
    padded = np.pad(signal, ((0, 0), (0, table.direction.shape[1] - n)))
    most, sums = np.zeros(count), np.empty(8)
    for split in range(n):
        y = np.where(np.arange(padded.shape[1]) < split, -padded, padded)
        level = y @ table.unit[1, :, 0]
        starts = table.nodes[np.abs(y @ table.unit[0]).argmax(axis=1)]
        for v in range(count):
            _, height, _ = ascend(table.direction, table.lower, table.width, y[v], starts[v], sums)
            most[v] = max(most[v], height**2 + level[v] ** 2)
    return most


@pytest.mark.parametrize("robust", [None, "tukey", "huber"])
@pytest.mark.parametrize("name", ["t1_inversion_recovery", "t2_multi_echo", "t1_variable_flip_angle"])
def test_data_without_noise_give_the_truth(name, robust):
    model = models.get(name)
    bound = model.bind(model.example)
    truth = {k: np.full(100, v) for k, v in model.typical.items()}
    first = bound.parameters[0].name
    truth[first] = truth[first] * np.linspace(0.7, 1.5, 100)
    found = fit(bound, bound.predict(truth), robust=robust)
    assert found.ok.all()
    np.testing.assert_allclose(found.value[first], truth[first], rtol=1e-6)
