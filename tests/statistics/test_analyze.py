"""The whole analysis of a trial: contract of the tables, before and after calibration, verdicts, the step."""

import json

import numpy as np
import pandas as pd
import pytest
from published import FOLDER, read
from trials import BIOMARKERS, make_claim, make_measurements, make_vials

from compute_statistics import compute_statistics
from isocenter import layout
from isocenter.errors import ConfigError, TableError
from isocenter.io.tables import write_table
from isocenter.statistics.analyze import analyze, analyze_table
from isocenter.statistics.metric import check_measurements, list_metrics
from isocenter.statistics.precision_rows import describe
from isocenter.statistics.tables import COLUMNS, LEADING

SITES = [f"site{j}" for j in range(4)]
PLANNED = dict.fromkeys(SITES, 15)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(4)
    return analyze(
        make_measurements(rng, rois=("white_matter", "gray_matter")),
        make_vials(rng),
        None,
        [make_claim(), make_claim(roi="gray_matter", delta=1.0)],
        BIOMARKERS,
        PLANNED,
        seed=3,
    )


def test_tables_are_those_of_the_layout(tables):
    assert tuple(tables) == layout.STATISTICS_TABLES
    for name, table in tables.items():
        assert tuple(table.columns) == COLUMNS[name]
        assert table.columns[-1] == "flags"
        assert list(table.columns[:5]) == list(LEADING[:5])
        assert len(table) or name == "longitudinal", name  # there are no patients
        assert table["unit"].ne("").all()


def test_calibration_takes_the_sites_apart_from_the_people(tables):
    table = tables["harmonization"]
    table = table[table["roi"] == "white_matter"].set_index(["stage", "component"])
    assert table.loc[("calibrated", "site"), "variance"] < 0.1 * table.loc[("raw", "site"), "variance"]
    assert table.loc[("calibrated", "subject"), "subject_variance_ratio"] == pytest.approx(1, abs=0.2)
    assert table.loc[("calibrated", "site"), "rdc"] < 0.5 * table.loc[("raw", "site"), "rdc"]


def test_phantom_lines_before_and_after_calibration(tables):
    lines = tables["linearity"].set_index(["site", "stage"])
    assert lines.loc[("site0", "raw"), "slope"] == pytest.approx(1.06, abs=0.01)
    for site in SITES:
        row = lines.loc[(site, "calibrated")]
        assert row["slope"] == pytest.approx(1, abs=0.01)
        assert abs(row["percent_bias"]) < 1
        assert "leave_one_session_out" in row["flags"]


def test_verdicts_follow_the_changes_that_matter(tables):
    rows = tables["qualification"].set_index("roi")
    assert rows.loc["white_matter", "verdict"] == "qualified"
    assert rows.loc["gray_matter", "verdict"] == "not_qualified"
    row = rows.loc["white_matter"]
    rdc = tables["reproducibility"].query(
        "roi == 'white_matter' and stage == 'calibrated' and coefficient == 'reproducibility'"
    )
    # On the log scale a coefficient c is a ratio exp(c), shown in percent.
    assert row["unit"] == "percent"
    assert row["upper95"] == pytest.approx(100 * np.expm1(rdc["upper95"].iloc[0]))
    assert row["bound_over_delta"] == pytest.approx(row["upper95"] / 8)
    assert f"{row['estimate']:.3g} %" in row["sentence"]


def test_primary_sensitivity_row_is_the_qualification(tables):
    rows = tables["sensitivity"]
    primary = rows[(rows["analysis"] == "primary") & (rows["roi"] == "white_matter")].iloc[0]
    assert primary["verdict"] == "qualified"
    assert {f"without site {site}" for site in SITES} <= set(rows["analysis"])


def test_without_a_claim_there_is_no_verdict():
    tables = analyze(make_measurements(np.random.default_rng(1)), None, None, [], BIOMARKERS)
    assert len(tables["qualification"]) == 0
    assert set(tables["sensitivity"]["verdict"]) == {""}


