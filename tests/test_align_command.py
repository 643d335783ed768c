"""`isocenter align`: one series aligned without a trial, judged by the residual of its fits."""

import numpy as np
import pytest
from simulated_brain import (
    AFFINE,
    INVERSION_TIMES,
    REPETITION_TIME,
    SHAPE,
    T1,
    amplitude,
    fractions,
    random_motion,
    relaxation,
    residual_displacement,
)
from typer.testing import CliRunner

from isocenter import models
from isocenter.align_command import align_files
from isocenter.cli import app
from isocenter.errors import ConfigError, SidecarError
from isocenter.fitting import fit
from isocenter.io.nifti import read_series, read_sidecar, write_image
from isocenter.io.tables import read_table
from isocenter.motion import resample_series, rigid_matrix
from isocenter.registration import align_volumes
from isocenter.series_model import bind_series

MOLLI_TIMES = np.array([0.1, 0.18, 0.26, 1.0, 1.08, 1.9, 2.8, 3.7])
#: Model, acquisition, the model's parameters from T1 and the amplitude, noise [a.u.].
TECHNIQUES = {
    "t1_inversion_recovery": (
        {"InversionTime": INVERSION_TIMES, "RepetitionTime": REPETITION_TIME},
        lambda t1, a: {"T1": t1, "M0": a, "inversion_efficiency": 0.95},
        8.0,
    ),
    "t1_look_locker": (
        {"InversionTime": MOLLI_TIMES}, lambda t1, a: {"T1": t1, "T1star": 0.75 * t1, "A": 0.75 * a}, 6.0,
    ),
    "t1_variable_flip_angle": (
        {"FlipAngle": np.array([2.0, 4.0, 6.0, 10.0, 15.0, 20.0]), "RepetitionTimeExcitation": 0.015},
        lambda t1, a: {"T1": t1, "M0": 8 * a}, 2.5,
    ),
}  # fmt: skip


def simulate(model, motions, seed=2):
    """(x, y, z, n) magnitudes of a head that is elsewhere in each volume, and the bound model."""
    acquisition, parameters, noise = TECHNIQUES[model]
    bound = models.get(model).bind(acquisition)
    rng = np.random.default_rng(seed)
    volumes = []
    for k, motion in enumerate(motions):
        tissue = fractions(seed, motion)
        t1 = np.nan_to_num(relaxation(tissue, T1), nan=1.0)
        clean = bound.predict(parameters(t1, 1000 * amplitude(tissue)))[..., k]
        draw = noise * rng.standard_normal((2, *SHAPE))
        volumes.append(np.hypot(clean + draw[0], draw[1]))
    return np.stack(volumes, axis=3).astype(np.float32), bound


def far_motion(rng):
    """A shift of 1 to 6 mm and a turn of 1 to 5 degrees, in any direction."""
    shift, turn = rng.standard_normal((2, 3))
    shift *= rng.uniform(1, 6) / np.linalg.norm(shift)
    turn *= np.radians(rng.uniform(1, 5)) / np.linalg.norm(turn)
    return rigid_matrix(shift, turn, np.zeros(3))


def write_series(folder, model, data, **more):
    folder.mkdir(exist_ok=True)
    path = folder / "sub-1_ses-1_series.nii.gz"
    write_image(path, data, AFFINE, {**TECHNIQUES[model][0], **more})
    return path


def measure_motion(model, draw, folder):
    """Error of T1 in gray matter by what was done about the motion, and the displacement [mm] left in each volume."""
    n = len(next(iter(TECHNIQUES[model][0].values())))
    rng = np.random.default_rng(draw)
    motions = [far_motion(rng) for _ in range(n)]
    data, bound = simulate(model, motions)
    path = write_series(folder, model, data)
    outcome = align_files([path], folder / "out", model=model)
    assert set(outcome.table["used"]) == {"registered", "reference"}
    assert outcome.after < outcome.before
    reference = int(np.flatnonzero(outcome.table["used"] == "reference")[0])
    head = motions[reference]
    tissue = fractions(2, head)
    mask = tissue.sum(axis=0) > 0.5
    gray = tissue[1] > 0.9
    truth = relaxation(tissue, T1)

    def error_of_t1(series):
        found = fit(bound, series, mask=mask)
        inside = gray & found.ok
        return np.median(np.abs(found.value["T1"][inside] / truth[inside] - 1))

    found = align_volumes(
        data, AFFINE, method="model", inversion_time=TECHNIQUES[model][0].get("InversionTime"),
        bind=bind_series(model, TECHNIQUES[model][0], n),
    ).matrices  # fmt: skip
    true = [m @ np.linalg.inv(head) for m in motions]
    left = [residual_displacement(f, m, tissue) for f, m in zip(found, true, strict=True)]
    series = {
        "none": data,
        "model": read_series([outcome.files[0]]).data,
        "true": resample_series(data, np.full(n, np.inf), true, AFFINE),
        "still": simulate(model, [head] * n)[0],
    }
    return {name: error_of_t1(one) for name, one in series.items()}, np.delete(left, reference)


