"""The foreground keeps what is dim and leaves out air."""

from pathlib import Path

import numpy as np
import pytest

from isocenter.fitting.foreground import find_foreground, threshold_otsu


def test_vials_of_any_brightness_are_kept_and_air_is_not():
    rng = np.random.default_rng(2)
    x, y = np.mgrid[:128, :128]
    signal = np.zeros((128, 128, 1, 8))
    inside = np.zeros((128, 128, 1), bool)
    # The dimmest vial is fifteen noise levels bright, the brightest a hundred.
    for i, level in enumerate(np.geomspace(150, 1000, 14)):
        cx, cy = 64 + 45 * np.cos(2 * np.pi * i / 14), 64 + 45 * np.sin(2 * np.pi * i / 14)
        disk = (x - cx) ** 2 + (y - cy) ** 2 < 25
        inside[disk] = True
        signal[disk] = level
    noisy = np.abs(signal + rng.normal(0, 10, signal.shape) + 1j * rng.normal(0, 10, signal.shape))
    found = find_foreground(noisy)
    assert found[inside].all()
    assert found[~inside].mean() < 0.01


def test_air_that_is_exactly_zero_and_missing_samples():
    data = np.zeros((10, 10, 2, 4))
    data[2:8, 2:8] = np.linspace(5, 500, 36).reshape(6, 6, 1, 1)
    data[0, 0] = np.nan
    data[4, 4, 0, 1] = np.nan
    found = find_foreground(data)
    np.testing.assert_array_equal(found, np.nan_to_num(data).max(axis=-1) > 0)


def test_an_image_full_of_tissue_has_no_air():
    """Tissues of any brightness side by side, as in a field of view inside the body."""
    x, y = np.mgrid[:64, :64]
    tissue = 500 + 300 * np.sin(x / 5.0) * np.cos(y / 7.0)
    data = tissue[:, :, None, None] * np.ones(4) + np.random.default_rng(3).normal(0, 5, (64, 64, 1, 4))
    assert find_foreground(data).mean() > 0.99


def test_kidneys_beside_bright_fat_are_foreground():
    """A real MOLLI series whose air is a strip at its edge: organs are dimmer than fat, yet no air."""
    nibabel = pytest.importorskip("nibabel")
    path = Path(__file__).parents[2] / "../shared/data/motion_series/molli_kidney.nii.gz"
    if not path.exists():
        pytest.skip(f"the real data are not here: {path}")
    data = np.asarray(nibabel.load(path).dataobj).astype(float)
    found = find_foreground(np.where(data < 0, np.nan, data))
    organs = {"fat": (62, 167), "liver": (55, 96), "spleen": (187, 73), "psoas": (100, 170), "kidneys": (74, 118)}
    assert all(found[place[0], place[1], 0] for place in organs.values())
    assert 0.01 < 1 - found.mean() < 0.1


def test_an_empty_image_has_no_foreground():
    assert not find_foreground(np.zeros((4, 4, 1, 3))).any()


def test_otsu_parts_two_classes():
    values = np.concatenate([np.random.default_rng(0).normal(10, 1, 900), np.random.default_rng(1).normal(50, 3, 100)])
    assert 13 < threshold_otsu(values) < 42
