"""Numbers, intervals, flags and foreign text as a reader sees them."""

import math

import pandas as pd
import pytest

from isocenter.report.citations import cite, find_dois
from isocenter.report.derive import deviate_sites, pair_repeats, spread_repeats
from isocenter.report.methods import model_card
from isocenter.report.metrics import show_coefficient
from isocenter.report.tabulate import Cell, number_cell
from isocenter.report.wording import (
    explain_flag,
    explain_flags,
    format_interval,
    format_number,
    format_plus_minus,
    keep_together,
    name_flags,
    name_roi,
    plural,
    say_reason,
    shorten,
)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.8812, 0.8611, 0.9034), "0.881 [0.861, 0.903]"),
        ((0.88, 0.62, 0.97), "0.88 [0.62, 0.97]"),
        ((1234.5, 1200.0, 1290.0), "1234 [1200, 1290]"),
        ((0.658, 0.411, 1.61), "0.66 [0.41, 1.61]"),
        ((-0.03, -0.24, 0.63), "−0.03 [−0.24, 0.63]"),
        ((-0.5, -1.5, 0.5), "−0.5 [−1.5, 0.5]"),
        ((5.0, 1.0, math.inf), "5.00 [1.00, not bounded]"),
        ((5.0, math.nan, math.nan), "5.00"),
        ((math.nan, 1.0, 2.0), "–"),
    ],
)
def test_an_interval_decides_the_digits(numbers, text):
    assert format_interval(*numbers) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1449.6, "1450"), (0.01234, "0.0123"), (-3.14159, "−3.14"), (None, "–"), (-0.00000001, "0.000000")],
)
def test_a_number_alone_has_three_digits(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (869.234, 4.897, "869.2 ± 4.9"), (0.08249, 0.000457, "0.08249 ± 0.00046"), (1334.2, 71.0, "1334 ± 71"),
        (3795.4, 496.0, "3795 ± 496"), (-1.5, 0.25, "−1.50 ± 0.25"), (1.5, math.nan, "1.50"), (math.nan, 1.0, "–"),
        (1.5, 0.0, "1.50"),
    ],
)  # fmt: skip
def test_an_error_has_two_digits_and_decides_those_of_its_value(value, error, text):
    assert format_plus_minus(value, error) == text


def test_text_is_shortened_in_the_middle_on_one_line():
    assert shorten("a" * 50 + "\n" + "b" * 50, 21) == "a" * 10 + "…" + "b" * 10
    assert shorten("two\nlines") == "two lines"


def test_flags_are_said_in_words_and_unknown_ones_stay():
    assert explain_flags("few_sites;brand_new") == [explain_flags("few_sites")[0], "brand new"]
    assert explain_flags("clustered") == []
    assert explain_flags("clustered", with_remarks=True)
    assert explain_flags(math.nan) == []


@pytest.mark.parametrize(
    ("n", "noun", "text"), [(1, "site", "1 site"), (3, "entry", "3 entries"), (2, "series", "2 series")]
)
def test_plural(n, noun, text):
    assert plural(n, noun) == text


def test_a_log_coefficient_reads_as_percent_of_the_ratio():
    assert show_coefficient({"scale": "log", "unit": "1", "estimate": math.log(1.08)}, "estimate") == pytest.approx(8.0)
    assert show_coefficient({"scale": "absolute", "unit": "s", "estimate": 0.05}, "estimate") == pytest.approx(50.0)


def test_dois_are_found_in_a_model_card_and_cited():
    card = model_card("t1_inversion_recovery")
    assert set(card) >= {"equation", "assumptions", "needs", "parameters", "known bias", "reference"}
    assert find_dois(card["reference"]) == ["10.1002/mrm.22497"]
    assert find_dois("(doi 10.1016/x.2007.06.004), (10.1016/S0140-6736(86)90837-8).") == [
        "10.1016/x.2007.06.004", "10.1016/S0140-6736(86)90837-8",
    ]  # fmt: skip
    assert cite(["10.1002/mrm.22497"])[0][0].startswith("Barral et al. 2010.")
    assert cite(["10.9999/unknown"]) == [("As cited by the model.", "10.9999/unknown")]
    assert model_card("no_such_model") == {}


