"""A whole head around the simulated brain: fluid, bone with marrow, scalp, face, eyes and neck; on any grid."""

from functools import cache

import numpy as np
import simulated_brain as brain
from scipy import ndimage

#: T1 [s], T2 [s] and proton density of white matter, gray matter, fluid, fat, and muscle or skin at 3 T.
T1 = np.array([*brain.T1, 0.37, 1.20])
T2 = np.array([*brain.T2, 0.085, 0.040])
PROTONS = np.array([*brain.PROTONS, 0.90, 0.75])
#: Around the brain's grid [voxels of 2 mm]: sides, back and front, below and above.
PAD = ((16, 16), (16, 30), (40, 16))


@cache
def _maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(5, x, y, z) fractions and their affine, in the person's own millimeters."""
    inner, affine = brain._anatomy(seed)
    maps = np.stack([*(np.pad(one, PAD) for one in inner), *np.zeros((2, *np.pad(inner[0], PAD).shape), np.float32)])
    affine = affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [low for low, _ in PAD]
    rng = np.random.default_rng(seed + 50)
    filled = ndimage.binary_fill_holes(maps.sum(axis=0) > 0.3)
    away = ndimage.distance_transform_edt(~filled, sampling=np.linalg.norm(affine[:3, :3], axis=0))
    place = np.moveaxis(np.indices(away.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    noise = ndimage.gaussian_filter(rng.standard_normal(away.shape).astype(np.float32), 4)
    noise /= noise.std()
    away += 0.8 * noise * (away > 3)  # bone and scalp vary in thickness
    low = place[..., 2] < -25
    face = np.sum(((place - (0, 45, -70)) / (62, 52, 55)) ** 2, axis=-1) < 1
    neck = (np.hypot(place[..., 0], place[..., 1] + 30) < 55) & (place[..., 2] < -45)
    body = (face | neck) & low & (away > 6)
    sinus = (noise > 1.1) & face & (np.abs(place[..., 0]) < 35)
    shell = (away > 8.5) & (away <= 16)
    fluid = (away > 0) & (away <= 2)
    for side in (-1, 1):
        eye = np.sum((place - (32 * side, 64, -36)) ** 2, axis=-1) < 12**2
        fluid |= eye & (away > 2)
    fat = ((away > 12) & (away <= 16)) | ((away > 4.5) & (away <= 6)) | (body & (noise < -0.7))
    muscle = (shell & ~fat) | (body & ~fat & ~sinus)
    rest = np.clip(1 - maps.sum(axis=0), 0, 1)
    for number, own in ((2, fluid), (3, fat & ~fluid), (4, muscle & ~fluid)):
        maps[number] += rest * ndimage.gaussian_filter(own.astype(np.float32), 0.6)
    return maps, affine


def fractions(seed: int, shape: tuple[int, int, int], affine: np.ndarray, motion: np.ndarray | None = None):
    """(5, x, y, z) tissue fractions on a scanner's grid, the head moved by a (4, 4) matrix in RAS mm."""
    maps, own = _maps(seed)
    isocenter = np.eye(4)
    isocenter[:3, 3] = [0.0, -18.0, 18.0]
    voxel = np.linalg.inv(own) @ isocenter @ np.linalg.inv(np.eye(4) if motion is None else motion) @ affine
    return np.stack([
        ndimage.affine_transform(one, voxel[:3, :3], voxel[:3, 3], output_shape=shape, order=1) for one in maps
    ])  # fmt: skip


def relaxation(tissue: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The one true T1 or T2 of each voxel: rates mix by volume; NaN in air and bone."""
    total = tissue.sum(axis=0)
    filled = total > 0.15
    rate = np.tensordot(1 / times, tissue, axes=1) / np.where(filled, total, 1)
    return np.where(filled, 1 / np.where(filled, rate, 1), np.nan)


def amplitude(tissue: np.ndarray) -> np.ndarray:
    return np.tensordot(PROTONS, tissue, axes=1)
