"""Phantom sessions of three days through a trial's workflow: warm, cool, and warmer than any table; T1, and T2* that
has no reference. Simulated as DICOM; the serial number is typed as people type it."""

import json
import shutil

import numpy as np
import pytest
import yaml
from end_to_end.conftest import REPOSITORY, Trial
from phantom.simulated_session import draw_array
from phantom.test_simulated_relaxation import write_gradient_echoes, write_inversion_recovery

from isocenter import layout
from isocenter.phantom_command import find_phantom

BLOCK = """
T2star:
  {title: Effective transverse relaxation time, suffix: MEGRE, model: t2star_multi_echo, parameter: T2star,
   map: T2starmap, unit: s, plausible_range: [0.001, 3.0], align: none, rois: [white_matter], calibration: none}
"""
#: By session the day and the temperature [degC]; no table knows the last.
DAYS = {"01": ("20260112", 16.3), "02": ("20260209", 26.0), "03": ("20260309", 27.0)}
SERIAL = "130-0093"
ECHOES = np.linspace(2e-3, 60e-3, 12)
EXTRA_RATE = 4.0  # 1/s, of the field within a voxel


def truth_at(quantity, temperature):
    """By vial [s]; beyond the table that of its end, which a scanner would not know."""
    return {r.vial: r.value for r in find_phantom("system").reference(quantity, SERIAL, 3.0, min(temperature, 26.0))}


def t2star_at(temperature):
    return {vial: 1 / (1 / t2 + EXTRA_RATE) for vial, t2 in truth_at("T2", temperature).items()}


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    trial = Trial(tmp_path_factory.mktemp("days"))
    shutil.copytree(REPOSITORY / "config", trial.directory / "config")
    blocks = trial.directory / "config/biomarkers.yaml"
    blocks.write_text(blocks.read_text(encoding="utf-8") + BLOCK, encoding="utf-8")
    config = trial.directory / "config/config.yaml"
    content = yaml.safe_load(config.read_text(encoding="utf-8")) | {"biomarkers": ["T1", "T2star"]}
    protocol = {"protocol": "small", "title": "Small", "series": {s: {"title": s} for s in ("IRT1", "MEGRE")}}
    (trial.directory / "config/protocols/small.yaml").write_text(yaml.safe_dump(protocol), encoding="utf-8")
    content["files"]["protocol"] = "config/protocols/small.yaml"
    config.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    folder, system = trial.directory / "sites" / "days", find_phantom("system")
    for seed, (session, (date, temperature)) in enumerate(DAYS.items(), 1):
        where = {"angle": 31.0 * seed, "shift": (3.0 * seed, -2.0)}
        write_inversion_recovery(folder / "dicom" / session, draw_array(system.geometry("T1"), **where),
                                 truth_at("T1", temperature), 3.0, seed=seed, date=date)  # fmt: skip
        write_gradient_echoes(folder / "dicom" / session, draw_array(system.geometry("T2"), **where),
                              t2star_at(temperature), 3.0, ECHOES, seed=10 + seed, date=date)  # fmt: skip
    dates = {f"{d[:4]}-{d[4:6]}-{d[6:]}": t for d, t in DAYS.values()}
    phantom = {"participant_id": "ruler", "type": "nist_system", "serial": "130-93", "temperatures": dates,
               "temperature_stderr": 0.4}  # fmt: skip
    site = {"site": "days", "source": "dicom", "phantoms": [phantom],
            "scanners": [{"id": "one", "serial": "777", "field_strength": 3.0}]}  # fmt: skip
    (folder / "site.yaml").write_text(yaml.safe_dump(site, sort_keys=False), encoding="utf-8")
    (folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nruler\tphantom\tPHANTOM\n")
    trial.run()
    return trial


def vials_of(trial, session, name):
    path = layout.fill(layout.PHANTOM_VIALS, site="days", participant="ruler", session=session, run="1", map=name)
    return trial.table(path).set_index("vial")


@pytest.mark.parametrize("session", ["01", "02"])
def test_each_day_has_the_reference_of_its_temperature(trial, session):
    rows = vials_of(trial, session, "T1map")
    assert rows["used"].sum() >= 13
    reference = find_phantom("system").reference("T1", SERIAL, 3.0, DAYS[session][1], 0.4)
    np.testing.assert_allclose(rows["reference"], [r.value for r in reference], rtol=1e-8)
    np.testing.assert_allclose(rows["reference_stderr"], [r.stderr for r in reference], rtol=1e-6)
    assert rows["bias_percent"][rows["used"]].abs().max() < 2.0


def test_a_day_beyond_the_table_is_rows_that_say_the_range(trial):
    rows = vials_of(trial, "03", "T1map")
    assert len(rows) == 14
    assert not rows["used"].any()
    assert rows["reason"].str.contains("16 to 26 degC").all()
    assert rows["reason"].str.contains("27 degC").all()
    # Vials are told apart by the table's order, so that T2* of this day is not numbered either.
    assert vials_of(trial, "03", "T2starmap")["reason"].str.contains("16 to 26 degC").all()
    calibration = json.loads((trial.directory / layout.CALIBRATION.format(site="days", biomarker="T1")).read_text())
    assert not calibration["refused"]
    assert calibration["dates"] == ["2026-01-12", "2026-02-09"]


def test_one_phantom_has_one_name_however_it_was_typed(trial):
    assert set(trial.table(layout.VIALS.format(site="days"))["serial"]) == {SERIAL}


@pytest.mark.parametrize("session", ["01", "02"])
def test_t2star_is_measured_without_a_reference(trial, session):
    rows = vials_of(trial, session, "T2starmap")
    seen = rows[rows["flag"] == "no_reference"]
    assert len(seen) >= 8
    assert not rows["used"].any()
    truth = t2star_at(DAYS[session][1])
    assert max(abs(v / truth[n] - 1) for n, v in seen["measured"].items()) < 0.03


def test_t2star_stands_on_the_page_and_calibrates_nothing(trial):
    pages = (trial.directory / layout.REPORT).parent / "phantoms"
    page = (pages / "days_sub-ruler_ses-01_run-1.html").read_text(encoding="utf-8")
    assert "Effective transverse relaxation time" in page
    assert "no reference" in page
    assert not (trial.directory / layout.CALIBRATION.format(site="days", biomarker="T2star")).exists()
    assert set(trial.table(layout.VIALS.format(site="days"))["biomarker"]) == {"T1"}
