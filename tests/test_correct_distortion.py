"""The step that corrects echo-planar series: a head in a known field, moved since its field map, or without one."""

from functools import cache

import numpy as np
import pytest
from fields.epi import distort_volume
from scipy import ndimage
from simulated_brain import AFFINE, SHAPE, amplitude, fractions

from align_series import align_series
from correct_distortion import correct_distortion
from isocenter.dicom.readouts import complete_readout
from isocenter.entities import Flag
from isocenter.fields.distortion import extend_field, find_shift, place_field, read_readout
from isocenter.io.nifti import read_map, read_series, read_sidecar, write_image, write_map
from isocenter.io.outcome import Exclusion, read_exclusion, write_excluded_map
from isocenter.io.series import write_excluded_series
from isocenter.motion import rigid_matrix
from isocenter.volume import ParameterMap

B_VALUES = np.array([0.0, 500.0, 1000.0])
ADC = np.array([0.75e-3, 0.85e-3, 3.0e-3])
TIME = 0.04  # s
STILL = rigid_matrix(np.zeros(3), np.zeros(3), np.zeros(3))
MOVED = rigid_matrix(np.array([2.5, -3.0, 1.5]), np.radians([2.0, -1.5, 3.0]), np.zeros(3))
#: The field map's own grid: as the echo-planar images', but for a shift of half a voxel.
MAP_AFFINE = AFFINE @ np.array([[1, 0, 0, 0.5], [0, 1, 0, -0.5], [0, 0, 1, 0.25], [0, 0, 0, 1.0]])


def field_at(points):
    """B0 [Hz] of the head at points (..., 3) [mm] of its own: a slope, and a bump over the sinuses."""
    bump = np.exp(-0.5 * np.sum(((points - [0, 45, -20]) / [22, 18, 16]) ** 2, axis=-1))
    return 0.35 * points[..., 1] - 0.3 * points[..., 0] + 150 * bump


def points_of(affine, head):
    """(x, y, z, 3) array [mm]: which point of the head each voxel of a grid shows, when the head is moved."""
    index = np.stack([*np.indices(SHAPE), np.ones(SHAPE)], axis=-1)
    return (index @ (np.linalg.inv(head) @ affine).T)[..., :3]


@cache
def diffusion(sign, head_key="still"):
    """Undistorted and distorted volumes (x, y, z, n) of a head, and the shift [voxels]."""
    head = {"still": STILL, "moved": MOVED}[head_key]
    tissue = fractions(5, head)
    shift = sign * TIME * field_at(points_of(AFFINE, head))
    rng = np.random.default_rng(9)
    whole = [1000 * np.tensordot(np.exp(-b * ADC) * (0.9, 1.0, 1.6), tissue, axes=1) for b in B_VALUES]
    noisy = [np.hypot(distort_volume(v, shift, 1) + rng.normal(0, 8, SHAPE), rng.normal(0, 8, SHAPE)) for v in whole]
    return np.stack(whole, axis=-1), np.stack(noisy, axis=-1).astype(np.float32), shift


