"""Registration through ANTs: a light import, repeatable bits, known motion found, labels where the tissue is."""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from simulated_brain import (
    AFFINE,
    INVERSION_TIMES,
    REPETITION_TIME,
    SHAPE,
    T1,
    T2,
    amplitude,
    fractions,
    inversion_series,
    random_motion,
    relaxation,
    residual_displacement,
)
from simulated_brain import template as brain_template

from isocenter.errors import RegistrationError
from isocenter.motion import rigid_matrix
from isocenter.registration import (
    align_volumes,
    extraction,
    load_ants,
    loading,
    register_rigid,
    template,
    to_ants,
    transfer_tissues,
)
from isocenter.registration import series as series_module
from isocenter.registration.engine import register_deformable
from isocenter.series_model import bind_series
from isocenter.tissues import TISSUES, divide_tissues, synthesize_contrast

ACQUISITION = {"InversionTime": INVERSION_TIMES, "RepetitionTime": REPETITION_TIME}
SCRIPTS = Path(loading.__file__).resolve().parents[2]

PROGRAM = """
import hashlib, json, sys
import numpy as np
sys.path.insert(0, {scripts!r})
from isocenter.consensus import refine_motions
from isocenter.registration import load_ants, register_rigid
load_ants(defer={defer})
heavy = ["matplotlib", "statsmodels", "sklearn", "scipy.stats", "requests"]
loaded = [name for name in heavy if name in sys.modules]
data = np.load({data!r})
affine = np.diag([4.0, 4.0, 6.0, 1.0])
found = register_rigid(data[..., 7], data[..., 2], affine, seed=3)
mask = np.ones(data.shape[:3], bool)
refined, _ = refine_motions(data, affine, [found, *[np.eye(4)] * 7], mask, 7, steps=2)
found = np.stack([found, *refined])
print(json.dumps([loaded, hashlib.sha256(found.tobytes()).hexdigest()]))
"""


@cache
def series() -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(11)
    motions = [random_motion(rng, 2.0, 2.0) for _ in INVERSION_TIMES[:-1]] + [np.eye(4)]
    return inversion_series(2, motions), motions


def in_a_fresh_process(tmp_path, *, defer: bool, threads: int = 1) -> tuple[list[str], str]:
    data = tmp_path / "data.npy"
    np.save(data, series()[0])
    program = PROGRAM.format(scripts=str(SCRIPTS), data=str(data), defer=defer)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    loaded, digest = json.loads(done.stdout)
    return loaded, digest


def test_light_import_gives_the_same_registration(tmp_path):
    light, same = in_a_fresh_process(tmp_path, defer=True)
    full, reference = in_a_fresh_process(tmp_path, defer=False)
    assert light == []
    assert full  # the plain import does load what the light one leaves out, or this test tests nothing
    assert same == reference


def test_threads_do_not_change_a_bit(tmp_path):
    _, one = in_a_fresh_process(tmp_path, defer=True, threads=1)
    _, two = in_a_fresh_process(tmp_path, defer=True, threads=2)
    assert one == two


def test_what_was_left_out_loads_when_it_is_called():
    ants = load_ants()
    assert ants.quantile(to_ants(np.arange(24.0).reshape(2, 3, 4), np.eye(4)), 0.5) == 12


def test_plain_import_when_the_package_has_changed(monkeypatch):
    for name in [n for n in sys.modules if n == "ants" or n.startswith("ants.")]:
        monkeypatch.delitem(sys.modules, name)

    def refuse():
        raise ImportError("ants has no registration")

    monkeypatch.setattr(loading, "_import_deferred", refuse)
    assert callable(load_ants().registration)


def test_geometry_survives_the_door():
    tilt = np.radians(20)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, :3] = (
        np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]]) @ affine[:3, :3]
    )
    affine[:3, 3] = 5, -6, 7
    image = to_ants(np.arange(24.0).reshape(2, 3, 4), affine)
    # ANTs holds LPS millimeters: x and y have the other sign.
    physical = load_ants().transform_index_to_physical_point(image, (1, 2, 3))
    np.testing.assert_allclose(np.array(physical) * [-1, -1, 1], (affine @ [1, 2, 3, 1])[:3], rtol=1e-6)
    assert image.numpy()[1, 2, 3] == 23


def test_sheared_axes_are_refused():
    sheared = np.diag([2.0, 2.0, 2.0, 1.0])
    sheared[0, 1] = 0.5
    with pytest.raises(RegistrationError, match="sheared"):
        to_ants(np.zeros((4, 4, 4)), sheared)


