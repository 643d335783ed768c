"""The step that labels a run, by every source of regions that config names: files in, label images and reasons out."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_brain import AFFINE, T1, amplitude, fractions, relaxation, structural_scan, template

from isocenter.errors import RegistrationError
from isocenter.io.nifti import read_labels, write_image
from isocenter.io.outcome import read_exclusion
from isocenter.io.tables import read_table, write_table
from isocenter.site_regions import place_sent
from isocenter.tissues import TISSUES
from transfer_labels import BRAIN, transfer_labels

SEGMENTATIONS = Path(__file__).parent / "dicom" / "segmentations"
STEM = "sub-T01_ses-01_run-1"


@pytest.fixture(scope="module")
def template_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    source = template()
    write_image(folder / "T1w.nii.gz", source.image, source.affine, {})
    for name, probability in source.tissues.items():
        write_image(folder / f"{name}.nii.gz", probability, source.affine, {})
    return folder


def write_map(folder, name, value, affine, layers):
    """A map and its fit, whose layers come by name."""
    path, fit = folder / f"{STEM}_{name}.nii.gz", folder / f"{STEM}_desc-fit_{name}.nii.gz"
    write_image(path, value.astype(np.float32), affine, {"Units": "s"})
    stack = np.stack(list(layers.values()), axis=-1).astype(np.float32)
    write_image(fit, stack, affine, {"Parameters": list(layers)})
    return path, fit


def brain_map(folder):
    tissue = fractions(2)
    time = relaxation(tissue, T1)
    return write_map(folder, "T1map", time, AFFINE, {"T1": time, "M0": amplitude(tissue)})


def heart_map(folder, shape=(40, 40, 5), affine=None):
    value = np.ones(shape)
    affine = np.diag([3.0, 3.0, 8.0, 1.0]) if affine is None else affine
    return write_map(folder, "T1heartmap", value, affine, {"T1": value, "M0": value})


def run(folder, pair, template_folder=None, sent=(), atlas=(), structural=(), brain=BRAIN, **entry):
    """The step on one map; its labels by name, and the outcome."""
    name = pair[0].name.removesuffix(".nii.gz").rsplit("_", 1)[-1]
    labels = folder / f"labels{len(list(folder.glob('labels*')))}"
    regions = {name: {"regions": "template", "suffix": "MOLLI", "contrast": None, "erosion": {}, **entry}}
    transfer_labels(
        template_folder or folder,
        [pair[0]],
        [pair[1]],
        sent,
        atlas,
        structural,
        labels=labels,
        seed=1,
        regions=regions,
        brain=brain,
    )
    outcome = json.loads((labels / "outcome.json").read_text())
    path, found = labels / f"{name}_dseg.nii.gz", {}
    if path.exists():
        image = read_labels(path)[0]
        table = read_table(labels / "labels.tsv", text=("name",)).groupby("name")["index"].apply(list)
        found = {region: np.isin(image, numbers) for region, numbers in table.items()}
    return found, outcome


# The brain --------------------------------------------------------------------------------------------
def test_erosion_and_thresholds_follow_the_config_and_are_told(template_folder, tmp_path):
    pair = brain_map(tmp_path)
    pure, first = run(tmp_path, pair, template_folder)
    hard_brain = {**BRAIN, "least_probability": dict.fromkeys(TISSUES, 0.0)}
    hard, second = run(tmp_path, pair, template_folder, brain=hard_brain)
    eroded, third = run(tmp_path, pair, template_folder, brain=hard_brain, erosion={"voxels": 1})
    for tissue in TISSUES[:2]:
        assert not (pure[tissue] & ~hard[tissue]).any()
        assert not (eroded[tissue] & ~hard[tissue]).any()
        assert 0 < pure[tissue].sum() < hard[tissue].sum()
        assert 0 < eroded[tissue].sum() < hard[tissue].sum()
    erosions = [outcome["Labels"]["T1map"]["Erosion"] for outcome in (first, second, third)]
    assert erosions == ["none", "none", "1 voxel"]
    hashes = {outcome["Labels"]["T1map"]["TransformHash"] for outcome in (first, second, third)}
    assert len(hashes) == 1, "the same transform, whatever is cut out of it"


def test_atropos_takes_the_scans_own_contrast(template_folder, tmp_path):
    pair = brain_map(tmp_path)
    found, outcome = run(tmp_path, pair, template_folder, brain={**BRAIN, "segmentation": "atropos"})
    assert (outcome["Segmentation"], outcome["Thresholds"]) == ("atropos", dict.fromkeys(TISSUES, 0.0))
    tissue = fractions(2)
    for number, name in enumerate(TISSUES[:2]):
        true = (tissue.argmax(axis=0) == number) & (tissue[number] > 1 - tissue.sum(axis=0))
        score = 2 * np.count_nonzero(found[name] & true) / (found[name].sum() + true.sum())
        assert score > 0.9, name


def test_an_atlas_of_the_trial_divides_the_brain(template_folder, tmp_path):
    source = template()
    labels = np.ones(source.image.shape, np.int16)
    labels[labels.shape[0] // 2 :] = 2
    write_image(tmp_path / "atlas.nii.gz", labels, source.affine)
    rows = [("1", "first_half", "gray_matter", ""), ("2", "second_half", "", "deep_gray")]
    write_table(tmp_path / "atlas.tsv", pd.DataFrame(rows, columns=["index", "name", "tissue", "part"]))
    atlas = [tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv"]
    found, _ = run(tmp_path, brain_map(tmp_path), template_folder, atlas=atlas)
    assert set(found) == {*TISSUES, "first_half", "second_half", "deep_gray_matter", "cortical_gray_matter"}
    np.testing.assert_array_equal(found["second_half"], found["deep_gray_matter"])
    np.testing.assert_array_equal(found["first_half"], found["cortical_gray_matter"])
    assert not (found["first_half"] & found["second_half"]).any()
    assert found["second_half"].any()
    assert found["first_half"].sum() == pytest.approx(found["gray_matter"].sum() / 2, rel=0.1)


def test_the_participants_own_scan_takes_the_place_of_the_maps_image(template_folder, tmp_path):
    """A T1-weighted scan at 2 mm with a coil in it, without skull; the map is then registered to it."""
    image, affine = structural_scan(2)
    write_image(tmp_path / "sub-T01_ses-01_T1w.nii.gz", image, affine)
    brain = {**BRAIN, "least_probability": dict.fromkeys(TISSUES, 0.0)}
    scan = [tmp_path / "sub-T01_ses-01_T1w.nii.gz"]
    found, outcome = run(tmp_path, brain_map(tmp_path), template_folder, structural=scan, brain=brain)
    assert outcome["Outcome"] is None
    assert outcome["RegisteredTo"] == "sub-T01_ses-01_T1w.nii.gz"
    tissue = fractions(2)
    for number, name in enumerate(TISSUES[:2]):
        true = (tissue.argmax(axis=0) == number) & (tissue[number] > 1 - tissue.sum(axis=0))
        score = 2 * np.count_nonzero(found[name] & true) / (found[name].sum() + true.sum())
        print(name, score)
        assert score > 0.85, name


def test_a_scan_with_nothing_in_it_is_a_reason(template_folder, tmp_path):
    write_image(tmp_path / "sub-T01_ses-01_T1w.nii.gz", np.zeros((20, 20, 20), np.float32), AFFINE)
    scan = [tmp_path / "sub-T01_ses-01_T1w.nii.gz"]
    found, outcome = run(tmp_path, brain_map(tmp_path), template_folder, structural=scan)
    assert found == {}
    assert "too few voxels above 0" in outcome["Outcome"]["reason"]


# What a site sends ------------------------------------------------------------------------------------
def test_shapes_are_drawn_where_they_are_said_to_be(tmp_path):
    path = tmp_path / f"{STEM}_MOLLI_shapes.yaml"
    path.write_text(
        "shapes:\n"
        "  - { name: blood, shape: sphere, center: [60, 60, 16], diameter: 24 }\n"
        "  - { name: septum, shape: box, center: [30, 30, 16], size: [12, 12, 12] }\n"
        "  - { name: septum, shape: box, center: [90, 30, 16], size: [12, 12, 12] }\n"
    )
    found, outcome = run(tmp_path, heart_map(tmp_path), sent=[path], regions="site")
    assert outcome["Maps"] == {"T1heartmap": None}
    centers = np.argwhere(found["blood"]) * [3, 3, 8]
    np.testing.assert_allclose(centers.mean(axis=0), [60, 60, 16], atol=0.01)
    assert np.linalg.norm(centers - [60, 60, 16], axis=1).max() <= 12
    assert found["septum"].sum() == 2 * 5 * 5 * 1  # centers at 24 to 36 mm, and one slice within 10 to 22
    eroded, outcome = run(tmp_path, heart_map(tmp_path), sent=[path], regions="site", erosion={"mm": 3.0})
    assert 0 < eroded["blood"].sum() < found["blood"].sum()
    assert outcome["Labels"]["T1heartmap"]["Erosion"] == "3 mm"


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_dicom_segmentation_is_labeled_by_its_segments(tmp_path, kind):
    path = tmp_path / f"{STEM}_MOLLI_dseg.dcm"
    shutil.copyfile(SEGMENTATIONS / f"{kind}.dcm", path)
    affine = np.diag([-1.5, -2.0, 4.0, 1.0])
    turn = np.array([[2.0, 1.0, -0.5], [-1.0, 2.0, 0.0], [1.0, 0.5, 5.0]]) / np.sqrt([[5.25], [5.0], [26.25]])
    affine[:3, :3] = np.diag([-1, -1, 1]) @ turn.T @ np.diag([1.5, 2.0, 4.0])
    affine[:3, 3] = [30.0, -12.0, 40.0]
    found, _ = run(tmp_path, heart_map(tmp_path, (20, 16, 7), affine), sent=[path], regions="site")
    assert found["left_ventricle"].sum() == 137
    assert found["myocardium_lv"].sum() == 95
    np.testing.assert_allclose(np.argwhere(found["left_ventricle"]).mean(axis=0), [6, 7, 2], atol=0.01)


def ring(center, radius):
    places = (
        (center[0] + radius * math.cos(a), center[1] + radius * math.sin(a)) for a in np.arange(24) * math.pi / 12
    )
    return [[round(float(x), 3), round(float(y), 3), center[2]] for x, y in places]


def heart_text(*, contours=True):
    lines = ["slices:"]
    for level, z in (("basal", 32.0), ("mid", 16.0)):
        lines.append(f"  - level: {level}\n    anterior_insertion: [79.7, 89.3, {z}]")
        if contours:
            lines.append(f"    endocardium: {ring((60, 60, z), 20)}\n    epicardium: {ring((60, 60, z), 36)}")
    return "\n".join(lines) + "\n"


def test_a_heart_is_divided_into_segments(tmp_path):
    path = tmp_path / f"{STEM}_MOLLI_heart.yaml"
    path.write_text(heart_text())
    found, outcome = run(tmp_path, heart_map(tmp_path), sent=[path], regions="heart")
    assert outcome["Maps"] == {"T1heartmap": None}
    assert len(found) == 3 + 1 + 12
    segments = [region for name, region in found.items() if name.startswith(("basal_", "mid_"))]
    assert np.sum(segments, axis=0).max() == 1
    np.testing.assert_array_equal(np.any(segments, axis=0), found["myocardium"])
    assert found["myocardium"].any(axis=(0, 1)).tolist() == [False, False, True, False, True]
    # The apex lies below, as in a person seen from the feet: the septum is on the right (+x), the free wall left.
    sides = [np.argwhere(found[f"mid_{wall}"])[:, 0].mean() * 3 for wall in ("inferoseptal", "anterolateral")]
    assert sides[0] > 60 + 20
    assert sides[1] < 60 - 20


def test_a_mask_of_the_heart_takes_the_place_of_contours(tmp_path):
    drawn, _ = run(tmp_path, heart_map(tmp_path), sent=[_write(tmp_path, heart_text())], regions="heart")
    write_image(tmp_path / f"{STEM}_MOLLI_dseg.nii.gz", drawn["myocardium"].astype(np.uint8), np.diag([3.0, 3, 8, 1]))
    write_table(tmp_path / f"{STEM}_MOLLI_dseg.tsv", pd.DataFrame({"index": [1], "name": ["myocardium"]}))
    sent = [_write(tmp_path, heart_text(contours=False)), *sorted(tmp_path.glob("*_dseg.*"))]
    found, _ = run(tmp_path, heart_map(tmp_path), sent=sent, regions="heart")
    np.testing.assert_array_equal(found["myocardium"], drawn["myocardium"])
    # The center is the mask's instead of the contour's, a few hundredths of a mm away: voxels on a border may change.
    for name, region in drawn.items():
        assert np.count_nonzero(found[name] ^ region) <= 3, name


def _write(folder, text):
    path = folder / f"{STEM}_MOLLI_heart.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["=1+1", "<script>alert(1)</script>", "a\x1b[31m", "", "x" * 65])
def test_a_region_may_not_be_called_anything(tmp_path, name):
    write_image(tmp_path / f"{STEM}_MOLLI_dseg.nii.gz", np.ones((4, 4, 1), np.uint8), np.diag([3.0, 3, 8, 1]))
    write_table(tmp_path / f"{STEM}_MOLLI_dseg.tsv", pd.DataFrame({"index": [1], "name": [name]}))
    sent = sorted(tmp_path.glob("*_dseg.*"))
    with pytest.raises(RegistrationError, match="no name of a region"):
        place_sent(sent, "MOLLI", (4, 4, 1), np.diag([3.0, 3, 8, 1]), prefix=STEM, source="site")


@pytest.mark.parametrize(
    ("files", "regions", "words"),
    [
        ({}, "site", "The site sent no labels for the MOLLI series"),
        ({"dseg.nii.gz": None}, "site", "The site sent no names of labels"),
        ({"shapes.yaml": "shapes: []"}, "site", "shapes"),
        (
            {"shapes.yaml": "shapes: [{name: a, shape: sphere, center: [0, 0, 0]}]"},
            "site",
            "'diameter' is missing",
        ),
        (
            {"shapes.yaml": "shapes: [{name: a, shape: sphere, center: [500, 0, 0], diameter: 9}]"},
            "site",
            "do not meet the MOLLI series",
        ),
        (
            {"shapes.yaml": "shapes: [{name: a, shape: sphere, center: [9, 9, 0], diameter: 9}]", "dseg.dcm": "x"},
            "site",
            "in several ways",
        ),
        ({"dseg.dcm": "no DICOM"}, "site", "cannot be read"),
        ({}, "heart", "no description of the heart"),
        ({"heart.yaml": "slices: [{level: mid, anterior_insertion: [60, 90, 16]}]"}, "heart", "no myocardium"),
    ],
)
def test_what_cannot_be_used_is_a_reason_of_its_map(tmp_path, files, regions, words):
    sent = []
    for end, text in files.items():
        sent.append(tmp_path / f"{STEM}_MOLLI_{end}")
        if text is None:
            write_image(sent[-1], np.ones((4, 4, 4), np.uint8), np.eye(4))
        else:
            sent[-1].write_text(text)
    found, outcome = run(tmp_path, heart_map(tmp_path), sent=sent, regions=regions)
    assert found == {}
    exclusion = read_exclusion({"Outcome": outcome["Maps"]["T1heartmap"]})
    assert exclusion.stage == "regions"
    assert words in exclusion.reason


# What the images show ---------------------------------------------------------------------------------
def test_a_thigh_is_found_in_the_fit_itself(tmp_path):
    x, y = np.meshgrid(np.arange(60) - 29.5, np.arange(60) - 29.5, indexing="ij")
    radius = 3.0 * np.hypot(x, y)[:, :, np.newaxis].repeat(3, axis=2)
    pdff = np.where(radius < 60, 6.0, np.where(radius < 80, 92.0, 50.0))
    signal = np.where(radius < 80, 0.8, 0.01)
    layers = {"PDFF": pdff, "R2star": pdff, "W": signal * (1 - pdff / 100), "F": signal * pdff / 100}
    pair = write_map(tmp_path, "PDFFmap", pdff, np.diag([3.0, 3, 6, 1]), layers)
    found, outcome = run(tmp_path, pair, regions="thigh")
    np.testing.assert_array_equal(found["thigh_muscle"], radius < 60)
    np.testing.assert_array_equal(found["subcutaneous_fat"], (radius >= 60) & (radius < 80))
    eroded, again = run(tmp_path, pair, regions="thigh", erosion={"voxels": 1})
    assert eroded["thigh_muscle"].sum() < found["thigh_muscle"].sum()
    hashes = [one["Labels"]["PDFFmap"]["TransformHash"] for one in (outcome, again)]
    assert hashes[0] != hashes[1]
    wrong = write_map(tmp_path, "T1map", pdff, np.eye(4), {"T1": pdff, "M0": signal})
    found, outcome = run(tmp_path, wrong, regions="thigh")
    assert "no water and fat" in outcome["Maps"]["T1map"]["reason"]