def write_inputs(folder, direction="j", head="still", **sidecar):
    """The series and the field map, whose head lay still; paths by the step's names."""
    sign = -1 if direction.endswith("-") else 1
    stem = folder / "sub-T01/ses-01"
    series = stem / "dwi/sub-T01_ses-01_run-1_dwi.nii.gz"
    known = {"DiffusionBValue": B_VALUES, "PhaseEncodingDirection": direction, "TotalReadoutTime": TIME, **sidecar}
    write_image(series, diffusion(sign, head)[1], AFFINE, {k: v for k, v in known.items() if v is not None})
    rng = np.random.default_rng(2)
    voxel = np.linalg.inv(AFFINE) @ MAP_AFFINE
    tissue = np.stack([ndimage.affine_transform(f, voxel, order=1) for f in fractions(5, STILL)])
    strength = 800 * amplitude(tissue)
    inside = strength > 60
    value = np.where(inside, field_at(points_of(MAP_AFFINE, STILL)) + rng.normal(0, 1, SHAPE), np.nan)
    flag = np.where(inside, Flag.OK, Flag.MASKED).astype(np.uint8)
    paths = [folder / f"{name}_B0map.nii.gz" for name in ("field", "stderr", "flag")]
    write_map(paths[0], ParameterMap(value, np.where(inside, 1.0, np.nan), flag, MAP_AFFINE, "Hz"), *paths[1:], {})
    magnitudes = []
    for echo in (1, 2):
        magnitudes.append(folder / f"sub-T01_ses-01_run-1_magnitude{echo}.nii.gz")
        image = np.hypot(strength * 0.9**echo + rng.normal(0, 8, SHAPE), rng.normal(0, 8, SHAPE))
        write_image(magnitudes[-1], image.astype(np.float32), MAP_AFFINE, {"EchoTime": 0.005 * echo})
    return {"series": [series], "field": paths[:1], "field_stderr": paths[1:2], "field_flag": paths[2:],
            "magnitude": magnitudes}  # fmt: skip


def correct(folder, inputs, missing=""):
    out = {"corrected": folder / "out_dwi.nii.gz", "figure": folder / "out.png"}
    correct_distortion(**inputs, **out, map_name="B0map", missing=missing, seed=1)
    assert out["figure"].read_bytes()[:4] == b"\x89PNG"
    return read_series([out["corrected"]]), read_sidecar(out["corrected"]).get("Distortion")


def misplacement(series, direction, head="still"):
    """How far signal still is from its place [voxels], in the brain: the median and the 95th percentile.

    By the images alone: the shift along the axis that brings small neighborhoods of the corrected image onto the true
    one, to first order (least squares of the difference on the slope).
    """
    whole, _, _ = diffusion(-1 if direction.endswith("-") else 1, head)
    truth = whole[..., 0]
    # Voxels without a value (the moved head left the field map there) say nothing, nor do their neighbors.
    lost = ndimage.binary_dilation(~np.isfinite(series.data[..., 0]), np.ones((7, 7, 3)))
    brain = (truth > 300) & ~lost
    assert brain.sum() > 5000
    found = np.nan_to_num(series.data[..., 0])
    slope = np.gradient(ndimage.gaussian_filter(truth, 1), axis=1)
    window = {"size": (7, 7, 3), "mode": "constant"}
    smooth = ndimage.gaussian_filter(found - truth, 1)
    top = ndimage.uniform_filter(slope * smooth, **window)
    bottom = ndimage.uniform_filter(slope**2, **window)
    told = brain & (bottom > np.percentile(bottom[brain], 50))
    off = np.abs(top / np.where(bottom > 0, bottom, 1))[told]
    return float(np.median(off)), float(np.percentile(off, 95))


def displacement_left(inputs, told, direction, head):
    """(v,) array [voxels]: how far each brain voxel's signal still is from its place, by the shift that was used."""
    field, _ = read_map(*(inputs[key][0] for key in ("field", "field_stderr", "field_flag")))
    readout = read_readout({"PhaseEncodingDirection": direction, "TotalReadoutTime": TIME})
    used = find_shift(place_field(extend_field(field), SHAPE, np.array(told["Transform"]) @ AFFINE), readout)
    whole, _, shift = diffusion(readout.sign, head)
    left = np.abs(used - shift)[whole[..., 0] > 300]
    return left[np.isfinite(left)]


