"""The mark of regions whose value leans toward what lies around them: on objects of known values."""

import numpy as np
import pytest

from isocenter.regions.partial_volume import measure_partial_volume

FINE = 5


def average(fine):
    """What voxels hold of an object drawn `FINE` times as fine."""
    shape = [s for n in fine.shape for s in (n // FINE, FINE)]
    return fine.reshape(shape).mean(axis=(1, 3, 5))


def draw_layer(thickness, *, inside, below, above, shape=(20, 20, 12)):
    """A flat layer of a thickness [voxels] between two tissues, tilted over the grid; its map, and its own share."""
    x, y, z = (np.moveaxis(np.indices([n * FINE for n in shape]), 0, -1) / FINE).transpose(3, 0, 1, 2)
    depth = z - 6 + 0.21 * (x - 10) - 0.13 * (y - 10)
    own = np.abs(depth) < thickness / 2
    return average(np.where(own, inside, np.where(depth < 0, below, above))), average(own.astype(float))


@pytest.mark.parametrize(
    ("thickness", "around", "marked"),
    [
        (1.5, 1.0, True),  # fluid between gray matter
        (2.5, 1.0, True),  # a median that is right, and would not be with voxels a little larger
        (6.0, 1.0, False),  # a ventricle of many voxels: its rim does not decide the median
        (1.5, 4.0, False),  # nothing else around
    ],
)
def test_what_leans_by_more_than_a_percent_is_marked(thickness, around, marked):
    value, share = draw_layer(thickness, inside=4.0, below=around, above=around)
    region = share > 0.5
    found = measure_partial_volume(value, np.ones(value.shape, bool), region)
    assert found.is_marked == marked
    if not marked:
        assert np.median(value[region]) == pytest.approx(4.0, rel=0.002)
    elif thickness < 2:
        assert np.median(value[region]) < 0.95 * 4.0
        assert found.lean < 0


def test_a_layer_that_is_drawn_both_ways_does_not_lean():
    """Cortex between white matter and fluid: all of it rim, and its median right; drawn one way alone it is off."""
    value, share = draw_layer(1.5, inside=1.3, below=0.8, above=1.8)
    region, known = share > 0.7, np.ones(value.shape, bool)
    both = measure_partial_volume(value, known, region)
    assert both.interior == 0
    assert not both.is_marked
    assert np.median(value[region]) == pytest.approx(1.3, rel=0.005)
    one_way, _ = draw_layer(1.5, inside=1.3, below=0.8, above=0.8)
    other = measure_partial_volume(one_way, known, region)
    assert other.interior == 0
    assert other.is_marked
    assert other.lean < 0
    assert np.median(one_way[region]) < 0.99 * 1.3


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_to_first_order_the_lean_is_what_partial_volume_did(statistic):
    """A smooth bump, averaged over voxels: what the average took off its top, within a quarter."""
    x, y, z = ((np.indices([12 * FINE] * 3) + 0.5) / FINE - 6).reshape(3, *[12 * FINE] * 3)
    fine = np.exp(-0.5 * (x**2 + y**2 + z**2) / 2.5**2)
    value = average(fine)
    region = value > 0.75
    points = fine[FINE // 2 :: FINE, FINE // 2 :: FINE, FINE // 2 :: FINE]  # the bump itself at the voxels' centers
    take = {"median": np.median, "mean": np.mean}[statistic]
    found = measure_partial_volume(value, np.ones(value.shape, bool), region, statistic)
    assert found.lean == pytest.approx(take(value[region]) - take(points[region]), rel=0.25)
    assert found.lean < 0


def test_noise_alone_is_no_partial_volume():
    """Small regions of noisy maps: few marks, though their medians scatter by more than the limit."""
    rng = np.random.default_rng(0)
    region = np.zeros((12, 12, 6), bool)
    region[4:8, 4:8, 2:4] = True
    known = np.ones(region.shape, bool)
    found = [
        measure_partial_volume(1 + 0.3 * rng.standard_normal(region.shape), known, region).is_marked for _ in range(400)
    ]
    assert np.mean(found) < 0.1


def test_voxels_without_a_value_take_no_part():
    value, share = draw_layer(2.5, inside=4.0, below=1.0, above=1.0)
    region = share > 0.5
    known = share > 0.999  # nothing around it holds a value
    found = measure_partial_volume(np.where(known, value, -1e9), known, region)
    assert found.lean == pytest.approx(0, abs=1e-12)
    assert not found.is_marked
    none = measure_partial_volume(value, np.zeros(value.shape, bool), region)
    assert np.isnan([none.interior, none.lean, none.share]).all()
    assert not none.is_marked


def test_the_image_has_no_rim():
    region = np.zeros((5, 5, 1), bool)
    region[:, :3] = True
    found = measure_partial_volume(np.ones(region.shape), np.ones(region.shape, bool), region)
    assert found.interior == pytest.approx(2 / 3)  # the column that touches the rest of the slice is rim
