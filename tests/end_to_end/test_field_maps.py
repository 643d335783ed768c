"""Echo-planar images from DICOM to a table: corrected where there is a field map, uncorrected and said so where not."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from end_to_end.conftest import REPOSITORY, Trial
from end_to_end.field_map_site import (
    ADC,
    MAP_SHAPE,
    MAP_VOXEL,
    READOUT,
    SHAPE,
    VOXEL,
    centers,
    field_at,
    inside_at,
    write_site,
)

from isocenter import layout
from isocenter.documents import read_document
from isocenter.io.nifti import read_layers, read_sidecar

pytestmark = pytest.mark.slow

BLOCKS = """
B0:
  {title: Field offset, suffix: B0GRE, model: b0_dual_echo, signal: complex, parameter: B0, map: B0map, unit: Hz,
   plausible_range: [-1000, 1000], align: none, rois: [tissue], regions: site, calibration: none}
ADC:
  {title: Apparent diffusion coefficient, suffix: dwi, model: adc_monoexponential, parameter: ADC, map: ADCmap,
   unit: mm2/s, plausible_range: [1.0e-5, 4.0e-3], align: none, rois: [tissue], regions: site, calibration: none,
   roi_statistic: mean, distortion: B0}
ADCplain:
  {title: Apparent diffusion coefficient as scanned, suffix: dwi, model: adc_monoexponential, parameter: ADC,
   map: ADCplainmap, unit: mm2/s, plausible_range: [1.0e-5, 4.0e-3], align: none, rois: [tissue], regions: site,
   calibration: none, roi_statistic: mean}
T2star:
  {title: Effective transverse relaxation time, suffix: MEGRE, model: t2star_multi_echo, parameter: T2star,
   map: T2starmap, unit: s, plausible_range: [0.001, 0.5], align: none, rois: [tissue], regions: site,
   calibration: none, field_gradient: B0, gradient_limit: 1}
