"""Breathing: organs that move and bend behind a wall that stands still, in series whose contrast inverts."""

import numpy as np
import pytest
from scipy import ndimage

from isocenter import models
from isocenter.fitting import fit
from isocenter.motion import resample_series
from isocenter.registration import align_volumes
from isocenter.registration.deformable import deform_by_model
from isocenter.series_model import bind_series

SHAPE, SPACING = (72, 64, 1), np.array([3.0, 3.0, 8.0])
AFFINE = np.diag([*SPACING, 1.0])
TIMES = np.array([0.1, 0.18, 0.3, 0.5, 0.8, 1.2, 1.9, 3.0])
#: How far the organs' middle moves down in each volume, and sideways [mm]; the last is the reference.
BREATHS = np.array([[9, 1], [-4, 0], [12, -2], [6, 1], [-6, 1], [10, 2], [3, -1], [0, 0]], float)
#: Centers and half axes [voxels], and T1 [s]: body, liver, kidneys' cortex and medulla, aorta, a lesion.
PARTS = [
    ((36, 32), (31, 26), 0.30), ((22, 26), (13, 15), 0.78), ((50, 22), (8, 12), 1.15), ((50, 22), (4, 7), 1.65),
    ((50, 44), (8, 11), 1.15), ((50, 44), (4, 6), 1.65), ((36, 34), (3, 3), 1.9), ((20, 22), (3, 3), 1.4),
]  # fmt: skip
SNR = 60.0


def anatomy(place):
    """T1 [s] and proton density at places (x, y, 2) [voxels] of the reference volume; 0 outside of the body."""
    t1, density = np.full(place.shape[:2], 1.0), np.zeros(place.shape[:2])
    for center, half, value in PARTS:
        # Edges as soft as a voxel makes them.
        radius = np.sqrt(np.sum(((place - center) / half) ** 2, axis=-1))
        share = np.clip(0.5 + (1 - radius) * min(half), 0, 1)
        t1, density = t1 + share * (value - t1), density + share * ((0.6 if half[0] > 30 else 1.0) - density)
    return t1, density


def reach(place):
    """How much of a breath a place (..., 2) [voxels] of the scanner takes part in: all inside, nothing at the wall."""
    return np.exp(-np.sum(((place - (36, 32)) / (19, 15)) ** 4, axis=-1))


def truth_of(breath):
    """(x, y, 2) array [mm]: where a point of the reference lies in a volume, less the point (a fixed point)."""
    index = np.moveaxis(np.indices(SHAPE[:2]), 0, -1).astype(float)
    moved = np.zeros_like(index)
    for _ in range(60):
        moved = reach(index + moved)[..., None] * breath / SPACING[:2]
    return moved * SPACING[:2]


def breathe(seed):
    """A series, and the true displacements (n, x, y, 2) [mm]."""
    rng = np.random.default_rng(seed)
    index = np.moveaxis(np.indices(SHAPE[:2]), 0, -1).astype(float)
    volumes = []
    for time, breath in zip(TIMES, BREATHS, strict=True):
        t1, density = anatomy(index - reach(index)[..., None] * breath / SPACING[:2])
        signal = 1000 * density * (1 - 1.95 * np.exp(-time / t1) + 0.95 * np.exp(-5 / t1))
        noise = rng.normal(0, 1000 / SNR, (2, *SHAPE))
        volumes.append(np.hypot(signal[..., None] + noise[0], noise[1]))
    return np.stack(volumes, axis=-1).astype(np.float32), np.stack([truth_of(breath) for breath in BREATHS])


def t1_error(data, organs):
    """The median error of T1 over the organs [1]."""
    known = {"InversionTime": TIMES, "RepetitionTime": 5.0}
    found = fit(models.get("t1_inversion_recovery").bind(known), data, mask=organs)
    index = np.moveaxis(np.indices(SHAPE[:2]), 0, -1).astype(float)
    return float(np.nanmedian(np.abs(found.value["T1"] / anatomy(index)[0][..., None] - 1)[organs]))


def measure(seed):
    data, truth = breathe(seed)
    index = np.moveaxis(np.indices(SHAPE[:2]), 0, -1).astype(float)
    whole, t1 = (np.repeat(a[..., None], SHAPE[2], axis=2) for a in (anatomy(index)[1] > 0.5, anatomy(index)[0]))
    organs = ndimage.binary_dilation(whole & (t1 > 0.6), iterations=1)
    bind = bind_series("t1_inversion_recovery", {"InversionTime": TIMES, "RepetitionTime": 5.0}, TIMES.size)
    moved = deform_by_model(data, SPACING, whole, 7, bind, seed=seed)
    left = {"deformable": moved[..., :2], "none": np.zeros_like(moved[..., :2])}
    rigid = align_volumes(data, AFFINE, method="reference", inversion_time=TIMES, mask=organs, seed=seed).matrices
    points = np.indices(SHAPE).reshape(3, -1).T * SPACING
    left["reference"] = np.stack([(points @ m[:3, :3].T + m[:3, 3] - points)[:, :2].reshape(*SHAPE, 2) for m in rigid])
    # Within an even organ nothing tells a displacement: what counts is that across edges, where T1 has a slope.
    slope = np.stack(np.gradient(ndimage.gaussian_filter(anatomy(index)[0], 0.7)), axis=-1)
    steep = np.linalg.norm(slope, axis=-1)
    edges = ndimage.binary_erosion(organs[:, :, 0]) & (steep > 0.05)
    across = slope / np.maximum(steep, 1e-9)[..., None]
    off = {
        name: np.array([
            [np.median(np.abs(np.sum(step * across, axis=-1))[edges]), np.median(np.linalg.norm(step, axis=-1)[edges])]
            for step in d[:7, :, :, 0] - truth[:7]
        ])
        for name, d in left.items()
    }  # fmt: skip
    infinite, still = np.full(8, np.inf), [np.eye(4)] * 8
    back = {
        "none": data,
        "deformable": resample_series(data, infinite, still, AFFINE, moved),
        "reference": resample_series(data, infinite, rigid, AFFINE),
        "true": resample_series(
            data, infinite, still, AFFINE,
            np.concatenate([np.repeat(truth[..., None, :], SHAPE[2], axis=3), np.zeros((8, *SHAPE, 1))], axis=-1),
        ),
    }  # fmt: skip
    return moved, off, {name: t1_error(series, organs) for name, series in back.items()}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_known_breathing_is_found_by_the_model(seed):
    moved, off, error = measure(seed)
    middle = {name: np.median(each, axis=0) for name, each in off.items()}
    print("MEASURED [mm]", seed, {name: each.round(2) for name, each in middle.items()}, error)
    assert not moved[..., 2].any(), "one slice tells nothing of a motion through it"
    assert not moved[7].any(), "the reference stays in place"
    # Across edges, to within a third of a voxel; rigid motion of the whole cannot follow what bends.
    assert middle["deformable"][0] <= 0.3 * SPACING[0]
    assert middle["deformable"][0] < 0.5 * middle["none"][0]
    assert middle["deformable"][0] < middle["reference"][0]
    assert error["true"] < error["deformable"] < error["reference"] < error["none"]
