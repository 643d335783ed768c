"""No site and no phantom can stop the others."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from end_to_end.conftest import REPOSITORY

from isocenter import layout

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")}


@pytest.mark.slow
def test_a_site_whose_dicom_vanished_stops_nobody(copy_of_small):
    shutil.rmtree(copy_of_small.directory / "sites" / "siteB" / "dicom")
    copy_of_small.run()
    measured = copy_of_small.table(layout.MEASUREMENTS)
    assert set(measured["site"]) == {"siteA"}
    assert measured["value"].notna().any()
    exclusions = copy_of_small.table(layout.EXCLUSIONS).query("site == 'siteB'")
    assert (exclusions["stage"] == "schedule").sum() == 2 * 3 + 2  # runs of two travelers, sessions of the phantom
    verdict = json.loads((copy_of_small.directory / layout.VERDICT.format(site="siteB")).read_text())
    assert verdict["verdict"] == "fail"
    history = (copy_of_small.directory / layout.VERDICT_HISTORY.format(site="siteB")).read_text().splitlines()
    assert [json.loads(line)["verdict"] for line in history][-1] == "fail"
    assert len(history) == 2, "the verdict before the DICOM vanished stands there too"
    command = [sys.executable, "-c", "from isocenter.cli import main; main()", "check-site", "siteB"]
    ended = subprocess.run(command, cwd=copy_of_small.directory, env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "onboarding/index.html" in ended.stdout


def test_a_site_without_its_phantom_keeps_its_raw_values(copy_of_small):
    for folder in (copy_of_small.directory / "sites" / "siteA" / "dicom").glob("*PHANTOM*"):
        shutil.rmtree(folder)
    copy_of_small.run()
    calibration = layout.CALIBRATION.format(site="siteA", biomarker="T1")
    assert json.loads((copy_of_small.directory / calibration).read_text())["refused"]
    rows = copy_of_small.table(layout.MEASUREMENTS).query("site == 'siteA' and roi == 'white_matter'")
    assert rows["value"].isna().all()
    assert rows["raw_value"].notna().all()
    exclusions = copy_of_small.table(layout.EXCLUSIONS).query("site == 'siteA' and stage == 'calibrate'")
    assert len(exclusions) > 0
    flow = copy_of_small.table(layout.FLOW)
    assert (flow["n_in"] == flow["n_ignored"] + flow["n_excluded"] + flow["n_out"]).all()
