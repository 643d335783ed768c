"""What a whole trial exports, read by others: the official BIDS validator, dciodvfy, pydicom alone."""

import os
import re

import numpy as np
import pydicom
import pytest
from export.small_scan import validate
from export.test_export_command import validate_bids
from export.test_parametric_map import EXPECTED
from typer.testing import CliRunner

from isocenter import layout
from isocenter.cli import app
from isocenter.io.nifti import load_image

RUN = {"site": "siteA", "participant": "T01", "session": "01", "run": "1"}


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    """One participant of one site, as a report with all that it refers to."""
    out = tmp_path_factory.mktemp("export") / "sr"
    back = os.getcwd()
    try:
        command = ["export", str(small.directory), "--to", "sr", "--out", str(out), "--site", "siteA"]
        result = CliRunner().invoke(app, [*command, "--participant", "T01"])
    finally:
        os.chdir(back)
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize("site", ["siteA", "siteB"])
def test_results_are_valid_bids_as_they_stand(small, site):
    """A site's raw data in the dialect of each vendor, and its derivatives, people's and phantoms'."""
    for pattern in (layout.BIDS, layout.DERIVATIVES):
        assert validate_bids(small.directory / layout.fill(pattern, site=site)) == [], pattern


def test_every_object_of_an_export_is_sound(exported):
    files = sorted(exported.rglob("*.dcm"))
    # Of each biomarker raw and calibrated map with standard errors, and regions; and the report of the run.
    runs = {path.name.rsplit("_", 1)[0].split("_desc-")[0] for path in files}
    maps = [path for path in files if re.search(r"_run-\d+_T[12]map\.dcm$", path.name)]
    assert len(maps) >= len(runs) == 3  # a series of the trial is damaged: its run has one map
    assert len(files) == 5 * len(maps) + len(runs)
    for path in files:
        complaints = validate(path)
        assert [line for line in complaints if not any(word in line for word in EXPECTED)] == [], path.name


@pytest.mark.parametrize("pattern", [layout.MAP, layout.CALIBRATED_STDERR])
def test_an_exported_map_holds_the_voxels_of_the_trial(small, exported, pattern):
    """Found by their places: patient coordinates from the DICOM, through the inverse of the NIfTI's affine."""
    image = load_image(small.directory / layout.fill(pattern, **RUN, map="T1map"))
    values = np.asarray(image.dataobj, np.float32)
    data = pydicom.dcmread(exported / layout.fill(layout.EXPORTED_MAPS[pattern], **RUN, map="T1map"))
    pixels = np.frombuffer(data.FloatPixelData, "<f4").reshape(data.NumberOfFrames, data.Rows, data.Columns)
    shared = data.SharedFunctionalGroupsSequence[0]
    iop = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    row, column = np.mgrid[: data.Rows, : data.Columns]
    for frame, group in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = corner + np.multiply.outer(column * across, iop[:3]) + np.multiply.outer(row * down, iop[3:])
        exact = (lps * [-1, -1, 1] - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T
        index = np.rint(exact).astype(int)
        assert np.abs((exact - index) @ image.affine[:3, :3].T).max() < 1e-4
        assert values[tuple(np.moveaxis(index, -1, 0))].tobytes() == frame.tobytes()
    assert pixels.size == values.size


def test_the_report_holds_the_calibrated_values_of_the_table(small, exported):
    table = small.table(layout.MEASUREMENTS)
    mine = table[(table.site == "siteA") & (table.participant_id == "T01") & (table.session == "01")]
    mine = mine[mine.run == "1"].set_index(["biomarker", "roi"])
    report = pydicom.dcmread(exported / layout.fill(layout.EXPORTED_REPORT, **RUN))
    (groups,) = [item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    seen = {}
    for group in groups.ContentSequence:
        (name,) = [i.TextValue for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "112039"]
        for item in group.ContentSequence:
            codes = {
                c.ConceptCodeSequence[0].CodeValue for c in item.get("ContentSequence", []) if c.ValueType == "CODE"
            }
            if codes >= {"calibrated", "373099004"}:
                seen[tuple(name.split(" "))] = float(item.MeasuredValueSequence[0].NumericValue)
    assert seen == pytest.approx(mine["value"].to_dict(), rel=1e-9)
    assert len(seen) == 6
