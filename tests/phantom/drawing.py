"""Draws a slice through a plate of vials: the truth that the locator is held against."""

from dataclasses import dataclass

import numpy as np

from isocenter.entities import Flag
from isocenter.volume import ParameterMap, Series

TIMES = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0])
#: De-ionized water in the phantom's body at 3 T [s].
FLUID = 2.7


@dataclass
class Drawing:
    """A drawn series with its map, and the vials' true voxels (n, 2) in the order of the geometry."""

    series: Series
    parameter_map: ParameterMap
    voxels: np.ndarray
    inside: np.ndarray


def draw_plate(
    geometry,
    reference,
    *,
    angle=0.0,
    shift=(0.0, 0.0),
    mirrored=False,
    pixel=2.0,
    size=128,
    wall=1.0,
    noise=0.01,
    seed=0,
    slices=1,
    plate=0,
):
    """Inversion recovery of the plate at `angle` [deg], `shift` [mm] from the middle, seen from behind if `mirrored`.

    slices, plate : the stack's slices and the one that cuts the plate; the others show fluid alone
    """
    rng = np.random.default_rng(seed)
    values = {r.vial: r.value for r in reference}
    pattern = geometry.centers[:, :2] * (np.array([-1.0, 1.0]) if mirrored else 1.0)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    middle = (size - 1) / 2 * pixel + np.asarray(shift, dtype=float)
    centers = pattern @ np.array([[c, s], [-s, c]]) + middle
    fine = 3
    offset = (np.arange(fine) - (fine - 1) / 2) / fine
    axis = (np.arange(size)[:, None] + offset).ravel() * pixel
    u, v = np.meshgrid(axis, axis, indexing="ij")
    t1 = np.full(u.shape, FLUID)
    density = (np.hypot(u - middle[0], v - middle[1]) <= geometry.body_radius).astype(float)
    body = density.copy()
    radius = geometry.sphere_diameter / 2
    for vial, (x, y) in zip(geometry.vials.tolist(), centers, strict=True):
        r = np.hypot(u - x, v - y)
        density[r <= radius] = 0.0
        density[r <= radius - wall] = 1.0
        t1[r <= radius - wall] = values[vial]
    volumes = []
    for ti in TIMES:
        fluid = body * (1 - 2 * np.exp(-ti / FLUID))
        planes = [density * (1 - 2 * np.exp(-ti / t1)) if k == plate else fluid for k in range(slices)]
        mean = [p.reshape(size, fine, size, fine).mean(axis=(1, 3)) for p in planes]
        stack = np.stack(mean, axis=-1)
        volumes.append(np.abs(stack + noise * rng.standard_normal(stack.shape)))
    data = np.stack(volumes, axis=-1).astype(np.float32) * 1000
    affine = np.diag([-pixel, pixel, 6.0, 1.0])
    coarse_t1 = t1.reshape(size, fine, size, fine).mean(axis=(1, 3))
    coarse_density = density.reshape(size, fine, size, fine).mean(axis=(1, 3))
    value = np.repeat(np.where(coarse_density > 0.9, coarse_t1, np.nan)[:, :, None], slices, axis=2)
    flag = np.where(np.isfinite(value), Flag.OK, Flag.NO_SIGNAL).astype(np.uint8)
    value = value.astype(np.float32)
    fitted = ParameterMap(value, (0.01 * value).astype(np.float32), flag, affine, "s")
    series = Series(data, affine, {"InversionTime": TIMES}, np.full(len(TIMES), np.inf))
    return Drawing(series, fitted, centers / pixel, coarse_density > 0.9)
