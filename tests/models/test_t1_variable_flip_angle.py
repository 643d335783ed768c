"""Variable flip angle against a Bloch simulation, known truth at several noise levels, B1, and what must be refused."""

import numpy as np
import pytest
from scipy import optimize, stats

from isocenter import models
from isocenter.entities import Flag
from isocenter.errors import ConfigError, FitError, SidecarError
from isocenter.fitting import fit

MODEL = models.get("t1_variable_flip_angle")
ANGLES = np.array([2.0, 4.0, 7.0, 11.0, 16.0, 25.0])
ACQUISITION = {"FlipAngle": ANGLES, "RepetitionTimeExcitation": 0.015}
V = 8000


def draw(v=V, seed=3, **acquisition):
    rng = np.random.default_rng(seed)
    bound = MODEL.bind({**ACQUISITION, **acquisition})
    truth = {"T1": rng.uniform(0.3, 3.0, v), "M0": rng.uniform(900.0, 1100.0, v)}
    return bound, truth, rng


def coverage(found, name, truth):
    half = stats.t.ppf(0.975, np.maximum(found.freedom, 1)) * found.stderr[name]
    return np.mean(np.abs(found.value[name] - truth)[found.ok] < half[found.ok])


@pytest.mark.parametrize(("b1", "tr"), [(1.0, 0.005), (0.8, 0.02)])
def test_the_equation_is_the_steady_state_of_ideally_spoiled_pulses(b1, tr):
    t1, m0 = 0.9, 500.0
    expected = []
    for angle in np.deg2rad(b1 * ANGLES):
        mz = m0
        for _ in range(5000):
            mz = m0 + (mz * np.cos(angle) - m0) * np.exp(-tr / t1)
        expected.append(mz * np.sin(angle))
    bound = MODEL.bind({"FlipAngle": ANGLES, "RepetitionTimeExcitation": tr, "B1": b1})
    np.testing.assert_allclose(bound.predict({"T1": t1, "M0": m0}), expected, rtol=1e-10)


@pytest.mark.parametrize("robust", [None, "tukey"])
@pytest.mark.parametrize("tr", [0.015, [0.015, 0.015, 0.02, 0.02, 0.025, 0.025]])
def test_without_noise_the_fit_is_exact(tr, robust):
    bound, truth, _ = draw(500, RepetitionTimeExcitation=tr)
    found = fit(bound, bound.predict(truth), robust=robust)
    assert found.ok.all()
    for name, true in truth.items():
        np.testing.assert_allclose(found.value[name], true, rtol=1e-6)


@pytest.mark.parametrize(("snr", "most"), [(50, 0.01), (100, 0.005), (300, 0.005)])
def test_bias_and_coverage(snr, most):
    """The noise is the largest signal of each voxel over `snr`."""
    bound, truth, rng = draw()
    clean = bound.predict(truth)
    found = fit(bound, clean + rng.normal(size=clean.shape) * clean.max(axis=1, keepdims=True) / snr)
    assert found.ok.mean() > 0.999
    for name, true in truth.items():
        assert abs(np.mean((found.value[name] / true - 1)[found.ok])) < most
        assert 0.93 < coverage(found, name, true) < 0.97


def test_standard_errors_are_the_spread_of_repeats():
    bound, _, rng = draw()
    clean = bound.predict({"T1": 1.4, "M0": 1000.0})
    found = fit(bound, clean + rng.normal(0, clean.max() / 100, (V, ANGLES.size)), sigma=clean.max() / 100)
    for name in bound.names:
        assert np.median(found.stderr[name]) == pytest.approx(np.std(found.value[name]), rel=0.03)


