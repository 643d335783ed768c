"""Label transfer on simulated heads whose anatomy is known: overlap, and medians under the labels.

Heads 11 to 18 (docs/validation.md); here the first four. White and gray matter, T1 and T2 of a moved head, 2 % noise.
"""

from functools import cache

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
    true_labels,
)

from isocenter.regions.atlas_region import AtlasRegion
from isocenter.regions.brain import divide_brain
from isocenter.regions.erosion import Erosion
from isocenter.registration import segment_tissues, transfer_tissues
from isocenter.tissues import TISSUES, divide_tissues, synthesize_contrast

HEADS = (11, 12, 13, 14)
MAPS = ((0, "T1"), (1, "T2"))
#: Of every tissue, the voxels that it most probably is.
HARD: dict[str, float] = {}


def make_atlas():
    """Lobes before and behind the middle, and a pair of nuclei, on the template's grid."""
    source = template()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in source.image.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index @ source.affine[:3, :3].T + source.affine[:3, 3], -1, 0)
    brain = sum(source.tissues.values()) > 0.5
    labels = np.where(brain, np.where(y > -18, 1, 2), 0).astype(np.int16)
    labels[((np.abs(x) - 16) / 9) ** 2 + ((y + 10) / 20) ** 2 + ((z - 8) / 10) ** 2 < 1] = 3
    return labels


ATLAS = [
    AtlasRegion(1, "anterior_lobe", "gray_matter"),
    AtlasRegion(2, "posterior_lobe", "gray_matter"),
    AtlasRegion(3, "nuclei", "", "deep_gray"),
]


@cache
def head(seed):
    """Images of a head, what was brought to them, their true fractions, times, and atlas labels."""
    rng = np.random.default_rng(seed)
    moved = random_motion(rng, 2.0, 2.0)
    images, truth = [], []
    for motion, times, name in ((np.eye(4), T1, "T1"), (moved, T2, "T2")):
        tissue = fractions(seed, motion)
        time = relaxation(tissue, times)
        noisy = time * (1 + 0.02 * rng.standard_normal(SHAPE))
        images.append((synthesize_contrast(noisy, amplitude(tissue), name), AFFINE))
        truth.append((dict(zip(TISSUES, tissue, strict=True)), time, true_labels(seed, make_atlas(), motion)))
    found = transfer_tissues(images, template(), seed=1, atlas=(make_atlas(), template().affine))
    return images, found, truth


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("seed", HEADS)
@pytest.mark.parametrize(("image", "name"), MAPS)
@pytest.mark.parametrize("segmentation", ["template", "atropos"])
def test_hard_labels_overlap_with_the_true_ones_and_give_their_medians(seed, image, name, segmentation):
    images, found, truth = head(seed)
    fraction, time, _ = truth[image]
    probabilities = found.probabilities[image]
    if segmentation == "atropos":
        probabilities = segment_tissues(*images[image], probabilities)
    own, true = divide_tissues(probabilities, HARD), divide_tissues(fraction, HARD)
    for tissue in ("white_matter", "gray_matter"):
        assert dice(own[tissue], true[tissue]) >= 0.85, tissue
        medians = (np.nanmedian(time[region[tissue]]) for region in (own, true))
        assert next(medians) == pytest.approx(next(medians), rel=0.01), tissue


@pytest.mark.parametrize("seed", HEADS)
@pytest.mark.parametrize(("image", "name"), MAPS)
def test_thresholds_and_erosion_give_the_medians_of_what_they_stand_for(seed, image, name):
    """The template's thresholds stand for pure voxels; an eroded hard label for the eroded true one."""
    _, found, truth = head(seed)
    fraction, time, _ = truth[image]
    pure = divide_brain(found.probabilities[image], AFFINE)
    erosion = Erosion(voxels=1)
    eroded, true = (
        divide_brain(p, AFFINE, thresholds=HARD, erosion=erosion) for p in (found.probabilities[image], fraction)
    )
    for tissue in ("white_matter", "gray_matter"):
        expected = np.nanmedian(time[fraction[tissue] > 0.9])
        assert np.nanmedian(time[pure[tissue]]) == pytest.approx(expected, rel=0.01), tissue
        assert np.nanmedian(time[eroded[tissue]]) == pytest.approx(np.nanmedian(time[true[tissue]]), rel=0.01), tissue


@pytest.mark.parametrize("seed", HEADS[:2])
@pytest.mark.parametrize(("image", "name"), MAPS)
def test_an_atlas_comes_with_the_tissues(seed, image, name):
    _, found, truth = head(seed)
    fraction, time, labels = truth[image]
    own, true = (
        divide_brain(p, AFFINE, thresholds=HARD, atlas=atlas, atlas_regions=ATLAS)
        for p, atlas in ((found.probabilities[image], found.atlas[image]), (fraction, labels))
    )
    # A nucleus of 70 voxels of 96 mm³ is mostly rim: a shift of 2 mm, half a voxel, costs it a fifth of the overlap
    # (eight heads: 0.80 to 0.90, medians 0 to 3.6 % low). No claim of 0.85 is made for it.
    assert dice(own["deep_gray_matter"], true["deep_gray_matter"]) >= 0.75
    centers = [np.argwhere(regions["deep_gray_matter"]).mean(axis=0) * [4, 4, 6] for regions in (own, true)]
    assert np.linalg.norm(centers[0] - centers[1]) < 3.0
    for region in ("cortical_gray_matter", "anterior_lobe", "posterior_lobe"):
        assert dice(own[region], true[region]) >= 0.85, region
        medians = (np.nanmedian(time[regions[region]]) for regions in (own, true))
        assert next(medians) == pytest.approx(next(medians), rel=0.015), region
    assert not (own["cortical_gray_matter"] & own["deep_gray_matter"]).any()
    lobes = own["anterior_lobe"] | own["posterior_lobe"]
    assert not (lobes & ~own["gray_matter"]).any()


def test_every_image_has_the_hash_of_its_own_transform():
    _, found, _ = head(HEADS[0])
    assert len({*found.hashes}) == 2
    assert all(len(digest) == 64 for digest in found.hashes)
    images, _, _ = head(HEADS[0])
    again = transfer_tissues(images[:1], template(), seed=1)
    assert again.hashes == found.hashes[:1]
    assert again.atlas == []


def test_tissue_is_divided_by_what_is_most_probable():
    probabilities = {
        "white_matter": np.array([0.9, 0.4, 0.2, 0.1]),
        "gray_matter": np.array([0.1, 0.6, 0.2, 0.1]),
        "csf": np.array([0.0, 0.0, 0.2, 0.7]),
    }
    hard = divide_tissues(probabilities, HARD)
    assert {name: region.tolist() for name, region in hard.items()} == {
        "white_matter": [True, False, False, False],
        "gray_matter": [False, True, False, False],
        "csf": [False, False, False, True],  # the third is air: 0.4 of it
    }
    pure = divide_tissues(probabilities, {"white_matter": 0.8, "gray_matter": 0.8})
    assert pure["white_matter"].tolist() == [True, False, False, False]
    assert not pure["gray_matter"].any()
