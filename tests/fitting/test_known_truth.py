"""Every registered model against known truth at several noise levels: no bias, and standard errors that cover.

Noise is Gaussian, as the plain fits assume (complex, then the magnitude, where the model searches the lost sign); its
level is one for all voxels, as in an image: the largest noiseless sample of the median voxel over the signal-to-noise
ratio. What a Rician floor does to fits is asked elsewhere.
"""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from isocenter import fitting, models

#: Voxels a case: the standard error of a coverage of 95 % is 0.22 %.
VOXELS = 10_000
NOISE_LEVELS = (50, 100, 300)

#: Uniform limits of the truths. A model that is not listed is tried at its own `typical` parameters.
SPREAD = {
    "adc_monoexponential": {"ADC": (0.6e-3, 2.0e-3), "S0": (800.0, 1200.0)},
    "b0_dual_echo": {"B0": (-90.0, 90.0), "S0": (0.8, 1.2)},
    "b1_actual_flip_angle": {"B1": (0.7, 1.2), "S0": (16.0, 24.0)},
    "b1_double_angle": {"B1": (0.7, 1.2), "S0": (800.0, 1200.0)},
    "extended_tofts": {"Ktrans": (0.1, 0.4), "ve": (0.2, 0.5), "vp": (0.03, 0.1)},
    "patlak": {"Ktrans": (0.005, 0.03), "vp": (0.03, 0.1)},
    "pdff_complex": {
        "W": (500.0, 900.0), "F": (100.0, 400.0), "R2star": (25.0, 80.0), "B0": (-50.0, 50.0), "phase": (-60.0, 60.0),
    },
    "pdff_magnitude": {"W": (600.0, 900.0), "F": (100.0, 300.0), "R2star": (25.0, 80.0)},
    "t1_inversion_recovery": {"T1": (0.4, 2.0), "M0": (800.0, 1200.0), "inversion_efficiency": (0.85, 1.0)},
    "t1_look_locker": {"T1": (0.8, 1.5), "A": (800.0, 1200.0)},
    "t1_variable_flip_angle": {"T1": (0.5, 2.0), "M0": (800.0, 1200.0)},
    # Away from 180 degrees, where B1 ends and an interval cannot be symmetric (test_fit looks at that edge).
    "t2_extended_phase_graph": {"T2": (0.04, 0.15), "B1": (0.65, 0.85), "S0": (800.0, 1200.0)},
    "t2_multi_echo": {"T2": (0.03, 0.15), "S0": (800.0, 1200.0)},
    "t2star_multi_echo": {"T2star": (0.012, 0.05), "S0": (800.0, 1200.0)},
    "tofts": {"Ktrans": (0.1, 0.4), "ve": (0.2, 0.5)},
}  # fmt: skip

#: Reported parameters that follow from those of SPREAD.
DERIVED = {
    "extended_tofts": {"kep": lambda p: p["Ktrans"] / p["ve"]},
    "tofts": {"kep": lambda p: p["Ktrans"] / p["ve"]},
    "pdff_complex": {"PDFF": lambda p: 100 * p["F"] / (p["W"] + p["F"])},
    "pdff_magnitude": {"PDFF": lambda p: 100 * p["F"] / (p["W"] + p["F"])},
    "t2star_multi_echo": {"R2star": lambda p: 1 / p["T2star"]},
}

#: Options besides the defaults.
OPTIONS = {
    # Left open, voxels whose residual cannot tell water from fat are flagged (half of them at SNR 50), and the flag
    # picks voxels of small residuals, so small errors: coverage of 89 % among the rest. The equation is asked here;
    # the flag is in the model's own test.
    "pdff_magnitude": {"dominant": "water"},
}


@cache
def battery(name, snr):
    """Bound model, truths, fit: one battery, asked several questions."""
    model = models.get(name)
    bound = model.bind(model.example, **OPTIONS.get(name, {}))
    rng = np.random.default_rng([snr, *name.encode()])
    limits = SPREAD.get(name, {})
    truth = {key: np.full(VOXELS, value) for key, value in model.typical.items() if not limits}
    truth |= {key: rng.uniform(*limit, VOXELS) for key, limit in limits.items()}
    if name == "t1_look_locker":
        # Readouts shorten T1 by a factor that an angle sets.
        truth["T1star"] = truth["T1"] * rng.uniform(0.7, 0.85, VOXELS)
    signal = bound.predict(truth)
    truth |= {key: derive(truth) for key, derive in DERIVED.get(name, {}).items()}
    sigma = np.median(np.abs(signal).max(axis=-1)) / snr
    noise = sigma * rng.standard_normal(signal.shape)
    is_sign_lost = bound.separable is not None and bound.separable.is_magnitude
    if is_sign_lost or np.iscomplexobj(signal):
        noise = noise + 1j * sigma * rng.standard_normal(signal.shape)
    noisy = np.abs(signal + noise) if is_sign_lost else signal + noise
    # A closed form has no residuals to tell the noise from.
    known = sigma if bound.separable is None else None
    return bound, truth, fitting.fit(bound, noisy, sigma=known)


def quantile(bound, fit):
    """(v,) array: half the width of a 95 % interval in standard errors."""
    if bound.separable is None:
        return np.full(fit.flag.shape, stats.norm.ppf(0.975))
    return stats.t.ppf(0.975, np.maximum(fit.freedom, 1))


@pytest.mark.parametrize("name", models.names())
def test_at_signal_to_noise_100_the_median_is_unbiased(name):
    bound, truth, fit = battery(name, 100)
    assert fit.ok.mean() > 0.98
    for parameter in bound.names:
        true = truth[parameter]
        # A field or a phase has no natural zero: its scale is the spread of the truths.
        scale = np.abs(true).mean() if true.min() < 0 < true.max() else true
        error = ((fit.value[parameter] - true) / scale)[fit.ok]
        assert abs(np.median(error)) < 0.005, (parameter, np.median(error))


@pytest.mark.parametrize("snr", NOISE_LEVELS)
@pytest.mark.parametrize("name", models.names())
def test_standard_errors_cover(name, snr):
    bound, truth, fit = battery(name, snr)
    half = quantile(bound, fit)
    for parameter in bound.names:
        inside = np.abs(fit.value[parameter] - truth[parameter]) < half * fit.stderr[parameter]
        assert 0.93 <= inside[fit.ok].mean() <= 0.97, (parameter, inside[fit.ok].mean())