def test_rigid_finds_a_known_motion():
    rng = np.random.default_rng(0)
    moved = random_motion(rng, 4.0, 4.0)
    still, turned = (
        synthesize_contrast(relaxation(tissue, T1), amplitude(tissue), "T1")
        for tissue in (fractions(2), fractions(2, moved))
    )
    found = register_rigid(still, turned, AFFINE)
    assert residual_displacement(np.eye(4), moved, fractions(2)) > 2
    assert residual_displacement(found, moved, fractions(2)) < 0.3


def test_series_is_aligned_and_repeats_to_the_bit():
    data, motions = series()
    first = align_volumes(data, AFFINE, inversion_time=INVERSION_TIMES, seed=7)
    again = align_volumes(data, AFFINE, inversion_time=INVERSION_TIMES, seed=7)
    assert digest(first.matrices) == digest(again.matrices)
    assert first.used == ["registered"] * 7 + ["reference"]
    left = [residual_displacement(f, m, fractions(2)) for f, m in zip(first.matrices, motions, strict=True)]
    assert np.median(left) < 0.25
    assert max(left) < 0.6  # the volumes at the nulls, too: 0.3 voxel of 4 mm is 1.2 mm


def digest(matrices) -> str:
    return hashlib.sha256(np.stack(matrices).tobytes()).hexdigest()


def test_an_implausible_motion_is_not_believed(monkeypatch):
    data, _ = series()
    far = np.eye(4)
    far[0, 3] = 40.0
    monkeypatch.setattr(series_module, "register_rigid", lambda *a, **k: far)
    two = align_volumes(data[..., [2, 7]], AFFINE, inversion_time=INVERSION_TIMES[[2, 7]])
    np.testing.assert_array_equal(two.matrices, [far, np.eye(4)])  # the table says how far it was
    np.testing.assert_array_equal(two.left_out, [True, False])
    assert two.used == ["left out: motion beyond 15 mm", "reference"]


def test_a_motion_that_helps_nothing_is_undone(monkeypatch):
    data, _ = series()
    small = np.eye(4)
    small[0, 3] = 2.0
    monkeypatch.setattr(series_module, "register_rigid", lambda *a, **k: small)
    gains = np.array([0.3, -0.1, 0.2, 0.0])
    monkeypatch.setattr(series_module, "refine_motions", lambda d, a, start, *rest, **more: (start, gains))
    found = align_volumes(data[..., [0, 2, 4, 7]], AFFINE, inversion_time=INVERSION_TIMES[[0, 2, 4, 7]])
    undone = "left in place: fits the other volumes no better"
    assert found.used == ["registered", undone, "registered", "reference"]
    np.testing.assert_array_equal(found.matrices[1], np.eye(4))
    np.testing.assert_array_equal(found.matrices[0], small)


def test_a_corrupted_volume_does_not_spoil_the_others():
    data, motions = series()
    data = data.copy()
    stripes = np.cos(2 * np.pi * (9 * np.arange(56)[:, None] + 5 * np.arange(56)) / 56)
    data[..., 3] = np.abs(data[..., 3] + 420 * stripes[..., None])
    found = align_volumes(data, AFFINE, inversion_time=INVERSION_TIMES)
    others = [k for k in range(8) if k != 3]
    left = [residual_displacement(found.matrices[k], motions[k], fractions(2)) for k in others]
    assert max(left) < 0.6


@pytest.mark.parametrize("method", ["reference", "rigid", "model", "deformable"])
def test_a_volume_without_signal_is_left_out_and_spoils_no_other(method):
    """One of zeros, as an aborted scan has, and one without any sample, which is the reference otherwise."""
    data, motions = series()
    affine, data = AFFINE, data.copy()
    if method == "deformable":  # a coarse slab of it: only what becomes of the volumes is asked
        affine, data = AFFINE @ np.diag([2.0, 2.0, 1.0, 1.0]), data[::2, ::2, 4:8].copy()
    data[..., 2], data[..., 7] = 0, np.nan
    bind = bind_series("t1_inversion_recovery", ACQUISITION, 8)
    found = align_volumes(data, affine, method=method, inversion_time=INVERSION_TIMES, bind=bind)
    np.testing.assert_array_equal(np.flatnonzero(found.left_out), [2, 7])
    assert found.used[2] == found.used[7] == "left out: it holds no signal"
    assert found.used[6] == "reference"
    assert np.isfinite(found.matrices).all()
    if method in ("rigid", "model"):
        true = [m @ np.linalg.inv(motions[6]) for m in motions]
        tissue = fractions(2, motions[6])
        left = [residual_displacement(found.matrices[k], true[k], tissue) for k in (0, 1, 3, 4, 5)]
        assert max(left) < 0.6


def test_a_series_without_signal_is_refused():
    with pytest.raises(RegistrationError, match="two volumes that hold signal"):
        align_volumes(np.zeros((8, 8, 8, 5), np.float32), AFFINE, inversion_time=INVERSION_TIMES[:5])


