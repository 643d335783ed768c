"""Region statistics: a median and a standard error that covers what it should."""

import numpy as np
import pytest
from scipy import ndimage

from isocenter.entities import Flag
from isocenter.errors import TableError
from isocenter.rois import effective_count, measure_region, typical_stderr
from isocenter.volume import ParameterMap

SHAPE = (20, 20, 8)
REGION = np.zeros(SHAPE, bool)
REGION[4:16, 4:16, 1:7] = True


#: What smoothing by a Gaussian of so many voxels takes from independent noise, undone.
GAIN = {s: 1 / np.sqrt(np.sum(ndimage.gaussian_filter(np.pad([[[1.0]]], 10), s) ** 2)) for s in (0.5, 0.8)}


def make_map(value, stderr, flag=None) -> ParameterMap:
    flags = np.zeros(SHAPE, np.uint8) if flag is None else flag
    value = np.where(flags == Flag.OK, value, np.nan)
    return ParameterMap(value, np.broadcast_to(stderr, SHAPE), flags, np.eye(4), "s")


def test_median_and_counts():
    flags = np.zeros(SHAPE, np.uint8)
    flags[4:16, 4, 1] = Flag.CLIPPED
    flags[4:10, 5, 1] = Flag.AT_BOUND
    found = measure_region(make_map(np.full(SHAPE, 1.2), 0.02, flags), REGION)
    assert found.value == pytest.approx(1.2)
    assert (found.n_voxels, found.n_valid) == (864, 846)
    assert found.flags == pytest.approx({"clipped": 12 / 864, "at_bound": 6 / 864})
    assert found.describe_flags() == "at_bound 0.0069; clipped 0.014"


def test_a_region_that_leans_toward_what_lies_around_it_says_so():
    """One slice of fluid between gray matter: by a voxel's box once more it loses 2/24 of the step at its two faces."""
    layer = np.zeros(SHAPE, bool)
    layer[:, :, 4] = True
    value = np.where(layer, 4.0, 1.3)
    value[0, 0, 4] = np.nan
    flags = np.where(np.isnan(value), Flag.CLIPPED, Flag.OK).astype(np.uint8)
    found = measure_region(make_map(value, 0.02, flags), layer)
    assert found.lean == pytest.approx(-2 / 24 * 2.7)
    assert found.interior == 0
    assert found.describe_flags() == "clipped 0.0025; partial_volume 0.056"
    whole = measure_region(make_map(value, 0.02, flags), np.ones(SHAPE, bool))
    assert whole.interior == 1
    assert "partial_volume" not in whole.flags


def test_a_region_without_a_value_has_none():
    found = measure_region(make_map(1.0, 0.1, np.full(SHAPE, Flag.MASKED, np.uint8)), REGION)
    assert np.isnan(found.value)
    assert np.isnan(found.stderr)
    assert found.n_valid == 0
    assert found.flags == {"masked": 1.0}


def test_another_grid_is_refused():
    with pytest.raises(TableError, match="differ in shape"):
        measure_region(make_map(1.0, 0.1), REGION[:-1])


@pytest.mark.parametrize("smoothness", [0.0, 0.5, 0.8], ids=["independent", "resampled", "smooth"])
@pytest.mark.parametrize("spread", [1.0, 3.0], ids=["alike", "noisy_voxels"])
def test_intervals_cover_the_truth(smoothness, spread):
    """95 % intervals of a median of correlated, unevenly noisy voxels hold the truth in 85–99 % of the draws."""
    rng = np.random.default_rng(7)
    stderr = 0.02 * np.exp(np.log(spread) * rng.uniform(-1, 1, SHAPE))
    if smoothness:  # neighbors that are alike share their noise level
        stderr = ndimage.uniform_filter(stderr, 3)
    covered, draws = 0, 400
    for _ in range(draws):
        noise = rng.standard_normal(SHAPE)
        if smoothness:
            noise = ndimage.gaussian_filter(noise, smoothness)
            noise /= noise[REGION].std()
        found = measure_region(make_map(1.0 + noise * stderr, stderr), REGION)
        covered += abs(found.value - 1.0) <= 1.96 * found.stderr
    assert 0.85 <= covered / draws <= 0.99


