"""Truth in, truth out: the demonstration trial against what was simulated."""

import numpy as np
import pandas as pd
import pytest
from end_to_end.conftest import RUN_KEYS

from isocenter import layout

pytestmark = pytest.mark.demo
TISSUES = ["white_matter", "gray_matter"]


@pytest.fixture(scope="module")
def compared(demo) -> pd.DataFrame:
    """Measured beside true, one row a scan and region."""
    return demo.compare_with_truth()


@pytest.mark.parametrize(("biomarker", "limit"), [("T1", 0.02), ("T2", 0.05)])
@pytest.mark.parametrize("roi", TISSUES)
def test_truth_in_truth_out(compared, biomarker, roi, limit):
    errors = compared.query("biomarker == @biomarker and roi == @roi")["error"]
    assert len(errors) >= 50
    assert errors.abs().median() <= limit


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
@pytest.mark.parametrize("roi", TISSUES)
def test_calibration_takes_the_sites_together(compared, biomarker, roi):
    """Between-site SD of the volunteers' means, before and after, on volunteers seen at every site."""
    rows = compared.query("biomarker == @biomarker and roi == @roi")
    spread = {}
    for column in ("raw_value", "value"):
        means = rows.pivot_table(index="participant_id", columns="site", values=column, aggfunc="mean").dropna()
        assert len(means) >= 4
        spread[column] = means.mean().std(ddof=1)
    assert spread["value"] <= spread["raw_value"] / 3


T1_COVERED = pytest.mark.xfail(
    strict=True,
    reason="all 116 intervals cover the truth of T1 on this seed: a site's scans share one calibration, so "
    "a trial is four draws of it (test_coverage asks over trials)",
)


@pytest.mark.parametrize("biomarkers", [pytest.param(["T1"], marks=T1_COVERED), ["T2"], ["T1", "T2"]])
def test_intervals_cover_the_truth(compared, biomarkers):
    rows = compared.query("biomarker in @biomarkers and roi in @TISSUES")
    covered = ((rows["value"] - rows["truth"]).abs() <= 1.96 * rows["stderr"]).mean()
    assert 0.85 <= covered <= 0.99, f"{covered:.3f} of {len(rows)}"


@pytest.mark.parametrize("biomarker", ["T1", "T2"])
def test_deviations_have_the_size_that_is_stated(compared, biomarker):
    """At least 85 % of the 95 % intervals cover the truth, and deviations are as large as stated.

    These can be asked of one trial, whose scans share four calibrations a biomarker; both would fail with intervals
    twice or half as wide as they should be.
    """
    rows = compared.query("biomarker == @biomarker and roi in @TISSUES")
    z = (rows["value"] - rows["truth"]) / rows["stderr"]
    assert (z.abs() <= 1.96).mean() >= 0.85
    # χ² of four deviations, 4 % beyond on either side: intervals twice or half as wide as they should be fail.
    assert 0.4 <= np.sqrt((z**2).mean()) <= 1.6


def test_the_flow_adds_up(demo):
    flow = demo.table(layout.FLOW)
    assert (flow["n_in"] == flow["n_ignored"] + flow["n_excluded"] + flow["n_out"]).all()
    measured = demo.table(layout.MEASUREMENTS)
    analyzed = flow.query("entity == 'acquisition' and stage == 'analyze'").set_index("site")["n_out"]
    acquisitions = measured[measured["value"].notna()].drop_duplicates(RUN_KEYS[:-1]).groupby("site").size()
    assert analyzed.to_dict() == acquisitions.to_dict()


def test_every_bad_thing_is_a_row_with_a_reason(demo):
    bad = demo.table("demo-truth/bad.tsv")
    assert len(bad) >= 6
    exclusions = demo.table(layout.EXCLUSIONS)
    assert exclusions["reason"].str.len().min() > 10
    assert exclusions["action"].str.len().min() > 5
    words = {
        "non_dicom_file": "DICOM",
        "derived_map": "deriv",
        "duplicate_upload": "duplicate|already|second copy|again",
        "truncated_dicom": "truncated|ends|short",
        "missing_inversion_time": r"0018,0082",
        "missing_visit": "no data arrived",
    }
    for _, thing in bad[bad["what"].isin(words)].iterrows():
        at_site = exclusions[exclusions["site"] == thing["site"]]
        found = at_site["reason"].str.contains(words[thing["what"]], case=False, regex=True)
        assert found.any(), f"{thing['what']} at {thing['site']} has no row that says so"
    assert set(words) <= set(bad["what"])


def test_onboarding_tells_what_was_spoiled_and_nothing_else(demo):
    """Every check of every site on the whole chain: none fails but for the seeded bad things, each at its site."""
    import json

    names = {
        "non_dicom_file": {"unusable_series"},
        "missing_inversion_time": {"unusable_series", "required_series"},
        "truncated_dicom": {"unusable_series", "required_series"},
        "missing_visit": {"planned_session"},
    }
    bad = demo.table("demo-truth/bad.tsv")
    for site, things in bad.groupby("site"):
        answer = json.loads((demo.directory / layout.fill(layout.VERDICT, site=site)).read_text())
        told = {check["id"] for check in answer["checks"] if check["verdict"] != "pass"}
        assert told == set().union(*(names.get(what, set()) for what in things["what"])), site
        assert answer["counts"]["pass"] > 300
        assert answer["verdict"] == ("warn" if told else "pass")


def test_each_metric_has_a_verdict(demo):
    verdicts = demo.table(layout.QUALIFICATION)
    assert set(zip(verdicts["biomarker"], verdicts["roi"], strict=True)) == {
        (b, r) for b in ("T1", "T2") for r in TISSUES
    }
    assert set(verdicts["verdict"]) <= {"qualified", "not_qualified", "indeterminate"}
    assert verdicts["sentence"].str.contains("change").all()


def test_the_ruler_of_each_site_is_found(demo):
    """The injected error of each site's clock is inside the calibration's own 95 % interval (see also recovery)."""
    import json

    rulers = demo.table("demo-truth/ruler.tsv")
    inside = []
    for _, row in rulers.iterrows():
        path = demo.directory / layout.fill(layout.CALIBRATION, site=row["site"], biomarker=row["biomarker"])
        calibration = json.loads(path.read_text())
        gain, stderr = calibration["coefficients"][1], np.sqrt(calibration["covariance"][1][1])
        inside.append(abs(gain - (1 + row["ruler_error"])) <= 1.96 * stderr)
    assert np.mean(inside) >= 0.75, inside
