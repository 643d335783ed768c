"""Each row of the table of degenerate inputs, with its required behavior."""

import numpy as np
import pandas as pd
import pytest
from published import FOLDER, MISSING, read
from trials import BIOMARKERS, make_claim, make_measurements, make_vials, simulate_values

from isocenter.errors import TableError
from isocenter.statistics.agreement import find_iccs
from isocenter.statistics.analyze import analyze, analyze_table
from isocenter.statistics.bounds import bound_coefficient
from isocenter.statistics.components import estimate_components
from isocenter.statistics.design import build_design
from isocenter.statistics.repeatability import estimate_repeatability

needs_data = pytest.mark.skipif(not (FOLDER / "edge_cases.csv").is_file(), reason=MISSING)


def edge_case(case):
    table = read("edge_cases")
    return table[table["case"] == case].reset_index(drop=True)


def flags_of(row):
    return row["flags"].split(";")


@needs_data
def test_perfect_agreement_is_indeterminate():
    table = edge_case("perfect_agreement")
    found = estimate_repeatability(table.y, table.subject)
    assert found.wsd == found.rc == 0
    assert np.isnan(found.rc_upper95)
    assert "zero_within_variance" in found.flags
    assert [icc.estimate for icc in find_iccs(table.subject, table.session, table.y)] == [1.0] * 6
    tidy = table.rename(columns={"subject": "participant_id", "y": "value"}).drop(columns="session")
    claim = make_claim(biomarker="value", roi="", coefficient="repeatability", delta=5.0)
    verdict = analyze_table(tidy, claims=[claim])["qualification"].iloc[0]
    assert verdict["verdict"] == "indeterminate"
    assert "zero_within_variance" in verdict["reasons"]
    assert verdict["estimate"] == 0


@needs_data
def test_constant_values_have_no_icc():
    table = edge_case("constant_all")
    assert estimate_repeatability(table.y, table.subject).wsd == 0
    found = find_iccs(table.subject, table.session, table.y)
    assert all(np.isnan(icc.estimate) and "constant" in icc.flags for icc in found)


@needs_data
def test_no_retest_is_null_with_a_reason():
    table = edge_case("all_missing_retest")
    found = estimate_repeatability(table.y, table.subject)
    assert found.df == 0
    assert np.isnan(found.wsd)
    assert found.flags == ["no_replicates"]
    tidy = table.rename(columns={"subject": "participant_id", "y": "value"}).drop(columns="session")
    claim = make_claim(biomarker="value", roi="", coefficient="repeatability", delta=5.0)
    verdict = analyze_table(tidy, claims=[claim])["qualification"].iloc[0]
    assert verdict["verdict"] == "indeterminate"
    assert "no_replicates" in verdict["reasons"]


@needs_data
def test_missing_visit_drops_the_row_not_the_subject():
    table = edge_case("one_missing_retest")
    components = estimate_components(build_design(table.y, table.subject))
    assert components.design.n == 9
    assert components.design.n_subjects == 5
    assert estimate_repeatability(table.y, table.subject).n_subjects == 4


@needs_data
def test_negative_icc_is_reported_and_its_component_is_zero():
    table = edge_case("negative_icc")
    assert find_iccs(table.subject, table.session, table.y)[0].estimate == pytest.approx(-0.9975, abs=1e-4)
    components = estimate_components(build_design(table.y, table.subject))
    assert components.variances["subject"] == 0
    assert components.fit.boundary == ("subject",)
    assert components.moments["subject"] < 0


def test_duplicate_values_name_their_rows():
    table = make_measurements(np.random.default_rng(0))
    table = pd.concat([table, table.iloc[[3]]], ignore_index=True)
    with pytest.raises(TableError, match=rf"participant_id P00.*rows 5, {len(table) + 1}"):
        analyze(table, biomarkers=BIOMARKERS)


def test_missing_column_is_named():
    with pytest.raises(TableError, match="participant_id"):
        analyze_table(pd.DataFrame({"value": [1.0]}))
    with pytest.raises(TableError, match="run"):
        analyze(make_measurements(np.random.default_rng(0)).drop(columns="run"))


@pytest.mark.parametrize("scale", ["absolute", "log"])
def test_values_at_or_below_zero_have_no_log_or_percent(scale):
    table = simulate_values(np.random.default_rng(1), mean=0.0)
    tables = analyze_table(table, {"scale": scale})
    row = tables["repeatability"].iloc[0]
    assert row[["wcv", "wcv_log", "percent_rc", "percent_rc_up"]].isna().all()
    assert "non_positive" in flags_of(row)
    assert np.isfinite(row["wsd"])
    rdc = tables["reproducibility"].iloc[2]
    assert np.isnan(rdc["estimate"]) == (scale == "log")
    assert np.isnan(rdc["percent"]) or scale == "absolute"


def test_mean_near_zero_has_no_percent():
    values = np.array([0.1, 3.0, 0.2, 2.0, 0.5, 4.0])
    found = estimate_repeatability(values, np.repeat([1, 2, 3], 2))
    assert np.isnan(found.wcv)
    assert "mean_near_zero" in found.flags


@pytest.mark.parametrize(("sites", "flag"), [(2, "too_few_sites"), (4, "few_sites"), (6, None)])
def test_few_sites_are_flagged(sites, flag):
    table = simulate_values(np.random.default_rng(2), sites=sites)
    tables = analyze_table(table)
    rdc = tables["reproducibility"].set_index("coefficient").loc["reproducibility"]
    site = tables["variance_components"].set_index("component").loc["site"]
    assert np.isnan(rdc["estimate"]) == (sites == 2)
    assert np.isnan(site["variance"]) == (sites == 2)
    assert (flag in flags_of(rdc)) if flag else not {"few_sites", "too_few_sites"} & set(flags_of(rdc))


