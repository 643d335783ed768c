"""Distortion of single slices, and by field maps of another orientation than the echo-planar series."""

from functools import cache

import numpy as np
import pytest
from fields.epi import distort_volume
from simulated_brain import amplitude, fractions

from correct_distortion import correct_distortion
from isocenter.entities import Flag
from isocenter.fields.distortion import extend_field, find_shift, place_field, read_readout
from isocenter.io.nifti import read_map, read_series, read_sidecar, write_image, write_map
from isocenter.motion import rigid_matrix
from isocenter.volume import ParameterMap

B_VALUES = np.array([0.0, 1000.0])
ADC = np.array([0.75e-3, 0.85e-3, 3.0e-3])
TIME = 0.04  # s
HEAD = 7
MOVED = rigid_matrix(np.array([2.0, -3.0, 1.5]), np.radians([2.0, -1.5, 2.5]), np.zeros(3))
OBLIQUE = rigid_matrix(np.zeros(3), np.radians([18.0, 0.0, 7.0]), np.zeros(3))
ONE_UP = rigid_matrix(np.array([0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3))


def make_grid(axes, shape, spacing, turn=None):
    """Shape and voxel-to-RAS matrix of a stack about the isocenter: which way each array axis runs, by letters."""
    ways = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    affine = np.eye(4)
    affine[:3, :3] = np.array([ways[letter] for letter in axes], float).T * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine if turn is None else turn @ affine


#: Echo-planar stacks and field maps, by how their array axes run.
SERIES = {
    "axial": make_grid("LAS", (54, 62, 14), (3.5, 3.5, 5.0)),
    "sagittal": make_grid("PSR", (62, 44, 20), (3.5, 3.5, 6.0)),
    "coronal": make_grid("LSA", (54, 44, 24), (3.5, 3.5, 6.0)),
    "oblique": make_grid("LAS", (54, 62, 14), (3.5, 3.5, 5.0), OBLIQUE),
    "one axial slice": make_grid("LAS", (54, 62, 1), (3.5, 3.5, 5.0)),
    "one coronal slice": make_grid("LSA", (54, 44, 1), (3.5, 3.5, 6.0)),
}
MAPS = {
    "axial": make_grid("RPS", (60, 72, 42), (3.2, 3.2, 4.0)),
    "sagittal": make_grid("AIR", (72, 40, 38), (3.2, 3.2, 4.5)),
    "coronal": make_grid("RSP", (56, 40, 50), (3.2, 3.2, 4.2)),
    "oblique": make_grid("LPS", (60, 72, 30), (3.2, 3.2, 4.0), np.linalg.inv(OBLIQUE)),
    "one axial slice": make_grid("RPS", (60, 72, 1), (3.2, 3.2, 5.0)),
    "one axial slice, 1 mm off": make_grid("RPS", (60, 72, 1), (3.2, 3.2, 5.0), ONE_UP),
}  # fmt: skip


def field_at(points):
    """B0 [Hz] of the head at points (..., 3) [mm] of its own: a slope, and a bump over the sinuses."""
    bump = np.exp(-0.5 * np.sum(((points - [0, 40, -10]) / [22, 18, 16]) ** 2, axis=-1))
    return 0.35 * points[..., 1] - 0.3 * points[..., 0] + 0.2 * points[..., 2] + 130 * bump


def points_of(shape, affine, head):
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    return (index @ (np.linalg.inv(head) @ affine).T)[..., :3]


@cache
def scan_series(name, direction, is_moved=False):
    """Undistorted and distorted volumes (x, y, z, n) of a head, and the shift [voxels]."""
    shape, affine = SERIES[name]
    head = MOVED if is_moved else np.eye(4)
    tissue = fractions(HEAD, head, shape, affine)
    sign, axis = -1 if direction.endswith("-") else 1, "ijk".index(direction[0])
    shift = sign * TIME * field_at(points_of(shape, affine, head))
    rng = np.random.default_rng(9)
    whole = [1000 * np.tensordot(np.exp(-b * ADC) * (0.9, 1.0, 1.6), tissue, axes=1) for b in B_VALUES]
    noise = rng.normal(0, 8, (len(whole), 2, *shape))
    noisy = [np.hypot(distort_volume(v, shift, axis) + one, two) for v, (one, two) in zip(whole, noise, strict=True)]
    return np.stack(whole, axis=-1), np.stack(noisy, axis=-1).astype(np.float32), shift


def write_inputs(folder, series, field, direction, *, is_moved=False, **sidecar):
    """The series and the field map, whose head lay still; paths by the step's names."""
    path = folder / "sub-T01/ses-01/dwi/sub-T01_ses-01_run-1_dwi.nii.gz"
    known = {"DiffusionBValue": B_VALUES, "PhaseEncodingDirection": direction, "TotalReadoutTime": TIME, **sidecar}
    write_image(path, scan_series(series, direction, is_moved)[1], SERIES[series][1], known)
    shape, affine = MAPS[field]
    rng = np.random.default_rng(2)
    strength = 800 * amplitude(fractions(HEAD, np.eye(4), shape, affine))
    inside = strength > 60
    value = np.where(inside, field_at(points_of(shape, affine, np.eye(4))) + rng.normal(0, 1, shape), np.nan)
    flag = np.where(inside, Flag.OK, Flag.MASKED).astype(np.uint8)
    paths = [folder / f"{name}_B0map.nii.gz" for name in ("field", "stderr", "flag")]
    write_map(paths[0], ParameterMap(value, np.where(inside, 1.0, np.nan), flag, affine, "Hz"), *paths[1:], {})
    magnitudes = []
    for echo in (1, 2):
        magnitudes.append(folder / f"sub-T01_ses-01_run-1_magnitude{echo}.nii.gz")
        image = np.hypot(strength * 0.9**echo + rng.normal(0, 8, shape), rng.normal(0, 8, shape))
        write_image(magnitudes[-1], image.astype(np.float32), affine, {"EchoTime": 0.005 * echo})
    return {"series": [path], "field": paths[:1], "field_stderr": paths[1:2], "field_flag": paths[2:],
            "magnitude": magnitudes}  # fmt: skip


def correct(folder, inputs):
    out = {"corrected": folder / "out_dwi.nii.gz", "figure": folder / "out.png"}
    correct_distortion(**inputs, **out, map_name="B0map", missing="", seed=1)
    assert out["figure"].read_bytes()[:4] == b"\x89PNG"
    return read_series([out["corrected"]]), read_sidecar(out["corrected"])["Distortion"]


def displacement_left(inputs, told, series, direction, is_moved):
    """(v,) array [voxels]: how far each brain voxel's signal still is from its place; and the share without a value."""
    shape, affine = SERIES[series]
    field, _ = read_map(*(inputs[key][0] for key in ("field", "field_stderr", "field_flag")))
    readout = read_readout({"PhaseEncodingDirection": direction, "TotalReadoutTime": TIME})
    used = find_shift(place_field(extend_field(field), shape, np.array(told["Transform"]) @ affine), readout)
    whole, _, shift = scan_series(series, direction, is_moved)
    left = np.abs(used - shift)[whole[..., 0] > 300]
    return left[np.isfinite(left)], np.mean(~np.isfinite(left))


SLOW = pytest.mark.slow
CASES = [
    ("axial", "sagittal", "j-", True), ("sagittal", "coronal", "i", False),
    ("one axial slice", "axial", "j", False), ("one axial slice", "sagittal", "j-", False),
    ("one axial slice", "one axial slice", "i-", False), ("one axial slice", "one axial slice, 1 mm off", "j", False),
    ("one coronal slice", "axial", "i", False),
    *(pytest.param(*case, marks=SLOW) for case in (
        ("axial", "coronal", "i", False), ("axial", "oblique", "i-", True), ("oblique", "axial", "j-", True),
        ("sagittal", "axial", "j", True), ("coronal", "sagittal", "j", True), ("coronal", "axial", "i-", False),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("series", "field", "direction", "is_moved"), CASES)
def test_a_head_comes_back_to_its_place(tmp_path, series, field, direction, is_moved):
    inputs = write_inputs(tmp_path, series, field, direction, is_moved=is_moved)
    found, told = correct(tmp_path, inputs)
    whole, distorted, shift = scan_series(series, direction, is_moved)
    left, lost = displacement_left(inputs, told, series, direction, is_moved)
    brain = whole[..., 0] > 300
    before = np.abs(shift[brain])
    print(f"MEASURED {series} by {field}, {direction}, moved {is_moved}: {np.percentile(before, [50, 95]).round(2)} -> "
          f"{np.percentile(left, [50, 95, 100]).round(3)}, lost {lost:.3f}; {told}")  # fmt: skip
    assert told["State"] == "corrected", told["Reason"]
    assert np.percentile(left, 95) <= 0.3
    assert np.median(left) <= 0.1
    assert lost < 0.05
    assert told["Placement"] == ("registered" if is_moved else "scanner")
    both = brain & np.isfinite(found.data[..., 0])
    off = [np.median(np.abs(v[both] / whole[both, 0] - 1)) for v in (distorted[..., 0], found.data[..., 0])]
    assert off[1] < 0.5 * off[0], off


@pytest.mark.parametrize(
    ("series", "field", "direction"),
    [("one axial slice", "one axial slice, 1 mm off", "j"), ("one axial slice", "sagittal", "i-"),
     pytest.param("axial", "sagittal", "j-", marks=SLOW)],
)  # fmt: skip
def test_the_wrong_way_is_heard_in_every_orientation(tmp_path, series, field, direction):
    """A single slice and its map that lie a millimeter apart still have edges to compare."""
    inputs = write_inputs(tmp_path, series, field, direction)
    sidecar = read_sidecar(inputs["series"][0])
    wrong = direction[0] if direction.endswith("-") else f"{direction}-"
    write_image(inputs["series"][0], scan_series(series, direction)[1], SERIES[series][1],
                {**sidecar, "PhaseEncodingDirection": wrong})  # fmt: skip
    found, told = correct(tmp_path, inputs)
    assert told["State"] == "uncorrected"
    assert "less alike" in told["Reason"]
    np.testing.assert_array_equal(found.data, read_series(inputs["series"]).data)


def test_a_map_that_crosses_the_series_takes_nothing_away(tmp_path):
    """A single axial slice of a field map meets a coronal slice in a line: there would hardly be a value left."""
    inputs = write_inputs(tmp_path, "one coronal slice", "one axial slice", "i")
    found, told = correct(tmp_path, inputs)
    assert told["State"] == "uncorrected"
    assert "the field map covers" in told["Reason"]
    np.testing.assert_array_equal(found.data, read_series(inputs["series"]).data)
