"""Fits against known truth: exactness, bias, coverage, polarity, clipping, corruption, flags, threads."""

import numpy as np
import pytest
from scipy import stats

from isocenter import fitting, models
from isocenter.entities import Flag
from isocenter.errors import FitError

TI = np.array([0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0])
TE = 0.01 * np.arange(1, 17)
RECOVERY = models.get("t1_inversion_recovery").bind({"InversionTime": TI, "RepetitionTime": 4.5})
TRAIN = models.get("t2_extended_phase_graph").bind({"EchoTime": TE})
DECAY = models.get("t2_multi_echo").bind({"EchoTime": TE})
ADC = models.get("adc_monoexponential").bind({"DiffusionBValue": [0, 200, 500, 800, 1000]})
STAR = models.get("t2star_multi_echo").bind({"EchoTime": 0.004 * np.arange(1, 9)})
CASES = {
    "recovery": (RECOVERY, {"T1": (0.4, 2.0), "M0": (900.0, 1100.0), "inversion_efficiency": (0.85, 1.0)}),
    "train": (TRAIN, {"T2": (0.04, 0.2), "B1": (0.6, 0.9), "S0": (900.0, 1100.0)}),
    "decay": (DECAY, {"T2": (0.03, 0.2), "S0": (900.0, 1100.0)}),
    "adc": (ADC, {"ADC": (5e-4, 2e-3), "S0": (900.0, 1100.0)}),
    "star": (STAR, {"T2star": (0.01, 0.05), "S0": (900.0, 1100.0)}),
}
V = 6000


def draw(case, v=V, seed=1):
    bound, ranges = CASES[case]
    rng = np.random.default_rng(seed)
    truth = {name: rng.uniform(*limits, v) for name, limits in ranges.items()}
    return bound, truth, bound.predict(truth), rng


def rician(signal, sigma, rng):
    return np.abs(signal + rng.normal(0, sigma, signal.shape) + 1j * rng.normal(0, sigma, signal.shape))


def coverage(fit, name, truth):
    # 95 % intervals with Student's t: eight samples and three parameters leave five degrees of freedom.
    half = stats.t.ppf(0.975, np.maximum(fit.freedom, 1)) * fit.stderr[name]
    return np.mean(np.abs(fit.value[name] - truth)[fit.ok] < half[fit.ok])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("robust", [None, "tukey"])