@pytest.mark.parametrize(("direction", "head"), [("j", "still"), ("j-", "still"), ("j", "moved"), ("j-", "moved")])
def test_a_head_comes_back_to_its_place(tmp_path, direction, head):
    inputs = write_inputs(tmp_path, direction, head)
    series, told = correct(tmp_path, inputs)
    left = displacement_left(inputs, told, direction, head)
    assert told["State"] == "corrected"
    assert left.size > 13_000
    assert left.max() <= 0.3
    # What the images themselves say of it, where they have edges.
    before, after = (misplacement(one, direction, head) for one in (read_series(inputs["series"]), series))
    assert after[0] < 0.05 * before[0]
    assert after[1] < 0.2 * before[1]
    assert told["Likeness"][1] > told["Likeness"][0]
    assert told["Placement"] == ("registered" if head == "moved" else "scanner")
    print(f"MEASURED {direction} {head}: {np.percentile(left, [50, 95, 100]).round(3)}; {before} -> {after}")
    if head == "moved":
        # Where a point of the series lies in the field map's scan: where the head lay then.
        points = (np.argwhere(diffusion(1, head)[0][..., 0] > 300) @ AFFINE[:3, :3].T) + AFFINE[:3, 3]
        points = np.column_stack([points, np.ones(len(points))])
        off = (points @ (np.array(told["Transform"]) - np.linalg.inv(MOVED)).T)[:, :3]
        print("MEASURED placement", np.median(np.linalg.norm(off, axis=1)))
        assert np.median(np.linalg.norm(off, axis=1)) < 0.5


def test_intensities_and_the_ratio_between_volumes_come_back(tmp_path):
    series, _ = correct(tmp_path, write_inputs(tmp_path))
    whole, distorted, shift = diffusion(1)
    core = ndimage.binary_erosion(whole[..., 0] > 500, iterations=2)
    steep = core & (np.abs(np.gradient(shift, axis=1)) > 0.08)
    assert steep.sum() > 2000
    error = [np.median(np.abs(v[steep, 0] / whole[steep, 0] - 1)) for v in (distorted, series.data)]
    print("MEASURED intensity", error)
    assert error[1] < 0.2 * error[0]
    adc = [-np.log(v[core, 2] / v[core, 0]) / 1000 for v in (series.data, whole)]
    assert abs(np.median(adc[0] / adc[1]) - 1) < 0.01


@pytest.mark.parametrize(
    ("sidecar", "word"),
    [({"TotalReadoutTime": None}, "TotalReadoutTime is missing"),
     ({"PhaseEncodingDirection": None}, "PhaseEncodingDirection is missing")],
)  # fmt: skip
def test_without_its_readout_a_series_goes_on_as_it_came(tmp_path, sidecar, word):
    inputs = write_inputs(tmp_path, **sidecar)
    series, told = correct(tmp_path, inputs)
    assert (told["State"], told["Reason"]) == ("uncorrected", word)
    np.testing.assert_array_equal(series.data, read_series(inputs["series"]).data)
    np.testing.assert_array_equal(series.acquisition["DiffusionBValue"], B_VALUES)


def stated(phase_encoding, time=TIME):
    """What intake makes of a header that tells the axis alone, and of what its site states."""
    statement = {"phase_encoding": phase_encoding, "total_readout_time": time}
    known = {"PhaseEncodingAxis": "j", "EstimatedTotalReadoutTime": 0.041}
    return {"PhaseEncodingDirection": None, "TotalReadoutTime": None, **complete_readout(known, statement, AFFINE)}


@pytest.mark.parametrize(("direction", "phase_encoding"), [("j", "PA"), ("j-", "AP")])
def test_a_readout_that_only_the_site_tells_corrects_as_well(tmp_path, direction, phase_encoding):
    series, told = correct(tmp_path, write_inputs(tmp_path, direction, **stated(phase_encoding)))
    plain, same = correct(tmp_path, write_inputs(tmp_path, direction))
    assert (told["State"], told["ReadoutFrom"], same["ReadoutFrom"]) == ("corrected", "site", "header")
    np.testing.assert_array_equal(series.data, plain.data)
    assert displacement_left(write_inputs(tmp_path, direction), told, direction, "still").max() <= 0.3


@pytest.mark.parametrize(
    ("statement", "word"),
    [(stated("AP"), "less alike"), (stated("LR"), "site.yaml states lines along i (LR), and the header along j"),
     (stated("PA", None), "TotalReadoutTime is missing (the converter estimates 0.041 s)")],
)  # fmt: skip
def test_a_wrong_statement_corrects_nothing(tmp_path, statement, word):
    inputs = write_inputs(tmp_path, "j", **statement)
    series, told = correct(tmp_path, inputs)
    assert told["State"] == "uncorrected"
    assert word in told["Reason"]
    np.testing.assert_array_equal(series.data, read_series(inputs["series"]).data)


