"""Phantoms that were not at 20 °C, from simulated DICOM to the table: what NIST printed for that day is what counts."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from phantom.simulated_session import draw_array
from phantom.test_simulated_relaxation import write_echo_train, write_inversion_recovery
from typer.testing import CliRunner

from isocenter.cli import app
from isocenter.errors import CalibrationError
from isocenter.phantom_command import find_phantom, measure_folder

FOLDER = "reference_values/batch2_sn_gte_130-0042"
FILES = {"T1": "T1-Batch2_3T_dl-20210726.csv", "T2": "T2-Batch2_3T_dl-20210726.csv"}
QUANTITIES = (*FILES, "T1_of_T2")
SERIAL = "130-0093"
ECHOES = np.arange(1, 25) * 0.01


def printed_table(nist_data, quantity):
    """Temperature [degC] to vial to what NIST printed for it [s], read from the published file of its array.

    quantity : T1 or T2, each of its own array; T1_of_T2 : T1 of the T2 array
    """
    found = {}
    column, array = quantity[:2], quantity[-2:]
    with open(nist_data / FOLDER / FILES[array], encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            vial, at = int(row["Solution"].split("-")[1]), float(row["Temp (C)"].replace("~", ""))
            value = float(row[f"{column} reported (ms)"].replace(",", "")) / 1000
            found.setdefault(at, {})[vial] = value
    return found


def between(table, temperature):
    """A chord of the logs through the two printed temperatures about this one: by vial [s]."""
    low, high = max(t for t in table if t <= temperature), min(t for t in table if t >= temperature)
    share = (temperature - low) / (high - low) if high > low else 0.0
    return {v: np.exp((1 - share) * np.log(table[low][v]) + share * np.log(table[high][v])) for v in table[low]}


def write_session(folder, values, seed):
    system = find_phantom("system")
    where = {"angle": 17.0 * seed, "shift": (3.0, -4.0)}
    write_inversion_recovery(folder, draw_array(system.geometry("T1"), **where), values["T1"], 3.0, seed=seed)
    write_echo_train(folder, draw_array(system.geometry("T2"), **where), values["T2"], 3.0, ECHOES, seed=seed,
                     t1=values["T1_of_T2"])  # fmt: skip


@pytest.mark.parametrize("temperature", [16.3, pytest.param(26.0, marks=pytest.mark.slow)])
def test_vials_are_held_against_the_table_of_their_temperature(nist_data, tmp_path, temperature):
    tables = {q: printed_table(nist_data, q) for q in QUANTITIES}
    truth = {q: between(tables[q], temperature) for q in QUANTITIES}
    write_session(tmp_path, truth, seed=round(temperature))
    outcome = measure_folder(
        tmp_path, tmp_path / "out", phantom="system", serial=SERIAL, temperature=temperature, temperature_stderr=0.4
    )
    assert outcome.verdict == "pass"
    rows = pd.read_csv(tmp_path / "out/vials.tsv", sep="\t", na_values=["n/a"])
    for quantity in FILES:
        own = rows[rows["method"] == quantity].set_index("vial")
        used = own[own["used"]]
        assert len(used) >= {"T1": 13, "T2": 8}[quantity]
        # Where NIST printed this temperature the reference is the print; between two it bends by less than 0.5 %.
        error = own["reference"] / pd.Series(truth[quantity])[own.index] - 1
        assert error.abs().max() < (1e-6 if temperature in tables[quantity] else 0.005)
        # What 0.4 degrees make, by the two printed neighbors; single printed values scatter by 0.2 %.
        near = sorted(tables[quantity], key=lambda t: abs(t - temperature))[:2]
        low, high = (pd.Series(tables[quantity][t])[used.index] for t in sorted(near))
        share = 0.4 * np.log(high / low) / (max(near) - min(near))
        told = used["temperature_stderr"] / used["reference"]
        assert (told - share).abs().max() < 0.003
        assert told.mean() == pytest.approx(share.mean(), abs=0.001)
        rest = np.sqrt(used["reference_stderr"] ** 2 - used["temperature_stderr"] ** 2) / used["reference"]
        assert rest.between(0.005, 0.03).all()  # what NIST states of the solution itself
        # SNR is 150; T2 below 2.5 first echoes is told by three or four echoes alone, and its error says so.
        error = (used["measured"] / pd.Series(truth[quantity])[used.index] - 1).abs()
        assert (error * used["measured"] < 4 * used["stderr"]).all()
        assert error[used["reference"] > (0.025 if quantity == "T2" else 0.0)].max() < 0.02
        content = json.loads((tmp_path / f"out/calibration/{quantity}.json").read_text())
        assert not content["refused"]
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert f"{temperature:g} ± 0.4 °C, as given" in page


def test_outside_the_table_the_command_says_the_range(nist_data, tmp_path):
    write_session(tmp_path, {q: printed_table(nist_data, q)[26.0] for q in QUANTITIES}, seed=1)
    for temperature in ("15.9", "27"):
        options = ["--phantom", "system", "--serial", SERIAL, "--temperature", temperature]
        outcome = CliRunner().invoke(app, ["phantom", str(tmp_path), "--out", str(tmp_path / "out"), *options])
        assert isinstance(outcome.exception, CalibrationError)
        for words in ("16 to 26 degC", f"{temperature} degC", "--temperature"):
            assert words in str(outcome.exception)
        assert not (tmp_path / "out").exists()