@pytest.mark.parametrize(
    "region",
    [np.s_[5:13, 5:12, 3:4], np.s_[5:14, 5:14, 2:5], np.s_[5:9, 5:8, 2:5]],
    ids=["slice of 56", "block of 243", "block of 36"],
)
def test_intervals_of_small_compact_regions_know_their_correlation(region):
    """Smooth by half a voxel: signs about a small region's own median hide much of it, which is taken into account.

    Without that, errors were 1.31 to 1.49 times as large as their standard errors here, and 82 to 88 % were covered.
    """
    rng = np.random.default_rng(17)
    inside = np.zeros(SHAPE, bool)
    inside[region] = True
    z = []
    for _ in range(400):
        noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.5) * GAIN[0.5]
        found = measure_region(make_map(1 + 0.05 * noise, 1e-4), inside)
        z.append((found.value - 1.0) / found.stderr)
    print(f"MEASURED {np.mean(np.abs(z) <= 1.96):.3f} covered, {np.std(z):.2f} standard errors")
    assert np.mean(np.abs(z) <= 1.96) >= 0.85
    assert np.std(z) <= 1.3


def test_correlated_voxels_count_less():
    rng = np.random.default_rng(0)
    n = np.count_nonzero(REGION)
    counts = [effective_count(rng.standard_normal(SHAPE), REGION) for _ in range(20)]
    assert np.mean(counts) == pytest.approx(n, rel=0.25)  # a single count of independent voxels scatters by a third
    smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.0)
    assert effective_count(smooth, REGION) < 0.1 * n
    assert effective_count(np.ones(SHAPE), REGION) == n  # nothing varies: nothing is shared


def test_noisy_voxels_hardly_widen_a_median():
    assert typical_stderr(np.full(10, 0.3)) == pytest.approx(0.3)
    assert typical_stderr(np.array([0.1] * 9 + [100.0])) == pytest.approx(0.1 * 10 / 9, rel=1e-3)
    assert typical_stderr(np.array([0.1, np.nan, 0.0])) == pytest.approx(0.1)
    assert np.isnan(typical_stderr(np.array([np.nan])))


def test_a_varied_tissue_is_sampled_by_its_label():
    """Half of a tissue that varies from place to place tells its median as well as the interval says."""
    rng = np.random.default_rng(3)
    covered, draws = 0, 200
    for _ in range(draws):
        tissue = 1 + 0.05 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.8) * GAIN[0.8]
        label = REGION & (rng.uniform(size=SHAPE) < 0.5)
        found = measure_region(make_map(tissue, 1e-4), label)
        assert found.stderr > 10 * found.stderr_noise
        covered += abs(found.value - 1.0) <= 1.96 * found.stderr
    assert 0.85 <= covered / draws <= 0.99


def test_the_standard_error_is_never_less_than_the_noise():
    found = measure_region(make_map(np.ones(SHAPE), 0.1), REGION)
    assert found.stderr == found.stderr_noise == pytest.approx(np.sqrt(np.pi / 2) * 0.1 / np.sqrt(864))


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.08])
def test_repeats_of_one_anatomy_scatter_by_the_noise_alone(spread):
    """The label samples a tissue that varies: uncertain for the person, the same in each repeat."""
    rng = np.random.default_rng(12)
    tissue = 1.0 + spread * GAIN[0.8] * ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.8)
    found = [measure_region(make_map(tissue + rng.normal(0, 0.02, SHAPE), 0.02), REGION) for _ in range(80)]
    scatter = np.std([one.value for one in found], ddof=1)
    # The SD of 80 is good to 8 %, the spread of one drawn anatomy to some more.
    assert scatter == pytest.approx(np.mean([one.stderr_noise for one in found]), rel=0.25)
    if spread == 0.08:
        assert np.mean([one.stderr for one in found]) > 2 * scatter
