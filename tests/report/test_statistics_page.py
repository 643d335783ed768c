"""The statistician's page: what it says follows from the numbers, and never claims more than the verdict."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from isocenter.io.tables import read_table, write_table
from isocenter.report.claims import ENDS, find_contradictions
from isocenter.report.course_figures import _change, changes, precision_profile
from isocenter.report.derive import explain_spread
from isocenter.report.extra_tables import list_extra_tables
from isocenter.report.gather import Trial
from isocenter.report.grras import grras_table
from isocenter.report.metric_extras import drift
from isocenter.report.metrics import Metric
from isocenter.report.overview import newest_first
from isocenter.report.statistics_page import stability_table
from isocenter.report.tabulate import Cell
from make_report import make_report

from .trial_tables import write_trial

ROW = {"verdict": "qualified", "sentence": f"Under x … {ENDS['qualified']}", "upper95": 4.0, "delta": 8.0}


def read(built, name="statistics.html"):
    # what keeps a number with its sign on one line reads as a space
    return html.unescape((built[2] / name).read_text(encoding="utf-8")).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("change", "n"),
    [
        ({}, 0),
        ({"verdict": "not_qualified", "sentence": f"x {ENDS['not_qualified']}", "upper95": 40.0}, 0),
        ({"verdict": "indeterminate", "sentence": f"x {ENDS['indeterminate']}"}, 0),
        ({"verdict": "indeterminate"}, 2),  # the sentence of another verdict
        ({"upper95": 8.1}, 1),
        ({"upper95": np.nan}, 1),
        ({"delta": None}, 1),
        ({"verdict": "FDA-qualified"}, 2),
        ({"sentence": f"{ENDS['qualified']} It is proven."}, 1),
        ({"sentence": ""}, 0),
    ],
)
def test_a_row_that_claims_more_than_its_verdict_is_found(change, n):
    assert len(find_contradictions(ROW | change)) == n


def test_a_sentence_that_claims_more_than_its_verdict_is_shown_nowhere(tmp_path):
    arguments = write_trial(tmp_path, n_sites=1)
    path = next(p for p in arguments["tables"] if p.name == "qualification.tsv")
    table = read_table(path, text=("sentence", "verdict"))
    k = int(np.flatnonzero(table["verdict"] == "indeterminate")[0])
    table.loc[k, "sentence"] = f"Under all uses {ENDS['qualified']}"
    write_table(path, table)
    index = tmp_path / "results/report/index.html"
    make_report(**arguments, report=index)
    metric = Metric.of_row(table.loc[k])
    for name in ("index.html", "statistics.html", f"metrics/{metric.biomarker}_{metric.roi}_3T.html"):
        text = (index.parent / name).read_text(encoding="utf-8")
        assert "Under all uses" not in text, name
        assert "the sentence claims another verdict" in text, name


def test_a_reason_that_the_statistics_name_by_a_flag_is_told_in_words(tmp_path):
    arguments = write_trial(tmp_path, n_sites=1)
    path = next(p for p in arguments["tables"] if p.name == "qualification.tsv")
    table = read_table(path, text=("sentence", "verdict", "reasons"))
    table["reasons"] = "too_few_sites; phantom bias outside ±5 % at site_a"
    write_table(path, table)
    make_report(**arguments, report=tmp_path / "results/report/index.html")
    for name in ("index.html", "statistics.html"):
        text = (tmp_path / "results/report" / name).read_text(encoding="utf-8")
        assert "fewer than 3 sites: no site component; phantom bias outside ±5\u00a0% at site_a" in text, name
        assert "too_few_sites" not in text


def test_every_quantity_has_a_line_and_only_declared_ones_a_verdict(built):
    text = read(built)
    table = re.search(r'data-name="precision".*?</table>', text, re.DOTALL).group(0)
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]
    words = [re.sub(r"<[^>]*>|\s+", " ", row) for row in rows]
    assert len(words) == 6
    assert sum("not declared" in line for line in words) == 2
    assert not any("not declared" in line for line in words if "gray matter" in line or "white matter" in line)


def test_the_figure_says_each_bound_over_delta(built):
    text = read(built)
    figure = re.search(r'<section id="decisions">.*?</svg>', text, re.DOTALL).group(0)
    assert "T1, gray matter, 3 T: 2.54 (6.10) % for a change of 8.00 %, qualified" in figure
    assert figure.count('href="metrics/') == 4


def test_other_analyses_are_counted_and_those_that_differ_are_named():
    rows = pd.DataFrame(
        [("primary", "qualified"), ("absolute scale", "qualified"), ("without site B", "indeterminate"), ("raw", "")],
        columns=["analysis", "verdict"],
    ).assign(biomarker="T1", roi="wm", coefficient="reproducibility")
    trial = Trial({}, {"sensitivity": rows, "measurements": pd.DataFrame()})
    card = {"metric": Metric("T1", "wm"), "verdict": "qualified", "row": "x", "page": "m.html"}
    ((_, verdict, agree, said),) = stability_table(trial, [card]).rows
    assert (verdict.text, agree.text, said.text) == ("qualified", "1 of 2", "without site B: indeterminate")
    ((_, _, agree, said),) = stability_table(trial, [card | {"metric": Metric("T2", "wm")}]).rows
    assert (agree.text, said.text) == ("no other analysis", "")


def test_a_table_without_a_section_of_its_own_is_shown_by_name_in_shown_units():
    rows = pd.DataFrame(
        {"biomarker": "T1", "roi": "wm", "unit": "s", "scale": "absolute", "mean": [0.85, 1.2], "method": ["a<b", ""],
         "n_subjects": [5, 7], "verdict": ["qualified", "not_qualified"], "flags": ["few_sites", ""]}
    )  # fmt: skip
    trial = Trial({}, {"precision_profile": rows, "repeatability": rows, "motion": pd.DataFrame()})
    ((title, _, table),) = list_extra_tables(trial, Metric("T1", "wm"))
    assert title == "Precision profile"
    assert table.columns == ["Mean [ms]", "Method", "Subjects", "Verdict", "Flags"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["850", "a<b", "5", "qualified", "few sites"], ["1200", "", "7", "not qualified", ""],
    ]  # fmt: skip
    assert list_extra_tables(trial, Metric("T2", "wm")) == []


def test_standard_errors_are_held_against_the_scatter_of_repeats():
    rng = np.random.default_rng(3)
    n = 400
    rows = pd.DataFrame(
        {"site": "A", "participant_id": np.repeat(np.arange(n), 2), "session": "01", "run": ["1", "2"] * n,
         "raw_value": 100 + rng.normal(0, 2.0, 2 * n), "raw_stderr": 1.0}
    )  # fmt: skip
    within, errors, df = explain_spread(rows, "raw_value")
    assert df == n
    assert errors == pytest.approx(1.0)
    assert within == pytest.approx(4.0, rel=0.2)  # the standard error of a variance of 400 pairs is 7 %
    assert explain_spread(rows.assign(raw_stderr_noise=0.5), "raw_value")[1] == pytest.approx(0.25)


def test_what_was_left_out_last_stands_first():
    exclusions = pd.DataFrame(
        [("A", "1", "01", "1.2.3"), ("A", "1", "02", "x"), ("A", "2", "01", "y"), ("A", "", "", "dicom/z")],
        columns=["site", "participant_id", "session", "series"],
    )
    scans = pd.DataFrame(
        [
            ("A", "1", "01", "1.2.3", "2026-03-01"),
            ("A", "1", "02", "1.2.4", "2026-02-01"),
            ("A", "2", "01", "1.2.5", ""),
        ],
        columns=["site", "participant_id", "session", "series_uid", "date"],
    )
    trial = Trial({}, {"exclusions": exclusions, "scans": scans})
    assert list(newest_first(trial)["series"]) == ["1.2.3", "x", "y", "dicom/z"]
    trial.tables["scans"] = pd.DataFrame()
    assert list(newest_first(trial)["series"]) == ["x", "1.2.3", "y", "dicom/z"]


def test_grras_says_where_each_item_stands_and_what_the_data_cannot_tell(built):
    text = read(built, "methods.html")
    table = re.search(r'data-name="grras".*?</table>', text, re.DOTALL).group(0)
    assert len(re.findall(r"<tr>", table)) == 16
    assert 'href="statistics.html#flow"' in table
    assert "5 participants (traveler) at 4 sites" in table
    nothing = grras_table(Trial({}, {"measurements": pd.DataFrame()}))
    answered = {row[0].text: row[3].text for row in nothing.rows}
    assert answered["13"] == "not yet"
    assert answered["7"] == "in part"


def test_methods_name_the_versions_and_the_other_analyses(built):
    text = read(built, "methods.html")
    assert "The decision was repeated under other analyses: without site siteA." in text
    assert "Latest dated scan" in text
    assert "2026-01-25" in text


def test_a_change_stands_against_its_limits_in_the_unit_they_have():
    rows = pd.DataFrame(
        {"biomarker": "T1", "roi": "wm", "unit": "s", "scale": "log", "stage": "calibrated",
         "participant_id": ["P1", "P2", "P3"], "site_from": "A", "session_from": "01", "site_to": "A",
         "session_to": "02", "change": [0.01, -0.2, 0.3], "change_percent": [1.0, -22.0, 33.0], "limit": 10.0,
         "limit_upper95": 25.0, "limit_unit": "percent", "call": ["within_variation", "real", "real"]}
    )  # fmt: skip
    trial = Trial({}, {"longitudinal": rows})
    figure = changes(trial, Metric("T1", "wm"))
    assert "n = 3: 2 real, 1 within variation" in figure.shows
    assert "in %" in figure.shows
    # The largest stands first, and each mark leads to its session.
    assert figure.svg.index("sub-P3") < figure.svg.index("sub-P2") < figure.svg.index("sub-P1")
    assert "visits/A_sub-P3_ses-02.html" in figure.svg
    assert changes(Trial({}, {"longitudinal": rows[:0]}), Metric("T1", "wm")).empty.startswith("No patient")
    # A ratio of 1.25 up is one of 0.8 down.
    assert _change(0, rows.iloc[0], percent=True, unit="%", factor=1.0)["low95"] == pytest.approx(-20.0)


def test_the_profile_says_the_curve_of_each_stage_in_shown_units():
    rows = pd.DataFrame(
        {"biomarker": "T1", "roi": "wm", "unit": "s", "stage": ["raw", "raw"], "bin": [1, 2], "n_groups": 5, "df": 5,
         "mean": [0.8, 0.9], "wsd": 0.001, "wsd_low": 0.0005, "wsd_high": 0.003,
         "method": "SD^2 = 0.0009^2 + (0.002 mean)^2"}
    )  # fmt: skip
    figure = precision_profile(Trial({}, {"precision_profile": rows}), Metric("T1", "wm"))
    assert "raw constant 0.900 ms and 0.200 % of the level" in figure.shows
    assert "(10 in all)" in figure.shows
    assert figure.svg.count("<title>") == 2


def test_the_drift_figure_has_the_limits_of_the_protocol():
    rows = pd.DataFrame(
        {"biomarker": "T1", "quantity": "bias", "site": "A", "scanner": "A", "session": "01", "date": "2026-01-12",
         "value": [3.0], "stderr": 0.1, "state": ""}
    )  # fmt: skip
    rules = [
        {"statistic": "max_abs_percent_bias", "maximum": 12.0, "biomarkers": ["T1"]},
        {"statistic": "max_abs_percent_bias", "maximum": 3.0, "biomarkers": ["T2"]},
        {"statistic": "drift_percent", "maximum": 4.0},
    ]
    said = drift(Trial({"phantom_rules": rules}, {"control": rows}), Metric("T1", "wm")).shows
    assert "±12 %" in said
    assert "differ by 4 %" in said
    assert "Band" not in drift(Trial({}, {"control": rows}), Metric("T1", "wm")).shows


def test_a_cell_escapes_all_that_it_holds():
    cell = Cell("<b>&", 'x"y', 'a.html#"', "warn", "it's <i>")
    assert cell.__html__() == (
        '<td class=" s-warn word" data-sort="x&#34;y" title="it&#39;s &lt;i&gt;">'
        '<span class="sym" aria-hidden="true">▲</span> <a href="a.html#&#34;">&lt;b&gt;&amp;</a></td>'
    )
    assert Cell("1.5", "1.5", is_number=True).__html__() == '<td class="num" data-sort="1.5">1.5</td>'
    assert Cell("x" * 61).__html__().startswith('<td class="hash">')


def test_tables_without_a_section_show_intervals_counts_and_sds_as_the_page_does():
    rows = pd.DataFrame(
        {"biomarker": "T1", "roi": "wm", "unit": "s", "scale": "absolute", "stage": "raw", "contrast": "run 2 - run 1",
         "n": [19.0, 5.0], "slope": [1.01, np.nan], "slope_low": [0.99, np.nan], "slope_high": [1.02, np.nan],
         "wcv": [0.00149, 0.0020], "bin": [1.0, 2.0],
         "method": ["SD^2 = 0.0009118^2 + (0 mean)^2", "Deming"], "flags": ""}
    )  # fmt: skip
    trial = Trial({}, {"method_comparison": rows})
    ((_, _, table),) = list_extra_tables(trial, Metric("T1", "wm"))
    assert table.columns == [
        "Stage", "Contrast", "n", "Slope, 95 % CI", "wCV [%]", "Bin", "Method", "Flags",
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[0]] == [
        "raw", "run 2 − run 1", "19", "1.010 [0.990, 1.020]", "0.149", "1", "SD constant 0.912 ms", "",
    ]  # fmt: skip
    assert (table.rows[1][3].text, table.rows[1][3].href) == ("–", "")
    variances = pd.DataFrame(
        {
            "biomarker": "T1",
            "roi": "wm",
            "unit": "1",
            "scale": "log",
            "variance": [1.1347e-6],
            "error_variance": [3.9e-7],
        }
    )
    trial = Trial({}, {"measurement_error": variances})
    ((_, _, table),) = list_extra_tables(trial, Metric("T1", "wm"))
    assert table.columns == ["SD [%]", "SD that errors explain [%]", "Flags"]
    assert [cell.text for cell in table.rows[0]] == ["0.107", "0.0624", ""]


def test_pages_say_that_few_degrees_of_freedom_leave_a_verdict_open(built):
    assert "at least 10 degrees of freedom" in read(built)
    assert "with fewer than 10 degrees of freedom" in read(built, "methods.html")
    assert "with fewer than 10 degrees of freedom" in read(built, "metrics/T1_white_matter_3T.html")


def test_every_coefficient_of_the_overview_has_its_interval_or_says_its_bound(built):
    table = re.search(r'data-name="precision".*?</table>', read(built), re.DOTALL).group(0)
    heads = re.findall(r"<th[^>]*>(.*?)</th>", table)
    assert [h for h in heads if "RDC" in h] == [
        "RDC before calibration [%], 95 % CI", "RDC calibrated [%], 95 % CI", "RDC, one-sided upper 95 % bound [%]",
    ]  # fmt: skip
    first = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1]
    assert len(re.findall(r">[\d.]+ \[[\d.]+, [\d.]+\]<", first)) >= 3


def test_a_card_says_what_decides_and_by_which_bound(built):
    text = read(built)
    assert "reproducibility coefficient (RDC) · calibrated values" in text
    assert "one-sided 95 % bounds, MLS" in text
