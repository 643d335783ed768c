"""Pulses chosen for a site: by all trains of a scanner and protocol, recorded, taken by fits, or refused and why."""

import json
from dataclasses import replace

import numpy as np
import pytest
from phantom.conftest import ROOT
from phantom.drawing import draw_plate

from choose_pulses import choose_pulses
from fit_map import fit_map
from isocenter import models
from isocenter.io.nifti import read_sidecar, write_json
from isocenter.io.series import write_series
from isocenter.io.tables import read_table
from isocenter.phantom.pulse_choice import choose_pulses as choose
from isocenter.phantom.pulse_options import describe_pulses, find_options, is_same_protocol
from isocenter.phantom.scanner_pulses import Train, choose_for_scanners, describe_choice, read_choice, record_choice
from isocenter.phantom.sessions import VIAL_COLUMNS, VIAL_TEXT
from isocenter.volume import Series
from measure_vials import measure_vials

DEFINITION = ROOT / "config" / "phantoms" / "nist_system.yaml"
TE = 0.01 * np.arange(1, 17)
SLR = {"profile": "slr", "time_bandwidth": [5.0, 5.0], "thickness_ratio": 1.2, "pulse_duration": 0.0025}
T2 = np.array([0.25, 0.12, 0.08, 0.06, 0.04, 0.03])
EPG = models.get("t2_extended_phase_graph")


def predict(t2, options, te=TE, b1=0.96):
    return EPG.bind({"EchoTime": te}, **options).predict({"T2": t2, "B1": b1, "S0": 3000.0})


def make_train(scan, scanner="one", options=SLR, te=TE, seed=0, noise=2.0):
    signal = predict(T2, options, te, np.linspace(0.93, 1.0, len(T2)))
    signal = signal + np.random.default_rng(seed).normal(0, noise, signal.shape)
    numbers = np.arange(1, len(T2) + 1)
    return Train(
        scan, scanner, numbers, np.zeros((len(T2), 3)), "drawn", {"EchoTime": te}, signal, np.full(len(T2), 1.0)
    )


@pytest.fixture(scope="module")
def chosen():
    """Two sessions of one scanner, and one of another scanner whose pulses are ideal."""
    trains = [make_train("sub-p_ses-01_run-1"), make_train("sub-p_ses-02_run-1", seed=1)]
    trains.append(make_train("sub-p_ses-03_run-1", "two", {"profile": "none"}, seed=2))
    return choose_for_scanners(trains), trains


def test_a_scanner_has_one_choice_and_another_its_own(chosen):
    found, _ = chosen
    assert [one.scanner for one in found] == ["one", "two"]
    assert [len(one.trains) for one in found] == [2, 1]
    options = [describe_choice(one)["options"] for one in found]
    assert {key: options[0][key] for key in SLR} == SLR
    assert options[1]["profile"] == "none"  # ideal pulses are among the candidates, and win where they are true
    assert describe_pulses(options[1]).startswith("ideal")
    assert "offset" not in options[0]  # the background below a phantom's echoes is no pulse
    t2 = found[0].choice.t2.reshape(2, -1)
    assert np.abs(t2 / T2 - 1).max() < 0.03


def test_one_session_chooses_as_it_would_alone(chosen):
    train = chosen[1][0]
    alone = choose(train.acquisition, train.signal, options={"t1": train.t1})
    stacked = choose_for_scanners([train])[0].choice
    assert stacked.options["profile"] == alone.options["profile"]
    assert np.array_equal(stacked.t2, alone.t2)
    assert np.array_equal(stacked.t2_stderr, alone.t2_stderr)


def test_what_is_recorded_is_what_was_found(chosen, tmp_path):
    found, trains = chosen
    write_json(tmp_path / "trains.json", {"choices": [record_choice(one) for one in found]})
    content = json.loads((tmp_path / "trains.json").read_text(encoding="utf-8"))
    second = len(T2)
    choice, vials, centers, how = read_choice(content, "sub-p_ses-02_run-1")
    for name in ("t2", "t2_stderr", "spread", "background"):
        assert np.array_equal(getattr(choice, name), getattr(found[0].choice, name)[second:])
    assert np.array_equal(choice.chosen.b1, found[0].choice.chosen.b1[second:])
    assert choice.recorded == found[0].choice.recorded
    assert vials.tolist() == trains[1].vials.tolist()
    assert (centers.shape, how) == ((6, 3), "drawn")
    assert read_choice(content, "sub-p_ses-09_run-1") is None