def test_without_noise_the_fit_is_exact(case, robust):
    bound, truth, signal, _ = draw(case, 500)
    if robust and bound.n <= len(bound.parameters) + 1:
        pytest.skip("too few samples for robust weights")
    fit = fitting.fit(bound, signal, robust=robust)
    assert fit.ok.all()
    for name, true in truth.items():
        np.testing.assert_allclose(fit.value[name], true, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_at_signal_to_noise_100_bias_is_small_and_standard_errors_are_right(case):
    bound, truth, signal, rng = draw(case)
    fit = fitting.fit(bound, signal + rng.normal(0, 10, signal.shape))
    assert fit.ok.mean() > 0.99
    first = bound.names[0]
    for name, true in truth.items():
        error = (fit.value[name] / true - 1)[fit.ok]
        assert abs(error.mean()) < 0.005
    assert 0.93 < coverage(fit, first, truth[first]) < 0.97


def test_recovery_from_magnitude_data_with_rician_noise():
    bound, truth, signal, rng = draw("recovery")
    fit = fitting.fit(bound, rician(signal, 10, rng))
    assert abs(np.nanmean(fit.value["T1"] / truth["T1"] - 1)) < 0.005
    for name, true in truth.items():
        assert 0.93 < coverage(fit, name, true) < 0.97
    np.testing.assert_allclose(np.sqrt(np.mean(fit.residual**2 * 8 / 5)), 10, rtol=0.05)


def test_known_sigma_gives_standard_errors_by_the_normal_distribution():
    bound, truth, signal, rng = draw("recovery")
    fit = fitting.fit(bound, signal + rng.normal(0, 10, signal.shape), sigma=10.0)
    z = (fit.value["T1"] - truth["T1"]) / fit.stderr["T1"]
    assert 0.93 < np.mean(np.abs(z) < 1.96) < 0.97


@pytest.mark.parametrize("sample", range(8))
def test_a_sample_at_the_null_does_not_mislead_the_polarity(sample):
    # T1 such that one inversion time hits the null exactly, or misses it by a hair on either side.
    t1 = np.array([1.0, 0.999, 1.001, 0.98, 1.02]) * TI[sample] / np.log(2)
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": TI})
    signal = bound.predict({"T1": t1, "M0": 1000.0, "inversion_efficiency": 1.0})
    fit = fitting.fit(bound, signal)
    visible = t1 < TI[-1] * 4
    np.testing.assert_allclose(fit.value["T1"][visible], t1[visible], rtol=1e-6)


def test_the_fit_is_no_worse_than_any_polarity_by_brute_force():
    bound, _, signal, rng = draw("recovery", 60)
    y = rician(signal, 40, rng)
    fit = fitting.fit(bound, y)
    t1 = np.geomspace(0.02, 15, 4000)
    e = np.exp(-TI / t1[:, np.newaxis])
    for v in np.flatnonzero(fit.ok):
        best = np.inf
        for negative in range(8):
            s = np.where(np.arange(8) < negative, -1, 1) * y[v]
            # Regression on (1, e) for every T1 at once.
            de = e - e.mean(axis=1, keepdims=True)
            slope = (de * s).sum(axis=1) / (de * de).sum(axis=1)
            rest = (s - s.mean()) - slope[:, np.newaxis] * de
            best = min(best, (rest**2).sum(axis=1).min())
        assert fit.residual[v] ** 2 * 8 <= best * (1 + 1e-9)


def test_all_samples_before_the_null_or_all_after_it():
    for ti, t1 in ((np.linspace(0.1, 1.2, 8), 2.0), (np.linspace(1.0, 4.0, 8), 1.2)):
        bound = models.get("t1_inversion_recovery").bind({"InversionTime": ti})
        signal = bound.predict({"T1": t1, "M0": 100.0, "inversion_efficiency": 0.95})
        fit = fitting.fit(bound, signal)
        np.testing.assert_allclose([fit.value["T1"], fit.value["M0"]], [t1, 100.0], rtol=1e-6)


def test_the_order_of_the_samples_does_not_matter():
    shuffled = np.random.default_rng(3).permutation(8)
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": TI[shuffled], "RepetitionTime": 4.5})
    _, _, signal, rng = draw("recovery", 100)
    y = rician(signal, 10, rng)
    np.testing.assert_array_equal(fitting.fit(bound, y[:, shuffled]).value["T1"], fitting.fit(RECOVERY, y).value["T1"])


def test_clipped_samples_are_left_out():
    bound, truth, signal, _ = draw("recovery", 300)
    clipped = np.minimum(signal, 700.0)
    fit = fitting.fit(bound, clipped, saturation=700.0)
    np.testing.assert_allclose(fit.value["T1"][fit.ok], truth["T1"][fit.ok], rtol=1e-6)
    assert fit.ok.mean() > 0.9
    naive = fitting.fit(bound, clipped)
    assert np.nanmax(np.abs(naive.value["T1"] / truth["T1"] - 1)) > 0.02


def test_too_few_samples_after_clipping_is_a_flag():
    fit = fitting.fit(RECOVERY, np.full((1, 8), 4095.0), saturation=4095.0)
    assert fit.flag[0] == Flag.CLIPPED
    assert np.isnan(fit.value["T1"][0])


@pytest.mark.parametrize("robust", ["tukey", "huber"])
def test_one_corrupted_volume_of_eight(robust):
    bound, truth, signal, rng = draw("recovery", 2000)
    clean = rician(signal, 10, rng)
    spiked = clean.copy()
    spiked[:, 5] += 0.4 * rng.uniform(500, 1000, 2000)
    error = {
        name: np.nanpercentile(np.abs(fitting.fit(bound, y, robust=r).value["T1"] / truth["T1"] - 1), 95)
        for name, y, r in (("clean", clean, None), ("plain", spiked, None), ("robust", spiked, robust))
    }
    assert error["plain"] > 5 * error["clean"]
    if robust == "tukey":
        # Seven samples are left, and T1 near the spiked time leans on it.
        assert error["robust"] < 2 * error["clean"]
        fit = fitting.fit(bound, spiked, robust=robust)
        assert 0.92 < coverage(fit, "T1", truth["T1"]) < 0.98
        assert np.mean(fit.outliers > 0) > 0.95
    else:
        assert error["robust"] < error["plain"]


def test_robust_weights_cost_little_on_clean_data():
    bound, truth, signal, rng = draw("recovery")
    y = rician(signal, 10, rng)
    spread = {r: np.nanstd(fitting.fit(bound, y, robust=r).value["T1"] / truth["T1"]) for r in (None, "tukey", "huber")}
    assert spread["tukey"] < 1.12 * spread[None]
    assert spread["huber"] < 1.05 * spread[None]
    fit = fitting.fit(bound, y, robust="tukey")
    assert 0.93 < coverage(fit, "T1", truth["T1"]) < 0.97


def test_robust_weights_are_refused_with_too_few_samples():
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": TI[:5]})
    with pytest.raises(FitError, match="not available"):
        fitting.fit(bound, np.ones((1, 5)), robust="tukey")


def test_the_window_keeps_signal_of_the_surroundings_out_of_a_short_t1():
    ti = np.array([0.035, 0.075, 0.1, 0.125, 0.15, 0.25, 1.0, 1.5, 2.0, 3.0])
    model = models.get("t1_inversion_recovery")
    bound = model.bind({"InversionTime": ti})
    vial = {"T1": 0.03, "M0": 1000.0, "inversion_efficiency": 0.95}
    fluid = {"T1": 2.8, "M0": 30.0, "inversion_efficiency": 0.95}
    # The fluid is still inverted where the vial has recovered: its signed signal subtracts from the vial's.
    signal = bound.predict(vial) + 30 * (1 - 1.95 * np.exp(-ti / 2.8)) * (ti > 0.03)
    assert fluid["M0"] < vial["M0"]
    narrow = fitting.fit(bound, signal).value["T1"]
    wide = fitting.fit(model.bind({"InversionTime": ti}, window=None), signal).value["T1"]
    assert abs(wide / 0.03 - 1) > 2 * abs(narrow / 0.03 - 1)
    assert abs(narrow / 0.03 - 1) < 0.03


def test_flags_say_why_there_is_no_value():
    signal = RECOVERY.predict({"T1": [1.0, 15.0, 0.008, 1.0, 1.0], "M0": 1000.0, "inversion_efficiency": 0.95})
    signal[3] = 0.0
    signal[4, :6] = np.nan
    mask = np.array([True, True, True, True, True])
    fit = fitting.fit(RECOVERY, signal, mask=mask)
    assert list(fit.flag) == [Flag.OK, Flag.OUT_OF_RANGE, Flag.OUT_OF_RANGE, Flag.NO_SIGNAL, Flag.SINGULAR]
    assert np.isnan(fit.value["T1"][1:]).all()
    assert np.isnan(fit.stderr["T1"][1:]).all()
    mask[0] = False
    assert fitting.fit(RECOVERY, signal, mask=mask).flag[0] == Flag.MASKED


def test_noise_alone_gives_no_credible_value():
    rng = np.random.default_rng(5)
    noise = rician(np.zeros((2000, 16)), 10.0, rng)
    fit = fitting.fit(DECAY, noise)
    # A flat series has no T2: bounds or range, never a small error bar on a number.
    credible = fit.ok & (fit.stderr["T2"] < 0.2 * fit.value["T2"])
    assert credible.mean() < 0.02


def test_b1_at_180_degrees_is_a_result_and_low_b1_a_bound():
    signal = TRAIN.predict({"T2": 0.08, "B1": [1.0, 1.1, 0.4], "S0": 1000.0})
    fit = fitting.fit(TRAIN, signal)
    assert list(fit.flag) == [Flag.OK, Flag.OK, Flag.AT_BOUND]
    # At 180 degrees B1 changes as the root of what is searched: 1e-9 there, the plane's error, is 2e-5 here.
    np.testing.assert_allclose(fit.value["B1"][:2], [1.0, 0.9], atol=1e-4)
    np.testing.assert_allclose(fit.value["T2"][:2], 0.08, rtol=1e-6)


def test_standard_errors_are_finite_where_b1_meets_180_degrees():
    rng = np.random.default_rng(6)
    signal = TRAIN.predict({"T2": np.full(3000, 0.08), "B1": 1.0, "S0": 1000.0}) + rng.normal(0, 10, (3000, 16))
    fit = fitting.fit(TRAIN, signal)
    assert fit.ok.all()
    assert all(np.isfinite(fit.stderr[name]).all() for name in fit.parameters)
    # The edge makes T2 better known than its error bar says, never worse.
    assert coverage(fit, "T2", 0.08) > 0.93


def test_an_offset_is_fitted_when_asked_for():
    bound = models.get("t2_multi_echo").bind({"EchoTime": TE}, offset=True)
    signal = bound.predict({"T2": [0.03, 0.06], "S0": 1000.0, "offset": 20.0})
    fit = fitting.fit(bound, signal)
    np.testing.assert_allclose(fit.value["offset"], 20.0, rtol=1e-6)
    train = models.get("t2_extended_phase_graph").bind({"EchoTime": TE}, offset=True)
    signal = train.predict({"T2": [0.03, 0.06], "B1": 0.8, "S0": 1000.0, "offset": 20.0})
    fit = fitting.fit(train, signal)
    np.testing.assert_allclose(fit.value["T2"], [0.03, 0.06], rtol=1e-5)


@pytest.mark.parametrize("robust", [None, "tukey"])
def test_threads_change_no_bit(robust):
    bound, _, signal, rng = draw("recovery", 9000)
    y = rician(signal, 10, rng)
    one = fitting.fit(bound, y, robust=robust)
    many = fitting.fit(bound, y, robust=robust, threads=3)
    again = fitting.fit(bound, y, robust=robust)
    for name in one.parameters:
        np.testing.assert_array_equal(one.value[name], many.value[name])
        np.testing.assert_array_equal(one.stderr[name], many.stderr[name])
        np.testing.assert_array_equal(one.value[name], again.value[name])


def test_shapes_follow_the_signal():
    _, _, signal, _ = draw("decay", 24)
    fit = fitting.fit(DECAY, signal.reshape(2, 3, 4, 16).astype(np.float32))
    assert fit.value["T2"].shape == fit.flag.shape == fit.residual.shape == (2, 3, 4)
    assert fit.flag.dtype == np.uint8
    assert fitting.fit(DECAY, signal[0]).value["T2"].shape == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robust": "strong"}, "robust"),
        ({"noise": "poisson"}, "noise"),
        ({"noise": "rician", "robust": "tukey"}, "plain fits"),
        ({"start": {"T1": 1.0}}, "no start"),
        ({"mask": np.ones(3, bool)}, "mask"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    with pytest.raises(FitError, match=message):
        fitting.fit(DECAY, np.ones((2, 16)), **change)


def test_signals_that_do_not_match_are_refused():
    with pytest.raises(FitError, match="16 samples"):
        fitting.fit(DECAY, np.ones((2, 15)))
    with pytest.raises(FitError, match="Too few samples"):
        fitting.fit(models.get("t2_multi_echo").bind({"EchoTime": TE[:2]}), np.ones((2, 2)))
    with pytest.raises(FitError, match="complex"):
        fitting.fit(DECAY, np.ones((2, 16), complex))
