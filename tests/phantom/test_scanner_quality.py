"""Inversion efficiency, B1 and signal to noise of the vials."""

import numpy as np
import pytest

from isocenter.phantom.scanner_quality import measure_scanner_quality
from isocenter.volume import ParameterMap, Series

SHAPE = (30, 30, 1)


def stage():
    """Two vials at known voxels in a map of one slice, 1 mm voxels."""
    at = np.array([[8.0, 8.0, 0.0], [20.0, 20.0, 0.0]])
    value = np.ones(SHAPE, np.float32)
    parameter_map = ParameterMap(value, 0.01 * value, np.zeros(SHAPE, np.uint8), np.eye(4), "s")
    i = np.arange(30)[:, None, None]
    efficiency = np.where(i < 14, 0.95, 0.85) * np.ones(SHAPE)
    efficiency[8, 8] = np.nan  # one bad voxel
    residual = np.where(i < 14, 2.0, 4.0) * np.ones(SHAPE)
    data = np.stack([-100.0 * np.ones(SHAPE), 60 * np.ones(SHAPE)], axis=-1)
    series = Series(data, np.eye(4), {"InversionTime": [0.05, 2.0]})
    return series, parameter_map, {"inversion_efficiency": efficiency, "residual": residual}, np.array([1, 2]), at, 10.0


def test_each_vial_has_the_median_of_its_voxels():
    table = measure_scanner_quality(*stage())
    assert table["vial"].tolist() == [1, 2]
    assert table["inversion_efficiency"].tolist() == pytest.approx([0.95, 0.85])
    assert table["snr"].tolist() == pytest.approx([50.0, 25.0])
    assert table["b1"].isna().all()


def test_without_layers_there_is_no_figure():
    series, parameter_map, _, *where = stage()
    table = measure_scanner_quality(series, parameter_map, {}, *where)
    assert table[["inversion_efficiency", "b1", "snr"]].isna().all(axis=None)
