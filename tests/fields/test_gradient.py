"""Gradients of B0 and what they do to T2*: known fields, and fits of voxels that hold many turned spins."""

import numpy as np
import pytest

from isocenter import models
from isocenter.fields.gradient import measure_gradient, predict_shortening
from isocenter.fitting import fit

SIZE = np.array([2.0, 2.0, 3.0])
ECHOES = 0.004 * np.arange(1, 9)


def test_a_linear_field_has_its_gradient_up_to_the_rim():
    index = np.moveaxis(np.indices((12, 14, 8)), 0, -1) * SIZE
    field = index @ [0.5, -1.5, 4.0]
    field[:3] = np.nan
    found = measure_gradient(field, SIZE)
    np.testing.assert_allclose(found[3:], np.broadcast_to([0.5, -1.5, 4.0], found[3:].shape), atol=1e-9)
    assert np.isnan(found[:3]).all()


def test_a_bow_has_the_gradient_of_its_middle():
    z = np.arange(9) * SIZE[2]
    field = np.broadcast_to(0.2 * (z - 12) ** 2, (3, 3, 9)).copy()
    np.testing.assert_allclose(measure_gradient(field, SIZE)[1, 1, 1:-1, 2], 0.4 * (z[1:-1] - 12))


def test_a_voxel_without_neighbors_has_none_and_one_slice_has_no_gradient_across():
    field = np.full((5, 5, 1), np.nan)
    field[2, 2] = 3.0
    assert np.isnan(measure_gradient(field, SIZE)[2, 2, 0, :2]).all()
    field[2, 3] = 7.0
    np.testing.assert_allclose(measure_gradient(field, SIZE)[2, 2, 0, 1:], [2.0, 0.0])


@pytest.mark.parametrize("t2star", [0.015, 0.030, 0.060])
@pytest.mark.parametrize("gradient", [(0.0, 0.0, 2.0), (0.0, 0.0, 4.0), (2.0, 1.0, 3.0), (0.0, 0.0, 0.0)])
def test_the_predicted_shortening_is_that_of_a_fit(gradient, t2star):
    """Spins at 60 places along each edge of a voxel, their sum fitted by the T2* model."""
    place = (np.arange(60) + 0.5) / 60 - 0.5
    left = np.ones(ECHOES.size)
    for g, d in zip(gradient, SIZE, strict=True):
        left = left * np.abs(np.exp(2j * np.pi * g * d * place[:, None] * ECHOES).mean(axis=0))
    signal = 1000 * np.exp(-ECHOES / t2star) * left
    bound = models.get("t2star_multi_echo").bind({"EchoTime": ECHOES})
    measured = fit(bound, signal[np.newaxis]).value["T2star"]
    shortening = predict_shortening(np.array([gradient]), SIZE, ECHOES, measured)[0]
    actual = 1 - measured[0] / t2star  # share of the rate that was added
    assert shortening == pytest.approx(actual, abs=0.01 + 0.06 * actual)


def test_past_the_first_zero_everything_is_marked():
    shortening = predict_shortening(np.array([[0.0, 0.0, 20.0]]), SIZE, ECHOES, np.array([0.005]))
    assert shortening[0] > 0.5


def test_what_is_not_known_is_not_predicted():
    found = predict_shortening(np.array([[np.nan, 0, 1.0], [0, 0, 1.0]]), SIZE, ECHOES, np.array([0.03, np.nan]))
    assert np.isnan(found).all()
