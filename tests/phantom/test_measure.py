"""Values, standard errors and flags of single vials."""

from dataclasses import replace

import numpy as np
import pytest
from phantom.drawing import draw_plate

from isocenter.entities import Flag
from isocenter.phantom.locate import locate_vials
from isocenter.phantom.measure import measure_vials, vial_region, visible_span
from isocenter.volume import ParameterMap


@pytest.fixture(scope="module")
def scene(nist):
    geometry, reference = nist.geometry("T1"), nist.reference("T1", "130-0093", 3.0, 20.0, 0.5)
    drawing = draw_plate(geometry, reference, pixel=2.0, angle=15.0)
    return geometry, reference, drawing, locate_vials(drawing.series, drawing.parameter_map, geometry, reference)


def remap(scene, change):
    """Measure after `change(value, stderr, flag, region of vial 4)` on copies of the map."""
    geometry, reference, drawing, found = scene
    value, stderr, flag = (np.array(a) for a in (drawing.parameter_map.value, drawing.parameter_map.stderr,
                                                 drawing.parameter_map.flag))  # fmt: skip
    region = vial_region(value.shape, drawing.series.affine, found.voxels[3], geometry.roi_diameter)
    change(value, stderr, flag, region)
    fitted = ParameterMap(value, stderr, flag, drawing.series.affine, "s")
    return measure_vials(drawing.series, fitted, geometry, found, reference)


def test_every_vial_is_measured(scene):
    rows = remap(scene, lambda *_: None)
    for row, reference in zip(rows, scene[1], strict=True):
        assert row.measured == pytest.approx(reference.value, rel=1e-5)
        assert 0 < row.stderr < 0.01 * row.measured
        assert 15 <= row.n_voxels <= 24  # 78.5 mm² at 4 mm² a voxel
    # 50 ms is the first inversion time: what is shorter than half of it cannot be seen.
    assert [r.flag for r in rows] == ["ok"] * 13 + ["out_of_range"]
    assert "25" in rows[13].reason or "0.025" in rows[13].reason


def test_a_bubble_does_not_move_the_median(scene):
    def bubble(value, stderr, flag, region):
        x, y, z = (a[0] for a in np.nonzero(region))
        value[x, y, z] = 5.0

    row = remap(scene, bubble)[3]
    assert row.measured == pytest.approx(scene[1][3].value, rel=1e-4)


def test_standard_error_is_honest_for_independent_noise(scene):
    """The scatter of the measured medians over draws is what the standard errors say, within 25 %."""
    rng = np.random.default_rng(7)
    values, errors = [], []
    for _ in range(150):

        def noise(value, stderr, flag, region):
            value[region] += 0.02 * rng.standard_normal(region.sum())
            stderr[region] = 0.02

        row = remap(scene, noise)[3]
        values.append(row.measured)
        errors.append(row.stderr)
    assert np.std(values) < np.sqrt(np.mean(np.square(errors))) * 1.1
    assert np.sqrt(np.mean(np.square(errors))) < 1.6 * np.std(values)


def test_standard_error_grows_where_neighbors_repeat_each_other(scene):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(8)

    def smooth(value, stderr, flag, region):
        field = gaussian_filter(rng.standard_normal(value.shape[:2]), 1.5)
        value[:, :, 0] += 0.02 * field / field.std()
        stderr[region] = 0.0

    def rough(value, stderr, flag, region):
        value[:, :, 0] += 0.02 * rng.standard_normal(value.shape[:2])
        stderr[region] = 0.0

    assert np.mean([remap(scene, smooth)[3].stderr for _ in range(5)]) > 1.3 * np.mean(
        [remap(scene, rough)[3].stderr for _ in range(5)]
    )


def test_stderr_is_no_smaller_than_the_fits(scene):
    def vague(value, stderr, flag, region):
        stderr[region] = 0.1

    row = remap(scene, vague)[3]
    assert row.stderr > 0.1 / np.sqrt(row.n_voxels)


@pytest.mark.parametrize(("flag_value", "word"), [(Flag.CLIPPED, "clipped"), (Flag.NOT_CONVERGED, "no_value")])
def test_failed_voxels_flag_the_vial(scene, flag_value, word):
    def fail(value, stderr, flag, region):
        lost = np.flatnonzero(region)[: int(0.7 * region.sum())]
        flag.ravel()[lost] = flag_value
        value.ravel()[lost] = np.nan

    row = remap(scene, fail)[3]
    assert (row.flag, row.used) == (word, False)
    assert row.reason


def test_a_vial_without_any_value_is_nan_not_zero(scene):
    def fail(value, stderr, flag, region):
        flag[region], value[region] = Flag.NO_SIGNAL, np.nan

    row = remap(scene, fail)[3]
    assert np.isnan(row.measured)
    assert np.isnan(row.stderr)
    assert row.flag == "no_value"


def test_suspect_solutions_are_kept_out(scene):
    geometry, reference, drawing, found = scene
    marked = [replace(r, flag="suspect_solution", reason="replaced later") if r.vial == 5 else r for r in reference]
    rows = measure_vials(drawing.series, drawing.parameter_map, geometry, found, marked)
    assert (rows[4].flag, rows[4].reason) == ("suspect_solution", "replaced later")


def test_other_series_have_no_visible_span(scene):
    series = scene[2].series
    assert visible_span(series) == (0.025, 6.0)
    assert visible_span(replace(series, acquisition={"EchoTime": np.array([0.01, 0.3])})) == (0.025, 0.6)
    assert visible_span(replace(series, acquisition={"FlipAngle": np.array([2.0, 5.0])})) is None


def test_a_tube_is_measured_along_its_axis():
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    tube = vial_region((20, 20, 9), affine, np.array([10.0, 10.0, 4.0]), 10.0, 30.0)
    assert tube.any(axis=(0, 1)).tolist() == [k in range(1, 8) for k in range(9)]
    assert len({int(n) for n in tube.sum(axis=(0, 1))} - {0}) == 1  # a cylinder, not a sphere
    alone = vial_region((20, 20, 1), affine, np.array([10.0, 10.0, 0.4]), 10.0, 30.0)
    assert alone.sum() == tube[..., 4].sum()
