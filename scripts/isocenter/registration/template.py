"""A template's tissues brought to the images of one run."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isocenter import motion
from isocenter.errors import RegistrationError, explain
from isocenter.registration.engine import RIGID, Stage, hash_transform, run_ants_registration, to_ants
from isocenter.registration.extraction import MARGIN, place_outline, widen
from isocenter.registration.loading import load_ants
from isocenter.tissues import Template, average_blocks

#: Template to scan: rigid and affine on a coarse grid find the head, diffeomorphic (SyN, Avants 2008,
#: doi 10.1016/j.media.2007.06.004) at half the scan's resolution follows its shape.
TO_TEMPLATE = (
    Stage("Rigid[0.2]", "MI[{fixed},{moving},1,32,Regular,0.25]", (40, 20), (4, 2), (8.0, 4.0), tolerance=1e-5),
    Stage("Affine[0.2]", "MI[{fixed},{moving},1,32,Regular,0.25]", (40, 20), (4, 2), (8.0, 4.0), tolerance=1e-5),
    Stage("SyN[0.2,3,0]", "MI[{fixed},{moving},1,32]", (30,), (2,), (3.0,)),
)
#: Correlation of the scan's image and the template brought to it; below, the head was not found.
LEAST_CORRELATION = 0.6
#: The same for a brain that was cut out of a head: some bone and marrow come with it.
LEAST_WITHIN = 0.5
#: Tissue that the template does not reach, as a share of all: more is a scalp, a face or a neck.
MOST_OUTSIDE = 0.15
#: When it is not found from the centers of mass, starts this far along the head's axis are tried [mm]: a slab's
#: center is not the head's.
OTHER_STARTS = (-25.0, 25.0, -50.0, 50.0)
#: Probabilities are means over points this far apart [mm]; a thick voxel is not its center.
POINT_SPACING = 2.0


@dataclass(frozen=True)
class Transfer:
    """A template's tissues in scan space.

    probabilities : for each image, name to (x, y, z) float32 array [1]
    correlation : of the first image and the template brought to it
    hashes : for each image, the SHA-256 of the composed transform that brought the template to it
    atlas : for each image, the labels of the atlas, (x, y, z) int16 array; empty without an atlas
    is_extracted : whether the first image showed a whole head, whose skull and scalp were taken away
    """

    probabilities: list[dict[str, np.ndarray]]
    correlation: float
    hashes: list[str]
    atlas: list[np.ndarray]
    is_extracted: bool = False


def transfer_tissues(
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    template: Template,
    *,
    seed: int = 1,
    atlas: tuple[np.ndarray, np.ndarray] | None = None,
    brain: np.ndarray | None = None,
) -> Transfer:
    """Bring a template's tissues to the images of one session.

    The template is registered to the first image (rigid, affine, diffeomorphic); every other image is registered to
    the first rigidly. Each tissue map is interpolated once, through all transforms, onto points inside each voxel.
    Where the template does not fit the first image as it is, the brain is sought within a whole head
    (:func:`isocenter.registration.extraction.place_outline`).

    Parameters
    ----------
    images : pairs of (x, y, z) array and (4, 4) affine, voxel to RAS mm
        T1-weighted-like images (:func:`isocenter.tissues.synthesize_contrast`), air 0.
    template : Template
        Skull-stripped.
    seed : int
        Of ANTs' sampling.
    atlas : (x, y, z) int array and (4, 4) affine, optional
        Labels in the template's space.
    brain : (x, y, z) booleans, optional
        Where the brain of the first image is, when somebody knows.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = images[0] if brain is None else (np.where(brain, images[0][0], 0), images[0][1])
        shift, paths, correlation, is_extracted = _find_template(first, template, folder, seed)
        ways = [paths]
        for number, image in enumerate(images[1:], start=1):
            ways.append([*paths, _register_to_first(images[0], image, Path(folder, f"image{number}"), seed)])
        placed = list(zip(images, ways, strict=True))
        return Transfer(
            [_bring(template.tissues, shift @ template.affine, *image, way) for image, way in placed],
            correlation,
            [hash_transform(shift, way) for way in ways],
            [_bring_labels(atlas[0], shift @ atlas[1], *image, way) for image, way in placed] if atlas else [],
            is_extracted,
        )


@dataclass(frozen=True)
class _Match:
    """A registration of the template to an image.

    shift : (4, 4) array, what was done before · paths : of the transforms · warped : (x, y, z) array, the template
    correlation : over the image's tissue · outside : the share of it that the template does not reach
    """

    shift: np.ndarray
    paths: list[str]
    warped: np.ndarray
    correlation: float
    outside: float


