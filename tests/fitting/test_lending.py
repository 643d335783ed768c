"""Maps of other biomarkers on the grid of a series, and biomarkers that are computed from maps."""

import numpy as np
import pytest

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError
from isocenter.fitting.derived import derive_map
from isocenter.fitting.lending import lend_maps, resample_map
from isocenter.fitting.maps import fit_series
from isocenter.volume import ParameterMap, Series

FINE = np.diag([2.0, 2.0, 3.0, 1.0])
ANGLES = [2.0, 5.0, 9.0, 14.0, 20.0]


def make_map(value, affine=FINE, unit="1", flag=None, stderr=None):
    value = np.asarray(value, dtype=float)
    flag = np.where(np.isfinite(value), Flag.OK, Flag.NO_SIGNAL).astype(np.uint8) if flag is None else flag
    return ParameterMap(value, np.full(value.shape, 0.01) if stderr is None else stderr, flag, affine, unit)


def centers(shape, affine):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def plane(place):
    """A function that linear interpolation gives exactly."""
    return 1.0 + place @ np.array([0.01, -0.02, 0.03])


def turned(angle, shift):
    """An oblique grid [mm]: voxels of 3 mm, turned about z."""
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * 3.0
    affine[:3, 3] = shift
    return affine


def test_a_linear_field_survives_any_grid():
    coarse = turned(0.4, (-20.0, -20.0, -10.0))
    lent = make_map(plane(centers((30, 30, 12), coarse)), coarse)
    found = resample_map(lent, (6, 5, 4), FINE)
    np.testing.assert_allclose(found.value, plane(centers((6, 5, 4), FINE)), atol=1e-12)
    assert (found.flag == Flag.OK).all()
    np.testing.assert_allclose(found.stderr, 0.01)


def test_the_same_grid_is_left_as_it_is():
    lent = make_map(np.ones((3, 3, 2)))
    assert resample_map(lent, (3, 3, 2), FINE) is lent


def test_outside_of_the_map_there_is_no_value():
    shifted = FINE.copy()
    shifted[0, 3] = 0.02
    found = resample_map(make_map(np.ones((4, 4, 4))), (8, 4, 4), shifted)
    # Voxel 4 begins half a voxel beyond the last center, which is the border of the map.
    assert found.ok[:4].all()
    assert (found.flag[4:] == Flag.MASKED).all()
    assert np.isnan(found.value[4:]).all()


def test_a_map_of_one_slice_reaches_through_its_own_thickness():
    one = np.diag([2.0, 2.0, 9.0, 1.0])
    found = resample_map(make_map(np.full((4, 4, 1), 0.9), one), (4, 4, 3), np.diag([2.0, 2.0, 3.0, 1.0]))
    assert found.ok[:, :, :2].all()  # centers at 0 and 3 mm lie within 4.5 mm
    assert not found.ok[:, :, 2].any()


def test_voxels_without_a_value_are_not_mixed_in():
    value = np.ones((4, 1, 1))
    value[2:] = np.nan
    shifted = FINE.copy()
    shifted[0, 3] = 0.8  # 0.4 of a voxel: 60 % of the weight of place 1 lies on a value, then none
    found = resample_map(make_map(value), (4, 1, 1), shifted)
    assert found.value.ravel()[:2].tolist() == pytest.approx([1.0, 1.0])
    assert (found.flag.ravel() == [Flag.OK, Flag.OK, Flag.MASKED, Flag.MASKED]).all()


def make_series(b1, t1=1.0):
    bound = models.get("t1_variable_flip_angle").bind({"FlipAngle": ANGLES, "RepetitionTimeExcitation": 0.01})
    signal = bound.predict({"T1": np.full(b1.shape, t1), "M0": 1000.0, "B1": b1})
    return Series(signal, FINE, {"FlipAngle": np.array(ANGLES), "RepetitionTimeExcitation": 0.01})


def test_t1_is_right_with_the_lent_map_and_masked_where_it_ends():
    coarse = np.diag([4.0, 4.0, 6.0, 1.0])
    lent = make_map(plane(centers((5, 5, 3), coarse)) - 0.2, coarse)
    acquired = make_series(plane(centers((14, 8, 4), FINE)) - 0.2)
    everywhere = np.ones(acquired.data.shape[:3], bool)
    _, found = fit_series(acquired, "t1_variable_flip_angle", {}, 1, mask=everywhere, lent={"B1": lent})
    # The coarse map ends half a voxel after its last center at 16 mm.
    assert (found.flag[:10] == Flag.OK).all()
    assert (found.flag[10:] == Flag.MASKED).all()
    inside = found.value["T1"][:9]  # between centers: there linear interpolation is exact
    np.testing.assert_allclose(inside, 1.0, rtol=1e-5)


def test_a_map_in_percent_is_lent_as_a_fraction():
    acquired = make_series(np.full((4, 4, 2), 0.8))
    lent = make_map(np.full((4, 4, 2), 80.0), unit="percent")
    model = models.get("t1_variable_flip_angle")
    changed, _, has_all = lend_maps(model, acquired, {}, {"B1": lent})
    np.testing.assert_allclose(changed.acquisition["B1"], 0.8)
    assert has_all.all()


def test_a_map_may_be_an_option_of_the_model():
    model = models.get("t2_extended_phase_graph")
    value = np.full((3, 3, 2), 1.4)
    value[0] = np.nan
    acquired = Series(np.ones((3, 3, 2, 4)), FINE, {})
    _, options, has_all = lend_maps(model, acquired, {"profile": None}, {"T1": make_map(value, unit="s")})
    assert np.isfinite(options["t1"]).all()
    assert options["profile"] is None
    assert not has_all[0].any()
    assert has_all[1:].all()


def test_a_model_without_use_for_a_map_refuses_it():
    acquired = Series(np.ones((3, 3, 2, 4)), FINE, {})
    with pytest.raises(ConfigError, match="makes no use of a map of B1"):
        lend_maps(models.get("t2star_multi_echo"), acquired, {}, {"B1": make_map(np.ones((3, 3, 2)))})


def test_r2_prime_from_maps_of_times_on_two_grids():
    star = make_map(np.full((6, 6, 4), 0.025), unit="s", stderr=np.full((6, 6, 4), 0.0005))
    coarse = np.diag([4.0, 4.0, 6.0, 1.0])
    spin = make_map(np.full((3, 3, 2), 0.08), coarse, "s", stderr=np.full((3, 3, 2), 0.001))
    found = derive_map("r2_prime", {"T2star": star, "T2": spin}, "R2prime", "1/s", [-10, 100])
    assert found.unit == "1/s"
    np.testing.assert_allclose(found.value[:5, :5, :3], 40 - 12.5)
    # 0.0005/0.025^2 = 0.8 and 0.001/0.08^2 = 0.15625 in squares
    np.testing.assert_allclose(found.stderr[:5, :5, :3], np.hypot(0.8, 0.15625))
    assert (
        derive_map("r2_prime", {"T2star": star, "T2": spin}, "R2prime", "1/s", [0, 20]).flag[0] == Flag.OUT_OF_RANGE
    ).all()


@pytest.mark.parametrize(
    ("lent", "parameter", "words"),
    [
        ({"T2star": make_map(np.full((2, 2, 2), 0.02), unit="s")}, "R2prime", "needs two maps"),
        ({}, "R2", "does not give"),
    ],
)
def test_a_derived_map_that_cannot_be_is_refused(lent, parameter, words):
    with pytest.raises(ConfigError, match=words):
        derive_map("r2_prime", lent, parameter, "1/s", [0, 100])