def test_two_sites_are_fixed_differences():
    table = simulate_values(np.random.default_rng(3), sites=2, sd={"site": 50.0})
    near = table.assign(value=table["value"] + np.where(table["site"] == "site0", 500.0, 0.0))
    fits = [
        estimate_components(build_design(t["value"], t["participant_id"], t["site"], t["session"]))
        for t in (table, near)
    ]
    assert fits[0].variances["subject"] == pytest.approx(fits[1].variances["subject"], rel=1e-6)
    assert np.isfinite(bound_coefficient(fits[0], "intermediate_precision").estimate)


def test_subjects_that_do_not_travel_give_no_rdc():
    table = simulate_values(np.random.default_rng(4), subjects=8, sites=4)
    table = table[table["site"].str[-1].astype(int) == table["participant_id"].str[-1].astype(int) % 4]
    rdc = analyze_table(table)["reproducibility"].set_index("coefficient").loc["reproducibility"]
    assert np.isnan(rdc["estimate"])
    assert "no_subject_at_two_sites" in flags_of(rdc)


def test_small_samples_are_flagged_and_tiny_ones_indeterminate():
    table = simulate_values(np.random.default_rng(5), subjects=4, sites=1, sessions=1)
    claim = make_claim(biomarker="value", roi="", coefficient="repeatability", delta=50.0)
    tables = analyze_table(table, claims=[claim])
    assert "small_sample" in flags_of(tables["repeatability"].iloc[0])
    verdict = tables["qualification"].iloc[0]
    assert verdict["upper95"] < verdict["delta"]
    assert verdict["verdict"] == "indeterminate"
    assert "4 degrees of freedom" in verdict["reasons"]


def test_scale_that_disagrees_is_printed_with_the_other_one():
    rng = np.random.default_rng(6)
    mean = np.repeat(np.linspace(5, 500, 40), 4)
    table = pd.DataFrame(
        {"participant_id": np.repeat(np.arange(40), 4), "value": mean * np.exp(rng.normal(0, 0.05, 160))}
    )
    rows = analyze_table(table, {"scale": "absolute"})["reproducibility"]
    assert list(rows["scale"]) == ["absolute"] * 3 + ["log"] * 3
    assert all("scale_disagrees" in flags_of(row) for _, row in rows.iterrows())
    declared = analyze_table(table, {"scale": "log"})["reproducibility"]
    assert list(declared["scale"]) == ["log"] * 3


def test_field_strengths_are_never_pooled():
    rng = np.random.default_rng(7)
    low, high = make_measurements(rng, field=1.5), make_measurements(rng, field=2.89)
    low["site"] = "low" + low["site"]
    table = pd.concat([low, high], ignore_index=True)
    tables = analyze(table, make_vials(rng), biomarkers=BIOMARKERS, claims=[make_claim()])
    for name in ("repeatability", "variance_components", "reproducibility", "agreement", "qualification"):
        assert set(tables[name]["field_strength"]) == {1.5, 3.0}
        assert tables[name]["flags"].str.contains("stratified_by_field_strength").all()
    assert set(tables["reproducibility"]["n_sites"]) == {4}
    pooled = analyze(table, biomarkers={"T1": BIOMARKERS["T1"] | {"field_dependent": False}})
    assert set(pooled["reproducibility"]["n_sites"]) == {8}
    assert pooled["reproducibility"]["flags"].str.contains("pooled_over_field_strength").all()


def test_empty_input_gives_empty_tables():
    tables = analyze(make_measurements(np.random.default_rng(0)).iloc[:0], biomarkers=BIOMARKERS)
    assert all(len(table) == 0 for table in tables.values())


def test_a_failed_roi_is_accounted_for():
    table = make_measurements(np.random.default_rng(8))
    table.loc[0, ["value", "raw_value"]] = np.nan
    columns = ["site", "participant_id", "session", "run", "stage", "reason"]
    exclusions = pd.DataFrame(
        [
            ("site1", "P01", "02", "1", "schedule", "no visit"),
            ("site2", "P02", "02", "1", "fit", "too noisy"),
        ],
        columns=columns,
    )
    for site, person in (("site1", "P01"), ("site2", "P02")):
        gone = (table["site"] == site) & (table["participant_id"] == person) & (table["session"] == "02")
        table = table[~gone]
    planned = dict.fromkeys(["site0", "site1", "site2", "site3", "site4"], 15)
    rows = analyze(table, None, exclusions, [], BIOMARKERS, planned)["accounting"].set_index("site")
    counts = ["n_planned", "n_received", "n_usable", "n_used", "n_excluded"]
    assert rows.loc["site0", counts].tolist() == [15, 15, 14, 14, 1]
    assert rows.loc["site1", counts].tolist() == [15, 14, 14, 14, 0]
    assert rows.loc["site2", counts].tolist() == [15, 15, 14, 14, 1]
    assert rows.loc["site4", counts].tolist() == [15, 0, 0, 0, 0]
    assert rows.loc["site2", "reason"] == "1 at fit: too noisy"
    assert rows.loc["site1", "reason"] == "1 not received"


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_values_without_squares_are_refused_with_their_rows(factor):
    table = simulate_values(np.random.default_rng(3), subjects=3, sites=3)
    table.loc[4, "value"] *= factor
    with pytest.raises(TableError, match="rows 6"):
        analyze_table(table)
    assert np.isfinite(analyze_table(table.assign(value=table["value"] * 0 + 1e60))["descriptives"]["mean"]).all()
