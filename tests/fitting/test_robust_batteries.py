"""One corrupted sample in each voxel: robust fits stay near what the clean data give, and say where they cannot.

In each voxel one sample, drawn at random, is wrong by 30 %, up or down at random, on top of noise at a signal-to-noise
ratio of 100 (the largest noiseless sample of the median voxel over the noise). 30 % of that sample's own noiseless
signal is the harder case: where the signal is small, the error is too small to be told from noise and yet pulls. 30 %
of the voxel's largest sample, as a motion or a spike would do, is asked beside it. The 95th percentile of the absolute
error may grow by a factor of 1.4 over that of a plain fit of the clean data.
"""

from functools import cache

import numpy as np
import pytest

from isocenter import fitting, models
from isocenter.errors import FitError

VOXELS = 10_000
SNR = 100.0
CORRUPTION = 0.3
ALLOWED = 1.4
AMOUNTS = ("of its own signal", "of the largest signal")

#: Model, acquisition, truths, the parameter that is asked for.
BATTERIES = {
    "variable flip angle, 6 angles": (
        "t1_variable_flip_angle",
        {"FlipAngle": [2.0, 4.0, 7.0, 11.0, 16.0, 25.0], "RepetitionTimeExcitation": 0.015},
        {"T1": (0.5, 2.0), "M0": (8000.0, 12000.0)},
        "T1",
    ),
    "inversion recovery, 10 TI": (
        "t1_inversion_recovery",
        {"InversionTime": [0.05, 0.1, 0.2, 0.35, 0.55, 0.8, 1.2, 1.8, 2.7, 4.0]},
        {"T1": (0.5, 2.0), "M0": (800.0, 1200.0), "inversion_efficiency": (0.85, 1.0)},
        "T1",
    ),
    "T2*, 12 echoes": (
        "t2star_multi_echo",
        {"EchoTime": [0.004 * k for k in range(1, 13)]},
        {"T2star": (0.012, 0.05), "S0": (800.0, 1200.0)},
        "T2star",
    ),
    "T2, 32 echoes": (
        "t2_multi_echo",
        {"EchoTime": [0.01 * k for k in range(1, 33)]},
        {"T2": (0.04, 0.15), "S0": (800.0, 1200.0)},
        "T2",
    ),
    "T2 by phase graph, 32 echoes": (
        "t2_extended_phase_graph",
        {"EchoTime": [round(0.01 * k, 3) for k in range(1, 33)]},
        {"T2": (0.04, 0.15), "B1": (0.8, 1.1), "S0": (800.0, 1200.0)},
        "T2",
    ),
    "ADC, 8 b-values": (
        "adc_monoexponential",
        {"DiffusionBValue": [0.0, 100.0, 200.0, 350.0, 500.0, 650.0, 800.0, 1000.0]},
        {"ADC": (0.6e-3, 2.0e-3), "S0": (800.0, 1200.0)},
        "ADC",
    ),
}

#: Of the model, where there are any.
OPTIONS = {
    "T2 by phase graph, 32 echoes": {"profile": "slr", "time_bandwidth": (5.0, 5.0), "thickness_ratio": 1.2},
}


@cache
def draw(battery, amount):
    """Bound model, truth of the parameter, clean and corrupted noisy signals."""
    name, acquisition, limits, parameter = BATTERIES[battery]
    bound = models.get(name).bind(acquisition, **OPTIONS.get(battery, {}))
    rng = np.random.default_rng(17)
    truth = {key: rng.uniform(*limit, VOXELS) for key, limit in limits.items()}
    signal = bound.predict(truth)
    sigma = np.median(signal.max(axis=-1)) / SNR
    noise = sigma * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    hit = rng.integers(bound.n, size=VOXELS)[:, np.newaxis]
    sign = rng.choice([-1.0, 1.0], size=(VOXELS, 1))
    wrong = signal.copy()
    own = np.take_along_axis(signal, hit, 1)
    size = own if amount == "of its own signal" else signal.max(axis=-1, keepdims=True)
    np.put_along_axis(wrong, hit, own + sign * CORRUPTION * size, 1)
    # Only inversion recovery has samples near zero, whose sign the magnitude loses; elsewhere noise is added as it is.
    finish = np.abs if bound.separable.is_magnitude else np.real
    return bound, parameter, truth[parameter], finish(signal + noise), finish(wrong + noise)


@cache
def errors(battery, amount):
    """95th percentiles of |estimate / truth - 1|: clean and plain, corrupted and plain, corrupted and robust."""
    bound, parameter, true, clean, wrong = draw(battery, amount)
    found = {}
    for key, signal, robust in (("clean", clean, None), ("plain", wrong, None), ("tukey", wrong, "tukey")):
        fit = fitting.fit(bound, signal, robust=robust)
        assert fit.ok.mean() > 0.97
        found[key] = np.nanpercentile(np.abs(fit.value[parameter] / true - 1), 95)
    return found


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("battery", BATTERIES)
def test_a_corrupted_sample_moves_a_plain_fit(battery, amount):
    """Else the next test would ask nothing."""
    found = errors(battery, amount)
    assert found["plain"] > 1.5 * found["clean"]


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("battery", BATTERIES)
def test_a_corrupted_sample_hardly_moves_a_robust_fit(battery, amount):
    found = errors(battery, amount)
    assert found["tukey"] <= ALLOWED * found["clean"], found["tukey"] / found["clean"]


def test_with_four_b_values_the_fit_says_that_robustness_is_not_available():
    bound = models.get("adc_monoexponential").bind({"DiffusionBValue": [0.0, 300.0, 600.0, 1000.0]})
    signal = bound.predict({"ADC": np.full(3, 1e-3), "S0": 1000.0})
    for robust in ("tukey", "huber"):
        with pytest.raises(FitError, match=r"(?i)robust"):
            fitting.fit(bound, signal, robust=robust)
