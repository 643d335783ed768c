"""Slice profiles against a Bloch simulation by rotation matrices, and against the Fourier limit of small angles."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isocenter.errors import ConfigError
from isocenter.models.slice_profile import SHAPES, make_profile, rotate_spins, shape_pulse


def turn(pulse, angle, turns):
    """Rotation of one isochromat by a pulse: B1 (about x) and gradient (about z) act together in each of many steps."""
    total = Rotation.identity()
    for part in pulse:
        total = Rotation.from_rotvec([part * angle, 0.0, 2 * np.pi * turns / pulse.size]) * total
    return total.as_matrix()


def fine_pulse(shape, time_bandwidth, angle):
    """The same pulse in eight times finer steps, computed apart where it has a formula."""
    steps = 2048
    t = (np.arange(steps) + 0.5) / steps - 0.5
    if shape == "sinc":
        pulse = np.sinc(time_bandwidth * t) * 0.5 * (1 + np.cos(2 * np.pi * t))
    elif shape == "gaussian":
        # Half maximum of the spectrum at time_bandwidth / 2 cycles over the duration.
        width = np.sqrt(2 * np.log(2)) / (np.pi * time_bandwidth)
        pulse = np.exp(-0.5 * (t / width) ** 2)
    else:
        pulse = np.repeat(shape_pulse(shape, time_bandwidth, angle), 8)
    return pulse / pulse.sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("b1", [0.6, 1.0, 1.25])
def test_profile_equals_bloch_by_rotation_matrices(shape, b1):
    tb, ratio = (3.0, 4.0), 1.3
    profile = make_profile(shape, tb, ratio, 9, np.pi, 0.5, 1.3)
    excitation, w = profile.at(b1)
    fine = [fine_pulse(shape, tb[0], np.pi / 2), fine_pulse(shape, tb[1], np.pi)]
    nominal, excited, angle = [], [], []
    for z in profile.position:
        for scale, out in ((1.0, nominal), (b1, excited)):
            m = turn(fine[0], scale * np.pi / 2, tb[0] * z) @ [0, 0, 1]
            out.append(m[0] + 1j * m[1])
        # The z component that a pulse leaves of z is the cosine of the angle that matters.
        angle.append(turn(fine[1], b1 * np.pi, tb[1] * z / ratio)[2, 2])
    np.testing.assert_allclose(w, (1 + np.array(angle)) / 2, atol=2e-4)
    # Rephased for the nominal pulse, by a scan of the gradient's area; the excited magnetization lies along -y.
    nodes, weights = np.polynomial.legendre.leggauss(9)
    np.testing.assert_allclose(profile.position / profile.position.max(), (nodes + 1) / (nodes + 1).max())
    areas = np.linspace(0.4, 0.6, 2001)
    phases = np.exp(-2j * np.pi * np.outer(areas, tb[0] * profile.position))
    sums = (phases * np.array(nominal) * 1j).real @ weights
    best = phases[sums.argmax()]
    np.testing.assert_allclose(excitation, (best * np.array(excited) * 1j).real * weights / sums.max(), atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_small_angles_excite_the_fourier_transform_of_the_pulse(shape):
    pulse = shape_pulse(shape, 4.0, np.pi / 2)
    turns = np.linspace(-4, 4, 41)
    alpha, beta, _ = rotate_spins(pulse, np.float64(0.01), turns)
    t = (np.arange(pulse.size) + 0.5) / pulse.size - 0.5
    expected = 0.01 * np.abs(np.exp(2j * np.pi * np.outer(turns, t)) @ pulse)
    np.testing.assert_allclose(np.abs(2 * np.conj(alpha) * beta), expected, atol=2e-6)


def test_an_slr_pulse_has_the_designed_profile_at_its_full_angle():
    pulse = shape_pulse("slr", 5.0, np.pi)
    np.testing.assert_allclose(pulse, pulse[::-1], atol=1e-8)
    t = (np.arange(pulse.size) + 0.5) / pulse.size - 0.5
    turns = np.linspace(0, 5, 51)
    window = np.sinc(5.0 * t) * (0.54 + 0.46 * np.cos(2 * np.pi * t))
    designed = np.abs(np.exp(2j * np.pi * np.outer(turns, t)) @ window) / window.sum()
    # The window's ripple peaks off the center, where beta cannot exceed 1: on resonance the design is less than 180.
    scale = 0.9999 / designed.max()
    _, beta, _ = rotate_spins(pulse, np.float64(2 * np.arcsin(scale)), turns)
    np.testing.assert_allclose(np.abs(beta), scale * designed, atol=1e-3)


def test_a_pulse_holds_magnetization_upright_for_the_time_that_bloch_says():
    """Relaxation during the pulse, to first order: magnetization of all phases, T2 only, on the way through it."""
    pulse, turns, rate = shape_pulse("sinc", 3.0, np.pi), 0.4, 1e-5
    alpha, beta, upright = rotate_spins(pulse, np.float64(np.pi), np.float64(turns))
    phases = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    m = np.stack([np.cos(phases), np.sin(phases), 0 * phases])
    free = turn(pulse, np.pi, turns) @ m
    decay = np.exp(-rate / pulse.size / 2 * np.array([1.0, 1.0, 0.0]))[:, np.newaxis]
    for part in pulse:
        step = Rotation.from_rotvec([part * np.pi, 0.0, 2 * np.pi * turns / pulse.size]).as_matrix()
        m = decay * (step @ (decay * m))
    lost = 1 - np.mean(np.sum(m * free, axis=0))
    assert upright == pytest.approx(1 - lost / rate, abs=2e-3)
    assert abs(alpha) ** 2 + abs(beta) ** 2 == pytest.approx(1.0)


def test_b1_between_the_nodes_is_followed():
    profile = make_profile("slr", (5.0, 5.0), 1.2, 8, np.pi, 0.5, 1.3)
    other = make_profile("slr", (5.0, 5.0), 1.2, 8, np.pi, 0.55, 1.28)
    for b1 in (0.57, 0.83, 1.01, 1.27):
        np.testing.assert_allclose(profile.at(b1), other.at(b1), atol=1e-8)


def test_excitation_is_one_at_the_nominal_amplitude():
    profile = make_profile("sinc", (4.0, 3.0), 1.0, 12, np.pi, 0.5, 1.3)
    assert profile.at(1.0)[0].sum() == pytest.approx(1.0, abs=1e-6)
    assert profile.at(np.array([0.7, 1.0]))[1].shape == (2, 12)


def test_an_unknown_shape_is_refused():
    with pytest.raises(ConfigError, match="sinc, slr, gaussian"):
        shape_pulse("square", 2.0, np.pi)
