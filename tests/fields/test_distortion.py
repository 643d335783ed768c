"""Distortion of echo-planar images: its direction by the physics of the readout, and how much of it is left."""

import numpy as np
import pytest
from fields.epi import FINE, acquire_line, draw_blobs, find_centroids, make_blobs, smooth_line

from isocenter.entities import Flag
from isocenter.errors import SidecarError
from isocenter.fields.distortion import (
    Readout,
    extend_field,
    find_room,
    find_shift,
    place_field,
    pull_back,
    read_readout,
)
from isocenter.volume import ParameterMap, Series

SHAPE = (48, 52, 24)
TIME = 0.05  # s


# The readout ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("i", 0, 1), ("i-", 0, -1), ("j", 1, 1), ("j-", 1, -1), ("k", 2, 1)]
)
def test_the_readout_is_what_bids_says(direction, axis, sign):
    assert read_readout({"PhaseEncodingDirection": direction, "TotalReadoutTime": TIME}) == Readout(axis, sign, TIME)


@pytest.mark.parametrize(
    ("acquisition", "words"),
    [({}, "PhaseEncodingDirection is missing"), ({"PhaseEncodingDirection": "j"}, "TotalReadoutTime is missing"),
     ({"PhaseEncodingDirection": "y", "TotalReadoutTime": TIME}, "PhaseEncodingDirection is unusable"),
     ({"PhaseEncodingDirection": ["j", "j-"], "TotalReadoutTime": TIME}, "PhaseEncodingDirection is unusable"),
     ({"PhaseEncodingDirection": "j", "TotalReadoutTime": 50.0}, "TotalReadoutTime is unusable"),
     ({"PhaseEncodingDirection": "j", "TotalReadoutTime": [0.05, 0.06]}, "TotalReadoutTime is unusable")],
)  # fmt: skip
def test_a_readout_that_is_not_known_is_not_guessed(acquisition, words):
    with pytest.raises(SidecarError, match=words):
        read_readout(acquisition)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("hertz", [60.0, -90.0])
