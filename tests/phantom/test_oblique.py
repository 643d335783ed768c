"""One 2D slice, tilted against the plate by up to 10 degrees: every vial is found within 1.5 mm, or it is refused."""

from dataclasses import replace

import numpy as np
import pytest
from phantom.simulated_session import draw_array, fill, scan

from isocenter import models
from isocenter.errors import CalibrationError
from isocenter.phantom.locate import locate_vials
from isocenter.phantom.methods import INVERSION_RECOVERY
from isocenter.phantom.places import fit_crude
from isocenter.phantom.slice_cut import find_depths, mark_cut, share_inside
from isocenter.phantom.vial_fits import apply_shared_inversion, measure_method
from isocenter.volume import Series

TIMES = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0])
FLUID_T1 = 2.7
SPHERES = 0.75  # of the vials, the share that must be seen


def tilted(nist, tilt, angle, shift, seed, offset=0.0):
    """The T1 plate in a slice tilted about the image's x axis, and where its vials' centers are seen, (v, 2)."""
    geometry, reference = nist.geometry("T1"), nist.reference("T1", "130-0093", 3.0, 20.0)
    plate = draw_array(geometry, angle=angle, shift=shift, tilt=tilt, offset=offset)
    t1 = np.array([*(r.value for r in reference), FLUID_T1])
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": TIMES})
    ones = np.ones(len(t1))
    signals = bound.predict({"T1": t1, "M0": ones, "inversion_efficiency": ones})
    data = np.abs(scan(fill(plate, signals), 100.0, seed))[:, :, None].astype(np.float32) * 1000
    affine = np.diag([plate.pixel, plate.pixel, 6.0, 1.0])
    series = Series(data, affine, {"InversionTime": TIMES}, np.full(len(TIMES), np.inf))
    # A sphere that lies off the slice shows a circle about the foot of its center.
    seen = np.column_stack([plate.centers[:, 0], plate.centers[:, 1] * np.cos(np.radians(tilt))])
    return series, geometry, reference, seen, plate


def locate(nist, tilt, angle, shift, seed):
    series, geometry, reference, seen, plate = tilted(nist, tilt, angle, shift, seed)
    crude = fit_crude(series, INVERSION_RECOVERY, 1)
    found = locate_vials(series, crude, geometry, reference)
    first = plate.x[0, 0], plate.y[0, 0]
    return np.linalg.norm(found.centers[:, :2] + first - seen, axis=1), found


@pytest.mark.parametrize("tilt", [0.0, 3.0, -5.0])
def test_a_slightly_tilted_slice_finds_every_vial(nist, tilt):
    apart, found = locate(nist, tilt, 23.0, (4.0, -2.0), 1)
    assert apart.max() < 1.5
    assert found.vials.tolist() == list(range(1, 15))


@pytest.mark.parametrize("tilt", [7.0, -8.5, 10.0])
def test_a_tilted_slice_is_right_or_refused(nist, tilt):
    is_right_or_refused(nist, tilt, 110.0, (-6.0, 3.0), 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_any_oblique_slice_is_right_or_refused(nist, seed):
    rng = np.random.default_rng(seed)
    is_right_or_refused(nist, rng.uniform(-10, 10), rng.uniform(0, 360), rng.uniform(-8, 8, 2), seed)


def is_right_or_refused(nist, tilt, angle, shift, seed):
    try:
        apart, found = locate(nist, tilt, angle, shift, seed)
    except CalibrationError:
        return
    # A vial that the slice misses has its place by the pattern; one that was seen lies where it is seen.
    assert apart[found.seen].max() < 1.5
    assert apart.max() < 3.0


def measure_cut(nist, tilt, offset, seed):
    """What T1 of the vials reads in a slice that misses their middles, as the command reads it."""
    series, geometry, reference, _, plate = tilted(nist, tilt, 23.0 + 37 * seed, (4.0, -2.0), seed, offset)
    found = locate_vials(series, fit_crude(series, INVERSION_RECOVERY, 1), geometry, reference)
    found = mark_cut(series, geometry, found)
    result = measure_method(INVERSION_RECOVERY, series, geometry, found, reference)
    apply_shared_inversion(result, series)
    error = np.array([m.measured / r.value - 1 for m, r in zip(result.measurements, reference, strict=True)])
    return found, np.array([m.flag for m in result.measurements]), error, depths_of(plate, tilt, offset)


def depths_of(plate, tilt, offset):
    return np.abs(plate.centers[:, 1] * np.sin(np.radians(tilt)) + offset)


@pytest.mark.parametrize(("tilt", "offset", "seed"), [(-9.5, 0.0, 5), (8.5, 0.0, 4), (0.0, 7.0, 9), (6.0, -3.0, 11)])
def test_vials_that_the_slice_barely_cuts_do_not_count(nist, tilt, offset, seed):
    found, flags, error, depths = measure_cut(nist, tilt, offset, seed)
    assert np.abs(found.depths - depths).max() < 1.5
    # The drawn spheres are 18 mm wide inside, half a millimeter more a side than the phantom's.
    inside = share_inside(depths, 6.0, 9.0, 5.0)
    assert (inside < 0.8).any()
    assert (flags[inside < 0.85] == "off_slice").all()
    assert np.nanmax(np.abs(error[flags == "off_slice"])) > 0.05
    if (flags == "ok").any():
        assert np.abs(error[flags == "ok"]).max() < 0.04


@pytest.mark.parametrize(("tilt", "offset", "seed"), [(0.0, 0.0, 1), (-5.0, 0.0, 2), (0.0, 3.0, 7)])
def test_vials_that_the_slice_cuts_well_count(nist, tilt, offset, seed):
    _, flags, error, _ = measure_cut(nist, tilt, offset, seed)
    assert "off_slice" not in flags
    assert np.abs(error[flags == "ok"]).max() < 0.03


def test_a_share_inside_is_a_volume():
    """Against points drawn at random in the region's cylinder."""
    rng = np.random.default_rng(0)
    r, z = 5.0 * np.sqrt(rng.random(200_000)), rng.uniform(-3.0, 3.0, 200_000)
    depths = np.array([0.0, 4.0, 6.0, 8.0, 10.0, 13.0])
    drawn = [np.mean(r**2 + (z + d) ** 2 <= 8.5**2) for d in depths]
    assert share_inside(depths, 6.0, 8.5, 5.0) == pytest.approx(drawn, abs=0.005)


def test_what_cannot_be_told_is_left_open(nist):
    series, geometry, reference, _, _ = tilted(nist, 9.5, 23.0, (0.0, 0.0), 3)
    found = locate_vials(series, fit_crude(series, INVERSION_RECOVERY, 1), geometry, reference)
    clipped = replace(series, saturation=np.zeros(series.n))
    assert find_depths(clipped, found.voxels, geometry) is None
    for unknown in (replace(geometry, wall=None), replace(geometry, roi_length=30.0)):
        assert mark_cut(series, unknown, found).inside is None
