"""Which map of B0 corrects which series: of the same session, scanned nearest in time; and what jobs that makes."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from isocenter import layout
from isocenter.dicom.rows import SCAN_COLUMNS
from isocenter.documents import read_document
from isocenter.entities import RunKey
from isocenter.field_plan import seconds_between
from isocenter.io.tables import write_table
from isocenter.plan import Plan
from isocenter.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
BLOCKS = """
B0: {title: B0, suffix: B0GRE, model: b0_dual_echo, signal: complex, parameter: B0, map: B0map, unit: Hz,
  plausible_range: [-1000, 1000], align: none, rois: [white_matter], calibration: none}
ADC: {title: ADC, suffix: dwi, model: adc_monoexponential, parameter: ADC, map: ADCmap, unit: mm2/s,
  plausible_range: [1.0e-5, 4.0e-3], align: rigid, rois: [white_matter], calibration: none, distortion: B0}
ADCplain: {title: ADC, suffix: dwi, model: adc_monoexponential, parameter: ADC, map: ADCplainmap, unit: mm2/s,
  plausible_range: [1.0e-5, 4.0e-3], align: none, rois: [white_matter], calibration: none}
T2star: {title: T2*, suffix: MEGRE, model: t2star_multi_echo, parameter: T2star, map: T2starmap, unit: s,
  plausible_range: [0.001, 0.5], align: none, rois: [white_matter], calibration: none, field_gradient: B0}
B1: {title: B1, suffix: TB1DAM, model: b1_double_angle, parameter: B1, map: TB1map, unit: "1",
  plausible_range: [0.3, 2.0], align: none, rois: [white_matter], calibration: none}
T1: {title: T1, suffix: VFA, model: t1_variable_flip_angle, parameter: T1, map: T1vfamap, unit: s,
  plausible_range: [0.05, 6.0], align: none, rois: [white_matter], calibration: none, uses_maps: {B1: B1}}
"""
#: Suffix, session, run, time; of one person, and of the phantom.
PERSON = [
    ("B0GRE", "01", "1", "09:00:00"), ("dwi", "01", "1", "09:10:00"), ("dwi", "01", "2", "09:50:00"),
    ("B0GRE", "01", "2", "10:00:00"), ("dwi", "02", "1", "09:05:00"), ("MEGRE", "01", "1", "09:20:00"),
    ("VFA", "01", "1", "09:30:00"), ("TB1DAM", "01", "1", "09:35:00"),
]  # fmt: skip
PHANTOM = [("B0GRE", "01", "1", "08:00:00"), ("dwi", "01", "1", "08:10:00")]


@pytest.fixture
def plan(tmp_path, monkeypatch):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "config/biomarkers.yaml").write_text(BLOCKS)
    (tmp_path / "config/claims.yaml").write_text("claims: []\n")
    names = list(yaml.safe_load(BLOCKS))
    series = {suffix: {"title": suffix} for suffix in ("B0GRE", "dwi", "MEGRE", "VFA", "TB1DAM")}
    protocol = {"protocol": "small", "title": "Small", "series": series}
    (tmp_path / "config/protocols/small.yaml").write_text(yaml.safe_dump(protocol))
    main = read_document(tmp_path / "config/config.yaml", "config") | {"biomarkers": names, "schedule": {}}
    main["files"]["protocol"] = "config/protocols/small.yaml"
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(main, sort_keys=False))
    site = tmp_path / "sites/siteA"
    site.mkdir(parents=True)
    phantom = {"participant_id": "phantom1", "type": "nist_system", "serial": "130-0093", "temperature": 20.0}
    about = {"site": "siteA", "source": "dicom", "scanners": [{"id": "s1", "serial": "7", "field_strength": 3.0}]}
    (site / "site.yaml").write_text(yaml.safe_dump({**about, "phantoms": [phantom]}))
    (site / "participants.tsv").write_text("participant_id\tkind\tsource_id\nP01\tpatient\ta\nphantom1\tphantom\tb\n")
    rows = []
    for person, kind, held in (("P01", "patient", PERSON), ("phantom1", "phantom", PHANTOM)):
        for suffix, session, run, time in held:
            stem = f"sub-{person}/ses-{session}/x/sub-{person}_ses-{session}_run-{run}"
            endings = ("magnitude1", "magnitude2", "phasediff") if suffix == "B0GRE" else (suffix,)
            rows.append({"participant_id": person, "kind": kind, "session": session, "run": run, "suffix": suffix,
                         "disposition": "used", "scanner": "s1", "field_strength": 3.0, "time": time,
                         "files": "|".join(f"{stem}_{ending}.nii.gz" for ending in endings)})  # fmt: skip
    write_table(tmp_path / layout.fill(layout.SCANS, site="siteA"), pd.DataFrame(rows, columns=list(SCAN_COLUMNS)))
    monkeypatch.chdir(tmp_path)
    return Plan(load_settings(tmp_path))


class Wild:
    """Wildcards of a job."""

    def __init__(self, session="01", run="1", participant="P01", **more):
        self.__dict__.update({"site": "siteA", "participant": participant, "session": session, "run": run, **more})


def test_the_nearest_field_map_of_the_session_corrects(plan):
    for run in ("1", "2"):
        (path,) = plan.correcting_field(Wild(run=run, suffix="dwi"), layout.MAP)
        assert path.endswith(f"sub-P01_ses-01_run-{run}_B0map.nii.gz")
        magnitudes = plan.correcting_magnitudes(Wild(run=run, suffix="dwi"))
        assert [Path(one).name.split("_")[-1] for one in magnitudes] == ["magnitude1.nii.gz", "magnitude2.nii.gz"]
        assert plan.why_uncorrected(Wild(run=run, suffix="dwi")) == ""
    found = plan.nearest_field(Wild(run="2"), plan.biomarkers["ADC"], "distortion")
    assert found == (RunKey("siteA", "P01", "01", "2"), "B0")


def test_of_several_maps_of_b0_the_nearest_corrects(plan):
    """A session may hold the field map of either protocol, or both; a map of the one is not asked for the other's."""
    plan.biomarkers["B0echoes"] = {**plan.biomarkers["B0"], "suffix": "MEGRE", "map": "B0echoesmap"}
    plan.biomarkers["ADC"]["distortion"] = ["B0", "B0echoes"]
    assert plan.correcting_map(Wild(run="1", suffix="dwi")) == "B0map"  # equally near: the first that is named
    plan.acquisitions("siteA")[RunKey("siteA", "P01", "01", "1"), "MEGRE"][0]["time"] = "09:12:00"
    (path,) = plan.correcting_field(Wild(run="1", suffix="dwi"), layout.MAP)
    assert path.endswith("sub-P01_ses-01_run-1_B0echoesmap.nii.gz")
    assert plan.correcting_map(Wild(run="1", suffix="dwi")) == "B0echoesmap"
    assert plan.correcting_magnitudes(Wild(run="1", suffix="dwi"))[0].endswith("_MEGRE.nii.gz")
    assert plan.correcting_map(Wild(run="2", suffix="dwi")) == "B0map"
    plan.biomarkers["ADC"]["distortion"] = ["B0echoes"]
    assert plan.why_uncorrected(Wild(session="02", suffix="dwi")) == "no field map in this session"