def test_the_optimum_is_the_one_of_another_optimizer():
    bound, truth, rng = draw(20)
    clean = bound.predict(truth)
    signal = clean + rng.normal(0, 2.0, clean.shape)
    found = fit(bound, signal)
    for v, y in enumerate(signal):
        peer = optimize.least_squares(
            lambda x, y=y: bound.predict({"T1": np.exp(x[0]), "M0": 1e3 * x[1]}) - y,
            [0.0, 1.0], xtol=1e-14, ftol=1e-14, gtol=1e-14,
        )  # fmt: skip
        assert found.value["T1"][v] == pytest.approx(np.exp(peer.x[0]), rel=1e-5)
        covariance = np.linalg.inv(peer.jac.T @ peer.jac) * 2 * peer.cost / (ANGLES.size - 2)
        assert found.stderr["T1"][v] == pytest.approx(np.exp(peer.x[0]) * np.sqrt(covariance[0, 0]), rel=1e-3)
        assert found.stderr["M0"][v] == pytest.approx(1e3 * np.sqrt(covariance[1, 1]), rel=1e-3)


def test_one_corrupted_angle_hardly_moves_a_robust_fit():
    bound, truth, rng = draw(4000)
    clean = bound.predict(truth)
    signal = clean + rng.normal(size=clean.shape) * clean.max(axis=1, keepdims=True) / 100
    bad = signal.copy()
    rows = np.arange(len(bad))
    bad[rows, rng.integers(0, ANGLES.size, rows.size)] *= 1 + 0.3 * rng.choice([-1.0, 1.0], rows.size)

    def worst(data, robust):
        return np.nanpercentile(np.abs(fit(bound, data, robust=robust).value["T1"] / truth["T1"] - 1), 95)

    assert worst(bad, "tukey") < 1.4 * worst(signal, None)
    assert worst(bad, None) > 5 * worst(signal, None)


def test_b1_enters_as_a_number_and_as_a_map():
    b1 = np.linspace(0.75, 1.25, 300)
    truth = {"T1": np.linspace(0.4, 2.5, 300), "M0": 800.0}
    mapped = MODEL.bind({**ACQUISITION, "B1": b1})
    signal = mapped.predict(truth)
    by_voxel = fit(mapped, signal)
    np.testing.assert_allclose(by_voxel.value["T1"], truth["T1"], rtol=1e-6)
    np.testing.assert_allclose(by_voxel.value["M0"], 800.0, rtol=1e-6)
    for v in (0, 299):
        single = fit(MODEL.bind({**ACQUISITION, "B1": b1[v]}), signal[v])
        assert single.value["T1"] == pytest.approx(truth["T1"][v], rel=1e-6)
        assert single.stderr["M0"] == pytest.approx(by_voxel.stderr["M0"][v], rel=1e-2, abs=1e-4)


def test_the_map_and_the_number_give_the_same_errors():
    bound, truth, rng = draw(50, B1=0.9)
    signal = bound.predict(truth) + rng.normal(0, 1.0, (50, ANGLES.size))
    mapped = fit(MODEL.bind({**ACQUISITION, "B1": np.full(50, 0.9)}), signal)
    number = fit(bound, signal)
    for name in bound.names:
        np.testing.assert_allclose(mapped.value[name], number.value[name], rtol=1e-6)
        np.testing.assert_allclose(mapped.stderr[name], number.stderr[name], rtol=1e-4)


def test_without_b1_the_bias_is_what_the_card_says():
    """A B1 of 0.9 that nobody measured: T1 is off by its square."""
    signal = MODEL.bind({**ACQUISITION, "B1": 0.9}).predict({"T1": 1.0, "M0": 1000.0})
    assert fit(MODEL.bind(ACQUISITION), signal).value["T1"] == pytest.approx(0.81, rel=0.02)


def test_the_sidecar_says_what_b1_was():
    assert MODEL.bind(ACQUISITION).options == {"b1": "none"}
    assert MODEL.bind({**ACQUISITION, "B1": 0.93}).options == {"b1": 0.93}
    bound = MODEL.bind({**ACQUISITION, "B1": np.full((4, 4), 0.93)})
    assert bound.options == {"b1": "map"}
    assert "B1" not in bound.acquisition


@pytest.mark.parametrize("b1", [93.0, np.full((3, 3), 104.0), 0.0, np.zeros((3, 3)), np.nan, "high", 0.01])
def test_a_b1_in_another_unit_is_refused(b1):
    with pytest.raises(SidecarError, match="B1"):
        MODEL.bind({**ACQUISITION, "B1": b1})


def test_percent_is_named():
    with pytest.raises(SidecarError, match="percent"):
        MODEL.bind({**ACQUISITION, "B1": np.array([97.0, 103.0])})