@pytest.mark.parametrize("model", list(TECHNIQUES))
def test_motion_of_millimeters_and_degrees_is_found(model, tmp_path):
    """At most 0.3 voxel of displacement stays, and at most a fifth of the error of T1 that motion adds in gray matter.

    What it adds to the error of a head that kept still; and, in quadrature, to that of the same series brought back by
    the true motions, for voxels of 4 mm cannot be interpolated without any error.
    """
    errors = []
    for draw in (5, 6, 7):
        error, left = measure_motion(model, draw, tmp_path / str(draw))
        print(model, draw, {name: f"{100 * value:.2f} %" for name, value in error.items()}, np.round(left, 2))
        assert np.median(left) <= 0.3 * 4  # mm, of the smallest edge of a voxel
        errors.append(error)
    none, aligned, true, still = (np.array([e[name] for e in errors]) for name in ("none", "model", "true", "still"))
    assert np.mean(aligned - still) <= np.mean(none - still) / 5
    assert np.mean(aligned**2 - true**2) <= np.mean(none**2 - true**2) / 5**2


def test_what_it_writes(tmp_path):
    rng = np.random.default_rng(3)
    motions = [random_motion(rng, 1.5, 1.5) for _ in range(7)] + [np.eye(4)]
    data, _ = simulate("t1_inversion_recovery", motions)
    path = write_series(tmp_path, "t1_inversion_recovery", data)
    arguments = ["align", str(path), "--model", "t1_inversion_recovery", "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    assert "the median residual of the fits went from" in ran.output.lower()
    names = {p.name for p in (tmp_path / "out").iterdir()}
    start = "sub-1_ses-1_desc-aligned_series"
    assert names == {f"{start}.nii.gz", f"{start}.json", f"{start}_motion.png", "motion.tsv"}
    sidecar = read_sidecar(tmp_path / "out" / f"{start}.nii.gz")
    np.testing.assert_allclose(sidecar["InversionTime"], INVERSION_TIMES)
    assert sidecar["ResidualAfter"] < 0.8 * sidecar["ResidualBefore"]
    assert sidecar["Seed"] == 1
    assert sidecar["Sources"] == [f"bids:raw:{path.name}"]
    table = read_table(tmp_path / "out" / "motion.tsv")
    np.testing.assert_allclose(table["InversionTime"], INVERSION_TIMES)
    assert list(table["used"]) == ["registered"] * 7 + ["reference"]
    assert table["displacement_mm"].to_numpy()[:-1].min() > 0.3
    again = align_files([path], tmp_path / "again", model="t1_inversion_recovery")
    for file in again.files:
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes(), file.name


def test_a_volume_that_moved_too_far_is_left_out(tmp_path):
    motions = [np.eye(4)] * 8
    motions[2] = rigid_matrix(np.array([8.0, 0.0, 0.0]), np.zeros(3), np.zeros(3))
    data, _ = simulate("t1_inversion_recovery", motions)
    path = write_series(tmp_path, "t1_inversion_recovery", data)
    outcome = align_files([path], tmp_path / "out", model="t1_inversion_recovery", limit=4.0)
    assert outcome.table["used"][2] == "left out: motion beyond 4 mm"
    assert outcome.table["displacement_mm"][2] == pytest.approx(8.0, abs=1.0)
    aligned = read_series([outcome.files[0]]).data
    assert np.isnan(aligned[..., 2]).all()
    assert np.isfinite(aligned[..., 3]).mean() > 0.9


def test_an_alignment_that_raises_the_residual_is_undone(tmp_path, monkeypatch):
    from isocenter.registration import judged, series

    data, _ = simulate("t1_inversion_recovery", [np.eye(4)] * 8)
    wrong = rigid_matrix(np.array([5.0, 0.0, 0.0]), np.zeros(3), np.zeros(3))
    found = series.Alignment([wrong] * 7 + [np.eye(4)], ["registered"] * 7 + ["reference"], 7, np.zeros(3))
    monkeypatch.setattr(judged, "align_volumes", lambda *args, **more: found)
    path = write_series(tmp_path, "t1_inversion_recovery", data)
    outcome = align_files([path], tmp_path / "out", model="t1_inversion_recovery")
    assert outcome.note.startswith("undone: registration raised the residual of the fits from")
    assert all(word.startswith("left in place: registration raised") for word in outcome.table["used"][:7])
    np.testing.assert_array_equal(read_series([outcome.files[0]]).data, data)
    assert outcome.after == outcome.before


@pytest.mark.parametrize("method", ["reference", "mean", "rigid"])
@pytest.mark.parametrize("slices", [1, 3])
def test_a_thin_stack_is_aligned_within_its_slices(method, slices):
    rng = np.random.default_rng(4)
    motions = [rigid_matrix(np.array([*rng.uniform(-3, 3, 2), 0.0]), np.radians([0, 0, t]), np.zeros(3))
               for t in rng.uniform(-3, 3, 7)] + [np.eye(4)]  # fmt: skip
    data, _ = simulate("t1_inversion_recovery", motions)
    thin = slice(7, 7 + slices)
    affine = AFFINE.copy()
    affine[:3, 3] += 7 * AFFINE[:3, 2]
    found = align_volumes(data[:, :, thin], affine, method=method, inversion_time=INVERSION_TIMES)
    tissue = np.zeros((3, *SHAPE))
    tissue[:, :, :, thin] = fractions(2)[:, :, :, thin]
    left = [residual_displacement(f, m, tissue) for f, m in zip(found.matrices, motions, strict=True)]
    before = [residual_displacement(np.eye(4), m, tissue) for m in motions[:7]]
    assert np.median(before) > 1.5
    assert np.median(left[:7]) < 0.3 * np.median(before)
    for matrix in found.matrices:  # nothing moves through the slices
        np.testing.assert_allclose(matrix[2], [0, 0, 1, 0], atol=1e-9)


def test_only_the_organ_inside_the_mask_counts(tmp_path):
    """Half of the head is masked; the other half moves against it."""
    motions = [np.eye(4)] * 8
    far = [rigid_matrix(np.array([0.0, 5.0, 0.0]), np.zeros(3), np.zeros(3))] * 7 + [np.eye(4)]
    still, _ = simulate("t1_inversion_recovery", motions)
    moving, _ = simulate("t1_inversion_recovery", far)
    half = np.arange(SHAPE[0]) < SHAPE[0] // 2
    path = write_series(tmp_path, "t1_inversion_recovery", np.where(half[:, None, None, None], still, moving))
    mask = np.zeros(SHAPE, np.uint8)
    mask[half] = fractions(2).sum(axis=0)[half] > 0.5
    write_image(tmp_path / "organ.nii.gz", mask, AFFINE, {})
    arguments = ["align", str(path), "--model", "t1_inversion_recovery", "--method", "rigid", "--out"]
    ran = CliRunner().invoke(app, [*arguments, str(tmp_path / "out"), "--mask", str(tmp_path / "organ.nii.gz")])
    assert ran.exit_code == 0, ran.output
    table = read_table(tmp_path / "out" / "motion.tsv")
    assert table["displacement_mm"].to_numpy(float).max() < 0.5
    sidecar = read_sidecar(tmp_path / "out" / "sub-1_ses-1_desc-aligned_series.nii.gz")
    assert sidecar["AlignmentMask"] == "organ.nii.gz"
    mask[:] = 0
    write_image(tmp_path / "nothing.nii.gz", mask, AFFINE, {})
    with pytest.raises(ConfigError, match="mask does not fit"):
        align_files([path], tmp_path / "no", model="t1_inversion_recovery", mask=tmp_path / "nothing.nii.gz")


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"method": "best"}, ConfigError, "Unknown alignment method"),
        ({"limit": -1.0}, ConfigError, "limit of motion"),
        ({"model": "t2_multi_echo"}, SidecarError, "EchoTime"),
        ({"model": "pdff_complex"}, ConfigError, "pdff_complex"),
        ({"options": {"nonsense": 1}}, ConfigError, "nonsense"),
    ],
)
def test_requests_that_cannot_be_answered(more, error, words, tmp_path):
    data = np.random.default_rng(0).uniform(1, 600, (*SHAPE[:2], 4, 8)).astype(np.float32)
    fields = {"EchoTime": 0.01 * np.arange(1, 9), "MagneticFieldStrength": 3.0} if "pdff" in str(more) else {}
    path = write_series(tmp_path, "t1_inversion_recovery", data, **fields)
    with pytest.raises(error, match=words):
        align_files([path], tmp_path / "out", **{"model": "t1_inversion_recovery", **more})


def test_a_displacement_in_the_table_is_where_the_head_went(tmp_path):
    motion = rigid_matrix(np.array([2.0, -1.0, 1.5]), np.radians([1.0, 2.0, -1.0]), np.zeros(3))
    motions = [motion] + [np.eye(4)] * 7
    data, _ = simulate("t1_inversion_recovery", motions)
    path = write_series(tmp_path, "t1_inversion_recovery", data)
    table = align_files([path], tmp_path / "out", model="t1_inversion_recovery").table
    np.testing.assert_allclose(table.loc[0, ["rx_deg", "ry_deg", "rz_deg"]].astype(float), [1.0, 2.0, -1.0], atol=0.3)
    assert residual_displacement(np.eye(4), motion, fractions(2)) > 2
    assert table["displacement_mm"][0] > table["displacement_mm"][1:].max()
