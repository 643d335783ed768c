"""Every model on acquisitions that it was not developed on: other times, angles, b-values, fields, inputs.

Magnitudes are those of complex Gaussian noise, whose level is the largest noiseless sample of the median voxel over the
signal-to-noise ratio. Bias is the median relative error; coverage is that of 95 % intervals (Student's t, freedom).
Below a ratio of about 50 the floor of magnitudes biases decays by 0.5 to 2 %, which `noise: rician` is for.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from isocenter import fitting, models
from isocenter.models.arterial_input import predict_population
from isocenter.named_options import resolve_names

#: The standard error of a coverage of 95 % is 0.28 %.
VOXELS = 6000
PARKER = resolve_names({"arterial_input": "parker"}, Path(__file__).parents[2])["arterial_input"]["constants"]
SHORT, MIDDLE, LONG, FINE = (
    np.arange(0, 300, 2.5),
    np.arange(0, 480, 4.0),
    np.arange(0, 720, 6.0),
    np.arange(0, 480, 1.0),
)
#: What noise may push below zero or around a circle: errors are shares of the mean truth.
ON_A_SCALE = ("PDFF", "W", "F")


def sample_input(times, arrival):
    return predict_population(times, PARKER, hematocrit=0.42, arrival=arrival)


#: Model, acquisition, options, uniform limits of the truths; None: derived below.
CASES = {
    "IR 7TI 1.5T": (
        "t1_inversion_recovery",
        {"InversionTime": [0.03, 0.08, 0.2, 0.45, 0.9, 1.6, 2.6]},
        {},
        {"T1": (0.2, 1.2), "M0": (500, 1500), "inversion_efficiency": (0.8, 1.0)},
    ),
    "IR 14TI long": (
        "t1_inversion_recovery",
        {"InversionTime": np.geomspace(0.035, 6, 14)},
        {},
        {"T1": (0.05, 4.5), "M0": (500, 1500), "inversion_efficiency": (0.75, 1.0)},
    ),
    "IR 6TI TR2": (
        "t1_inversion_recovery",
        {"InversionTime": [0.05, 0.15, 0.4, 0.8, 1.2, 1.9], "RepetitionTime": 2.2},
        {},
        {"T1": (0.3, 1.8), "M0": (500, 1500), "inversion_efficiency": (0.85, 1.0)},
    ),
    "IR complex": (
        "t1_inversion_recovery",
        {"InversionTime": [0.03, 0.08, 0.2, 0.45, 0.9, 1.6, 2.6]},
        {"data": "complex"},
        {"T1": (0.2, 1.2), "M0": (500, 1500), "inversion_efficiency": (0.8, 1.0), "phase": (-3, 3)},
    ),
    "IR real": (
        "t1_inversion_recovery",
        {"InversionTime": [0.03, 0.08, 0.2, 0.45, 0.9, 1.6, 2.6]},
        {"data": "real"},
        {"T1": (0.2, 1.2), "M0": (500, 1500), "inversion_efficiency": (0.8, 1.0)},
    ),
    "MOLLI 4(1)3(1)2": (
        "t1_look_locker",
        {"InversionTime": [0.1, 0.9, 1.75, 2.6, 0.18, 1.0, 1.9, 0.26, 1.15]},
        {"efficiency": 0.95},
        {"T1": (0.9, 1.6), "T1star": None, "A": (500, 1500)},
    ),
    "VFA 3 1.5T": (
        "t1_variable_flip_angle",
        {"FlipAngle": [3, 10, 20], "RepetitionTimeExcitation": 0.0052},
        {},
        {"T1": (0.25, 1.2), "M0": (5000, 15000)},
    ),
    "VFA 10 long": (
        "t1_variable_flip_angle",
        {"FlipAngle": [1, 2, 3, 4, 6, 8, 11, 15, 20, 30], "RepetitionTimeExcitation": 0.02},
        {},
        {"T1": (0.1, 4.5), "M0": (5000, 15000)},
    ),
    "VFA B1map": (
        "t1_variable_flip_angle",
        {"FlipAngle": [2, 5, 9, 14, 20], "RepetitionTimeExcitation": 0.011, "B1": "map"},
        {},
        {"T1": (0.4, 2.5), "M0": (5000, 15000)},
    ),
    "MESE 8": ("t2_multi_echo", {"EchoTime": 0.013 * np.arange(1, 9)}, {}, {"T2": (0.02, 0.25), "S0": (500, 1500)}),
    "MESE 20 offset": (
        "t2_multi_echo",
        {"EchoTime": 0.02 * np.arange(1, 21)},
        {"offset": True},
        {"T2": (0.03, 0.2), "S0": (500, 1500), "offset": (0, 50)},
    ),
    "MESE 16 long": ("t2_multi_echo", {"EchoTime": 0.06 * np.arange(1, 17)}, {}, {"T2": (0.1, 2.0), "S0": (500, 1500)}),
    "EPG 24 150deg": (
        "t2_extended_phase_graph",
        {"EchoTime": 0.0075 * np.arange(1, 25), "RefocusingFlipAngle": 150},
        {},
        {"T2": (0.02, 0.15), "B1": (0.7, 1.15), "S0": (500, 1500)},
    ),
    "EPG 10 slr": (
        "t2_extended_phase_graph",
        {"EchoTime": 0.012 * np.arange(1, 11)},
        {"profile": "slr", "time_bandwidth": (4, 4), "thickness_ratio": 1.1, "b1_bounds": (0.5, 1.0)},
        {"T2": (0.03, 0.12), "B1": (0.65, 0.92), "S0": (500, 1500)},
    ),
    "T2* 6 3T": (
        "t2star_multi_echo",
        {"EchoTime": 0.0025 + 0.005 * np.arange(6)},
        {},
        {"T2star": (0.006, 0.06), "S0": (500, 1500)},
    ),
    "T2* 16 iron": (
        "t2star_multi_echo",
        {"EchoTime": 0.0009 + 0.0008 * np.arange(16)},
        {},
        {"T2star": (0.001, 0.012), "S0": (500, 1500)},
    ),
    "T2* 8 offset": (
        "t2star_multi_echo",
        {"EchoTime": 0.002 + 0.004 * np.arange(8)},
        {"offset": True},
        {"T2star": (0.005, 0.02), "S0": (500, 1500), "offset": (0, 50)},
    ),
    "ADC 3": (
        "adc_monoexponential",
        {"DiffusionBValue": [50, 400, 800]},
        {},
        {"ADC": (0.3e-3, 3e-3), "S0": (500, 1500)},
    ),
    "ADC 7 shuffled": (
        "adc_monoexponential",
        {"DiffusionBValue": [600, 0, 1200, 100, 900, 300, 1500]},
        {},
        {"ADC": (0.2e-3, 2.2e-3), "S0": (500, 1500)},
    ),
    "ADC brange": (
        "adc_monoexponential",
        {"DiffusionBValue": [0, 50, 200, 500, 800, 1000]},
        {"b_min": 200, "b_max": 1000},
        {"ADC": (0.3e-3, 2e-3), "S0": (500, 1500)},
    ),
    "PDFF c 1.5T 6": (
        "pdff_complex",
        {"EchoTime": 0.0012 + 0.002 * np.arange(6), "MagneticFieldStrength": 1.5},
        {},
        {"W": None, "F": None, "R2star": (20, 120), "B0": (-25, 25), "phase": (-170, 170)},
    ),
    "PDFF c 3T 12 bip": (
        "pdff_complex",
        {"EchoTime": 0.0011 + 0.0009 * np.arange(12), "MagneticFieldStrength": 3.0},
        {"bipolar": True},
        {"W": None, "F": None, "R2star": (20, 150), "B0": (-50, 50), "phase": (-170, 170), "readout_phase": (-20, 20)},
    ),
    "PDFF m 1.5T 6 water": (
        "pdff_magnitude",
        {"EchoTime": 0.0012 + 0.002 * np.arange(6), "MagneticFieldStrength": 1.5},
        {"dominant": "water"},
        {"W": None, "F": None, "R2star": (20, 120)},
    ),
    "PDFF m 3T 8": (
        "pdff_magnitude",
        {"EchoTime": 0.0011 + 0.0008 * np.arange(8), "MagneticFieldStrength": 3.0},
        {},
        {"W": None, "F": None, "R2star": (20, 120)},
    ),
    "Tofts 120": (
        "tofts",
        {"FrameTimesStart": SHORT, "ArterialInputFunction": sample_input(SHORT, 20)},
        {},
        {"Ktrans": (0.01, 0.5), "ve": (0.1, 0.6)},
    ),
    "Tofts 120 4s delay": (
        "tofts",
        {"FrameTimesStart": MIDDLE, "ArterialInputFunction": sample_input(FINE, 25), "ArterialInputTimes": FINE},
        {"delay": "fit"},
        {"Ktrans": (0.05, 0.5), "ve": (0.15, 0.6), "delay": (-3, 10)},
    ),
    "ETofts 120": (
        "extended_tofts",
        {"FrameTimesStart": MIDDLE, "ArterialInputFunction": sample_input(FINE, 25), "ArterialInputTimes": FINE},
        {},
        {"Ktrans": (0.02, 0.5), "ve": (0.1, 0.6), "vp": (0.005, 0.15)},
    ),
    "ETofts delay": (
        "extended_tofts",
        {"FrameTimesStart": SHORT, "ArterialInputFunction": sample_input(FINE, 25), "ArterialInputTimes": FINE},
        {"delay": "fit"},
        {"Ktrans": (0.05, 0.5), "ve": (0.15, 0.6), "vp": (0.02, 0.15), "delay": (-3, 10)},
    ),
    "Patlak 120": (
        "patlak",
        {"FrameTimesStart": LONG, "ArterialInputFunction": sample_input(LONG, 30)},
        {},
        {"Ktrans": (0.0005, 0.03), "vp": (0.005, 0.1)},
    ),
    "B0 3": (
        "b0_dual_echo",
        {"EchoTime": [0.004, 0.0065, 0.0112]},
        {},
        {"B0": (-150, 150), "S0": (500, 1500), "phase": (-170, 170)},
    ),
    "DAM 45": ("b1_double_angle", {"FlipAngle": [90, 45]}, {}, {"B1": (0.5, 1.5), "S0": (500, 1500)}),
    "AFI 1:5 55": (
        "b1_actual_flip_angle",
        {"FlipAngle": 55, "RepetitionTimeExcitation": [0.15, 0.03]},
        {},
        {"B1": (0.5, 1.4), "S0": (15, 30)},
    ),
}


def draw(case, snr):
    """Bound model, truths by parameter, fit."""
    name, acquisition, options, limits = CASES[case]
    rng = np.random.default_rng([snr, *case.encode()])
    if acquisition.get("B1") == "map":
        acquisition = {**acquisition, "B1": rng.uniform(0.7, 1.25, VOXELS)}
    bound = models.get(name).bind(acquisition, **options)
    truth = {key: rng.uniform(*limit, VOXELS) for key, limit in limits.items() if limit is not None}
    if name == "t1_look_locker":
        truth["T1star"] = truth["T1"] * rng.uniform(0.72, 0.9, VOXELS)
    if name.startswith("pdff"):
        share = rng.uniform(0.0, 0.5 if options.get("dominant") == "water" else 1.0, VOXELS)
        truth |= {"W": 1000 * (1 - share), "F": 1000 * share}
    signal = bound.predict(truth)
    if "ve" in truth:
        truth["kep"] = truth["Ktrans"] / truth["ve"]
    if "F" in truth:
        truth["PDFF"] = truth["F"] / 10
    if "T2star" in truth:
        truth["R2star"] = 1 / truth["T2star"]
    sigma = np.median(np.abs(signal).max(axis=-1)) / snr
    noisy = signal + sigma * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    if not np.iscomplexobj(signal):
        is_signed = "FrameTimesStart" in acquisition or options.get("data") == "real"
        noisy = noisy.real if is_signed else np.abs(noisy)
    # A closed form has no residuals to tell the noise from.
    return bound, truth, fitting.fit(bound, noisy, sigma=sigma if bound.separable is None else None)


@pytest.mark.parametrize("snr", [100, 300])
@pytest.mark.parametrize("case", CASES)
def test_bias_and_coverage(case, snr):
    bound, truth, found = draw(case, snr)
    assert found.ok.mean() > 0.99
    half = stats.t.ppf(0.975, np.maximum(found.freedom, 1))
    if bound.separable is None:
        half = stats.norm.ppf(0.975)
    for parameter in set(bound.names) & set(truth):
        # A fitted constant takes up the floor of the magnitudes: that is what it is there for.
        if parameter == "offset":
            continue
        true = truth[parameter]
        is_scaled = true.min() < 0 < true.max() or parameter in ON_A_SCALE
        error = found.value[parameter] - true
        bias = np.median((error / (np.abs(true).mean() if is_scaled else true))[found.ok])
        assert abs(bias) < 0.005, (parameter, bias)
        inside = (np.abs(error) < half * found.stderr[parameter])[found.ok].mean()
        assert 0.93 <= inside <= 0.97, (parameter, inside)