@pytest.mark.parametrize("jumps", [3, 7], ids=["a volume", "the reference"])
def test_a_volume_that_jumped_is_left_out_and_spoils_no_other(jumps):
    """25 mm and 20 degrees: beyond what the consensus finds from no motion, so that it would settle anywhere."""
    rng = np.random.default_rng(100)
    motions = [*(random_motion(rng, 1.5, 1.5) for _ in range(7)), np.eye(4)]
    motions[jumps] = rigid_matrix(np.array([25.0, 10.0, 0.0]), np.radians([20.0, 0.0, 0.0]), np.zeros(3))
    found = align_volumes(
        inversion_series(2, motions), AFFINE, method="model", inversion_time=INVERSION_TIMES,
        bind=bind_series("t1_inversion_recovery", ACQUISITION, 8),
    )  # fmt: skip
    assert np.flatnonzero(found.left_out).tolist() == [jumps]
    assert found.used[jumps] == "left out: motion beyond 15 mm"
    head = motions[found.reference]
    left = [residual_displacement(found.matrices[k], motions[k] @ np.linalg.inv(head), fractions(2, head))
            for k in range(8) if k != jumps]  # fmt: skip
    assert max(left) < 0.6


@cache
def transferred():
    """Tissues brought to a T1 map and to a T2 map on its own, slightly moved grid; with the true fractions."""
    rng = np.random.default_rng(4)
    moved = random_motion(rng, 2.0, 2.0)
    images, truth = [], []
    for motion, times, name in ((np.eye(4), T1, "T1"), (moved, T2, "T2")):
        tissue = fractions(2, motion)
        time = relaxation(tissue, times) * (1 + 0.02 * rng.standard_normal(SHAPE))
        images.append((synthesize_contrast(time, amplitude(tissue), name), AFFINE))
        truth.append((tissue, relaxation(tissue, times)))
    return transfer_tissues(images, brain_template(), seed=1), truth


@pytest.mark.parametrize("image", [0, 1], ids=["T1", "T2"])
def test_labels_lie_on_their_tissue(image):
    found, truth = transferred()
    tissue, times = truth[image]
    inside = tissue.sum(axis=0) > 0.5
    stacked = np.stack([found.probabilities[image][name] for name in TISSUES])
    for number in (0, 1):  # white and gray matter, over the whole brain, erosion-free
        a, b = ((m.argmax(axis=0) == number) & inside for m in (stacked, tissue))
        assert 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)) > 0.85
    labels = divide_tissues(found.probabilities[image])
    for number, name in enumerate(TISSUES[:2], start=1):
        label, pure = labels[name], tissue[number - 1] > 0.9
        assert np.count_nonzero(label) > 300, name
        assert np.nanmedian(times[label]) == pytest.approx(np.nanmedian(times[pure]), rel=0.01), name
        assert np.median(tissue[number - 1][label]) > 0.9, name


def test_transfer_repeats_to_the_bit():
    found, _ = transferred()
    transferred.cache_clear()
    again, _ = transferred()
    for a, b in zip(found.probabilities, again.probabilities, strict=True):
        for name in TISSUES:
            np.testing.assert_array_equal(a[name], b[name])


def test_something_that_is_no_head_is_refused(monkeypatch):
    monkeypatch.setattr(template, "OTHER_STARTS", (25.0,))  # one more start is enough here
    monkeypatch.setattr(extraction, "STARTS", ((0.0, 0.0, 0.0),))
    blocks = np.zeros(SHAPE, np.float32)
    rng = np.random.default_rng(0)
    blocks[10:40, 10:40, 2:10] = rng.uniform(0.1, 1, (30, 30, 8))
    with pytest.raises(RegistrationError, match="does not fit"):
        transfer_tissues([(blocks, AFFINE)], brain_template())


def test_an_empty_map_is_refused():
    with pytest.raises(RegistrationError, match="too few voxels"):
        synthesize_contrast(np.full(SHAPE, np.nan), np.ones(SHAPE), "T1")


@pytest.mark.parametrize("shape", [(64, 64), (48, 48, 24)])
def test_a_known_shift_is_found_by_the_deformable_registration(shape):
    """In mm along the grid's axes, from the fixed image to the moving one, and blind to the scale of intensities."""
    rng = np.random.default_rng(0)
    fixed = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    fixed -= fixed.min()
    shift = np.array([3.0, -2.0, 1.0][: len(shape)])
    spacing = np.array([1.5, 1.5, 2.0][: len(shape)])
    moving = ndimage.shift(1.7 * fixed, shift, order=3, mode="nearest")
    moved = register_deformable(fixed, moving, spacing)
    inside = (slice(8, -8),) * len(shape)
    found = np.median(moved[inside].reshape(-1, len(shape)), axis=0)
    np.testing.assert_allclose(found, shift * spacing, atol=0.3 * 1.5)
