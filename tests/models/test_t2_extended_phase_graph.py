"""T2 through a slice profile: against isochromats turned one by one, and with known truth; options of the T2 models."""

import numba
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isocenter import models
from isocenter.errors import ConfigError, SidecarError
from isocenter.fitting import fit
from isocenter.models.slice_profile import shape_pulse

TE = 0.01 * np.arange(1, 33)
MODEL = models.get("t2_extended_phase_graph")
SLR = {"profile": "slr", "time_bandwidth": (5.0, 5.0), "thickness_ratio": 1.2}


def simulate_train(pulses, time_bandwidth, ratio, b1, t1, t2, spacing, n):
    """Isochromats across the whole slice and over one turn of a crusher, each turned by the real pulses.

    Nothing of the theory is used: no phase graph, no symmetry, no refocusing angle; both halves of the slice.
    """
    positions, weights = np.polynomial.legendre.leggauss(80)
    edge = 0.5 + 1.5 / time_bandwidth[0]
    positions, weights = edge * positions, edge * weights
    # The echo is order 0 of a sum over the crusher's phase, which 4 n phases resolve without aliasing.
    crusher = np.arange(4 * n) * 2 * np.pi / (4 * n)

    def rotate(pulse, angle, turns):
        total = Rotation.identity()
        for part in pulse:
            total = Rotation.from_rotvec([part * angle, 0.0, 2 * np.pi * turns / pulse.size]) * total
        return total.as_matrix()

    def excite(scale):
        return [rotate(pulses[0], scale * np.pi / 2, time_bandwidth[0] * z)[:, 2] for z in positions]

    def rephase(excited, area):
        return [Rotation.from_rotvec([0, 0, -2 * np.pi * area * time_bandwidth[0] * z]).as_matrix() @ m
                for z, m in zip(positions, excited, strict=True)]  # fmt: skip

    # Along -y after a turn about x: a quarter turn about z brings it onto x, the axis of the refocusing pulses.
    nominal = excite(1.0)
    areas = np.linspace(0.45, 0.55, 201)
    totals = [-weights @ np.array([m[1] for m in rephase(nominal, area)]) for area in areas]
    area, total = areas[np.argmax(totals)], np.max(totals)
    quarter = Rotation.from_rotvec([0, 0, np.pi / 2]).as_matrix()
    half_t2, half_t1 = np.exp(-spacing / 2 / t2), np.exp(-spacing / 2 / t1)
    signal = np.zeros(n, complex)
    for z, weight, m in zip(positions, weights, rephase(excite(b1), area), strict=True):
        refocus = rotate(pulses[1], b1 * np.pi, time_bandwidth[1] * z / ratio)
        state = np.repeat((quarter @ m)[:, np.newaxis], crusher.size, axis=1)

        def half_spacing(state):
            turned = (state[0] + 1j * state[1]) * np.exp(1j * crusher) * half_t2
            return np.stack([turned.real, turned.imag, 1 + (state[2] - 1) * half_t1])

        for k in range(n):
            state = half_spacing(refocus @ half_spacing(state))
            signal[k] += weight * np.mean(state[0] + 1j * state[1])
    return np.abs(signal) / total


@pytest.mark.parametrize(
    ("shape", "tb", "ratio", "b1", "t2"),
    [("sinc", (3.0, 3.0), 1.0, 0.85, 0.05), ("slr", (5.0, 5.0), 1.2, 1.0, 0.1), ("slr", (3.0, 4.0), 1.0, 1.15, 0.02)],
)
def test_train_equals_isochromats_under_real_pulses(shape, tb, ratio, b1, t2):
    n = 12
    pulses = shape_pulse(shape, tb[0], np.pi / 2), shape_pulse(shape, tb[1], np.pi)
    expected = simulate_train(pulses, tb, ratio, b1, 0.6, t2, 0.01, n)
    bound = MODEL.bind({"EchoTime": TE[:n]}, profile=shape, time_bandwidth=tb, thickness_ratio=ratio, slices=24, t1=0.6)
    found = bound.predict({"T2": t2, "B1": b1, "S0": 1.0})
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_twelve_positions_are_enough():
    for options in (SLR, {"profile": "sinc", "time_bandwidth": (3.0, 3.0)}):
        truth = {"T2": np.array([0.02, 0.08, 0.3]), "B1": 0.9, "S0": 1.0}
        dense = MODEL.bind({"EchoTime": TE}, slices=40, **options).predict(truth)
        found = fit(MODEL.bind({"EchoTime": TE}, b1_bounds=(0.5, 1.0), **options), dense)
        np.testing.assert_allclose(found.value["T2"], truth["T2"], rtol=0.005)