def test_a_claim_in_the_biomarkers_unit_is_judged_in_percent_on_the_log_scale():
    rng = np.random.default_rng(2)
    table = make_measurements(rng)
    claims = [make_claim(delta=0.08, delta_unit="s")]
    row = analyze(table, make_vials(rng), None, claims, BIOMARKERS, PLANNED)["qualification"].iloc[0]
    assert row["unit"] == "percent"
    assert row["delta"] == pytest.approx(100 * 0.08 / table["value"].mean())
    with pytest.raises(ConfigError, match="delta_unit"):
        analyze(table, None, None, [make_claim(delta_unit="mM")], BIOMARKERS)


def test_indeterminate_says_what_would_settle_it():
    rng = np.random.default_rng(4)
    table, vials = make_measurements(rng), make_vials(rng)
    first = analyze(table, vials, None, [make_claim()], BIOMARKERS, PLANNED)["qualification"].iloc[0]
    delta = (first["estimate"] + first["upper95"]) / 2
    row = analyze(table, vials, None, [make_claim(delta=delta)], BIOMARKERS, PLANNED)["qualification"].iloc[0]
    assert row["verdict"] == "indeterminate"
    assert "sites instead of 4" in row["settle"]


def test_what_would_settle_it_does_not_say_the_reasons_again():
    rng = np.random.default_rng(4)
    table, vials, claims = make_measurements(rng), make_vials(rng), [make_claim(delta=1e3)]

    def judge(phantom, planned=PLANNED):
        return analyze(table, phantom, None, claims, BIOMARKERS, planned)["qualification"].iloc[0]

    row = judge(vials[vials["site"] != "site2"])
    assert (row["verdict"], "no phantom was measured at site2" in row["reasons"]) == ("indeterminate", True)
    assert row["settle"].split("; ")[-1] == "More phantom scans, for the linearity"
    row = judge(vials, dict.fromkeys(SITES, 3))  # fewer than came
    assert "the accounting does not reconcile" in row["reasons"]
    assert "phantom" not in row["settle"]
    assert row["settle"].split("; ")[-1] == "Find the runs that the accounting misses"


def test_phantom_rows_never_enter_the_components():
    rng = np.random.default_rng(5)
    table = make_measurements(rng)
    phantom = table.head(10).assign(kind="phantom", participant_id="Q", value=9.0)
    with_phantom = analyze(pd.concat([table, phantom]), biomarkers=BIOMARKERS)
    without = analyze(table, biomarkers=BIOMARKERS)
    for name in without:
        pd.testing.assert_frame_equal(with_phantom[name], without[name])


def test_one_phantom_session_is_calibrated_vial_by_vial():
    rng = np.random.default_rng(6)
    tables = analyze(make_measurements(rng), make_vials(rng, sessions=("01",)), biomarkers=BIOMARKERS)
    calibrated = tables["linearity"].query("stage == 'calibrated'")
    assert calibrated["flags"].str.contains("leave_one_vial_out").all()
    assert calibrated["slope"].sub(1).abs().max() < 0.02


def test_tidy_table_with_references():
    people = pd.DataFrame({"participant_id": np.repeat(["a", "b", "c"], 2), "value": [1.0, 1.1, 2.0, 2.1, 3.0, 2.9]})
    vials = pd.DataFrame({"participant_id": ["v1", "v2", "v3", "v4", "v5"], "reference": [1.0, 2, 3, 4, 5]})
    vials["value"] = 1.02 * vials["reference"]
    tables = analyze_table(pd.concat([people, vials]), {"unit": "s"})
    assert tables["linearity"]["slope"].iloc[0] == pytest.approx(1.02)
    assert tables["repeatability"]["wsd"].iloc[0] == pytest.approx(np.sqrt(0.005))
    assert set(tables["repeatability"]["unit"]) == {"s"}


def test_columns_can_be_mapped_and_unknown_options_are_refused():
    table = pd.DataFrame({"who": ["a", "a", "b", "b"], "y": [1.0, 1.1, 2.0, 2.2]})
    tables = analyze_table(table, {"columns": {"participant_id": "who", "value": "y"}})
    assert tables["repeatability"]["df"].iloc[0] == 2
    with pytest.raises(TableError, match="Unknown options"):
        analyze_table(table, {"column": {}})


