"""The step that labels a run's maps: files in, files out, and what happens when maps are missing."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from simulated_brain import (
    AFFINE,
    SHAPE,
    T1,
    T2,
    amplitude,
    fractions,
    random_motion,
    relaxation,
    template,
)

from isocenter.io.nifti import read_labels, write_image
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.io.tables import read_table
from isocenter.tissues import TISSUES
from transfer_labels import transfer_labels

MOVED = random_motion(np.random.default_rng(9), 2.0, 2.0)
ABSENT = Exclusion("fit", "The series holds one volume", "Send the others")


@pytest.fixture(scope="module")
def template_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    source = template()
    write_image(folder / "T1w.nii.gz", source.image, source.affine, {})
    for name, probability in source.tissues.items():
        write_image(folder / f"{name}.nii.gz", probability, source.affine, {})
    return folder


def write_run(folder, *, excluded=()):
    """Maps and fits of a run whose T2 series was measured with the head a little elsewhere."""
    maps, fits = [], []
    for name, parameter, level, times, motion in (
        ("T1map", "T1", "M0", T1, np.eye(4)),
        ("T2map", "T2", "S0", T2, MOVED),
    ):
        path = folder / f"sub-T01_ses-01_run-1_{name}.nii.gz"
        fit = folder / f"sub-T01_ses-01_run-1_desc-fit_{name}.nii.gz"
        if name in excluded:
            for target, shape in ((path, (1, 1, 1)), (fit, (1, 1, 1, 1))):
                write_image(target, np.full(shape, np.nan, np.float32), np.eye(4), {"Outcome": asdict(ABSENT)})
        else:
            tissue = fractions(2, motion)
            time = relaxation(tissue, times).astype(np.float32)
            layers = np.stack([time, amplitude(tissue), np.zeros(SHAPE)], axis=-1).astype(np.float32)
            write_image(path, time, AFFINE, {"Units": "s"})
            write_image(fit, layers, AFFINE, {"Parameters": [parameter, level, "residual"]})
        maps.append(path)
        fits.append(fit)
    return maps, fits


def test_each_map_gets_labels_in_its_own_grid(template_folder, tmp_path):
    maps, fits = write_run(tmp_path)
    labels = tmp_path / "labels"
    transfer_labels(template_folder, maps, fits, labels=labels, seed=1)
    assert read_exclusion(json.loads((labels / "outcome.json").read_text())) is None
    table = read_table(labels / "labels.tsv")
    assert list(table["name"]) == list(TISSUES)
    assert list(table["index"]) == [1, 2, 3]
    for name, motion in (("T1map", np.eye(4)), ("T2map", MOVED)):
        found, affine = read_labels(labels / f"{name}_dseg.nii.gz")
        np.testing.assert_allclose(affine, AFFINE)
        tissue = fractions(2, motion)
        for number in (1, 2):
            inside = tissue[number - 1][found == number]
            assert inside.size > 300
            assert np.median(inside) > 0.9, (name, TISSUES[number - 1])
    again = tmp_path / "again"
    transfer_labels(template_folder, maps, fits, labels=again, seed=1)
    for path in labels.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_run_without_a_t1_map_is_labeled_by_its_t2_map(template_folder, tmp_path):
    maps, fits = write_run(tmp_path, excluded=("T1map",))
    transfer_labels(template_folder, maps, fits, labels=tmp_path / "labels", seed=1)
    assert not (tmp_path / "labels/T1map_dseg.nii.gz").exists()
    found, _ = read_labels(tmp_path / "labels/T2map_dseg.nii.gz")
    assert np.median(fractions(2, MOVED)[0][found == 1]) > 0.9


def test_a_run_without_any_map_is_a_reason(template_folder, tmp_path):
    maps, fits = write_run(tmp_path, excluded=("T1map", "T2map"))
    transfer_labels(template_folder, maps, fits, labels=tmp_path / "labels", seed=1)
    exclusion = read_exclusion(json.loads((tmp_path / "labels/outcome.json").read_text()))
    assert exclusion.stage == "regions"
    assert ABSENT.reason in exclusion.reason
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["labels.tsv", "outcome.json"]


def test_a_map_without_a_contrast_takes_the_labels_of_its_place(template_folder, tmp_path):
    """Ktrans of half the head, on a grid of its own: the head's labels where it lies."""
    maps, fits = write_run(tmp_path)
    half = (SHAPE[0], SHAPE[1], SHAPE[2] // 2)
    affine = AFFINE.copy()
    affine[:3, 3] += AFFINE[:3, 2]  # one slice further on
    path, fit = tmp_path / "sub-T01_ses-01_run-1_Ktransmap.nii.gz", tmp_path / "sub-T01_ses-01_run-1_fit.nii.gz"
    write_image(path, np.ones(half, np.float32), affine, {"Units": "1/min"})
    write_image(fit, np.ones((*half, 3), np.float32), affine, {"Parameters": ["Ktrans", "kep", "residual"]})
    labels = tmp_path / "labels"
    transfer_labels(template_folder, [path, *maps], [fit, *fits], labels=labels, seed=1)
    head, _ = read_labels(labels / "T1map_dseg.nii.gz")
    found, where = read_labels(labels / "Ktransmap_dseg.nii.gz")
    np.testing.assert_allclose(where, affine)
    assert np.array_equal(found, head[:, :, 1 : 1 + half[2]])
