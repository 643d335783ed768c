"""The table of a basis, and that fits by the table and by the model itself agree."""

from collections import OrderedDict

import numpy as np
import pytest

from isocenter import models
from isocenter.fitting import batches, fit, plane
from isocenter.fitting.robust import SPARE
from isocenter.fitting.table import build_table, sample_basis

SUITED = [n for n in models.names() if (s := models.get(n).bind(models.get(n).example).separable) and build_table(s)]


def test_the_models_with_one_nonlinear_parameter_have_a_table():
    assert {"t1_inversion_recovery", "t2_multi_echo", "t2star_multi_echo", "adc_monoexponential"} <= set(SUITED)


@pytest.mark.parametrize("name", SUITED)
def test_a_table_repeats_its_model(name):
    separable = models.get(name).bind(models.get(name).example).separable
    table = build_table(separable)
    u = np.random.default_rng(1).uniform(separable.lower[0], separable.upper[0], 2000)
    cell = np.minimum(((u - table.lower) / table.width).astype(int), len(table.coefficients) - 1)
    t = 2 * ((u - table.lower) / table.width - cell) - 1
    powers = t[:, np.newaxis] ** np.arange(table.coefficients.shape[1])
    found = np.einsum("vd,vdn->vn", powers, table.coefficients[cell])
    wanted, slope = (np.empty((u.size, separable.amplitudes, separable.design.shape[1])) for _ in range(2))
    sample_basis(separable.evaluate.address, u[:, np.newaxis], separable.design, separable.constants, wanted, slope)
    assert np.abs(found - wanted[:, table.moving]).max() < 2e-10 * np.abs(wanted[:, table.moving]).max()


@pytest.mark.parametrize("robust", [None, "tukey", "huber"])
@pytest.mark.parametrize("name", SUITED)
def test_the_table_changes_no_result(name, robust, monkeypatch):
    """Both engines find the same optimum; where noise makes two of them nearly as good, each may take its own."""
    model = models.get(name)
    bound = model.bind(model.example)
    if bound.n < len(bound.parameters) + SPARE and robust:
        pytest.skip("too few samples for robust weights")
    rng = np.random.default_rng(2)
    signal = np.broadcast_to(bound.predict(model.typical), (400, bound.n))
    signal = signal + rng.normal(0, np.abs(signal).max() / 100, signal.shape)
    signal = np.abs(signal) if bound.separable.is_magnitude else signal
    found = fit(bound, signal, robust=robust)
    monkeypatch.setattr(batches, "_TABLES", OrderedDict())
    monkeypatch.setattr(batches, "build_table", lambda separable: None)
    direct = fit(bound, signal, robust=robust)
    both = found.ok & direct.ok
    assert (found.ok == direct.ok).mean() > 0.99
    for parameter in found.parameters:
        ratio = (found.value[parameter] - direct.value[parameter])[both] / direct.stderr[parameter][both]
        if robust is None:
            assert np.mean(np.abs(ratio) < 1e-4) > 0.99, parameter
            assert np.median(np.abs(found.stderr[parameter] / direct.stderr[parameter] - 1)[both]) < 1e-4
        else:
            # The two rank their starts differently, so the scales differ a little, and with them the weights.
            assert np.median(np.abs(ratio)) < 0.05, parameter
            assert np.quantile(np.abs(ratio), 0.95) < 1.0, parameter


@pytest.mark.parametrize("options", [{}, {"offset": True}, {"profile": "sinc", "time_bandwidth": 2.7, "slices": 8}])
def test_a_plane_changes_no_result(options, monkeypatch):
    bound = models.get("t2_extended_phase_graph").bind({"EchoTime": 0.01 * np.arange(1, 17)}, **options)
    rng = np.random.default_rng(3)
    truth = {"T2": rng.uniform(0.03, 0.3, 60), "B1": rng.uniform(0.75, 0.95, 60), "S0": 1000.0}
    truth |= {"offset": 20.0} if "offset" in options else {}
    signal = bound.predict(truth) + rng.normal(0, 10, (60, 16))
    found = fit(bound, signal)
    assert batches.choose_engine(bound).problem.plane.size > 0
    monkeypatch.setattr(batches, "_TABLES", OrderedDict())
    monkeypatch.setattr(batches, "build_plane", lambda separable: plane.NONE)
    direct = fit(bound, signal)
    both = found.ok & direct.ok
    assert (found.ok == direct.ok).mean() > 0.98
    # Two sides of B1 fit nearly alike; where the two differ, the plane's must be the better optimum.
    assert np.mean(found.residual[both] <= direct.residual[both] * (1 + 1e-6)) > 0.97
    same = both & (np.abs(found.residual / direct.residual - 1) < 1e-6)
    assert same.sum() >= 40
    for name in ("T2", "B1", "S0"):
        ratio = (found.value[name] - direct.value[name])[same] / direct.stderr[name][same]
        assert np.mean(np.abs(ratio) < 1e-2) > 0.97, name
