"""Heads with skull, scalp, face and neck: the template's tissues come to the brain within, in any orientation."""

import json

import numpy as np
import pytest
import simulated_brain as brain
import whole_head as head
from test_transfer_regions import run, template_folder, write_map  # noqa: F401

from isocenter.io.nifti import write_image
from isocenter.registration import transfer_tissues
from isocenter.tissues import TISSUES, divide_tissues, synthesize_contrast
from transfer_labels import BRAIN

#: Shape and affine of stacks: a slab as the trial's, and the whole head in three orientations.
STACKS = {
    "slab": (brain.SHAPE, brain.AFFINE),
    "axial": ((60, 64, 36), np.array([[-4.0, 0, 0, 118], [0, 4, 0, -126], [0, 0, 5, -130], [0, 0, 0, 1]])),
    "sagittal": ((64, 60, 30), np.array([[0, 0, 6.0, -87], [-4, 0, 0, 126], [0, 4, 0, -120], [0, 0, 0, 1]])),
    "coronal": ((60, 60, 36), np.array([[-4.0, 0, 0, 118], [0, 0, 6, -100], [0, 4, 0, -120], [0, 0, 0, 1]])),
}


def scan(seed, shape, affine):
    """T1 and T2 of a head that moved between them: images, and the truth of each."""
    rng = np.random.default_rng(seed)
    images, truth = [], []
    for motion, times, name in ((np.eye(4), head.T1, "T1"), (brain.random_motion(rng, 2, 2), head.T2, "T2")):
        tissue = head.fractions(seed, shape, affine, motion)
        time = head.relaxation(tissue, times)
        noisy = time * (1 + 0.02 * rng.standard_normal(shape))
        images.append((synthesize_contrast(noisy, head.amplitude(tissue), name), affine))
        truth.append((tissue, time))
    return images, truth


def score(found, truth):
    """By tissue: Dice of the hard labels, and medians of the true map under them and under the true labels."""
    tissue, time = truth
    most = np.argmax(np.stack([*tissue[:3], 1 - tissue[:3].sum(axis=0)]), axis=0)
    hard = divide_tissues(found, dict.fromkeys(TISSUES, 0.0))
    scores = {}
    for number, name in enumerate(TISSUES[:2]):
        a, b = hard[name], most == number
        dice = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        scores[name] = dice, float(np.nanmedian(time[a]) / np.nanmedian(time[b]) - 1)
    return scores


@pytest.mark.parametrize(
    ("stack", "seed"),
    [("slab", 11), *(pytest.param(s, 12, marks=pytest.mark.slow) for s in ("axial", "sagittal", "coronal"))],
)
def test_tissues_are_found_in_a_whole_head(stack, seed):
    images, truth = scan(seed, *STACKS[stack])
    found = transfer_tissues(images, brain.template(), seed=1)
    assert found.is_extracted
    for name, probabilities, true in zip(("T1", "T2"), found.probabilities, truth, strict=True):
        scores = score(probabilities, true)
        print("MEASURED", stack, seed, name, scores, round(found.correlation, 3))
        for dice, off in scores.values():
            assert dice >= 0.85
            assert abs(off) <= 0.01


@pytest.mark.parametrize("has_mask", [False, True])
def test_the_participants_own_scan_may_be_a_whole_head(template_folder, tmp_path, has_mask):  # noqa: F811
    """With noise in its air and a coil in it; the brain by a mask beside it, or by the template."""
    shape, affine = (60, 72, 42), np.array([[-3.5, 0, 0, 103], [0, 3.5, 0, -123], [0, 0, 3.5, -62], [0, 0, 0, 1]])
    tissue = head.fractions(2, shape, affine)
    t1 = np.nan_to_num(head.relaxation(tissue, head.T1), nan=9.0)
    coil = np.linspace(0.85, 1.15, shape[0])[:, None, None]
    noise = np.random.default_rng(1).normal(0, 8, (2, *shape))
    image = np.hypot(900 * coil * head.amplitude(tissue) * np.exp(-t1 / 1.2) + noise[0], noise[1]).astype(np.float32)
    sent = [tmp_path / "sub-T01_ses-01_T1w.nii.gz"]
    write_image(sent[0], image, affine)
    if has_mask:
        sent.append(tmp_path / "sub-T01_ses-01_desc-brain_mask.nii.gz")
        write_image(sent[1], (tissue[:3].sum(axis=0) > 0.5).astype(np.uint8), affine)
    here = head.fractions(2, brain.SHAPE, brain.AFFINE)
    time = head.relaxation(here, head.T1)
    pair = write_map(tmp_path, "T1map", time, brain.AFFINE, {"T1": time, "M0": head.amplitude(here)})
    hard = {**BRAIN, "least_probability": dict.fromkeys(TISSUES, 0.0)}
    found, outcome = run(tmp_path, pair, template_folder, structural=sent, brain=hard)
    assert outcome["Outcome"] is None, json.dumps(outcome["Outcome"])
    assert outcome["BrainExtraction"] == ("mask" if has_mask else "registration")
    most = np.argmax(np.stack([*here[:3], 1 - here[:3].sum(axis=0)]), axis=0)
    for number, name in enumerate(TISSUES[:2]):
        dice = 2 * np.count_nonzero(found[name] & (most == number))
        dice /= np.count_nonzero(found[name]) + np.count_nonzero(most == number)
        print("MEASURED structural", has_mask, name, dice, outcome["Correlation"])
        assert dice >= 0.85


def test_a_mask_that_lies_elsewhere_is_a_reason(template_folder, tmp_path):  # noqa: F811
    image, affine = brain.structural_scan(2)
    sent = [tmp_path / "sub-T01_ses-01_T1w.nii.gz", tmp_path / "sub-T01_ses-01_desc-brain_mask.nii.gz"]
    write_image(sent[0], image, affine)
    far = affine.copy()
    far[:3, 3] += 500
    write_image(sent[1], (image > 0).astype(np.uint8), far)
    here = brain.fractions(2)
    time = brain.relaxation(here, brain.T1)
    pair = write_map(tmp_path, "T1map", time, brain.AFFINE, {"T1": time, "M0": brain.amplitude(here)})
    found, outcome = run(tmp_path, pair, template_folder, structural=sent)
    assert found == {}
    assert "does not meet the structural scan" in outcome["Outcome"]["reason"]