def test_a_scan_takes_the_choice_of_its_scanner_and_protocol(chosen):
    choices = [json.loads(json.dumps(describe_choice(one), default=lambda a: a.tolist())) for one in chosen[0]]
    options, reason = find_options(choices, "one", {"EchoTime": TE + 1e-6})
    assert options["profile"] == "slr"
    assert "smallest residual" in reason
    assert find_options(choices, "three", {"EchoTime": TE})[1] == (
        "no usable echo train of a phantom from scanner three"
    )
    options, reason = find_options(choices, "one", {"EchoTime": 1.2 * TE})
    assert options is None
    assert "another echo train" in reason
    refused = [{"scanner": "one", "protocol": {}, "options": None, "reason": "the vials were not found"}]
    assert find_options(refused, "one", {"EchoTime": TE}) == (None, "the vials were not found")


def test_a_protocol_is_its_echo_times_and_angle():
    assert is_same_protocol({"EchoTime": TE[::-1]}, {"EchoTime": TE, "RefocusingFlipAngle": 180.0})
    assert not is_same_protocol({"EchoTime": TE}, {"EchoTime": TE, "RefocusingFlipAngle": 150.0})
    assert not is_same_protocol({"EchoTime": TE}, {"EchoTime": TE[:8]})


# The steps ------------------------------------------------------------------------------------------
def draw_echoes(nist, folder, scan, *, angle=20.0, seed=0):
    """A plate of the T2 array whose echoes the pulses above made, on disk as intake writes it."""
    reference = nist.reference("T2", "130-0200", 3.0, 20.0, 0.3)
    drawing = draw_plate(nist.geometry("T2"), reference, angle=angle)
    values = np.nan_to_num(drawing.parameter_map.value, nan=0.0)
    known = np.unique(values[values > 0])
    table = predict(known.astype(float), SLR)
    data = np.zeros((*values.shape, TE.size), np.float32)
    data[values > 0] = table[np.searchsorted(known, values[values > 0])]
    data += np.random.default_rng(seed).normal(0, 3, data.shape)
    acquisition = {"EchoTime": TE, "RepetitionTime": 5.0}
    series = Series(np.abs(data).astype(np.float32), drawing.series.affine, acquisition, np.full(TE.size, np.inf))
    path = folder / f"{scan}_MESE.nii.gz"
    write_series(path, series)
    return path, {r.vial: r.value for r in reference}


ABOUT = {
    "scanner": "one", "phantom": "nist_system", "serial": "130-0200", "temperature": 20.0, "temperature_stderr": 0.3,
    "field_strength": 3.0,
}  # fmt: skip
SCAN = "sub-phantom1_ses-01_run-1"


@pytest.fixture(scope="module")
def site(nist, tmp_path_factory):
    """A site with one good session of its phantom and one whose serial number is wrong; what the step wrote."""
    folder = tmp_path_factory.mktemp("site")
    series = [draw_echoes(nist, folder, f"sub-phantom1_ses-0{n}_run-1", seed=n)[0] for n in (1, 2)]
    scans = {SCAN: ABOUT, "sub-phantom1_ses-02_run-1": {**ABOUT, "serial": "unknown"}}
    choose_pulses(
        series, [DEFINITION], pulses=folder / "pulses.json", trains=folder / "trains.json", biomarker="T2",
        quantity="T2", scans=scans,
    )  # fmt: skip
    return folder


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def fit(site, tmp_path, **change):
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("map", "stderr", "flag", "fit")}
    settings = {
        "model": "t2_extended_phase_graph", "parameter": "T2", "unit": "s", "options": {"slices": 8},
        "plausible_range": [0.002, 3.0], "pulses": [site / "pulses.json"], "scanner": "one",
    }  # fmt: skip
    fit_map([site / f"{SCAN}_MESE.nii.gz"], **files, **{**settings, **change})
    return files, read_sidecar(files["map"])


def test_the_step_chooses_and_says_which_scan_it_left_out(site):
    (choice,) = read(site / "pulses.json")["choices"]
    assert (choice["scanner"], choice["options"]["profile"]) == ("one", "slr")
    assert choice["options"]["thickness_ratio"] == pytest.approx(1.2, abs=0.16)
    content = read(site / "trains.json")
    (left_out,) = content["left_out"]
    assert left_out["scan"] == "sub-phantom1_ses-02_run-1"
    assert "belongs to no batch" in left_out["reason"]
    residuals = [one["residual"] for one in content["choices"][0]["candidates"]]
    assert len(residuals) == 79
    assert residuals == sorted(residuals)


def test_a_fit_takes_the_pulses_and_says_so(site, tmp_path):
    files, sidecar = fit(site, tmp_path)
    assert sidecar["Pulses"]["From"] == "phantom"
    assert sidecar["Options"]["profile"] == "slr"
    assert sidecar["Options"]["slices"] == 8  # the configured options that say nothing of the pulses stay
    assert sidecar["Sources"][-1] == "pulses.json"
    assert files["fit"].is_file()


