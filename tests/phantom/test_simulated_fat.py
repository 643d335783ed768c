"""PDFF vials from DICOM of known truth: found, numbered, fitted at their temperature, calibrated, with a page."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from phantom.conftest import ROOT
from phantom.simulated_session import draw_tubes, fill, gradient_echo, ms, scan, write_images

from isocenter.phantom_command import find_phantom, measure_folder

ECHOES = np.array([1.2, 2.2, 3.2, 4.2, 5.2, 6.2]) * 1e-3
TEMPERATURE = 20.0


@pytest.fixture(scope="module")
def fat():
    """The signal of a unit of fat at 20 °C and 3 T, computed here: water lies 0.17 ppm further off than at 37 °C."""
    peaks = yaml.safe_load((ROOT / "config/spectra.yaml").read_text(encoding="utf-8"))["six_peak"]
    ppm = np.array(peaks["ppm"]) - 0.01 * (37 - TEMPERATURE)
    share = np.array(peaks["amplitude"]) / np.sum(peaks["amplitude"])
    return np.exp(2j * np.pi * np.outer(ECHOES, ppm * 42.577 * 3.0)) @ share


@pytest.fixture(scope="module")
def plate():
    return draw_tubes(find_phantom("pdff").geometry("PDFF"), angle=17.0, shift=(4.0, -6.0))


def simulate(folder, plate, fat, *, snr=100.0, seed=1, with_phase=False, turn=1.0, bath=10.0, has_bath=True):
    """The vials in water, R2* of 20 to 60 1/s and a field that varies by 60 Hz; `turn` is the sense of the phase."""
    known = {r.vial: r.value for r in find_phantom("pdff").reference("PDFF", "", 3.0, TEMPERATURE)}
    share = np.array([*(known[v] for v in plate.vials.tolist()), 0.0]) / 100
    rate = np.array([*np.linspace(20.0, 60.0, len(plate.vials)), bath])
    amount = np.array([1.0] * len(plate.vials) + [float(has_bath)])

    def signal(k, x, y):
        field = 20.0 + 0.4 * x - 0.3 * y
        own = ((1 - share[k]) + share[k] * fat) * np.exp(-rate[k] * ECHOES)
        return amount[k] * own * np.exp(2j * np.pi * np.outer(field, ECHOES) + 0.7j)

    images = scan(fill(plate, signal), snr, seed)
    values = [{"EchoTime": t} for t in ms(ECHOES)]
    write_images(folder / "m", gradient_echo("m", 3.0), values, images, plate.pixel)
    if with_phase:
        kind = ["ORIGINAL", "PRIMARY", "P", "ND"]
        turned = images if turn > 0 else images.conj()
        write_images(folder / "p", gradient_echo("p", 3.0, ImageType=kind), values, turned, plate.pixel)


def measure(folder, **options):
    own = {"phantom": "pdff", "serial": "", "temperature": TEMPERATURE, **options}
    outcome = measure_folder(folder, folder / "out", **own)
    table = pd.read_csv(folder / "out/vials.tsv", sep="\t", na_values=["n/a"])
    return outcome, {key: rows.set_index("vial") for key, rows in table.groupby("method")}


def is_found(rows, plate):
    """Whether every vial lies within 1.5 mm of where it was drawn; DICOM's x and y have the other sign."""
    return np.abs(rows[["x", "y"]].to_numpy() + plate.centers).max() < 1.5


@pytest.mark.parametrize("has_bath", [True, False], ids=["in water", "in air"])
def test_magnitudes(tmp_path, plate, fat, has_bath):
    simulate(tmp_path, plate, fat, has_bath=has_bath)
    outcome, by_method = measure(tmp_path)
    assert list(by_method) == ["PDFF"]
    rows = by_method["PDFF"]
    assert is_found(rows, plate)
    bias = rows["measured"] - rows["reference"]
    assert np.allclose(rows["bias_percent"], bias)  # of shares, in points
    assert bias[rows["reference"] < 50].abs().max() <= 1.0
    # Beyond 50 % a vial is right, or says that it cannot be told.
    beyond = rows[rows["reference"] > 50]
    assert ((beyond["bias_percent"].abs() < 2.0) | ~beyond["used"]).all()
    assert (bias.abs() <= 4 * rows["stderr"]).all()
    calibration = json.loads((tmp_path / "out/calibration/PDFF.json").read_text())
    assert not calibration["refused"]
    assert calibration["checks"]["loo_rms_percent"] < 0.5
    assert outcome.verdict == "pass"
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "points" in page
    assert "log axis" not in page


def test_the_phase_calibrates_where_it_was_sent(tmp_path, plate, fat):
    simulate(tmp_path, plate, fat, with_phase=True)
    outcome, by_method = measure(tmp_path)
    assert set(by_method) == {"PDFF", "PDFF_complex"}
    for key, is_primary in (("PDFF_complex", True), ("PDFF", False)):
        rows = by_method[key]
        assert (rows["primary"] == is_primary).all()
        below = rows[rows["reference"] < 50]
        assert below["bias_percent"].abs().max() <= 1.0
        calibrates = json.loads((tmp_path / f"out/calibration/{key}.json").read_text())["calibrates"]
        assert calibrates == is_primary
    complex_rows = by_method["PDFF_complex"]
    assert complex_rows["used"].all()  # nothing is ambiguous
    assert complex_rows["bias_percent"].abs().max() <= 1.0
    assert complex_rows["mean_measured"].sub(complex_rows["reference"]).abs().max() <= 1.0
    assert "turns counterclockwise" in (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert outcome.verdict == "pass"


def test_a_phase_that_turns_the_other_way_gives_the_same(tmp_path, plate, fat):
    for name, turn in (("one", 1.0), ("other", -1.0)):
        simulate(tmp_path / name, plate, fat, with_phase=True, turn=turn)
    one, other = (measure(tmp_path / name)[1]["PDFF_complex"] for name in ("one", "other"))
    assert np.allclose(one["measured"], other["measured"], atol=0.01)
    assert "turns clockwise" in (tmp_path / "other/out/index.html").read_text(encoding="utf-8")


def test_a_temperature_that_is_five_degrees_off_costs_magnitudes_more(tmp_path, plate, fat):
    """0.05 of 3.4 ppm: complex images fit it into the field, magnitudes misread the vial about half of which is fat."""
    simulate(tmp_path, plate, fat, with_phase=True)
    by_method = measure(tmp_path, temperature=TEMPERATURE + 5)[1]
    assert by_method["PDFF_complex"]["bias_percent"].abs().max() < 1.0
    half = by_method["PDFF"].loc[10]
    assert not half["used"] or abs(half["bias_percent"]) > 2.0


@pytest.mark.parametrize(("snr", "least"), [(50.0, 11), (30.0, 11), (20.0, 10)])
def test_magnitudes_at_low_signal_are_told_by_their_means(tmp_path, plate, fat, snr, least):
    """Single voxels of much fat and of little look alike to magnitudes of this noise; the means of vials do not."""
    simulate(tmp_path, plate, fat, snr=snr)
    rows = measure(tmp_path)[1]["PDFF"]
    assert is_found(rows, plate)
    assert (rows["n_voxels"] < 20).any()  # voxels with a value, of 40: too few of them to count
    sure = rows[rows["used"]]
    assert len(sure) >= least
    assert (rows[~rows["used"]]["flag"] == "no_value").all()
    assert (sure["bias_percent"].abs() <= 4 * sure["stderr"]).all()
    assert sure["bias_percent"].abs().max() < 100 / snr
