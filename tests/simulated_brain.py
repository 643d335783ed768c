"""A small brain with known anatomy, motion and relaxation times, for the tests of registration and regions.

Made from the template's own tissue maps, sharpened (one person is not an average), scaled, warped and put elsewhere.
"""

from functools import cache

import numpy as np
from scipy import ndimage

from isocenter.motion import rigid_matrix
from isocenter.templates import load_mni_template
from isocenter.tissues import TISSUES, Template

SHAPE = (56, 56, 12)
AFFINE = np.array([[-4.0, 0, 0, 110], [0, 4, 0, -110], [0, 0, 6, -33], [0, 0, 0, 1]])
#: T1 [s], T2 [s] and proton density of white matter, gray matter and fluid at 3 T.
T1 = np.array([0.84, 1.33, 4.2])
T2 = np.array([0.080, 0.105, 1.5])
PROTONS = np.array([0.70, 0.82, 1.0])
INVERSION_TIMES = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 1.1, 1.8, 3.0])
REPETITION_TIME = 5.0


@cache
def template() -> Template:
    return load_mni_template()


@cache
def _shape(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a person's points lie in the template, (3, x, y, z) voxels, and their affine with the person's own size."""
    rng = np.random.default_rng(seed)
    shape = template().image.shape
    warp = []
    for _ in range(3):
        field = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 10)
        warp.append(field / field.std() * 1.0)  # 2 mm
    size = np.diag([*(1 + 0.03 * rng.standard_normal(3)), 1.0])
    return np.indices(shape, dtype=np.float32) + np.stack(warp), size @ template().affine


@cache
def _anatomy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, x, y, z) fractions averaged over a scanner's voxel, and their affine with the person's own size."""
    source = template()
    probability = np.stack([source.tissues[name] for name in TISSUES])
    powered = probability**4
    fractions = powered / np.maximum(powered.sum(axis=0), 1e-6) * np.minimum(probability.sum(axis=0), 1)
    index, affine = _shape(seed)
    moved = np.stack([ndimage.map_coordinates(f, index, order=1) for f in fractions])
    smooth = np.stack([ndimage.gaussian_filter(f, np.array([4, 4, 6]) / 2 / np.sqrt(12)) for f in moved])
    return smooth, affine


def _scanner_voxels(affine: np.ndarray, motion: np.ndarray | None, grid: np.ndarray | None = None) -> np.ndarray:
    """(4, 4) matrix from the scanner's voxels (of `AFFINE`, or of another grid) to the person's, the head moved."""
    isocenter = np.eye(4)
    isocenter[:3, 3] = [0.0, -18.0, 18.0]
    grid = AFFINE if grid is None else grid
    return np.linalg.inv(affine) @ isocenter @ np.linalg.inv(np.eye(4) if motion is None else motion) @ grid


def true_labels(seed: int, labels: np.ndarray, motion: np.ndarray | None = None) -> np.ndarray:
    """An atlas' labels, drawn on the template's grid, as this person has them at the scanner's voxels."""
    index, affine = _shape(seed)
    own = ndimage.map_coordinates(labels, index, order=0)
    return ndimage.affine_transform(own, _scanner_voxels(affine, motion), output_shape=SHAPE, order=0)


def fractions(
    seed: int,
    motion: np.ndarray | None = None,
    shape: tuple[int, int, int] | None = None,
    grid: np.ndarray | None = None,
) -> np.ndarray:
    """(3, x, y, z) tissue fractions on the scanner's grid (or another one), the head moved by a matrix in RAS mm."""
    maps, affine = _anatomy(seed)
    voxel = _scanner_voxels(affine, motion, grid)
    return np.stack([ndimage.affine_transform(f, voxel, output_shape=shape or SHAPE, order=1) for f in maps])


def structural_scan(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A T1-weighted scan without skull on a grid of 2 mm, brighter on one side by the coil; and its (4, 4) affine."""
    maps, affine = _anatomy(seed)
    back = np.eye(4)
    back[:3, 3] = [0.0, 18.0, -18.0]  # the isocenter is not the template's origin
    tissue = maps.sum(axis=0)
    time = np.tensordot(T1, maps, axes=1) / np.maximum(tissue, 1e-3)
    coil = np.linspace(0.85, 1.15, maps.shape[1])[:, np.newaxis, np.newaxis]
    return np.where(tissue > 0.5, 800 * coil * np.exp(-time), 0).astype(np.float32), back @ affine


def relaxation(tissue: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The one true T1 or T2 of each voxel: rates mix by volume; NaN in air."""
    total = tissue.sum(axis=0)
    filled = total > 0.05
    rate = np.tensordot(1 / times, tissue, axes=1) / np.where(filled, total, 1)
    return np.where(filled, 1 / np.where(filled, rate, 1), np.nan)


def amplitude(tissue: np.ndarray) -> np.ndarray:
    return np.tensordot(PROTONS, tissue, axes=1)


def random_motion(rng: np.random.Generator, millimeters: float, degrees: float) -> np.ndarray:
    """Uniform shifts and turns about the isocenter, per axis."""
    turn = np.radians(rng.uniform(-degrees, degrees, 3))
    return rigid_matrix(rng.uniform(-millimeters, millimeters, 3), turn, np.zeros(3))


def inversion_series(
    seed: int, motions: list[np.ndarray], *, snr: float = 90.0, efficiency: float = 0.95
) -> np.ndarray:
    """(x, y, z, n) magnitudes of an inversion recovery during which the head moves."""
    rng = np.random.default_rng(seed + 1000)
    volumes = []
    for time, motion in zip(INVERSION_TIMES, motions, strict=True):
        tissue = fractions(seed, motion)
        t1 = np.nan_to_num(relaxation(tissue, T1), nan=1.0)
        late = (2 * efficiency - 1) * np.exp(-REPETITION_TIME / t1)
        signal = 1000 * amplitude(tissue) * (1 - 2 * efficiency * np.exp(-time / t1) + late)
        noise = rng.standard_normal((2, *SHAPE)) * 700 / snr
        volumes.append(np.hypot(signal + noise[0], noise[1]))
    return np.stack(volumes, axis=3).astype(np.float32)


def residual_displacement(found: np.ndarray, true: np.ndarray, tissue: np.ndarray) -> float:
    """Median distance between where two motions put the brain's points [mm]."""
    points = np.argwhere(tissue.sum(axis=0) > 0.5)
    points = np.column_stack([points, np.ones(len(points))]) @ AFFINE.T
    return float(np.median(np.linalg.norm((points @ (found - true).T)[:, :3], axis=1)))