def test_the_direction_is_that_of_the_readouts_own_physics(sign, hertz):
    """Echo after echo: lines encoded along the axis move a positive offset along it, others against it."""
    n = 96
    place = (np.arange(n * FINE) + 0.5) / FINE - 0.5
    density = smooth_line(((place > 30) & (place < 55)).astype(float), 1.5)
    field = hertz * np.exp(-0.5 * ((place - 45) / 14) ** 2)
    line = acquire_line(density, field, TIME, sign)
    still = acquire_line(density, 0 * field, TIME, sign)
    shift = find_shift(field[FINE // 2 :: FINE].reshape(1, n, 1), Readout(1, sign, TIME))
    measured = Series(line.reshape(1, n, 1, 1).astype(np.float32), np.eye(4), {})
    back = pull_back(measured, shift, 1).data[0, :, 0, 0]
    wrong = pull_back(measured, -shift, 1).data[0, :, 0, 0]
    inside = slice(20, 70)
    assert np.abs(line - still)[inside].max() > 0.3
    # The readout's last echo spacing, which BIDS leaves out of the time, is 1 % of the shift; ringing is the rest.
    assert np.abs(back - still)[inside].max() < 0.05
    assert np.abs(wrong - still)[inside].max() > 0.5


# What is left of known fields -------------------------------------------------------------------------
def linear(place, shape):
    return (place[..., 0] / shape[0] + place[..., 1] / shape[1] + place[..., 2] / shape[2]) / 1.5 - 1


def sinus(place, shape):
    """Air over the nose: a steep bump, 12 mm wide."""
    away = (place - np.array([0.5, 0.7, 0.4]) * shape) * (2.5, 2.5, 3.0)
    return np.exp(-0.5 * np.sum(away**2, axis=-1) / 12.0**2)


def waves(place, shape):
    return np.sin(2 * np.pi * place[..., 1] / 30) * np.cos(2 * np.pi * place[..., 0] / 36) * np.cos(place[..., 2] / 9)


def saddle(place, shape):
    x, y, z = np.moveaxis(2 * place / shape - 1, -1, 0)
    return x**2 - y**2 + 0.5 * x * z


FIELDS = {"linear": linear, "sinus": sinus, "waves": waves, "saddle": saddle}
AFFINE = np.array([[-2.5, 0, 0, 60], [0, 2.5, 0, -65], [0, 0, 3.0, -36], [0, 0, 0, 1.0]])
#: The map of B0 is coarser and lies elsewhere.
MAP_AFFINE = np.array([[-3.25, 0, 0, 67], [0, 3.25, 0, -70], [0, 0, 3.6, -41], [0, 0, 0, 1.0]])
MAP_SHAPE = (42, 44, 23)


def to_voxels(places, affine):
    return (places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def measure_map(shape, strength, rng):
    """A map of B0 of an ellipsoid, with the noise of a real one (1 Hz inside), NaN in the air."""
    index = np.moveaxis(np.indices(MAP_SHAPE), 0, -1)
    mm = index @ MAP_AFFINE[:3, :3].T + MAP_AFFINE[:3, 3]
    place = to_voxels(mm, AFFINE)
    truth = strength * FIELDS[shape](place, np.array(SHAPE))
    inside = np.sum((2.1 * (place / SHAPE - 0.5)) ** 2, axis=-1) < 1
    value = np.where(inside, truth + rng.normal(0, 1.0, MAP_SHAPE), np.nan)
    flag = np.where(inside, Flag.OK, Flag.MASKED).astype(np.uint8)
    return ParameterMap(value, np.where(inside, 1.0, np.nan), flag, MAP_AFFINE, "Hz")


@pytest.mark.parametrize("direction", ["i", "i-", "j", "j-", "k", "k-"])
@pytest.mark.parametrize("strength", [40.0, 120.0])
@pytest.mark.parametrize("shape", FIELDS)
def test_what_is_left_is_at_most_three_tenths_of_a_voxel(shape, strength, direction):
    """Landmarks of known place, in fields of up to 6 voxels, corrected by a noisy map on a coarser grid."""
    rng = np.random.default_rng(7)
    readout = read_readout({"PhaseEncodingDirection": direction, "TotalReadoutTime": TIME})
    # Half as much along the slices, where voxels are few: 120 Hz over 12 mm would fold what 3 mm cannot hold.
    strength = strength / 2 if readout.axis == 2 else strength
    centers, width = make_blobs(SHAPE)
    inside = np.sum((2.1 * (centers / SHAPE - 0.5)) ** 2, axis=1) < 0.8
    centers = centers[inside]
    size = np.array(SHAPE)

    def shift_at(place):
        return readout.sign * readout.time * strength * FIELDS[shape](place, size)

    image = draw_blobs(SHAPE, centers, width, shift_at, readout.axis)
    field = place_field(extend_field(measure_map(shape, strength, rng)), SHAPE, AFFINE)
    found = pull_back(Series(image[..., None].astype(np.float32), AFFINE, {}),
                      find_shift(field, readout), readout.axis).data[..., 0]  # fmt: skip
    before = np.abs(shift_at(centers))
    left = np.linalg.norm(find_centroids(found, centers) - centers, axis=1)
    print(f"MEASURED {shape} {strength:g} {direction}: {before.max():.2f} {np.median(left):.3f} {left.max():.3f}")
    assert before.max() > 0.3 * TIME * strength
    assert left.max() <= 0.3, f"{left.max():.2f} of {before.max():.2f} voxels"
    # Signal has its density back: as much in each landmark as it was made of.
    whole = draw_blobs(SHAPE, centers, width)
    sums = [[np.nansum(v[tuple(slice(c - 3, c + 4) for c in np.round(b).astype(int))]) for b in centers]
            for v in (found, whole)]  # fmt: skip
    assert np.abs(np.divide(*sums) - 1).max() < 0.12


def test_a_map_is_carried_on_into_the_air_and_its_noise_smoothed():
    rng = np.random.default_rng(3)
    field = measure_map("linear", 100.0, rng)
    found = extend_field(field).value
    assert np.isfinite(found).all()
    truth = measure_map("linear", 100.0, rng)
    assert np.nanstd((found - truth.value)[truth.ok]) < np.sqrt(2)
    # Between the extremes of what was measured, and near its neighbors.
    assert np.nanmin(field.value) - 1 < found.min()
    assert found.max() < np.nanmax(field.value) + 1


def test_an_uncertain_voxel_counts_less_than_its_neighbors():
    field = measure_map("linear", 0.0, np.random.default_rng(0))
    place = tuple(n // 2 for n in MAP_SHAPE)
    field.value[place], field.stderr[place] = 500.0, 100.0
    assert abs(extend_field(field).value[place]) < 5


def test_signal_that_was_folded_over_has_no_value():
    shift = np.zeros((1, 40, 1))
    shift[0, 18:22, 0] = [-0.5, -1.8, -2.9, -3.2]
    room = find_room(shift, 1)
    assert np.isnan(room).any()
    found = pull_back(Series(np.ones((1, 40, 1, 1), np.float32), np.eye(4), {}), shift, 1)
    assert np.isnan(found.data[..., 0][np.isnan(room)]).all()


def test_motion_and_distortion_are_undone_by_one_interpolation():
    """A shift of two voxels across and three along the axis: whole voxels come back to the bit."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(10, 100, (16, 20, 6)).astype(np.float32)
    moved = np.roll(np.roll(truth, 2, axis=0), 3, axis=1)
    matrix = np.eye(4)
    matrix[:3, 3] = AFFINE[:3, :3] @ [2, 1, 0]
    series = Series(np.stack([truth, moved], axis=-1), AFFINE, {})
    shift = np.full(truth.shape, 2.0)
    found = pull_back(series, shift, 1, [np.eye(4), matrix])
    np.testing.assert_allclose(found.data[:-2, :-3, :, 1], truth[:-2, :-3], rtol=1e-4)
    np.testing.assert_allclose(found.data[:, :-2, :, 0], truth[:, 2:], rtol=1e-4)


def test_clipped_samples_stay_known_and_others_do_not_become_so():
    data = np.full((1, 40, 1, 1), 90.0, np.float32)
    data[0, 10] = 100.0
    shift = np.linspace(0, 8, 40).reshape(1, 40, 1)
    found = pull_back(Series(data, np.eye(4), {}, np.array([100.0])), shift, 1)
    assert np.nanmax(data * 1.2) > 100
    assert 1 <= found.clipped().sum() <= 3
    np.testing.assert_allclose(found.data[0, 20:30, 0, 0], 90 * (1 + 8 / 39), rtol=1e-5)


def test_unknown_shifts_give_no_value():
    shift = np.zeros((4, 8, 2))
    shift[:, 6:] = np.nan
    found = pull_back(Series(np.ones((4, 8, 2, 1), np.float32), np.eye(4), {}), shift, 1)
    assert np.isnan(found.data[:, 6:]).all()
    assert np.isfinite(found.data[:, :5]).all()