def test_step_writes_every_table(tmp_path):
    rng = np.random.default_rng(4)
    write_table(tmp_path / "measurements.tsv", make_measurements(rng))
    write_table(
        tmp_path / "exclusions.tsv",
        pd.DataFrame(
            columns=["site", "participant_id", "session", "run", "biomarker", "series", "stage", "reason", "action"]
        ),
    )
    vials = make_vials(rng)
    paths = []
    for site, rows in vials.groupby("site"):
        paths.append(tmp_path / layout.fill(layout.VIALS, site=site))
        paths[-1].parent.mkdir(parents=True)
        write_table(paths[-1], rows.drop(columns="site"))
    outputs = {name: tmp_path / f"{name}.tsv" for name in layout.STATISTICS_TABLES}
    for copy in ("first", "second"):
        compute_statistics(
            tmp_path / "measurements.tsv", tmp_path / "exclusions.tsv", paths, **outputs,
            statistics=tmp_path / f"{copy}.json", claims=[make_claim()], biomarkers=BIOMARKERS, planned=PLANNED, seed=1,
        )  # fmt: skip
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    content = json.loads((tmp_path / "first.json").read_text())
    assert tuple(sorted(content)) == tuple(sorted(layout.STATISTICS_TABLES))
    assert content["qualification"][0]["verdict"] == "qualified"
    assert len(content["linearity"]) == 8


CLINICAL = FOLDER.parent / "clinical_mpm"


@pytest.mark.skipif(not (CLINICAL / "mean_b1.csv").is_file(), reason=f"no {CLINICAL}")
def test_clinical_mpm_between_subject_variation():
    """All 240 published cells (Cooper 2020): SD/mean over subjects per repetition, then mean over repetitions."""
    values = pd.read_csv(CLINICAL / "mean_b1.csv")
    published = pd.read_csv(CLINICAL / "intersubject_b1.csv")
    rois = list(values.columns[3:])
    tidy = values.melt(["Subject", "Repetition", "Parameter"], rois, var_name="roi").rename(
        columns={"Subject": "participant_id", "Repetition": "session", "Parameter": "biomarker"}
    )
    tidy = tidy.assign(site="1", run="1", unit="arbitrary")
    checked = 0
    for (metric,) in list_metrics(check_measurements(tidy), {}):
        column = next(c for c in published.columns if c.split()[0] == metric.biomarker)
        # The two files name the cortical regions differently; their order is the same.
        theirs = float(published[column].iloc[rois.index(metric.roi)].split("±")[0])
        ours = np.mean([100 * row["sd"] / row["mean"] for row in describe(metric)])
        assert ours == pytest.approx(theirs, abs=0.0051), (metric.biomarker, metric.roi)
        checked += 1
    assert checked == 240


def test_public_trial_through_the_whole_analysis():
    if not (FOLDER / "sim_crossed_public_T1.csv").is_file():
        pytest.skip(f"no {FOLDER}")
    table = read("sim_crossed_public_T1").rename(columns={"subject": "participant_id", "repeat": "run", "y": "value"})
    row = analyze_table(table, {"unit": "ms"})["reproducibility"].set_index("coefficient").loc["reproducibility"]
    assert row["estimate"] == pytest.approx(46.979, rel=1e-4)
    assert row["upper95"] == pytest.approx(75.093, rel=1e-4)


def test_two_processes_give_the_same_bits_and_tell_how_far_they_are():
    table = make_measurements(np.random.default_rng(9), rois=("white_matter", "gray_matter", "csf"))
    told = []
    one = analyze(table, biomarkers=BIOMARKERS, seed=2)
    two = analyze(table, biomarkers=BIOMARKERS, seed=2, workers=2, on_progress=lambda *now: told.append(now))
    for name in one:
        pd.testing.assert_frame_equal(one[name], two[name], check_exact=True)
    assert told == [(1, 3), (2, 3), (3, 3)]
