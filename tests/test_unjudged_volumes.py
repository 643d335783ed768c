"""Volumes that registration cannot judge: no signal, or a series of noise, have no motion that anybody could know."""

import json
from pathlib import Path

import numpy as np
import pytest
from simulated_brain import AFFINE, INVERSION_TIMES, SHAPE, fractions, inversion_series, random_motion
from simulated_brain import residual_displacement as displace

from isocenter import motion
from isocenter.registration import align_volumes

DATA = Path(__file__).parents[1] / "../shared/data/motion_series"
NOT_JUDGED = "left in place: not judged, as nothing in it follows the other volumes"


def moved_series(seed, **how):
    rng = np.random.default_rng(seed)
    motions = [random_motion(rng, 2.0, 2.0) for _ in INVERSION_TIMES[:-1]] + [np.eye(4)]
    return inversion_series(2, motions, **how), motions, rng


def noise(rng, *shape):
    """A magnitude of nothing but noise, twice as strong as that of the simulated head."""
    return np.hypot(*rng.standard_normal((2, *shape)) * 14)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("left", [0.0, 0.01])
def test_a_nulled_volume_that_jumped_is_not_registered(seed, left):
    """What is left of its signal lies 44 mm off and below the noise."""
    data, motions, rng = moved_series(seed)
    far = np.eye(4)
    far[1, 3] = 44.0
    jumped = inversion_series(2, [far] * len(INVERSION_TIMES))[..., 3]
    channels = rng.standard_normal((2, *SHAPE)) * 14
    data[..., 3] = np.hypot(left * jumped + channels[0], channels[1])
    found = align_volumes(data, AFFINE, inversion_time=INVERSION_TIMES, seed=seed + 1)
    assert found.used[3] == NOT_JUDGED or found.used[3].startswith("left out")
    if found.used[3] == NOT_JUDGED:
        np.testing.assert_array_equal(found.matrices[3], np.eye(4))
    others = [0, 1, 2, 4, 5, 6]
    assert [found.used[k] for k in others] == ["registered"] * 6
    assert max(displace(found.matrices[k], motions[k], fractions(2)) for k in others) < 0.6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", ["rigid", "reference", "mean"])
def test_a_series_of_noise_is_not_registered(seed, method):
    data = noise(np.random.default_rng(seed), *SHAPE, 6)
    found = align_volumes(data, AFFINE, method=method, seed=seed + 1)
    assert "registered" not in found.used
    for word, matrix in zip(found.used, found.matrices, strict=True):
        assert word == "reference" or word.startswith(("left in place", "left out"))
        # The reference's own matrix may carry the round-off of a product.
        assert word.startswith("left out") or np.allclose(matrix, np.eye(4), atol=0 if word != "reference" else 1e-12)


def test_smooth_noise_is_no_object():
    """Scanners interpolate: neighbors alike are no sign of an object."""
    from scipy import ndimage

    rng = np.random.default_rng(3)
    data = np.stack([np.abs(ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5)) * 500 for _ in range(6)], axis=-1)
    assert "registered" not in align_volumes(data, AFFINE).used


@pytest.mark.parametrize("seed", range(4))
def test_no_volume_of_a_simulated_head_is_doubted(seed):
    data, _, _ = moved_series(20 + seed, snr=17.0)  # a fifth of the usual signal over noise
    found = align_volumes(data, AFFINE, inversion_time=INVERSION_TIMES)
    assert found.used == ["registered"] * 7 + ["reference"]
    two = align_volumes(data[..., [2, 7]], AFFINE, inversion_time=INVERSION_TIMES[[2, 7]])
    assert two.used == ["registered", "reference"]


@pytest.mark.parametrize(("name", "method"), [("molli_kidney", "rigid"), ("vfa_liver", "rigid"), ("vfa_liver", "mean")])
def test_no_volume_of_a_real_series_is_doubted(name, method):
    nibabel = pytest.importorskip("nibabel")
    path = DATA / f"{name}.nii.gz"
    if not path.exists():
        pytest.skip(f"the real data are not here: {path}")
    image = nibabel.load(path)
    data = np.maximum(np.asarray(image.dataobj).astype(float), 0)
    times = json.loads((DATA / f"{name}.json").read_text()).get("InversionTime")
    found = align_volumes(data, image.affine, method=method, inversion_time=None if times is None else np.array(times))
    assert sorted(found.used) == ["reference"] + ["registered"] * (data.shape[3] - 1)
    assert motion.find_signal(data).all()
