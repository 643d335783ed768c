"""The locator against drawn plates with known centers, any way round, and against the real session."""

from dataclasses import replace

import numpy as np
import pytest
from phantom.drawing import draw_plate

from isocenter.errors import CalibrationError
from isocenter.phantom.locate import locate_vials
from isocenter.phantom.symmetry import find_symmetries


@pytest.fixture(scope="module")
def nickel(nist):
    return nist.geometry("T1"), nist.reference("T1", "130-0093", 3.0, 20.0, 0.5)


def distances(found, drawing, pixel):
    return np.hypot(*(found.voxels[:, :2] - drawing.voxels).T) * pixel


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 11.0, 36.0, 72.0, 90.0, 133.0, 180.0, 216.0, 299.5])
def test_any_rotation_and_mirror_is_found_and_numbered(nickel, angle, mirrored):
    drawing = draw_plate(*nickel, angle=angle, mirrored=mirrored, shift=(7.3, -12.1), seed=int(angle))
    found = locate_vials(drawing.series, drawing.parameter_map, *nickel)
    assert distances(found, drawing, 2.0).max() < 1.0
    assert found.is_mirrored == mirrored
    assert (found.rotation - angle + 180) % 360 - 180 == pytest.approx(0, abs=1.0)
    assert found.rank_correlation > 0.97
    assert found.confidence > 0.9


@pytest.mark.parametrize(
    ("pixel", "size", "wall", "noise"),
    [(1.0, 230, 1.0, 0.01), (2.4, 100, 1.0, 0.02), (2.0, 128, 0.0, 0.01), (2.0, 128, 1.0, 0.06)],
    ids=["fine", "coarse", "no-wall", "noisy"],
)
def test_centers_are_sub_voxel(nickel, pixel, size, wall, noise):
    drawing = draw_plate(*nickel, angle=23.0, shift=(3.0, 4.0), pixel=pixel, size=size, wall=wall, noise=noise, seed=3)
    found = locate_vials(drawing.series, drawing.parameter_map, *nickel)
    assert distances(found, drawing, pixel).mean() < 0.5
    assert distances(found, drawing, pixel).max() < 1.2


def test_the_slice_that_cuts_the_plate_is_chosen(nickel):
    drawing = draw_plate(*nickel, slices=4, plate=2)
    found = locate_vials(drawing.series, drawing.parameter_map, *nickel)
    assert (found.voxels[:, 2] == 2).all()
    assert np.allclose(found.centers[:, 2], 12.0)


def test_centers_in_space_follow_the_affine(nickel):
    drawing = draw_plate(*nickel)
    found = locate_vials(drawing.series, drawing.parameter_map, *nickel)
    affine = drawing.series.affine
    assert np.allclose(found.centers, found.voxels @ affine[:3, :3].T + affine[:3, 3])


def test_a_spoiled_vial_does_not_spoil_the_numbering(nickel):
    """As in the real session, where vial 14 reads like vial 12 and another has no value at all."""
    geometry, reference = nickel
    wrong = [replace(r, value=reference[11].value) if r.vial == 14 else r for r in reference]
    drawing = draw_plate(geometry, wrong, angle=40.0)
    x, y = np.rint(drawing.voxels[0]).astype(int)
    drawing.parameter_map.value[x - 5 : x + 6, y - 5 : y + 6] = np.nan
    drawing.parameter_map.flag[x - 5 : x + 6, y - 5 : y + 6] = 6
    found = locate_vials(drawing.series, drawing.parameter_map, geometry, reference)
    assert distances(found, drawing, 2.0).max() < 1.2


def test_no_phantom_is_refused(nickel):
    drawing = draw_plate(*nickel, slices=2, plate=0)
    only_fluid = replace(drawing.series, data=drawing.series.data[:, :, 1:])
    with pytest.raises(CalibrationError, match="not found in the image"):
        locate_vials(only_fluid, drawing.parameter_map, *nickel)


def test_noise_alone_is_refused(nickel):
    drawing = draw_plate(*nickel)
    noise = np.abs(np.random.default_rng(1).standard_normal(drawing.series.data.shape)).astype(np.float32)
    with pytest.raises(CalibrationError, match="not found in the image"):
        locate_vials(replace(drawing.series, data=noise), drawing.parameter_map, *nickel)


def test_values_that_do_not_tell_the_order_are_refused(nickel):
    """All vials alike, or shuffled as in another plate: never a number without a reason to believe it."""
    geometry, reference = nickel
    drawing = draw_plate(geometry, reference)
    alike = replace(drawing.parameter_map, value=np.full_like(drawing.parameter_map.value, 0.5))
    with pytest.raises(CalibrationError, match="ambiguous"):
        locate_vials(drawing.series, alike, geometry, reference)
    order = np.random.default_rng(5).permutation(14)
    shuffled = [replace(r, value=reference[j].value) for r, j in zip(reference, order, strict=True)]
    other = draw_plate(geometry, shuffled)
    with pytest.raises(CalibrationError, match="ambiguous"):
        locate_vials(other.series, other.parameter_map, geometry, reference)


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
def test_the_other_plate_is_refused_though_its_order_is_the_same(nist, biomarker):
    geometry, wanted = nist.geometry(biomarker), nist.reference(biomarker, "130-0093", 3.0, 20.0)
    other = {"T1": "MnCl2", "T2": "NiCl2"}[biomarker]
    drawing = draw_plate(geometry, nist.reference(biomarker, "130-0200", 3.0, 20.0, array=other))
    with pytest.raises(CalibrationError, match="not those of the"):
        locate_vials(drawing.series, drawing.parameter_map, geometry, wanted)


def test_too_few_values_are_refused(nickel):
    drawing = draw_plate(*nickel)
    empty = np.full_like(drawing.parameter_map.value, np.nan)
    with pytest.raises(CalibrationError, match="Too few vials have a value"):
        locate_vials(drawing.series, replace(drawing.parameter_map, value=empty), *nickel)


def test_the_answer_repeats_to_the_bit(nickel):
    drawing = draw_plate(*nickel, angle=71.0)
    first, second = (locate_vials(drawing.series, drawing.parameter_map, *nickel) for _ in range(2))
    assert np.array_equal(first.voxels, second.voxels)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(np.cos(t), np.sin(t)) for t in 2 * np.pi * np.arange(6) / 6], 12),
        ([(0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (-1.5, -1.0)], 1),
        ([(1.0, 0.5), (-1.0, 0.5), (-1.0, -0.5), (1.0, -0.5)], 4),
    ],
    ids=["hexagon", "none", "rectangle"],
)
def test_symmetries_come_from_the_points(points, expected):
    points = 50.0 * np.array(points)
    found = find_symmetries(points, 3.0)
    assert len(found) == expected
    assert np.allclose(found[0].turn, np.eye(2))
    for symmetry in found:
        apart = np.linalg.norm(symmetry(points)[:, None] - points[None], axis=2)
        assert apart.min(axis=1).max() < 1e-6
        assert sorted(apart.argmin(axis=1)) == list(range(len(points)))


def test_the_plates_of_the_system_phantom_lie_alike_in_four_ways(nickel):
    assert len(find_symmetries(nickel[0].centers[:, :2], 3.0)) == 4
