"""The order of tissues: shown where it is violated, and nothing removed for it."""

import numpy as np
import pandas as pd
import pytest

from isocenter.regions.order import COLUMNS, check_order, describe_violation

PARAMETERS = {"T1": "T1", "T2": "T2", "R2s": "R2star", "ADC": "ADC"}
TRUE = {
    ("T1", "white_matter"): 0.85,
    ("T1", "gray_matter"): 1.35,
    ("T1", "csf"): 4.0,
    ("T2", "white_matter"): 0.075,
    ("T2", "gray_matter"): 0.1,
    ("T2", "csf"): 1.9,
}


def rows(values, *, relative=0.01, **columns):
    table = [
        {
            "site": "siteA", "participant_id": "T01", "session": "01", "run": "1", "biomarker": b, "roi": r, "value": v,
            "stderr": relative * v, "raw_value": v, "raw_stderr": relative * v, "unit": "s",
        }
        for (b, r), v in values.items()
    ]  # fmt: skip
    return pd.DataFrame(table).assign(**columns)


def test_tissue_as_it_is_holds_in_every_pair():
    found = check_order(rows(TRUE), PARAMETERS)
    assert tuple(found.columns) == COLUMNS
    # three regions with T2 < T1; three pairs of tissues for each of two times
    assert len(found) == 3 + 6
    assert set(found["order"]) == {"holds"}


def test_swapped_maps_are_violated_everywhere_and_named():
    swapped = {(("T2" if b == "T1" else "T1"), r): v for (b, r), v in TRUE.items()}
    found = check_order(rows(swapped), PARAMETERS)
    times = found[found["rule"] == "T2 < T1"]
    assert len(times) == 3
    assert set(times["order"]) == {"violated"}
    sentence = describe_violation(times.iloc[0].to_dict())
    assert "siteA sub-T01 ses-01 run-1" in sentence
    assert "T2 of" in sentence
    assert "stand as they are" in sentence


def test_swapped_labels_are_violated_in_both_times():
    names = {"white_matter": "gray_matter", "gray_matter": "white_matter", "csf": "csf"}
    found = check_order(rows({(b, names[r]): v for (b, r), v in TRUE.items()}), PARAMETERS)
    wrong = found[found["order"] == "violated"]
    assert sorted(zip(wrong["rule"], wrong["lower_biomarker"], strict=True)) == [
        ("white_matter < gray_matter", "T1"),
        ("white_matter < gray_matter", "T2"),
    ]


@pytest.mark.parametrize(
    ("white", "order"),
    [(0.080, "holds"), (0.099, "unclear"), (0.101, "unclear"), (0.12, "violated")],
)
def test_the_uncertainty_decides_between_clear_and_unclear(white, order):
    values = {("T2", "white_matter"): white, ("T2", "gray_matter"): 0.1}
    found = check_order(rows(values, relative=0.05), PARAMETERS)
    assert found["order"].tolist() == [order]


def test_rates_are_times_turned_over():
    table = rows({("T2", "white_matter"): 0.075, ("R2s", "white_matter"): 20.0})
    table.loc[table["biomarker"] == "R2s", "unit"] = "1/s"
    found = check_order(table, PARAMETERS).iloc[0]
    assert (found["rule"], found["lower"], found["order"]) == ("T2star < T2", 0.05, "holds")
    assert found["lower_stderr"] == pytest.approx(0.01 * 0.05)


def test_a_refused_calibration_is_checked_by_its_raw_values():
    found = check_order(rows(TRUE, value=np.nan, stderr=np.nan), PARAMETERS)
    assert len(found) == 9
    assert set(found["order"]) == {"holds"}


def test_runs_are_never_compared_with_one_another():
    first = rows({("T1", "white_matter"): 0.8})
    second = rows({("T2", "white_matter"): 0.9}, run="2")
    assert len(check_order(pd.concat([first, second]), PARAMETERS)) == 0


def test_what_has_no_order_is_passed_over():
    values = {("ADC", "white_matter"): 7e-4, ("T2", "putamen"): 0.05, ("T2", "white_matter"): 0.07}
    assert len(check_order(rows(values), PARAMETERS)) == 0
    assert tuple(check_order(rows({}), PARAMETERS).columns) == COLUMNS


def test_without_a_standard_error_nothing_is_certain():
    found = check_order(rows(TRUE, stderr=np.nan), PARAMETERS)
    assert set(found["order"]) == {"unclear"}
