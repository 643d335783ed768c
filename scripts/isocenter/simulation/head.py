"""A volunteer's head: the template's tissues, warped, with relaxation times of their own.

Literature values at 3 T: gray and white matter from Wansapura 1999
(doi 10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L), the T1 of cerebrospinal fluid from Rooney 2007
(doi 10.1002/mrm.21122) and its T2 from Spijkerman 2018 (doi 10.1007/s10334-017-0659-3). Diffusion of gray and white
matter from Helenius 2002 (AJNR 23:194), that of cerebrospinal fluid is free water's at 37 degC (Holz 2000,
doi 10.1039/b005319h). Inside a voxel the tissues exchange fast: R1, R2 and the proton density mix by volume, so every
voxel has one true T1 and T2.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isocenter.simulation.seeds import stream
from isocenter.simulation.settings import SimulationSettings

TISSUES = ("gray_matter", "white_matter", "csf")
#: T1 [s], T2 [s], proton density relative to water [1].
RELAXATION = {
    "gray_matter": (1.331, 0.110, 0.82),
    "white_matter": (0.832, 0.0796, 0.70),
    "csf": (4.3, 1.9, 1.00),
}
#: Apparent diffusion coefficient [mm2/s].
DIFFUSION = {"gray_matter": 0.89e-3, "white_matter": 0.70e-3, "csf": 3.04e-3}
#: The template's maps are averages over people and blurred; one person's tissues are not. A power sharpens them.
SHARPNESS = 4
#: Spacing of the control points of warps and of the variation inside a tissue [mm].
WARP_SCALE = 40.0
VARIATION_SCALE = 30.0
#: A voxel counts for a region's truth when it holds more than this fraction of the tissue.
PURE = 0.9
#: Fewer pure voxels than this and a region's true median is not stated.
FEWEST_PURE = 5


@dataclass(frozen=True)
class Tissues:
    """The template's tissue fractions.

    fractions : (3, x, y, z) float32 array, in the order of `TISSUES`; affine : (4, 4) array to MNI millimeters
    """

    fractions: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Head:
    """A volunteer's head on the template's grid, already averaged over the scanner's voxel.

    maps : (6, x, y, z) float32 array: three tissue fractions, proton density, R1 [1/s], R2 [1/s]
    affine : (4, 4) array to the head's own millimeters (RAS)
    """

    maps: np.ndarray
    affine: np.ndarray


def sharpen_tissues(gray: np.ndarray, white: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> Tissues:
    """One person's tissues from the template's averaged maps.

    gray, white, brain : (x, y, z) arrays, probabilities of gray and white matter and the brain mask [1]; what the
    mask holds beyond the two is cerebrospinal fluid.
    """
    gray, white = (np.clip(np.asarray(a, dtype=np.float32), 0, 1) for a in (gray, white))
    probability = np.stack([gray, white, np.clip(np.asarray(brain, np.float32) - gray - white, 0, 1)])
    total = np.minimum(probability.sum(axis=0), 1)
    powered = probability**SHARPNESS
    fractions = powered / np.maximum(powered.sum(axis=0), 1e-6) * total
    return Tissues(fractions.astype(np.float32), np.asarray(affine, dtype=float))


def build_head(tissues: Tissues, participant: str, settings: SimulationSettings) -> Head:
    """The head of one volunteer, the same at every site and session."""
    shape = tissues.fractions.shape[1:]
    spacing = np.abs(np.diag(tissues.affine)[:3])
    rng = stream(settings.seed, "anatomy", participant)
    scale = 1 + settings.subject_spread * rng.standard_normal(3).clip(-2, 2) * (settings.warp_mm > 0)
    center = (np.array(shape) - 1) / 2
    coordinates = []
    for axis in range(3):
        index = np.arange(shape[axis], dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        shift = _smooth_field(rng, shape, spacing, WARP_SCALE) * np.float32(settings.warp_mm / spacing[axis])
        coordinates.append(
            (index - np.float32(center[axis])) * np.float32(scale[axis]) + np.float32(center[axis]) + shift
        )
    # Averaging over the scanner's voxel: a box of the voxel's size has the variance of this Gaussian. Its axes are
    # the head's, not the tilted scanner's; the truth comes from the same maps, so nothing is lost by it.
    sigma = np.asarray(settings.head_voxel) / spacing / np.sqrt(12)
    fractions = np.stack(
        [
            ndimage.gaussian_filter(ndimage.map_coordinates(f, coordinates, order=1), sigma, truncate=2.5)
            for f in tissues.fractions
        ]
    )
    rng = stream(settings.seed, "relaxation", participant)
    spread = np.exp(settings.subject_spread * rng.standard_normal((3, 3)).clip(-2.5, 2.5))
    true = np.array([RELAXATION[t] for t in TISSUES]) * spread
    weight = np.maximum(fractions.sum(axis=0), 1e-3)
    maps = [*fractions, np.tensordot(true[:, 2], fractions, axes=1)]
    for column in (0, 1):
        variation = 1 + settings.tissue_variation * _smooth_field(rng, shape, spacing, VARIATION_SCALE)
        maps.append(np.tensordot(1 / true[:, column], fractions, axes=1) / weight * variation)
    return Head(np.stack(maps).astype(np.float32), tissues.affine)


def sample_head(head: Head, points: np.ndarray, rotation: np.ndarray, shift: np.ndarray, first: int = 0) -> np.ndarray:
    """The head's maps at points of the scanner, the head turned and shifted.

    Parameters
    ----------
    head : Head
        The volunteer's.
    points : (..., 3) array [mm]
        RAS, about the center of turning.
    rotation : (3, 3) array
        Turn of the head.
    shift : (3,) array [mm]
        Of the head: its point h lies at rotation @ h + shift.
    first : int
        The first map that is wanted.

    Returns
    -------
    (6 - first, ...) array: three fractions, proton density, R1 [1/s], R2 [1/s]; zero outside
    """
    inverse = np.linalg.inv(head.affine)
    matrix = inverse[:3, :3] @ rotation.T
    offset = inverse[:3, :3] @ (HEAD_CENTER - rotation.T @ shift) + inverse[:3, 3]
    index = np.moveaxis(points @ matrix.T + offset, -1, 0).astype(np.float32)
    return np.stack([ndimage.map_coordinates(m, index, order=1) for m in head.maps[first:]])


#: The point of the head that a technician puts in the isocenter [mm, MNI]: so the slab holds the ventricles.
HEAD_CENTER = np.array([0.0, -18.0, 18.0])


def true_regions(sampled: np.ndarray) -> dict[str, dict[str, float]]:
    """The true T1 and T2 [s] of each tissue: the median over voxels that are purely it, by region and biomarker.

    sampled : (6, ...) array as from :func:`sample_head`
    """
    return {
        tissue: {
            "T1": float(np.median(1 / sampled[4][pure])),
            "T2": float(np.median(1 / sampled[5][pure])),
        }
        for tissue, pure in pure_voxels(sampled).items()
    }


def pure_voxels(sampled: np.ndarray) -> dict[str, np.ndarray]:
    """Where each tissue stands alone, (...) booleans; a tissue with too few such voxels is left out."""
    found = {tissue: sampled[index] > PURE for index, tissue in enumerate(TISSUES)}
    return {tissue: pure for tissue, pure in found.items() if np.count_nonzero(pure) >= FEWEST_PURE}


def true_diffusion(sampled: np.ndarray, participant: str, settings: SimulationSettings) -> np.ndarray:
    """The volunteer's apparent diffusion coefficient, (...) array [mm2/s]; tissues mix by volume inside a voxel.

    sampled : (6, ...) array as from :func:`sample_head`
    """
    draw = stream(settings.seed, "diffusion", participant).standard_normal(len(TISSUES)).clip(-2.5, 2.5)
    own = np.array([DIFFUSION[tissue] for tissue in TISSUES]) * np.exp(settings.subject_spread * draw)
    fractions = sampled[: len(TISSUES)]
    return np.tensordot(own, fractions, axes=1) / np.maximum(fractions.sum(axis=0), 1e-3)


def _smooth_field(rng: np.random.Generator, shape, spacing, scale: float) -> np.ndarray:
    """A smooth random field of unit variance, (x, y, z) float32, from control points `scale` mm apart."""
    weights = [_bspline_matrix(n, step / scale) for n, step in zip(shape, spacing, strict=True)]
    field = rng.standard_normal([w.shape[1] for w in weights])
    for axis, weight in enumerate(weights):
        field = np.moveaxis(np.tensordot(weight, field, axes=(1, axis)), 0, axis)
    return (field / field.std()).astype(np.float32)


def _bspline_matrix(n: int, step: float) -> np.ndarray:
    """(n, m) weights of a cubic B-spline at n positions `step` control points apart."""
    position = 1.0 + step * np.arange(n)
    controls = np.arange(max(int(np.ceil(n * step)), 1) + 4)
    distance = np.abs(position[:, np.newaxis] - controls[np.newaxis, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance) ** 3 / 6
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
