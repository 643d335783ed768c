"""Models by name: the registry, what they need, and forward equations against independent ones."""

import numpy as np
import pytest

from isocenter import models
from isocenter.errors import ConfigError, FitError, SidecarError
from isocenter.fitting import fit

TI = np.array([0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0])
TE = 0.01 * np.arange(1, 17)
ACQUISITION = {"InversionTime": TI, "EchoTime": TE, "DiffusionBValue": [0.0, 300.0, 600.0, 1000.0]}


def graph_of_echoes(n, spacing, t1, t2, excitation, refocusing):
    """A CPMG train by extended phase graphs, the textbook way: complex 3 x orders state, half-spacing shifts."""
    state = np.zeros((3, 2 * n + 2), complex)  # rows F+, F-, Z; one column per dephasing order
    state[0, 0] = state[1, 0] = np.sin(excitation)
    a = refocusing
    # A rotation about the axis along which the excitation left the magnetization.
    rotation = np.array(
        [
            [np.cos(a / 2) ** 2, np.sin(a / 2) ** 2, np.sin(a)],
            [np.sin(a / 2) ** 2, np.cos(a / 2) ** 2, -np.sin(a)],
            [-np.sin(a) / 2, np.sin(a) / 2, np.cos(a)],
        ]
    )
    decay = np.exp(-spacing / 2 / np.array([t2, t2, t1]))[:, np.newaxis]

    def shift(s):
        moved = s.copy()
        moved[0, 1:] = s[0, :-1]
        moved[1, :-1] = s[1, 1:]
        moved[1, -1] = 0
        moved[0, 0] = np.conj(moved[1, 0])
        return moved

    echoes = []
    for _ in range(n):
        state = shift(decay * state)
        state = rotation @ state
        state = shift(decay * state)
        echoes.append(state[0, 0].real)
    return np.array(echoes)


@pytest.mark.parametrize("b1", [0.55, 0.8, 0.95, 1.0, 1.15])
@pytest.mark.parametrize(("t1", "t2"), [(1.0, 0.08), (0.3, 0.25), (4.0, 2.0), (0.08, 0.006)])
def test_echo_train_equals_a_plain_phase_graph(b1, t1, t2):
    bound = models.get("t2_extended_phase_graph").bind({"EchoTime": 0.0085 * np.arange(1, 33)})
    signal = bound.predict({"T2": t2, "B1": b1, "S0": 100.0, "T1": t1})
    expected = 100 * graph_of_echoes(32, 0.0085, t1, t2, b1 * np.pi / 2, b1 * np.pi)
    np.testing.assert_allclose(signal, expected, rtol=1e-11, atol=1e-11)


def test_echo_train_of_perfect_refocusing_is_an_exponential():
    bound = models.get("t2_extended_phase_graph").bind({"EchoTime": TE})
    signal = bound.predict({"T2": [0.05, 0.2], "B1": 1.0, "S0": 3.0})
    np.testing.assert_allclose(signal, 3 * np.exp(-TE / np.array([[0.05], [0.2]])), rtol=1e-12)


def test_echo_train_with_a_smaller_nominal_angle_and_echoes_left_out():
    times = 0.01 * np.arange(2, 12)
    bound = models.get("t2_extended_phase_graph").bind({"EchoTime": times, "RefocusingFlipAngle": 150})
    signal = bound.predict({"T2": 0.1, "B1": 0.9, "S0": 1.0})
    expected = graph_of_echoes(11, 0.01, 1.0, 0.1, 0.9 * np.pi / 2, 0.9 * np.deg2rad(150))[1:]
    np.testing.assert_allclose(signal, expected, rtol=1e-11)


def test_echo_times_that_are_no_train_are_refused():
    with pytest.raises(SidecarError, match="equal spacing"):
        models.get("t2_extended_phase_graph").bind({"EchoTime": [0.01, 0.02, 0.0337]})


def test_inversion_recovery_equals_the_bloch_steady_state():
    # Repeat inversion, recovery, 90 degree readout, recovery until nothing changes.
    t1, m0, efficiency, tr = 1.3, 500.0, 0.93, 2.5
    times = TI[:-1]
    expected = []
    for ti in times:
        m = m0
        for _ in range(50):
            at_readout = m0 + (-efficiency * m - m0) * np.exp(-ti / t1)
            m = m0 + (0 - m0) * np.exp(-(tr - ti) / t1)
        expected.append(abs(at_readout))
    bound = models.get("t1_inversion_recovery").bind({"InversionTime": times, "RepetitionTime": tr})
    found = bound.predict({"T1": t1, "M0": m0, "inversion_efficiency": efficiency})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_unknown_model_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="t1_inversion_recovery"):
        models.get("t1_by_magic")


@pytest.mark.parametrize("name", models.names())
def test_a_missing_key_is_a_sidecar_error_that_names_it(name):
    model = models.get(name)
    for key in model.needs:
        with pytest.raises(SidecarError, match=key):
            model.bind({k: v for k, v in model.example.items() if k != key})


@pytest.mark.parametrize("value", [None, "soon", [0.1, np.nan, 0.3], 0.1, [0.1, 0.1]])
def test_unusable_values_are_sidecar_errors(value):
    with pytest.raises(SidecarError):
        models.get("t1_inversion_recovery").bind({"InversionTime": value})


@pytest.mark.parametrize("name", models.names())
def test_an_unknown_option_is_refused(name):
    with pytest.raises(ConfigError, match="wisdom"):
        models.get(name).bind(models.get(name).example, wisdom=True)


@pytest.mark.parametrize("name", models.names())
def test_each_model_documents_itself(name):
    model = models.get(name)
    assert model.reference.startswith("https://doi.org/")
    assert model.needs
    assert all(p.unit and p.meaning and p.lower < p.upper for p in model.parameters)


@pytest.mark.parametrize("name", models.names())
def test_each_model_fits_its_own_example(name):
    model = models.get(name)
    bound = model.bind(model.example)
    found = fit(bound, bound.predict(model.typical)[np.newaxis])
    for parameter, value in model.typical.items():
        assert found.value[parameter][0] == pytest.approx(value, rel=1e-4), parameter


def test_predict_names_what_is_missing_or_unknown():
    bound = models.get("t2_multi_echo").bind(ACQUISITION)
    with pytest.raises(FitError, match="give S0"):
        bound.predict({"T2": 0.1})
    with pytest.raises(FitError, match="leave out T1"):
        bound.predict({"T2": 0.1, "S0": 1.0, "T1": 1.0})


def test_predict_broadcasts():
    bound = models.get("t2_extended_phase_graph").bind({"EchoTime": TE})
    assert bound.predict({"T2": np.full((2, 3), 0.1), "B1": 0.9, "S0": 1.0}).shape == (2, 3, 16)
