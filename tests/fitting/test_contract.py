"""What callers naturally hand over: integers of a scanner, lists, odd memory layouts; and requests without meaning."""

import numpy as np
import pytest

from isocenter import models
from isocenter.errors import FitError, SidecarError
from isocenter.fitting import fit

NAMES = models.names()


def make(name):
    """The bound example of a model, and the signal of its typical parameters."""
    model = models.get(name)
    bound = model.bind(model.example)
    return model, bound, bound.predict(model.typical)


def check(model, found, shape, tolerance=1e-4):
    for parameter, value in model.typical.items():
        assert found.value[parameter].shape == shape
        np.testing.assert_allclose(found.value[parameter], value, rtol=tolerance, err_msg=parameter)


@pytest.mark.parametrize("name", NAMES)
def test_any_layout_of_a_signal_gives_the_same(name):
    model, bound, signal = make(name)
    volume = np.tile(signal, (2, 3, 2, 1))
    single = volume.astype(np.complex64 if np.iscomplexobj(signal) else np.float32)
    check(model, fit(bound, signal), ())
    check(model, fit(bound, signal.tolist()), ())
    check(model, fit(bound, volume), (2, 3, 2))
    check(model, fit(bound, np.asfortranarray(volume)), (2, 3, 2))
    check(model, fit(bound, np.repeat(volume, 2, axis=-1)[..., ::2]), (2, 3, 2))
    check(model, fit(bound, single), (2, 3, 2), 1e-3)
    check(model, fit(bound, single.astype(single.dtype.newbyteorder())), (2, 3, 2), 1e-3)
    check(model, fit(bound, volume[:0]), (0, 3, 2))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("name", [name for name in NAMES if not np.iscomplexobj(make(name)[2])])
def test_integers_are_fitted_as_the_numbers_they_are(name, dtype):
    """Scanners store 12 to 16 bits: sums of squares of such numbers do not fit their own type."""
    _, bound, signal = make(name)
    stored = np.rint(signal / np.abs(signal).max() * 30_000).astype(dtype)
    found, expected = fit(bound, stored[np.newaxis]), fit(bound, stored[np.newaxis].astype(float))
    for parameter in bound.names:
        np.testing.assert_array_equal(found.value[parameter], expected.value[parameter])
    np.testing.assert_array_equal(found.flag, expected.flag)


@pytest.mark.parametrize(
    "request_",
    [
        {"sigma": -1.0},
        {"sigma": 0.0},
        {"sigma": "much"},
        {"sigma": np.ones(4)},
        {"sigma": np.array([1.0, 1.0, -1.0])},
        {"saturation": np.ones(99)},
        {"saturation": "4095"},
        {"threads": 0},
        {"threads": 1.5},
        {"mask": np.ones(4, bool)},
        {"robust": "bisquare"},
        {"noise": "poisson"},
    ],
)
@pytest.mark.parametrize("name", ["t2_multi_echo", "b1_double_angle", "b0_dual_echo", "pdff_complex"])
def test_a_request_without_meaning_is_refused(name, request_):
    _, bound, signal = make(name)
    with pytest.raises(FitError) as refusal:
        fit(bound, np.tile(signal, (3, 1)), **request_)
    assert next(iter(request_)) in str(refusal.value)
    assert "expected" in str(refusal.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_noise_that_is_not_known_in_some_voxels_is_taken_from_their_residuals(name):
    """NaN in a map of the noise: such a voxel is fitted as if no sigma was given."""
    _, bound, signal = make(name)
    noisy = np.tile(signal, (2, 1)) * (1 + 0.001 * np.random.default_rng(2).standard_normal((2, bound.n)))
    found = fit(bound, noisy, sigma=np.array([np.nan, 0.01]))
    alone = fit(bound, noisy)
    for parameter in bound.names:
        assert found.stderr[parameter][0] == pytest.approx(alone.stderr[parameter][0], nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_words_are_no_signal_and_nothing_is_no_acquisition(name):
    model, bound, _ = make(name)
    with pytest.raises(FitError, match="numbers"):
        fit(bound, np.full((2, bound.n), "dark"))
    with pytest.raises(SidecarError):
        model.bind(None)


@pytest.mark.parametrize("name", NAMES)
def test_dark_and_broken_voxels_hold_no_value(name):
    _, bound, signal = make(name)
    voxels = np.tile(signal, (3, 1))
    voxels[0], voxels[1] = 0, np.nan
    found = fit(bound, voxels)
    assert found.flag[0] == found.flag[1] == 2
    assert found.flag[2] == 0
    for parameter in bound.names:
        assert np.isnan(found.value[parameter][:2]).all()
        assert np.isnan(found.stderr[parameter][:2]).all()


@pytest.mark.parametrize("hole", [complex(np.nan, 0), complex(0, np.nan), np.nan, complex(np.inf, 1)])
@pytest.mark.parametrize("name", ["pdff_complex", "t1_inversion_recovery"])
def test_half_of_a_complex_sample_is_no_sample(name, hole):
    options = {"data": "complex"} if name == "t1_inversion_recovery" else {}
    model = models.get(name)
    bound = model.bind(model.example, **options)
    signal = bound.predict(model.typical)
    signal[2] = hole
    check(model, fit(bound, signal), ())