"""
#: What each session has; by default lines from front to back, a map of the session, and a header that tells all.
SCANS = {
    ("P1", 1): {}, ("P1", 2): {"sign": -1}, ("P2", 1): {"map": False}, ("P2", 2): {"tells": False, "sign": -1},
}  # fmt: skip
LIMIT = {
    "id": "shim_range", "statistic": "range", "maximum": 30.0, "severity": "warn",
    "remedy": "Shim on the organ before the field map and the diffusion scan",
}  # fmt: skip


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    trial = Trial(tmp_path_factory.mktemp("fields"))
    config = trial.directory / "config"
    shutil.copytree(REPOSITORY / "config", config)
    (config / "biomarkers.yaml").write_text(BLOCKS)
    (config / "claims.yaml").write_text("claims: []\n")
    series = {suffix: {"title": suffix, "required": suffix == "dwi"} for suffix in ("dwi", "B0GRE", "MEGRE")}
    protocol = {"protocol": "small", "title": "Small", "series": series, "shim": [LIMIT]}
    (config / "protocols/small.yaml").write_text(yaml.safe_dump(protocol))
    main = read_document(config / "config.yaml", "config")
    main |= {"trial": "Field maps", "biomarkers": ["B0", "ADC", "ADCplain", "T2star"], "schedule": {}}
    main["files"]["protocol"] = "config/protocols/small.yaml"
    (config / "config.yaml").write_text(yaml.safe_dump(main, sort_keys=False))
    write_site(trial.directory, "siteA", SCANS)
    trial.run()
    return trial


def rows_of(trial, biomarker):
    rows = trial.table(layout.MEASUREMENTS).query("biomarker == @biomarker")
    return {(row.participant_id, int(row.session)): row for row in rows.itertuples()}


def path_of(trial, pattern, person, session, **values):
    values |= {"site": "siteA", "participant": person, "session": f"{session:02d}", "run": "1"}
    return trial.directory / layout.fill(pattern, **values)


def test_the_readout_stands_in_the_sidecar(trial):
    folder = trial.directory / layout.fill(layout.BIDS, site="siteA")
    known = [
        read_sidecar(folder / f"sub-P1/ses-0{session}/dwi/sub-P1_ses-0{session}_run-1_dwi.nii.gz") for session in (1, 2)
    ]
    # Front to back is against NIfTI's second axis.
    assert [sidecar["PhaseEncodingDirection"] for sidecar in known] == ["j-", "j"]
    assert known[0]["TotalReadoutTime"] == pytest.approx(READOUT, rel=1e-3)


def test_rows_say_what_was_corrected(trial):
    told = {key: row.lent_maps for key, row in rows_of(trial, "ADC").items()}
    assert told == {
        ("P1", 1): "b0: B0map",
        ("P1", 2): "b0: B0map",
        ("P2", 1): "b0: uncorrected (no field map in this session)",
        ("P2", 2): "b0: uncorrected (PhaseEncodingDirection is missing)",
    }


def test_truth_in_truth_out_where_corrected(trial):
    """Shifts of up to 3 voxels: lines from back to front bring the other tissue into the region."""
    corrected, plain = rows_of(trial, "ADC"), rows_of(trial, "ADCplain")
    errors = {key: (corrected[key].value / ADC[0] - 1, plain[key].value / ADC[0] - 1) for key in corrected}
    print("MEASURED", errors)
    for session in (1, 2):
        assert abs(errors["P1", session][0]) <= 0.01
        assert errors["P2", session][0] == errors["P2", session][1]
    assert errors["P1", 2][1] > 0.1
    assert errors["P2", 2][0] > 0.1


def test_pictures_and_sidecars_of_the_correction(trial):
    told = read_sidecar(path_of(trial, layout.UNDISTORTED, "P1", 1, suffix="dwi"))["Distortion"]
    assert told["State"] == "corrected"
    assert told["Placement"] == "scanner"
    assert told["ShiftVoxels"]["50%"] < -1  # against j, where lines were encoded from front to back
    assert told["Likeness"][1] > told["Likeness"][0]
    for person in ("P1", "P2"):
        picture = path_of(trial, layout.DISTORTION_FIGURE, person, 1, suffix="dwi").read_bytes()
        assert picture[:4] == b"\x89PNG"
    sidecar = read_sidecar(path_of(trial, layout.MAP, "P1", 1, map="ADCmap"))
    assert sidecar["Distortion"]["FieldMap"] == "B0map"
    assert "Distortion" not in read_sidecar(path_of(trial, layout.MAP, "P1", 1, map="ADCplainmap"))


def test_decays_in_a_steep_field_are_marked(trial):
    """The gradient is 0.35 Hz/mm at the border and 0.6 Hz/mm 20 mm off: some 1 to 2 % of the decay on 4 mm."""
    rows = rows_of(trial, "T2star")
    assert rows["P2", 1].lent_maps == "field_gradient: none (no field map in this session)"
    row = rows["P1", 1]
    assert row.lent_maps == "field_gradient: B0map"
    layers = read_layers(path_of(trial, layout.GRADIENT, "P1", 1, map="T2starmap"))
    place = centers(SHAPE, VOXEL)
    inner = (np.abs(place[..., 0]) < 30) & (np.abs(place[..., 1]) < 45)
    along_y = 0.3 - 0.012 * place[..., 1]
    truth = np.hypot(0.15, along_y)[:, ::-1]  # NIfTI's second axis runs against DICOM's
    # Noise of 0.4 Hz in the map makes 0.06 Hz/mm in each component of the gradient.
    assert np.median(np.abs(layers["gradient"] - truth)[inner]) < 0.06
    share = float(re.search(r"steep_field ([\d.]+)", row.flags)[1])
    region = (np.abs(place[..., 0]) < 28) & (place[..., 1] > -20) & (place[..., 1] < -4)
    marked = layers["shortening"][:, ::-1][region] > 1
    assert share == pytest.approx(marked.mean(), abs=0.01)
    assert 0 < share < 1


def test_the_report_shows_field_and_pictures(trial):
    page = (trial.directory / "results/report/sites/siteA.html").read_text(encoding="utf-8")
    assert "FWHM [Hz]" in page
    assert "_dwi_distortion.png" in page


def test_shim_stands_in_the_verdict(trial):
    verdict = json.loads((trial.directory / layout.fill(layout.VERDICT, site="siteA")).read_text())
    shim = [check for check in verdict["checks"] if check["group"] == "shim"]
    assert len([check for check in shim if check["id"] == "shim"]) == 3  # every session that has a field map
    limits = {check["scope"].split(" run")[0]: check for check in shim if check["id"] == "shim_range"}
    assert limits["sub-P1 ses-01"]["verdict"] == "warn"
    assert limits["sub-P1 ses-01"]["remedy"] == LIMIT["remedy"]
    figures = json.loads(path_of(trial, layout.SHIM, "P1", 1, map="B0map").read_text())
    place = centers(MAP_SHAPE, MAP_VOXEL)
    truth = field_at(place)[inside_at(place)]
    assert figures["sd"] == pytest.approx(truth.std(), rel=0.05)
    assert figures["range"] == pytest.approx(np.subtract(*np.percentile(truth, [95, 5])), rel=0.05)