def test_a_session_past_midnight_knows_what_is_near():
    assert seconds_between("23:58:00", "00:05:00") == 420


def test_a_session_without_a_field_map_says_so(plan):
    wild = Wild(session="02", suffix="dwi")
    assert plan.correcting_field(wild, layout.MAP) == plan.correcting_magnitudes(wild) == []
    assert plan.why_uncorrected(wild) == "no field map in this session"


def test_only_blocks_that_ask_are_fitted_to_corrected_series(plan):
    assert plan.series_to_fit(Wild(map="ADCmap"))[0].endswith("desc-undistorted_dwi.nii.gz")
    assert plan.series_before_correction(Wild(suffix="dwi"))[0].endswith("desc-aligned_dwi.nii.gz")
    assert plan.series_to_fit(Wild(map="ADCplainmap"))[0].endswith("run-1_dwi.nii.gz")
    # A phantom's vials are found in the series as scanned.
    assert plan.series_to_fit(Wild(participant="phantom1", map="ADCmap"))[0].endswith("run-1_dwi.nii.gz")
    assert len(plan.per_corrected(layout.UNDISTORTED)) == 3


def test_phases_go_to_the_fit_of_b0_and_nowhere_else(plan):
    names = [Path(path).name for path in plan.series_to_fit(Wild(map="B0map"))]
    assert [name.split("_")[-1] for name in names] == ["magnitude1.nii.gz", "magnitude2.nii.gz", "phasediff.nii.gz"]


def test_every_map_of_b0_has_its_shim_phantoms_included(plan):
    assert [Path(path).name for path in plan.shim_files("siteA")] == [
        "sub-P01_ses-01_run-1_desc-B0map_shim.json", "sub-P01_ses-01_run-2_desc-B0map_shim.json",
        "sub-phantom1_ses-01_run-1_desc-B0map_shim.json",
    ]  # fmt: skip


def test_marks_and_placements_of_a_run(plan):
    assert [Path(path).name for path in plan.run_gradients(Wild())] == [
        "sub-P01_ses-01_run-1_desc-gradient_T2starmap.nii.gz"
    ]
    assert plan.run_gradients(Wild(run="2")) == []
    (path,) = plan.marking_field(Wild(map="T2starmap"), layout.MAP)
    assert path.endswith("run-1_B0map.nii.gz")
    (path,) = plan.placements(Wild(map="T1vfamap"))
    assert path.endswith("sub-P01_ses-01_run-1_from-TB1map_to-T1vfamap_xfm.json")
    plan.biomarkers["T1"]["place_maps"] = "scanner"
    assert plan.placements(Wild(map="T1vfamap")) == []
    assert plan.lending_scan(Wild(map="T1vfamap", lender="TB1map"))[0].endswith("TB1DAM.nii.gz")


def test_what_a_phantom_has_vials_but_no_reference_for_is_on_its_page(plan):
    wild = Wild(participant="phantom1")
    assert plan.shown_biomarkers(wild) == []  # nothing is calibrated, and the system phantom has no vials for ADC
    plan.biomarkers["ADC"]["parameter"] = "T2star"
    assert plan.shown_biomarkers(wild) == ["ADC"]
    assert plan.session_forms(wild) == {}
    (page,) = plan.phantom_pages()
    assert page.endswith("sub-phantom1_ses-01_run-1.html")
    assert plan.phantom_pictures() == plan.session_files(wild, layout.PHANTOM_PICTURE)
    assert plan.vial_tables("siteA") == []  # no calibration is made from it
    assert plan.shown_biomarkers(Wild()) == []  # nor is a person a phantom
