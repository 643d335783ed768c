"""Models with two nonlinear coordinates on a plane: the optimum, the M-estimate, and what must not change either."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize

from isocenter import fitting, models
from isocenter.entities import Flag
from isocenter.fitting.batches import choose_engine
from isocenter.fitting.plane import sample_direction
from isocenter.fitting.series import square_series

TRAIN = {"EchoTime": [round(0.01 * k, 3) for k in range(1, 33)], "RefocusingFlipAngle": 180.0}
PROFILE = {"profile": "sinc", "time_bandwidth": 3.0, "thickness_ratio": 1.2}


@pytest.fixture(scope="module")
def train():
    return models.get("t2_extended_phase_graph").bind(TRAIN, **PROFILE)


def draw(bound, count, b1=(0.7, 1.1), sigma=8.0, seed=3):
    rng = np.random.default_rng(seed)
    truth = {"T2": rng.uniform(0.03, 0.2, count), "B1": rng.uniform(*b1, count), "S0": rng.uniform(800, 1200, count)}
    signal = bound.predict(truth)
    return truth, signal + sigma * rng.standard_normal(signal.shape)


def test_directions_follow_the_model(train):
    engine, separable = choose_engine(train), train.separable
    theta = np.random.default_rng(1).uniform(separable.lower, separable.upper, (2000, 2))
    x = (theta - separable.lower) / (2.0 * engine.half)
    cell = np.minimum(x.astype(int), np.array(engine.direction.shape[:2]) - 1)
    s, t = (2.0 * (x - cell) - 1.0).T
    powers = np.vander(s, 8, increasing=True)[:, :, np.newaxis] * np.vander(t, 8, increasing=True)[:, np.newaxis]
    found = np.einsum("vnab,vab->vn", square_series(engine.direction[cell[:, 0], cell[:, 1]]), powers)
    assert np.abs(found - sample_direction(separable, theta)).max() < 3e-7


def test_no_optimum_is_missed(train):
    """Against the best that scipy finds from seven starts along B1: two valleys differ by less than the noise here."""
    _, signal = draw(train, 40)
    fit = fitting.fit(train, signal)
    for v, y in enumerate(signal):

        def residuals(theta, y=y):
            return train.predict({"T2": np.exp(theta[0]), "B1": theta[1], "S0": 1000.0 * theta[2]}) - y

        starts = [[np.log(fit.value["T2"][v]), b1, y[0] / 800.0] for b1 in np.linspace(0.6, 1.25, 7)]
        best = min(2 * least_squares(residuals, s, bounds=([-7, 0.5, 0], [2, 1.3, 9])).cost for s in starts)
        # A thousandth: the height of the second valley is known to a little less than the depth of the first.
        assert fit.residual[v] ** 2 * y.size < best * 1.001


@pytest.mark.parametrize(("snr", "most"), [(100, 1e-4), (300, 2.5e-4), (2000, 2e-3)])
def test_the_better_side_is_found(train, snr, most):
    """Held at other values of B1, no train is likelier by more than noise: from the starts alone 0.2 and 0.7 % were."""
    _, signal = draw(train, 20_000, b1=(0.5, 1.3), sigma=800.0 / snr)
    found = fitting.fit(train, signal).residual
    b1 = np.linspace(0.5, 1.3, 41)
    held = [models.get("t2_extended_phase_graph").bind(TRAIN | {"B1": float(one)}, **PROFILE) for one in b1]
    held = np.array([fitting.fit(one, signal).residual for one in held])
    # On the edge an optimum counts less than inside.
    is_inside = np.isin(held.argmin(axis=0), range(1, b1.size - 1))
    chi_squared = (signal.shape[1] - 3) * ((found / held.min(axis=0)) ** 2 - 1)
    assert (chi_squared > 0.5)[is_inside].mean() < most


def test_noise_free_trains_come_back(train):
    truth, signal = draw(train, 200, sigma=0.0)
    fit = fitting.fit(train, signal)
    assert np.abs(fit.value["T2"] / truth["T2"] - 1).max() < 1e-6
    assert np.abs(fit.value["B1"] - truth["B1"]).max() < 1e-6


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("b1", [(0.7, 1.1), (1.28, 1.3)])
def test_m_estimates_are_at_rest(train, kind, b1):
    """scipy finds nothing lower beside them, inside the bounds and on their edge."""
    _, signal = draw(train, 120, b1)
    signal[:, 5] += 300.0
    count = np.full(len(signal), signal.shape[1])
    work = SimpleNamespace(
        y=signal, usable=None, count=count, known=np.full(len(signal), np.nan), varying=np.empty((len(signal), 0)),
        start={},
    )  # fmt: skip
    engine = choose_engine(train)
    engine.start(work, True)
    engine.finish(work, kind)

    def cost(theta, y, scale):
        u = np.abs(y - train.predict({"T2": np.exp(theta[0]), "B1": theta[1], "S0": 1000.0 * theta[2]})) / scale
        if kind == 1:
            return np.sum(1.0 - (1.0 - np.minimum((u / 4.685) ** 2, 1.0)) ** 3) * 4.685**2 / 6
        return np.sum(np.where(u < 1.345, 0.5 * u * u, 1.345 * (u - 0.5 * 1.345)))

    seen = np.flatnonzero(np.isin(work.flag, [Flag.OK, Flag.AT_BOUND]))
    assert seen.size > 90
    if b1[0] > 1.2:
        assert np.count_nonzero(work.flag == Flag.AT_BOUND) >= 3
    for v in seen:
        here = np.array([np.log(work.values[v, 0]), work.values[v, 1], work.values[v, 2] / 1000.0])
        given = (signal[v], work.scale[v])
        limits = [(here[0] - 0.02, here[0] + 0.02), (max(here[1] - 0.01, 0.5), min(here[1] + 0.01, 1.3)), (0.1, 9.0)]
        lowest = minimize(cost, here, given, "L-BFGS-B", bounds=limits, options={"ftol": 1e-12, "gtol": 1e-8}).fun
        assert cost(here, *given) < lowest * (1 + 1e-7) + 1e-9


def test_neighbors_do_not_matter(train):
    """To the bit, also beside voxels that lack samples and go another way."""
    _, signal = draw(train, 50)
    alone = fitting.fit(train, signal)
    beside = signal.copy()
    beside[::7, 4] = np.nan
    mixed = fitting.fit(train, beside, threads=2)
    whole = np.isfinite(beside).all(axis=1)
    for name in alone.value:
        np.testing.assert_array_equal(alone.value[name][whole], mixed.value[name][whole])
        np.testing.assert_array_equal(alone.stderr[name][whole], mixed.stderr[name][whole])
    lacking = ~whole & mixed.ok
    assert lacking.sum() > 5
    assert np.median(np.abs(mixed.value["T2"] / alone.value["T2"] - 1)[lacking]) < 0.02


def test_a_model_without_directions_still_fits():
    """Near 180 degrees a train without a profile and with an offset is hardly more than a constant."""
    bound = models.get("t2_extended_phase_graph").bind({"EchoTime": TRAIN["EchoTime"][:16]}, offset=True)
    assert choose_engine(bound).direction.size == 0
    truth = {"T2": np.full(20, 0.08), "B1": np.full(20, 0.85), "S0": np.full(20, 1000.0), "offset": np.full(20, 30.0)}
    fit = fitting.fit(bound, bound.predict(truth))
    assert np.abs(fit.value["T2"] / 0.08 - 1).max() < 1e-4
