"""A map of B1 lies on the series that it corrects, though the head moved between the two scans."""

import json

import numpy as np
import pytest
from scipy import ndimage
from simulated_brain import AFFINE, SHAPE, T1, amplitude, fractions, relaxation

from fit_map import fit_map
from isocenter import models
from isocenter.io.nifti import read_map, read_sidecar, write_image, write_map
from isocenter.motion import rigid_matrix
from isocenter.volume import ParameterMap
from place_map import place_map

ANGLES = (4.0, 8.0, 14.0, 22.0)
TR = 0.012
MOVED = rigid_matrix(np.array([4.0, -5.0, 2.0]), np.radians([2.0, -1.0, 4.0]), np.zeros(3))
#: The grid of the map: coarser than the series, and elsewhere.
COARSE = (
    AFFINE @ np.diag([1.5, 1.5, 1.2, 1.0]) @ np.array([[1, 0, 0, 0.3], [0, 1, 0, -0.4], [0, 0, 1, -0.2], [0, 0, 0, 1]])
)
COARSE_SHAPE = (38, 38, 11)


def points_of(shape, affine, head):
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    return (index @ (np.linalg.inv(head) @ affine).T)[..., :3]


def b1_at(points):
    """B1 of the head, in the head's own coordinates [mm]: bright in the middle, lopsided."""
    return 1.05 - 3e-5 * np.sum(points[..., :2] ** 2, axis=-1) + 1.5e-3 * points[..., 0] + 2e-3 * points[..., 2]


@pytest.fixture(scope="module", params=["still", "moved"])
def run(request, tmp_path_factory):
    """A T1 series of a head that moved since its B1 map was scanned, or lay still; the truth with both."""
    folder = tmp_path_factory.mktemp(request.param)
    head = MOVED if request.param == "moved" else np.eye(4)
    rng = np.random.default_rng(4)
    tissue = fractions(3, head)
    truth = relaxation(tissue, T1)
    bound = models.get("t1_variable_flip_angle").bind({"FlipAngle": ANGLES, "RepetitionTimeExcitation": TR})
    b1 = b1_at(points_of(SHAPE, AFFINE, head))
    clean = bound.predict({"T1": np.nan_to_num(truth, nan=1.0), "M0": 9000 * amplitude(tissue), "B1": b1})
    series = []
    for k, angle in enumerate(ANGLES):
        series.append(folder / f"sub-1_ses-01_run-1_flip-{k + 1}_VFA.nii.gz")
        noisy = np.hypot(clean[..., k] + rng.normal(0, 1.5, SHAPE), rng.normal(0, 1.5, SHAPE))
        write_image(series[-1], noisy.astype(np.float32), AFFINE, {"FlipAngle": angle, "RepetitionTimeExcitation": TR})
    voxel = np.linalg.inv(AFFINE) @ COARSE
    still = np.stack([ndimage.affine_transform(f, voxel, output_shape=COARSE_SHAPE, order=1) for f in fractions(3)])
    b1_map = np.where(still.sum(axis=0) > 0.1, b1_at(points_of(COARSE_SHAPE, COARSE, np.eye(4))), np.nan)
    lent = [folder / f"sub-1_ses-01_run-1_{part}TB1map.nii.gz" for part in ("", "desc-stderr_", "desc-flag_")]
    flag = np.isnan(b1_map).astype(np.uint8)
    write_map(lent[0], ParameterMap(b1_map, 0 * b1_map, flag, COARSE, "1"), *lent[1:], {})
    scan = []
    for k, factor in enumerate((1.0, 0.8)):
        scan.append(folder / f"sub-1_ses-01_run-1_flip-{k + 1}_TB1DAM.nii.gz")
        image = np.hypot(
            900 * factor * amplitude(still) + rng.normal(0, 6, COARSE_SHAPE), rng.normal(0, 6, COARSE_SHAPE)
        )
        write_image(scan[-1], image.astype(np.float32), COARSE, {"FlipAngle": 60.0 * (k + 1)})
    return folder, request.param, series, scan, lent, truth


def fit(folder, series, lent, placements, name):
    out = {key: folder / f"{name}_{key}.nii.gz" for key in ("map", "stderr", "flag", "fit")}
    fit_map(
        series, *([path] for path in lent), placements=placements, **out, model="t1_variable_flip_angle",
        parameter="T1", unit="s", options={}, plausible_range=[0.05, 6.0], uses_maps={"B1": "TB1map"},
    )  # fmt: skip
    return read_map(out["map"], out["stderr"], out["flag"])


def test_the_map_follows_the_head(run):
    folder, motion, series, scan, lent, truth = run
    path = folder / "sub-1_ses-01_run-1_from-TB1map_to-T1map_xfm.json"
    place_map(series, scan, placement=path, seed=1)
    found = json.loads(path.read_text())
    errors = {}
    for name, placements in (("scanner", []), ("placed", [path])):
        t1, sidecar = fit(folder, series, lent, placements, name)
        inside = t1.ok & (truth < 1.4) & ndimage.binary_erosion(np.isfinite(truth), iterations=2)
        assert inside.sum() > 5000
        errors[name] = np.percentile(np.abs(t1.value / truth - 1)[inside], [50, 95])
    print("MEASURED", motion, errors, found["Placement"], found["DisplacementMillimeters"], found["PlacementReason"])
    assert sidecar["LentMapPlacements"]["B1"]["Transform"] == found["Transform"]
    if motion == "still":
        assert found["Placement"] == "scanner"
        np.testing.assert_array_equal(errors["placed"], errors["scanner"])
    else:
        assert found["Placement"] == "registered"
        assert errors["placed"][1] < 0.5 * errors["scanner"][1]
        points = (np.argwhere(truth < 1.4) @ AFFINE[:3, :3].T) + AFFINE[:3, 3]
        points = np.column_stack([points, np.ones(len(points))])
        off = (points @ (np.array(found["Transform"]) - np.linalg.inv(MOVED)).T)[:, :3]
        print("MEASURED placement", np.median(np.linalg.norm(off, axis=1)))
        assert np.median(np.linalg.norm(off, axis=1)) < 1.0


def test_a_scan_that_cannot_be_read_lies_where_the_scanner_put_it(run, tmp_path):
    _, _, series, _, _, _ = run
    bad = tmp_path / "sub-1_TB1DAM.nii.gz"
    bad.write_bytes(b"no image")
    place_map(series, [bad], placement=tmp_path / "xfm.json", seed=1)
    found = json.loads((tmp_path / "xfm.json").read_text())
    assert found["Placement"] == "scanner"
    assert "could not be placed" in found["PlacementReason"]
    assert found["Transform"] == np.eye(4).tolist()


def test_a_stack_of_few_slices_tells_no_motion(run, tmp_path):
    _, _, series, scan, _, _ = run
    thin = []
    for path in series:
        image = read_sidecar(path)
        thin.append(tmp_path / path.name)
        write_image(thin[-1], np.ones((20, 20, 3), np.float32), AFFINE, image)
    place_map(thin, scan, placement=tmp_path / "xfm.json", seed=1)
    assert "fewer than 4 slices" in json.loads((tmp_path / "xfm.json").read_text())["PlacementReason"]