@pytest.mark.parametrize(("change", "reason"), [({"scanner": "two"}, "no usable echo train"), ({"pulses": []}, "")])
def test_without_a_choice_the_configured_options_are_fitted(site, tmp_path, change, reason):
    _, sidecar = fit(site, tmp_path, **change)
    assert sidecar["Options"]["profile"] == "none"
    assert sidecar.get("Pulses", {}).get("From", "") == ("configured" if reason else "")
    assert reason in sidecar.get("Pulses", {}).get("Reason", "")


def test_a_site_without_a_phantom_has_no_choice(site, tmp_path):
    out = {name: tmp_path / f"{name}.json" for name in ("pulses", "trains")}
    choose_pulses([], [], **out, biomarker="T2", quantity="T2", scans={})
    assert read(out["pulses"]) == {"biomarker": "T2", "choices": []}
    _, sidecar = fit(site, tmp_path, pulses=[out["pulses"]])
    assert sidecar["Pulses"] == {"From": "configured", "Reason": "no usable echo train of a phantom from scanner one"}


def test_a_site_whose_every_train_fails_passes_the_reason_on(site, tmp_path):
    out = {name: tmp_path / f"{name}.json" for name in ("pulses", "trains")}
    choose_pulses(
        [site / f"{SCAN}_MESE.nii.gz"], [DEFINITION], **out, biomarker="T2", quantity="T2",
        scans={SCAN: {**ABOUT, "temperature": 50.0}},
    )  # fmt: skip
    _, sidecar = fit(site, tmp_path, pulses=[out["pulses"]])
    assert sidecar["Pulses"]["From"] == "configured"
    assert "outside the reference table" in sidecar["Pulses"]["Reason"]


def test_vials_are_those_that_the_choice_was_made_by(nist, site, tmp_path):
    """The values of `measure_vials` are the very numbers of the choice; regions by hand move both."""
    files, _ = fit(site, tmp_path)
    out = {
        name: tmp_path / f"v.{ending}" for name, ending in (("vials", "tsv"), ("picture", "png"), ("record", "json"))
    }
    inputs = {name: files[name] for name in ("map", "stderr", "flag", "fit")}
    settings = dict(
        biomarker="T2", unit="s", serial="130-0200", temperature=20.0, temperature_stderr=0.3, thermometer_stderr=0.3,
        field_strength=3.0, session="01", date="2026-01-12", scan=SCAN, model="t2_extended_phase_graph",
    )  # fmt: skip
    measure_vials([site / f"{SCAN}_MESE.nii.gz"], **inputs, phantom=DEFINITION, trains=[site / "trains.json"],
                  **out, **settings)  # fmt: skip
    table = read_table(out["vials"], required=VIAL_COLUMNS, text=VIAL_TEXT).set_index("vial")
    train = read(site / "trains.json")["choices"][0]["trains"][0]
    own = dict(zip(train["vials"], train["t2"], strict=True))
    used = table[table["used"]]
    assert len(used) >= 8
    assert all(row["measured"] == pytest.approx(own[vial], rel=1e-8) for vial, row in used.iterrows())
    assert used["bias_percent"].abs().median() < 3
    record = read(out["record"])
    assert "Pulses chosen by the residual" in record["notes"][0]
    assert record["how"] == "in the series itself"

    by_hand = tmp_path / f"{SCAN}_MESE_vials.tsv"
    lines = [f"{v}\t{x:.3f}\t{y:.3f}\t{z:.3f}" for v, (x, y, z) in zip(train["vials"], train["centers"], strict=True)]
    by_hand.write_text("\n".join(["vial\tx\ty\tz", *lines[::-1][:10]]) + "\n", encoding="utf-8")
    drawn = {name: tmp_path / f"{name}.json" for name in ("pulses", "trains")}
    choose_pulses([site / f"{SCAN}_MESE.nii.gz"], [DEFINITION], regions=[by_hand], **drawn, biomarker="T2",
                  quantity="T2", scans={SCAN: ABOUT})  # fmt: skip
    again = read(drawn["trains"])["choices"][0]["trains"][0]
    assert again["how"] == "by a hand-made file"
    assert again["vials"] == sorted(train["vials"])[4:]
    assert np.allclose(again["t2"], np.array(train["t2"], dtype=float)[4:], rtol=0.05, equal_nan=True)


def test_trains_without_a_known_t1_are_taken_too(chosen):
    train = replace(chosen[1][0], t1=None)
    assert choose_for_scanners([train])[0].choice.options["profile"] == "slr"
