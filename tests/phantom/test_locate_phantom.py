"""The pose of the whole phantom from the real geometry scan: as acquired, moved, mirrored, spoiled, and absent."""

import time

import numpy as np
import pytest
import yaml
from phantom.moving import add_noise, blank_ball, move_volume, read_geometry_scan, rotation, shade

from isocenter.errors import CalibrationError
from isocenter.phantom.library import load_phantom
from isocenter.phantom.locate_phantom import locate_phantom
from isocenter.volume import Volume

#: The files number the inner four otherwise: their 11, 12, 13, 14 are NIST's 12, 13, 14, 11 (science.md §2).
RENUMBERED = {11: 12, 12: 13, 13: 14, 14: 11}
ARRAYS = {"NiCl2": "T1", "MnCl2": "T2"}
#: Voxels of a moved scan in the fast tests [mm]: an eighth of the work of the native ones.
COARSE = 2.0


@pytest.fixture(scope="module")
def scan(nist_data):
    return read_geometry_scan(nist_data)


@pytest.fixture(scope="module")
def published(nist_data, scan):
    """Array to (14, 3) centers, RAS [mm], whole voxels of the scan."""
    centers = {}
    for array, biomarker in ARRAYS.items():
        rois = yaml.safe_load((nist_data / "sphere_positions" / f"default_{biomarker}_rois.yaml").read_text())
        voxels = np.zeros((14, 3))
        for i in range(1, 15):
            voxels[RENUMBERED.get(i, i) - 1] = rois[f"{biomarker.lower()}_roi_{i}"]["ctr_vox_coords"]
        centers[array] = voxels @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    return centers


@pytest.fixture(scope="module")
def pose(nist, scan):
    return locate_phantom(scan, nist)


@pytest.fixture(scope="module")
def fluid(scan):
    """Signal of the fluid near the middle of the phantom [a.u.]."""
    return float(np.median(scan.data[100:156, 100:156, 85:95]))


def errors(found, centers, move=lambda points: points):
    return np.concatenate([np.linalg.norm(found.centers[a] - move(centers[a]), axis=1) for a in ARRAYS])


def own(pose):
    return {a: pose.centers[a] for a in ARRAYS}


def test_centers_are_those_published(nist, scan, pose, published):
    found = errors(pose, published)
    # The published centers are whole voxels: 0.47 mm of the mean are theirs.
    assert found.mean() <= 0.9
    assert found.max() <= 1.8
    assert not pose.is_mirrored
    assert pose.confidence > 0.9
    start = time.process_time()
    locate_phantom(scan, nist)
    assert time.process_time() - start < 10.0


def test_every_cue_that_speaks_says_the_same(pose):
    for cue, (chosen, other) in pose.marks.items():
        assert chosen >= other - 1e-9, cue
    assert pose.marks["rods"][0] > pose.marks["rods"][1] + 0.3


@pytest.mark.parametrize(
    ("turns", "mirror", "tilt", "shift"),
    [(3, None, 10.0, (18.0, -17.0, 16.0)), (5, 0, 10.0, (-20.0, 0.0, 21.0)), (8, 2, 0.0, (0.0, 0.0, 0.0))],
    ids=["turned", "half-turn-mirrored", "mirrored"],
)
def test_a_moved_phantom_is_found(nist, scan, pose, turns, mirror, tilt, shift):
    flip = np.diag([-1.0 if axis == mirror else 1.0 for axis in range(3)])
    turn = rotation([1.0, 0.3, -0.2], tilt) @ flip @ rotation(pose.placement.turn[:, 2], 36.0 * turns)
    moved, move = move_volume(scan, turn, shift, spacing=COARSE, pivot=pose.placement.shift)
    found = locate_phantom(moved, nist)
    assert errors(found, own(pose), move).max() < 1.5
    assert found.is_mirrored == (mirror is not None)


def test_the_order_of_the_stored_axes_does_not_matter(nist, scan, pose):
    """The same object in the scanner, its array turned over: the same answer in millimeters."""
    data, affine = scan.data[::-1, :, ::-1].transpose(2, 0, 1), scan.affine.copy()
    affine[:3, 3] += affine[:3, 0] * 255 + affine[:3, 2] * 255
    affine[:3, :3] = np.column_stack([-affine[:3, 2], -affine[:3, 0], affine[:3, 1]])
    found = locate_phantom(Volume(np.ascontiguousarray(data), affine), nist)
    assert errors(found, own(pose)).max() < 0.5
    assert not found.is_mirrored


