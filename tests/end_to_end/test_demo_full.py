"""The full demonstration: diffusion, heart and thigh beside the brain's T1 and T2, truth in and truth out."""

import os
import shutil
from pathlib import Path

import pytest
from end_to_end.conftest import REPOSITORY, RUN_KEYS, Trial

import simulate_trial as simulation
from isocenter import layout

pytestmark = pytest.mark.slow

#: Two volunteers at four sites, one of each vendor's dialect: every arm, every bad thing.
SIZE = {"sites": 4, "participants": 2, "sessions": 2}
#: One block more: what a person adds for a biomarker, and all of it.
ADDED = """
T2starthigh:
  title: Effective transverse relaxation time of muscle
  suffix: MEGRE
  model: t2star_multi_echo
  parameter: T2star
  map: T2starthighmap
  unit: s
  plausible_range: [0.001, 0.5]
  align: none
  rois: [thigh_muscle]
  regions: site
  roi_statistic: mean
  calibration: none
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Trial:
    """The full demonstration, smaller; or the folder that ISOCENTER_DEMO_FULL names."""
    if "ISOCENTER_DEMO_FULL" in os.environ:
        return Trial(Path(os.environ["ISOCENTER_DEMO_FULL"]))
    trial = Trial(tmp_path_factory.mktemp("full"))
    simulation.place_config(trial.directory / ".", REPOSITORY / "config", full=True)
    trial.simulate(**SIZE, workers=2, options=simulation.FULL["options"])
    trial.run()
    return trial


@pytest.fixture(scope="module")
def compared(full):
    """Measured beside true, with the error of each site's b-values or times."""
    rulers = full.table("demo-truth/ruler.tsv")[["site", "biomarker", "ruler_error"]]
    rows = full.compare_with_truth().merge(rulers, on=["site", "biomarker"], how="left")
    return rows.fillna({"ruler_error": 0.0})


@pytest.mark.parametrize(
    ("biomarker", "roi", "limit"),
    [
        # A label holds up to 10 % (white) or 20 % (gray) of neighbors; fluid diffuses three times faster than either.
        ("ADC", "white_matter", 0.01),
        ("ADC", "gray_matter", 0.02),
        # Outlined inside its borders: the noise of 350 voxels, 0.3 % a scan, and 0.1 % of the readout's finite steps.
        ("T1heart", "myocardium", 0.005),
    ],
)
def test_truth_in_truth_out(compared, biomarker, roi, limit):
    """Each site reads the truth times its own error of b, which nothing here corrects."""
    rows = compared.query("biomarker == @biomarker and roi == @roi")
    assert len(rows) >= 20
    left = (rows["error"] - rows["ruler_error"]).groupby(rows["site"]).median()
    assert set(left.index) == {"siteA", "siteB", "siteC", "siteD"}
    assert left.abs().max() <= limit, left.to_dict()


def test_fat_fraction_is_recovered(compared):
    """In points: 0.1 is a tenth of what a trial of muscle would call a change. Site A's magnet runs below its name."""
    rows = compared.query("biomarker == 'PDFF'")
    assert set(rows["site"]) == {"siteA", "siteB", "siteC", "siteD"}
    assert (rows["value"] - rows["truth"]).abs().max() <= 0.1


@pytest.mark.parametrize(("biomarker", "limit"), [("T1", 0.02), ("T2", 0.05)])
def test_t1_and_t2_are_recovered_beside_the_arms(compared, biomarker, limit):
    rows = compared[(compared["biomarker"] == biomarker) & (compared["roi"] != "csf")]
    assert len(rows) >= 30
    assert rows["error"].abs().median() <= limit


@pytest.mark.parametrize(
    ("what", "biomarker", "stage", "words"),
    [("missing_b_value", "ADC", "intake", "0018,9087"), ("missing_regions", "T1heart", "regions", "no labels")],
)
def test_what_went_wrong_in_the_arms_is_a_row_with_a_reason(full, what, biomarker, stage, words):
    bad = full.table("demo-truth/bad.tsv")
    thing = bad[bad["what"] == what].iloc[0]

    def at_scan(rows):
        return rows[(rows[RUN_KEYS[:4]] == thing[RUN_KEYS[:4]]).all(axis=1)]

    rows = at_scan(full.table(layout.EXCLUSIONS))
    assert rows[rows["stage"] == stage]["reason"].str.contains(words).sum() == 1
    measured = at_scan(full.table(layout.MEASUREMENTS))
    assert biomarker not in set(measured["biomarker"])
    assert {"T1", "T2", "PDFF"} <= set(measured["biomarker"])  # nothing else of the run is lost


def test_the_flow_adds_up(full):
    flow = full.table(layout.FLOW)
    assert (flow["n_in"] == flow["n_ignored"] + flow["n_excluded"] + flow["n_out"]).all()
    measured = full.table(layout.MEASUREMENTS)
    analyzed = flow.query("entity == 'acquisition' and stage == 'analyze'").set_index("site")["n_out"]
    acquisitions = measured[measured["value"].notna()].drop_duplicates(RUN_KEYS[:-1]).groupby("site").size()
    assert analyzed.to_dict() == acquisitions.to_dict()


def test_bids_holds_the_arms_under_their_names(full):
    root = full.directory / layout.fill(layout.BIDS, site="siteB")
    run = "sub-T02/ses-01/{}/sub-T02_ses-01_run-1"
    for name in ("dwi.nii.gz", "dwi.bval", "dwi.bvec", "dwi.json"):
        assert (root / f"{run.format('dwi')}_{name}").is_file()
    assert (root / f"{run.format('anat')}_inv-8_MOLLI.nii.gz").is_file()
    assert "*_MOLLI.*" in (root / ".bidsignore").read_text()


def test_the_report_has_a_section_for_each(full):
    pages = {path.name for path in (full.directory / "results/report/metrics").glob("*.html")}
    for start in ("ADC_white_matter", "T1heart_myocardium", "PDFF_thigh_muscle"):
        assert any(page.startswith(start) for page in pages), start


def test_one_block_is_all_that_a_biomarker_takes(full, tmp_path):
    """A second biomarker of the same series: map, rows, counts, statistics and page come from the block alone."""
    trial = Trial(tmp_path / "trial")
    shutil.copytree(full.directory, trial.directory, symlinks=True)
    blocks = trial.directory / "config/biomarkers.yaml"
    blocks.write_text(blocks.read_text() + ADDED)
    config = trial.directory / "config/config.yaml"
    config.write_text(config.read_text().replace("PDFF]", "PDFF, T2starthigh]"))
    trial.run()
    rows = trial.table(layout.MEASUREMENTS).query("biomarker == 'T2starthigh'")
    fat = trial.table(layout.MEASUREMENTS).query("biomarker == 'PDFF'")
    assert len(rows) == len(fat) >= 20
    assert rows["value"].between(0.01, 0.06).all()  # 1/30 s, and less where 6 % of fat beats against the water
    flow = trial.table(layout.FLOW)
    before = full.table(layout.FLOW)
    entity = "entity == 'acquisition' and stage == 'analyze'"
    assert flow.query(entity)["n_out"].sum() == before.query(entity)["n_out"].sum() + len(rows)
    assert list((trial.directory / "results/report/metrics").glob("T2starthigh_thigh_muscle*.html"))
