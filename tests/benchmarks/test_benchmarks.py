"""The benchmarks run at tiny sizes, compare what they say they compare, and never invent a peer."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import __main__ as command
from benchmarks import peer_runs
from benchmarks.arterial_input import ACQUISITION, TIMES, convolve, parker_input
from benchmarks.measure import TINY, fit_by_scipy, measure
from benchmarks.task import load_tasks

TASKS = {task.name: task for task in load_tasks()}


def bind(name):
    bound = TASKS[name].bind()
    assert bound is not None, f"the model {TASKS[name].model} is missing"
    return TASKS[name], bound


def test_the_table_has_a_row_for_every_bar():
    bars = {
        "inversion_recovery": 600, "variable_flip_angle": 1200, "t2_monoexponential": 800, "t2_phase_graph": 100,
        "t2star": 1000, "adc": 1000, "pdff_complex": 300, "pdff_magnitude": 400, "tofts": 400, "extended_tofts": 200,
    }  # fmt: skip
    assert {name: task.bar for name, task in TASKS.items()} == bars


@pytest.mark.parametrize("name", TASKS)
def test_scipy_solves_the_equation_that_our_model_predicts(name):
    """Without noise both recover the truth: the comparison is of the same equation, not of two like ones."""
    task, bound = bind(name)
    truth, signal = task.draw(bound, 8, snr=1e9, seed=4)
    true = task.read_truth(bound, truth)
    found = [task.read(theta) for theta in fit_by_scipy(task, bound, signal)]
    np.testing.assert_allclose(np.median(np.abs(found / true - 1)), 0, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in TASKS if n != "t2_phase_graph"])
def test_a_tiny_measurement_agrees_with_scipy(name):
    task, bound = bind(name)
    found = measure(task, bound, TINY)
    assert found.difference < 1e-3
    assert found.ok > 0.9
    assert min(found.ours, found.scipy, found.floor, found.prediction_share) > 0
    json.dumps(found.as_dict())


def test_the_recursive_filter_is_the_convolution_of_straight_lines():
    fine = np.linspace(0, TIMES[-1], 149 * 400 + 1) / 60
    plasma = np.asarray(ACQUISITION["ArterialInputFunction"])
    lines = np.interp(fine, TIMES / 60, plasma)
    rate, step = 0.8, fine[1]
    # The trapezoid rule on a fine grid, by another route: integrate exp(rate s) Cp(s).
    inner = lines * np.exp(rate * fine)
    integral = np.concatenate([[0.0], np.cumsum(inner[1:] + inner[:-1]) * step / 2])
    expected = (np.exp(-rate * fine) * integral)[::400]
    np.testing.assert_allclose(convolve(plasma, TIMES[1] / 60, rate), expected, atol=1e-6)


def test_the_population_input_has_its_published_peak():
    blood = 0.58 * parker_input(np.arange(0, 120, 0.1), onset=0.0)
    assert 5.5 < blood.max() < 6.5  # mM, figure 2 of Parker 2006
    assert 8 < 0.1 * blood.argmax() < 13  # s


def test_a_peer_that_is_not_there_is_said_to_be_not_installed(monkeypatch):
    task, bound = bind("adc")
    monkeypatch.setattr(peer_runs, "_ask", lambda python, folder: {"missing": True})
    runs = peer_runs.run_peers(task, bound, ["nowhere"], snr=100.0, share=0.01)
    assert runs
    assert all(run.speed is None and run.note == "not installed" for run in runs)


def test_the_worker_says_in_its_own_environment_what_is_missing(monkeypatch):
    from benchmarks.peers import dipy

    task, bound = bind("adc")
    monkeypatch.setattr(dipy, "PACKAGE", "dipy-that-nobody-has")
    runs = peer_runs.run_peers(task, bound, [sys.executable], snr=100.0, share=0.0)
    # The worker reads the file afresh: whatever this environment has, there is a note and never a made-up speed.
    for run in runs:
        assert run.speed is None or run.version


def test_the_command_prints_tables_and_json(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    assert command.main(["--tiny", "--only", "adc", "--threads", "1"]) == 0
    assert "ADC, 4 b-values" in capsys.readouterr().out
    assert command.main(["--tiny", "--only", "adc", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"][0]["task"] == "adc"
    assert found["not_built_yet"] == []
    with pytest.raises(SystemExit) as stop:
        command.main(["--only", "magic"])
    assert stop.value.code == 2


def test_stages_count_each_job_once(tmp_path, capsys):
    """A job's outputs have a record each, written one after the other; a folder without any is the request's fault."""
    from benchmarks.stages import main

    folder = tmp_path / ".snakemake" / "metadata"
    folder.mkdir(parents=True)
    for name, rule, log, start, end in (
        ("map", "fit_map", "one.log", 10.0, 12.5), ("stderr", "fit_map", "one.log", 10.1, 12.5),
        ("other", "fit_map", "two.log", 10.0, 11.0), ("page", "make_report", "page.log", 13.0, 19.5),
    ):  # fmt: skip
        record = {"rule": rule, "log": [log], "starttime": start, "endtime": end}
        (folder / name).write_text(json.dumps(record))
    assert main([str(tmp_path)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert rows[0].startswith("| `make_report` | 1 | 6.5 |")
    assert rows[1].startswith("| `fit_map` | 2 | 3.5 |")
    assert main([str(folder)]) == 2