def test_without_a_field_map_a_series_goes_on_as_it_came(tmp_path):
    inputs = {"series": write_inputs(tmp_path)["series"]}
    series, told = correct(tmp_path, inputs, missing="no field map in this session")
    assert (told["State"], told["Reason"]) == ("uncorrected", "no field map in this session")
    np.testing.assert_array_equal(series.data, read_series(inputs["series"]).data)


def test_a_field_map_that_could_not_be_made_is_a_reason(tmp_path):
    inputs = write_inputs(tmp_path)
    paths = [inputs[key][0] for key in ("field", "field_stderr", "field_flag")]
    write_excluded_map(*paths, Exclusion("fit", "There is no phase; expected: some", "Send it"), "Hz")
    _, told = correct(tmp_path, inputs)
    assert told["Reason"] == "the field map could not be made: There is no phase"


def test_a_correction_the_wrong_way_is_not_made(tmp_path):
    """A phase of the other sign would double the distortion: the images are then less alike to the magnitude."""
    inputs = write_inputs(tmp_path)
    sidecar = read_sidecar(inputs["series"][0])
    write_image(inputs["series"][0], diffusion(1)[1], AFFINE, {**sidecar, "PhaseEncodingDirection": "j-"})
    series, told = correct(tmp_path, inputs)
    assert told["State"] == "uncorrected"
    assert "less alike" in told["Reason"]
    np.testing.assert_array_equal(series.data, read_series(inputs["series"]).data)


def test_an_aligned_series_is_interpolated_once_from_the_raw_samples(tmp_path):
    inputs = write_inputs(tmp_path)
    aligned = {"aligned": tmp_path / "aligned_dwi.nii.gz", "motion": tmp_path / "m.tsv", "figure": tmp_path / "m.png"}
    align_series(
        inputs["series"], **aligned, model="adc_monoexponential", options={}, method="reference", limit=15.0, seed=1
    )
    motions = read_sidecar(aligned["aligned"])["Motions"]
    assert np.array(motions).shape == (3, 4, 4)
    series, told = correct(tmp_path, {**inputs, "aligned": [aligned["aligned"]]})
    assert told["State"] == "corrected"
    assert "Motions" not in read_sidecar(tmp_path / "out_dwi.nii.gz")
    assert read_sidecar(tmp_path / "out_dwi.nii.gz")["Alignment"] == "reference"
    assert misplacement(series, "j")[1] <= 0.3


def test_a_series_that_alignment_left_out_stays_left_out(tmp_path):
    inputs = write_inputs(tmp_path)
    write_excluded_series(tmp_path / "aligned_dwi.nii.gz", Exclusion("align", "It was damaged", "Send it again"))
    correct(tmp_path, {**inputs, "aligned": [tmp_path / "aligned_dwi.nii.gz"]})
    assert read_exclusion(read_sidecar(tmp_path / "out_dwi.nii.gz")).reason == "It was damaged"


def test_a_series_that_cannot_be_read_becomes_a_reason(tmp_path):
    inputs = write_inputs(tmp_path)
    inputs["series"][0].write_bytes(b"no image")
    correct_distortion(
        **inputs,
        corrected=tmp_path / "out_dwi.nii.gz",
        figure=tmp_path / "out.png",
        map_name="B0map",
        missing="",
        seed=1,
    )
    assert "cannot be read" in read_exclusion(read_sidecar(tmp_path / "out_dwi.nii.gz")).reason


def test_a_second_run_writes_the_same_bytes(tmp_path):
    inputs = write_inputs(tmp_path, "j-", "moved")
    runs = []
    for _ in range(2):
        correct(tmp_path, inputs)
        runs.append([(tmp_path / name).read_bytes() for name in ("out_dwi.nii.gz", "out_dwi.json", "out.png")])
    assert runs[0] == runs[1]