def _find_template(image, template, folder, seed):
    """Shift of the template before registration, paths of its transforms, correlation, whether a brain was cut out."""
    best = None
    for number, start in enumerate((0.0, *OTHER_STARTS)):
        found = _match(image, template, start, Path(folder, f"template{number}"), seed)
        if found.correlation >= LEAST_CORRELATION and found.outside <= MOST_OUTSIDE:
            return found.shift, found.paths, found.correlation, False
        if number == 0:  # what it looks like: a head that has a scalp
            extracted = _find_within(image, template, folder, seed)
            if extracted is not None and extracted.correlation >= LEAST_WITHIN:
                return extracted.shift, extracted.paths, extracted.correlation, True
            if found.correlation >= LEAST_CORRELATION:
                return found.shift, found.paths, found.correlation, False
        best = max(filter(None, (best, found, extracted)), key=lambda match: match.correlation)
    raise RegistrationError(
        explain(
            "The template does not fit this head",
            expected=f"a correlation of {LEAST_CORRELATION} or more between the template and the scan",
            found=f"{best.correlation:.2f}, and {best.outside:.0%} of the scan's tissue beyond the template",
            remedy="look at the maps: is it a head, and is enough of it in the scan?",
        )
    )


def _find_within(image, template, folder, seed) -> _Match | None:
    """The template matched to the brain alone, which an affine match cut out of the head; None where it cut nothing."""
    data, affine = image
    outline = place_outline(image, template, seed=seed)
    if not outline.any():
        return None
    brain = np.where(widen(outline, affine, MARGIN), data, np.float32(0))
    return _match((brain, affine), template, 0.0, Path(folder, "brain"), seed) if brain.any() else None


def _match(image, template, start: float, folder: Path, seed: int) -> _Match:
    """The template registered to an image, from both centers of mass and a start along the head's axis [mm]."""
    fixed, tissue = to_ants(*image), image[0] > 0
    centers = [motion.center_of(a > 0, affine) for a, affine in (image, (template.image, template.affine))]
    shift = np.eye(4)
    shift[:3, 3] = centers[0] - centers[1] + [0.0, 0.0, start]
    moving = to_ants(template.image, shift @ template.affine)
    folder.mkdir()
    paths = run_ants_registration(fixed, moving, TO_TEMPLATE, str(folder), initial="Identity", seed=seed)
    warped = load_ants().apply_transforms(fixed, moving, paths).numpy()
    return _Match(
        shift, paths, warped, _correlate(image[0][tissue], warped[tissue]), float(np.mean(warped[tissue] <= 0))
    )


def _correlate(first: np.ndarray, second: np.ndarray) -> float:
    a, b = (values.astype(float) - values.mean(dtype=float) for values in (first, second))
    power = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / power) if power > 0 else 0.0


def _register_to_first(first, image, folder: Path, seed: int) -> str:
    folder.mkdir()
    fixed, moving = to_ants(*image), to_ants(*first)
    return run_ants_registration(fixed, moving, RIGID, str(folder), initial="Identity", seed=seed)[-1]


def _bring(tissues, tissues_affine, image, affine, paths) -> dict[str, np.ndarray]:
    """Each tissue's mean over points inside every voxel of an image's grid, through the transforms."""
    counts, grid = _points_inside(image.shape, affine)
    return {
        name: average_blocks(load_ants().apply_transforms(grid, to_ants(tissue, tissues_affine), paths).numpy(), counts)
        for name, tissue in tissues.items()
    }


def _bring_labels(labels, labels_affine, image, affine, paths) -> np.ndarray:
    """The label that most points inside every voxel have, through the transforms; of equal shares the lower number."""
    counts, grid = _points_inside(image.shape, affine)
    moving = to_ants(labels, labels_affine)  # float32 holds every int16
    points = load_ants().apply_transforms(grid, moving, paths, interpolator="nearestNeighbor").numpy()
    best, share = np.zeros(image.shape, np.int16), np.zeros(image.shape, np.float32)
    for label in np.unique(points):
        own = average_blocks((points == label).astype(np.float32), counts)
        best, share = np.where(own > share, np.int16(label), best), np.maximum(share, own)
    return best


def _points_inside(shape, affine) -> tuple[tuple[int, int, int], object]:
    """How many points lie inside a voxel along each axis, and the ANTs image of their grid."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    counts = np.maximum(np.round(spacing / POINT_SPACING).astype(int), 1)
    fine = affine.copy()
    fine[:3, :3] = affine[:3, :3] / counts
    fine[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((1 / counts - 1) / 2)
    grid = to_ants(np.zeros(np.array(shape) * counts, np.float32), fine)
    return tuple(int(count) for count in counts), grid