def test_voxels_without_a_b1_get_no_value():
    bound = MODEL.bind({**ACQUISITION, "B1": np.array([1.0, 0.0, np.nan, -0.5])})
    signal = np.tile(MODEL.bind(ACQUISITION).predict({"T1": 1.0, "M0": 1000.0}), (4, 1))
    for robust in (None, "tukey"):
        found = fit(bound, signal, robust=robust)
        assert found.flag.tolist() == [Flag.OK, Flag.SINGULAR, Flag.SINGULAR, Flag.SINGULAR]
        assert found.value["T1"][0] == pytest.approx(1.0)
        assert np.isnan(found.value["T1"][1:]).all()


def test_repetition_time_stands_in_unless_it_is_the_time_of_a_volume():
    bound = MODEL.bind({"FlipAngle": ANGLES, "RepetitionTime": 0.015})
    assert bound.acquisition["RepetitionTimeExcitation"] == 0.015
    assert MODEL.bind({**ACQUISITION, "RepetitionTime": 90.0}).acquisition["RepetitionTimeExcitation"] == 0.015
    with pytest.raises(SidecarError, match="RepetitionTime is unusable"):
        MODEL.bind({"FlipAngle": ANGLES, "RepetitionTime": 90.0})


@pytest.mark.parametrize("tr", [0.0, -0.01, np.nan, [0.01, 0.02], "fast"])
def test_an_unusable_repetition_time_is_refused(tr):
    with pytest.raises(SidecarError, match="RepetitionTimeExcitation"):
        MODEL.bind({"FlipAngle": ANGLES, "RepetitionTimeExcitation": tr})


def test_angles_beyond_a_half_turn_are_refused():
    with pytest.raises(SidecarError, match="FlipAngle"):
        MODEL.bind({**ACQUISITION, "FlipAngle": [5.0, 200.0]})


def test_two_angles_leave_no_standard_error():
    bound = MODEL.bind({**ACQUISITION, "FlipAngle": [3.0, 15.0]})
    with pytest.raises(FitError, match="Too few samples"):
        fit(bound, bound.predict({"T1": 1.0, "M0": 1.0}))


def test_what_the_angles_cannot_see_is_flagged():
    bound = MODEL.bind({"FlipAngle": [10.0, 15.0, 20.0, 30.0], "RepetitionTimeExcitation": 0.005})
    shortest, longest = np.exp(bound.separable.visible[0])
    assert 0.001 < shortest < 0.03
    assert 3.0 < longest < 20.0
    found = fit(bound, bound.predict({"T1": np.array([0.9 * shortest, 1.1 * longest, 1.0]), "M0": 1000.0}))
    assert found.flag.tolist() == [Flag.OUT_OF_RANGE, Flag.OUT_OF_RANGE, Flag.OK]
    # Neither T1 nor M0 alone, but the signal: a voxel that cannot be seen is not called empty.
    falling = 1000 / np.tan(np.deg2rad([5.0, 7.5, 10.0, 15.0]))
    assert fit(bound, falling).flag in (Flag.AT_BOUND, Flag.OUT_OF_RANGE)
    assert fit(bound, -falling).flag != Flag.OK
    assert fit(bound, np.zeros(4)).flag == Flag.NO_SIGNAL


def test_the_visible_range_is_where_the_curve_departs_by_a_twentieth():
    bound = MODEL.bind({"FlipAngle": [10.0, 30.0], "RepetitionTimeExcitation": 0.005})
    shortest, longest = np.exp(bound.separable.visible[0])
    small, large = np.deg2rad([10.0, 30.0])
    signal = bound.predict({"T1": np.array([shortest, longest]), "M0": 1.0})
    assert signal[0, 1] / np.sin(large) == pytest.approx(0.95, rel=1e-9)
    rest = 1 - np.exp(-0.005 / longest)
    assert signal[1, 0] / (rest * np.sin(small) / (1 - np.cos(small))) == pytest.approx(0.95, rel=1e-9)


def test_there_are_no_options():
    with pytest.raises(ConfigError, match="b1"):
        MODEL.bind(ACQUISITION, b1="none")
