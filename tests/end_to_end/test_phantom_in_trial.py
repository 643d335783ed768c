"""The real phantom session, geometry scan and all, through a trial's workflow: the numbers of `isocenter phantom`."""

import json
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest
import yaml
from end_to_end.conftest import REPOSITORY, Trial
from end_to_end.test_real_phantom import SITE, SOUND, serial_of
from end_to_end.test_reruns import count_jobs

from isocenter import layout
from isocenter.io.nifti import read_sidecar
from isocenter.phantom_command import measure_folder

RUN = {"site": "real", "participant": "phantom1", "session": "01", "run": "1"}


@pytest.fixture(scope="module")
def session(shared_data, tmp_path_factory) -> Trial:
    trial = Trial(tmp_path_factory.mktemp("session"))
    shutil.copytree(REPOSITORY / "config", trial.directory / "config")
    folder = trial.directory / "sites" / "real"
    for name in ("session_a_dicom", "session_a_geometry_dicom"):
        with tarfile.open(shared_data / "nist_system_phantom" / f"{name}.tar.gz") as archive:
            archive.extractall(folder / "dicom" / name, filter="data")
    site = SITE | {"scanners": [SITE["scanners"][0] | {"serial": serial_of(folder / "dicom")}]}
    (folder / "site.yaml").write_text(yaml.safe_dump(site, sort_keys=False), encoding="utf-8")
    (folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nphantom1\tphantom\tH20QMDSYS\n")
    trial.run()
    return trial


@pytest.fixture(scope="module")
def command(session, tmp_path_factory) -> pd.DataFrame:
    """The vials of the same DICOM by `isocenter phantom`."""
    out = tmp_path_factory.mktemp("command")
    source = session.directory / "sites" / "real" / "dicom"
    measure_folder(source, out, phantom="system", serial="130-0093", temperature=20.0, threads=2)
    return pd.read_csv(out / "vials.tsv", sep="\t", na_values=["n/a"], keep_default_na=False)


def vials_of(trial: Trial, biomarker: str) -> pd.DataFrame:
    table = trial.table(layout.VIALS.format(site="real"))
    return table[table["biomarker"] == biomarker].set_index("vial")


def test_the_series_are_recognized(session):
    scans = session.table(layout.SCANS.format(site="real"))
    used = scans[scans["disposition"] == "used"]
    assert (used["suffix"] == "IRT1").sum() == 10  # one series an inversion time
    assert (used["suffix"] == "MESE").sum() == 1
    assert scans.loc[scans["disposition"] != "used", "reason"].str.len().min() > 10


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
def test_calibrations_are_written(session, biomarker):
    path = session.directory / layout.CALIBRATION.format(site="real", biomarker=biomarker)
    calibration = json.loads(path.read_text(encoding="utf-8"))
    assert calibration["form"] in ("none", "gain", "linear")
    assert calibration["n_vials"] >= 5


def test_the_report_stands_without_people(session):
    assert (session.directory / layout.REPORT).is_file()
    assert session.table(layout.FLOW).query("entity == 'phantom'")["n_out"].tolist() == [2]


def test_t1_of_all_vials_is_within_three_percent(session):
    t1 = vials_of(session, "T1")
    assert len(t1) == 14
    assert t1["used"].all()
    assert t1["stderr"].notna().all()
    assert (t1["measured"].sort_index().diff().dropna() < 0).all()  # NIST's numbering: T1 falls from vial to vial
    assert t1["bias_percent"].abs().max() <= 3.0


def test_t2_through_the_pulses_that_the_phantom_chose(session):
    t2 = vials_of(session, "T2")
    bias = t2["bias_percent"].abs()
    assert bias[SOUND].mean() <= 4.0
    assert bias[SOUND].max() <= 8.0
    assert not t2.loc[[1, 5, 14], "used"].any()
    assert t2.loc[1, "flag"] == "clipped"
    assert (t2.loc[[5, 14], "flag"] == "outlier").all()


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
def test_trial_and_command_say_the_same(session, command, biomarker):
    """To the nine digits of the tables: it is the same code on the same samples."""
    ours, theirs = vials_of(session, biomarker), command[command["method"] == biomarker].set_index("vial")
    np.testing.assert_allclose(ours["measured"], theirs["measured"], rtol=1e-7)
    assert ours["flag"].tolist() == theirs["flag"].tolist()
    assert ours["used"].tolist() == theirs["used"].tolist()
    if biomarker == "T2":
        np.testing.assert_allclose(ours["stderr"], theirs["stderr"], rtol=1e-6)


def test_the_choice_travels_with_the_map(session):
    sidecar = read_sidecar(session.directory / layout.fill(layout.MAP, **RUN, map="T2map"))
    assert sidecar["Options"]["profile"] == "slr"
    assert sidecar["Options"]["time_bandwidth"] == [5.0, 5.0]
    assert sidecar["Pulses"]["From"] == "phantom"
    assert sidecar["Sources"][-1] == "bids:site:phantom/T2_pulses.json"
    content = json.loads((session.directory / layout.fill(layout.TRAINS, site="real", biomarker="T2")).read_text())
    residual = {one["profile"]: one["residual"] for one in reversed(content["choices"][0]["candidates"])}
    assert residual["slr"] < 0.4 * residual["none"]


def test_vials_are_found_by_the_geometry_scan(session):
    for name in ("T1map", "T2map"):
        record = json.loads((session.directory / layout.fill(layout.PHANTOM_RECORD, **RUN, map=name)).read_text())
        assert record["how"] == "from the geometry scan, refined in the series"
        assert record["problems"] == []
    scans = session.table(layout.SCANS.format(site="real"))
    assert (scans["suffix"] == "geometry").sum() == 1


def test_a_physicist_finds_it_all_from_the_sites_page(session):
    report = session.directory / layout.REPORT
    site = (report.parent / "sites" / "real.html").read_text(encoding="utf-8")
    assert "Pulses of the echo trains" in site
    assert "slr, time-bandwidth 5, refocused slab 1.1 times the slice" in site
    name = "phantoms/real_sub-phantom1_ses-01_run-1.html"
    assert f'href="../{name}"' in site
    page = (report.parent / name).read_text(encoding="utf-8")
    for words in (
        "14 of 14 vials used",
        "inversion efficiency",
        "B1 of the refocusing",
        "Pulses chosen by the residual",
    ):
        assert words in page
    assert page.count("<svg") > 2 * 14
    assert page.count("data:image/png;base64,") == 2


def test_regions_by_hand_move_only_what_they_are_for(session, tmp_path):
    """A wrong file is rows with a reason, and nothing of the other array is made again; a right one is measured."""
    shutil.copytree(session.directory, tmp_path / "trial", symlinks=True)
    trial = Trial(tmp_path / "trial")
    path = trial.directory / layout.fill(layout.HAND_REGIONS, **RUN, suffix="IRT1")
    path.parent.mkdir(parents=True)
    path.write_text("vial\tx\ty\tz\n1\t0\t0\t0\n1\t5\t5\t0\n", encoding="utf-8")
    trial.run()
    ran = count_jobs(trial)
    assert ran["measure_vials"] == 1
    assert not {"fit_map", "choose_pulses", "index_site"} & set(ran)
    t1 = vials_of(trial, "T1")
    assert not t1["used"].any()
    assert t1["reason"].str.contains("two regions").all()
    calibration = json.loads((trial.directory / layout.CALIBRATION.format(site="real", biomarker="T1")).read_text())
    assert calibration["refused"]
    record = json.loads((session.directory / layout.fill(layout.PHANTOM_RECORD, **RUN, map="T1map")).read_text())
    lines = [
        f"{v['vial']}\t{x:.4f}\t{y:.4f}\t{z:.4f}"
        for v, (x, y, z) in zip(record["vials"], record["centers"], strict=True)
    ]
    path.write_text("\n".join(["vial\tx\ty\tz", *lines]) + "\n", encoding="utf-8")
    trial.run()
    np.testing.assert_allclose(vials_of(trial, "T1")["measured"], vials_of(session, "T1")["measured"], rtol=2e-3)