@pytest.mark.parametrize("offset", [False, True, "quadrature"])
@pytest.mark.parametrize("options", [{}, {**SLR, "pulse_duration": 0.003}])
def test_slopes_are_those_of_the_basis(options, offset):
    separable = MODEL.bind({"EchoTime": TE}, offset=offset, **options).separable
    evaluate = separable.evaluate.address

    @numba.njit
    def call(theta, design, constants, basis, slope):
        evaluate(theta, design, constants, basis, slope)

    def at(theta):
        basis = np.empty((separable.amplitudes, TE.size))
        slope = np.empty((theta.size, separable.amplitudes, TE.size))
        call(theta, separable.design, separable.constants, basis, slope)
        return basis, slope

    theta = np.array([np.log(0.06), 0.8 if options else 0.1, np.log(0.02)])[: separable.lower.size]
    for j in range(theta.size):
        step = np.zeros(theta.size)
        step[j] = 1e-5
        numeric = (at(theta + step)[0] - at(theta - step)[0]) / 2e-5
        np.testing.assert_allclose(at(theta)[1][j], numeric, atol=1e-7)


def fit_known_truth(t2, b1, side, count, seed=7):
    """Errors of T2 of trains at SNR 100 and the half widths of their 95 % intervals, where there is a value."""
    bound = MODEL.bind({"EchoTime": TE}, b1_bounds=side, **SLR)
    clean = bound.predict({"T2": t2, "B1": b1, "S0": 1000.0})
    found = fit(bound, clean + np.random.default_rng(seed).normal(0, 10, (count, TE.size)))
    assert found.ok.mean() > 0.99
    return (found.value["T2"] - t2)[found.ok], 2.045 * found.stderr["T2"][found.ok]


@pytest.mark.parametrize(
    ("t2", "b1", "side"),
    [(0.05, 0.8, (0.5, 1.0)), (0.08, 0.9, (0.5, 1.0)), (0.15, 0.8, (0.5, 1.0)), (0.08, 1.1, (1.0, 1.3))],
)
def test_known_truth_at_snr_100(t2, b1, side):
    """Bias and coverage of T2 with the pulses and the side of B1 known; its value is free."""
    error, reach = fit_known_truth(t2, b1, side, 1000)
    assert abs(np.mean(error)) < 0.005 * t2
    # 95 % of 1000 has a standard error of 0.7 %: the interval of the project, 93 to 97 %, is three of them each way.
    assert 0.93 <= np.mean(np.abs(error) < reach) <= 0.97


@pytest.mark.parametrize(
    ("t2", "b1"),
    [(0.03, 0.8), (0.05, 0.8), (0.05, 1.0), (0.05, 1.1), (0.08, 1.0), (0.08, 1.1), (0.15, 0.95), (0.15, 1.1)],
)
def test_coverage_with_the_side_unknown(t2, b1):
    """Both sides of B1 = 1 are in the standard error; the curvature of the better optimum covers 76 to 92 % here."""
    error, reach = fit_known_truth(t2, b1, (0.5, 1.3), 1000)
    assert 0.93 <= np.mean(np.abs(error) < reach) <= 0.97


MIRROR = pytest.mark.xfail(
    strict=True,
    reason="near B1 = 1 trains of slightly more and slightly less than 180 degrees differ by less than the noise of "
    "SNR 100: least squares takes either, and other estimators that do not know the side are biased elsewhere "
    "(docs/decisions/0041). A volume takes B1 from the neighborhood: tests/fields/test_transmit.py",
)