def test_noise_coarse_voxels_and_shading_together(nist, scan, pose, fluid):
    coarse, move = move_volume(scan, np.eye(3), np.zeros(3), spacing=(2.0, 2.0, 5.0))
    noisy = add_noise(shade(coarse.data, 1, 3.0), 5.0, 0, signal=fluid / 1.7)
    found = locate_phantom(Volume(noisy, coarse.affine), nist)
    assert errors(found, own(pose), move).max() < 2.0
    assert errors(found, own(pose), move).mean() < 1.0


def test_a_bubble_moves_its_vial_only(nist, scan, pose):
    up = -scan.affine[:3, 1] / np.linalg.norm(scan.affine[:3, 1])
    center = pose.centers["NiCl2"][8]
    found = locate_phantom(blank_ball(scan, center + 4.0 * up, 5.0), nist)
    moved = errors(found, own(pose))
    assert moved[8] < 2.0
    assert np.delete(moved, 8).max() < 0.3


def test_half_a_phantom_is_refused(nist, scan):
    with pytest.raises(CalibrationError, match="not found in the geometry scan"):
        locate_phantom(Volume(np.ascontiguousarray(scan.data[:128]), scan.affine), nist)


@pytest.mark.parametrize("kind", ["empty", "noise", "balls at random"])
def test_another_object_is_refused(nist, kind):
    rng = np.random.default_rng(2)
    data = np.zeros((100, 100, 100), np.float32)
    if kind == "noise":
        data = np.abs(rng.standard_normal(data.shape)).astype(np.float32)
    if kind == "balls at random":
        grid = np.indices(data.shape) * 2.0
        data += 1.0
        for center in rng.uniform(20.0, 180.0, (60, 3)):
            data[np.linalg.norm(grid - center[:, None, None, None], axis=0) < 10.0] = 3.0
    with pytest.raises(CalibrationError, match="not found in the geometry scan"):
        locate_phantom(Volume(data, np.diag([2.0, 2.0, 2.0, 1.0])), nist)


def test_without_rods_and_brightness_it_is_refused(definition, scan):
    """The vials alone look alike in four ways: no number without a reason to believe it."""
    geometry = {k: v for k, v in definition["geometry"].items() if k not in ("rods", "brightness")}
    bare = load_phantom(definition | {"geometry": geometry})
    coarse, _ = move_volume(scan, np.eye(3), np.zeros(3), spacing=COARSE)
    with pytest.raises(CalibrationError, match="Which way round"):
        locate_phantom(coarse, bare)


def test_cues_that_disagree_are_refused(definition, scan):
    """Rods that another phantom would have against the order of brightness."""
    geometry = definition["geometry"]
    rods = [rod | {"angles": [a + 180 for a in rod["angles"]]} for rod in geometry["rods"]]
    wrong = load_phantom(definition | {"geometry": geometry | {"rods": rods}})
    coarse, _ = move_volume(scan, np.eye(3), np.zeros(3), spacing=COARSE)
    with pytest.raises(CalibrationError, match="Which way round"):
        locate_phantom(coarse, wrong)


@pytest.mark.slow
def test_every_rotation_flip_tilt_and_shift(nist, scan, pose, published):
    """All rotations by 36 degrees, no flip and each of three, tilts up to 10 degrees, shifts up to 30 mm: 40 scans."""
    rng = np.random.default_rng(0)
    worst, refused = [], 0
    for turns in range(10):
        for mirror in (None, 0, 1, 2):
            flip = np.diag([-1.0 if axis == mirror else 1.0 for axis in range(3)])
            tilt = rotation(rng.standard_normal(3), rng.uniform(0.0, 10.0))
            shift = rng.standard_normal(3)
            shift *= rng.uniform(0.0, 30.0) / np.linalg.norm(shift)
            turn = tilt @ flip @ rotation(pose.placement.turn[:, 2], 36.0 * turns)
            moved, move = move_volume(scan, turn, shift, pivot=pose.placement.shift)
            try:
                found = locate_phantom(moved, nist)
            except CalibrationError:
                refused += 1
                continue
            worst.append((errors(found, own(pose), move).max(), errors(found, published, move).mean()))
            assert found.is_mirrored == (mirror is not None)
    worst = np.array(worst)
    print(f"found {len(worst)}, refused {refused}; worst {worst[:, 0].max():.2f} mm; "
          f"mean against the published centers {worst[:, 1].mean():.2f} mm")  # fmt: skip
    assert worst[:, 0].max() < 1.5
    assert refused == 0