ROWS = pd.DataFrame(
    [
        ("A", "1", "01", "1", 10.0),
        ("A", "1", "01", "2", 12.0),
        ("B", "1", "01", "1", 11.0),
        ("B", "1", "01", "2", math.nan),
        ("B", "2", "01", "1", 20.0),
        ("A", "2", "01", "1", 20.0),
    ],
    columns=["site", "participant_id", "session", "run", "value"],
)


def test_pairs_and_spreads_come_from_sessions_with_two_values():
    (pair,) = pair_repeats(ROWS, "value")
    assert (pair["mean"], pair["difference"], pair["site"], pair["row"]) == (11.0, 2.0, "A", 1)
    (spread,) = spread_repeats(ROWS, "value")
    assert spread["sd"] == pytest.approx(math.sqrt(2))


def test_sites_deviate_from_their_common_mean():
    found, n = deviate_sites(ROWS.assign(value=[10.0, 10.0, 12.0, 12.0, 24.0, 20.0]), "value")
    assert n == 2
    assert {d["site"]: round(d["value"], 6) for d in found} == {"A": -9.090909, "B": 9.090909}
    assert deviate_sites(ROWS[ROWS["site"] == "A"], "value")[0] == []


def test_shares_of_voxels_read_as_percent():
    assert name_flags("out_of_range 0.051;masked 0.2;few_sites") == "out of range 5.1 %; masked 20 %; few sites"
    assert name_flags("not_converged 0.00073; beyond_calibration") == "not converged 0.073 %; beyond calibration"
    assert name_flags("not_converged 7.3e-05") == "not converged 7.3e-05"
    assert name_flags("version_2.5 beta") == "version 2.5 beta"


def test_regions_are_called_as_readers_call_them():
    assert name_roi("white_matter") == "white matter"
    assert name_roi("gray_matter < csf") == "gray matter < CSF"
    assert name_roi("csfx") == "csfx"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("csf holds 14 voxels with a value (16 in all)", "CSF holds 14 voxels with a value (16 in all)"),
        ("white_matter is empty", "white matter is empty"),
        ("the sampled times see 0.01 to 0.32 s; the reference is 0.0068 s",
         "the sampled times see 10 to 320 ms; the reference is 6.8 ms"),
        ("Echo time 0.01 s has 1 of 2 slices", "Echo time 10 ms has 1 of 2 slices"),
        ("Repetition Time (0018,0080) is 0 s", "Repetition Time (0018,0080) is 0 ms"),
        ("did not finish within 600 s", "did not finish within 600 s"),
        ("10–20 s, 0.5 s/mm², 3 slices", "10–20 s, 0.5 s/mm², 3 slices"),
        ("series 5 so far", "series 5 so far"),
    ],
)  # fmt: skip
def test_a_step_s_reason_reads_as_the_page_does(reason, told):
    assert say_reason(reason, 200) == told


def test_a_number_its_sign_and_its_interval_stay_on_one_line():
    assert keep_together("1.15 % ± 0.2") == "1.15\u00a0%\u00a0±\u00a00.2"
    assert "0.107 [0.081,\u00a00.156]" in number_cell("0.107 [0.081, 0.156]", 0.107).__html__()
    assert "a, b" in Cell("a, b").__html__()
    assert 'class=" keep"' in Cell("2024-05-01", is_kept=True).__html__()
    assert "keep" not in Cell("x" * 33, is_kept=True).__html__()


@pytest.mark.parametrize(
    "name", ["few_raters", "partial_volume", "raters_are_sites", "raters_are_sessions", "raters_are_runs"]
)
def test_a_flag_is_explained_by_more_than_its_own_name(name):
    assert explain_flag(name) != name.replace("_", " ")