@MIRROR
def test_bias_with_the_side_unknown():
    error, _ = fit_known_truth(0.05, 1.0, (0.5, 1.3), 1000)
    assert abs(np.mean(error)) < 0.005 * 0.05


@pytest.mark.parametrize("offset", [False, True, "quadrature"])
@pytest.mark.parametrize("options", [{}, SLR])
def test_a_known_b1_is_no_parameter(options, offset):
    free = MODEL.bind({"EchoTime": TE}, offset=offset, **options)
    b1 = np.array([0.7, 0.95, 1.2])
    truth = {"T2": np.array([0.04, 0.08, 0.15]), "B1": b1, "S0": 1000.0}
    if offset:
        truth[free.names[-1]] = 20.0
    signal = free.predict(truth)
    known = MODEL.bind({"EchoTime": TE, "B1": b1}, offset=offset, **options)
    assert known.names == tuple(name for name in free.names if name != "B1")
    found = fit(known, signal)
    one = fit(MODEL.bind({"EchoTime": TE, "B1": 0.95}, offset=offset, **options), signal[1])
    for name in known.names:
        np.testing.assert_allclose(found.value[name], truth[name], rtol=1e-4, err_msg=name)
        assert one.value[name] == pytest.approx(found.value[name][1], rel=1e-5), name
    np.testing.assert_allclose(known.predict({name: truth[name] for name in known.names}), signal)


def test_errors_with_a_known_b1_cover():
    bound = MODEL.bind({"EchoTime": TE, "B1": 1.0}, **SLR)
    clean = bound.predict({"T2": 0.05, "S0": 1000.0})
    found = fit(bound, clean + np.random.default_rng(8).normal(0, 10, (2000, TE.size)))
    for name, value in (("T2", 0.05), ("S0", 1000.0)):
        error = found.value[name] - value
        assert abs(error.mean()) < 0.001 * value
        assert 0.93 <= np.mean(np.abs(error) < 2.042 * found.stderr[name]) <= 0.97


def test_a_b1_that_cannot_be_simulated_gives_no_value():
    with pytest.raises(SidecarError, match="divide percent by 100"):
        MODEL.bind({"EchoTime": TE, "B1": 95.0}, **SLR)
    bound = MODEL.bind({"EchoTime": TE, "B1": np.array([0.9, 1.6, np.nan])}, **SLR)
    signal = MODEL.bind({"EchoTime": TE}, **SLR).predict({"T2": 0.08, "B1": np.full(3, 0.9), "S0": 1.0})
    np.testing.assert_array_equal(fit(bound, signal).ok, [True, False, False])


def test_the_wrong_profile_biases_t2():
    signal = MODEL.bind({"EchoTime": TE}, **SLR).predict({"T2": 0.08, "B1": 1.0, "S0": 1.0})
    ideal = fit(MODEL.bind({"EchoTime": TE}), signal[np.newaxis]).value["T2"][0]
    plain = fit(models.get("t2_multi_echo").bind({"EchoTime": TE}), signal[np.newaxis]).value["T2"][0]
    assert ideal > 1.04 * 0.08
    assert plain > 1.04 * 0.08


def test_a_floor_in_quadrature_is_fitted():
    bound = MODEL.bind({"EchoTime": TE}, offset="quadrature", **SLR)
    assert bound.names == ("T2", "B1", "S0", "floor")
    truth = {"T2": 0.04, "B1": 0.95, "S0": 1000.0, "floor": 20.0}
    found = fit(bound, bound.predict(truth)[np.newaxis])
    for name, value in truth.items():
        assert found.value[name][0] == pytest.approx(value, rel=1e-4), name


def test_a_pulse_that_lasts_holds_up_the_decay():
    instant = MODEL.bind({"EchoTime": TE}, t1=1.0, **SLR)
    lasting = MODEL.bind({"EchoTime": TE}, t1=1.0, pulse_duration=0.003, **SLR)
    found = fit(instant, lasting.predict({"T2": 0.05, "B1": 1.0, "S0": 1.0})[np.newaxis]).value["T2"][0]
    # 4.5 % of 3 ms out of each 10 ms.
    assert found / 0.05 - 1 == pytest.approx(0.0137 * (1 - 0.05), abs=0.001)


def test_t1_may_differ_from_train_to_train():
    t1 = np.array([0.2, 2.0])
    bound = MODEL.bind({"EchoTime": TE}, t1=t1, **SLR)
    signal = bound.predict({"T2": 0.05, "B1": 0.85, "S0": 1.0})
    found = fit(bound, signal)
    np.testing.assert_allclose(found.value["T2"], 0.05, rtol=1e-4)
    fixed = fit(MODEL.bind({"EchoTime": TE}, t1=1.0, **SLR), signal).value["T2"]
    assert np.abs(fixed / 0.05 - 1).max() > 0.002


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "square"},
        {"profile": "sinc", "time_bandwidth": 0.2},
        {"profile": "sinc", "thickness_ratio": 0},
        {"profile": "sinc", "pulse_duration": 2.5},
        {"b1_bounds": (0.9, 0.8)},
        {"offset": "cubic"},
        {"b1_from": "nowhere"},
    ],
)
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ConfigError, match="t2_extended_phase_graph"):
        MODEL.bind({"EchoTime": TE}, **options)


def test_plain_fit_without_the_first_or_the_odd_echoes():
    plain = models.get("t2_multi_echo")
    clean = 100 * np.exp(-TE / 0.08)
    first, odd = clean.copy(), clean.copy()
    first[0] *= 0.5
    odd[::2] *= 0.8
    shuffled = np.random.default_rng(1).permutation(TE.size)
    for options, signal in (({"skip_first": True}, first), ({"even_echoes": True}, odd)):
        bound = plain.bind({"EchoTime": TE[shuffled]}, **options)
        found = fit(bound, signal[shuffled][np.newaxis])
        assert found.value["T2"][0] == pytest.approx(0.08, rel=1e-6)
        assert bound.predict({"T2": 0.08, "S0": 1.0}).shape == TE.shape
    with pytest.raises(ConfigError, match="too few samples"):
        plain.bind({"EchoTime": TE[:4]}, even_echoes=True)


@pytest.mark.parametrize("kept", [slice(1, None, 2), slice(1, None), slice(0, None, 3), slice(None)], ids=str)
def test_numbers_of_echoes_tell_the_spacing_where_echoes_are_missing(kept):
    """Without them every second echo would be a train of twice the spacing, whose stimulated echoes are others."""
    truth = {"T2": 0.08, "B1": 0.85, "S0": 1000.0}
    signal = MODEL.bind({"EchoTime": TE}, **SLR).predict(truth)[kept]
    number = np.arange(1, TE.size + 1)[kept]
    bound = MODEL.bind({"EchoTime": TE[kept], "EchoNumber": number}, **SLR)
    np.testing.assert_allclose(bound.predict(truth), signal, rtol=1e-12)
    assert fit(bound, signal[np.newaxis]).value["T2"][0] == pytest.approx(0.08, rel=1e-3)


def test_every_second_echo_without_numbers_is_read_as_a_longer_spacing():
    te = TE[1::2]
    assert MODEL.bind({"EchoTime": te}, **SLR).options["echo_spacing"] == pytest.approx(0.02)
    assert MODEL.bind({"EchoTime": te}, **SLR, echo_spacing=0.01).options["echo_spacing"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "told",
    [1, [1] * 16, list(range(1, 16)), list(range(0, 16)), list(range(16, 0, -1)), [None] * 16, [2, *range(2, 17)]],
    ids=["one for all", "ones", "too few", "from zero", "backwards", "none", "twice the same"],
)
def test_numbers_that_do_not_suit_the_times_are_not_believed(told):
    plain = MODEL.bind({"EchoTime": TE[:16]}, **SLR)
    assert MODEL.bind({"EchoTime": TE[:16], "EchoNumber": told}, **SLR).options == plain.options
