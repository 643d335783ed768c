"""Swapped maps are shown: on the site's page, among the errors, on the front page; and no value is removed for it."""

import re

import numpy as np
import pandas as pd
import pytest

from isocenter import layout
from isocenter.entities import EXCLUSION_COLUMNS
from isocenter.io.tables import read_table, write_table
from isocenter.rois import COLUMNS
from make_report import make_report
from pool_measurements import pool_measurements

from .trial_tables import write_trial

TEXT = ("participant_id", "session", "run")
SWAP = {"T1": "T2", "T2": "T1"}


def swap_one_run(table):
    """The first run of siteA's T01 with its two maps under one another's names."""
    wrong = (table["site"] == "siteA") & (table["participant_id"] == "T01")
    wrong &= (table["session"] == "01") & (table["run"] == "1")
    assert wrong.any()
    return table.assign(biomarker=table["biomarker"].where(~wrong, table["biomarker"].map(SWAP)))


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """A made-up trial with one run's maps swapped: as measured, as pooled, the order of its tissues, the report."""
    root = tmp_path_factory.mktemp("swapped")
    arguments = write_trial(root, n_sites=2)
    measured = swap_one_run(read_table(arguments["measurements"], text=TEXT))
    write_table(root / "rois.tsv", measured)
    write_table(root / "none.tsv", pd.DataFrame(columns=list(EXCLUSION_COLUMNS)))
    write_table(
        root / "scans.tsv",
        pd.DataFrame(
            columns=[
                "series_uid",
                "participant_id",
                "kind",
                "session",
                "run",
                "suffix",
                "disposition",
                "reason",
                "n_files",
                "action",
            ]
        ),
    )
    write_table(root / "people.tsv", pd.DataFrame(columns=["participant_id", "kind"]))
    write_table(root / "vials.tsv", pd.DataFrame(columns=["session", "biomarker", "used", "reason"]))
    pool_measurements(
        [root / "rois.tsv"], [root / "none.tsv"], [root / "none.tsv"], [root / "scans.tsv"], [root / "vials.tsv"],
        [root / "people.tsv"], measurements=arguments["measurements"], exclusions=root / "exclusions.tsv",
        flow=root / "flow.tsv", plausibility=root / layout.PLAUSIBILITY, sites=["siteA"], schedule={},
        suffixes={"T1": "IRT1", "T2": "MESE"}, parameters={"T1": "T1", "T2": "T2"},
    )  # fmt: skip
    folder = root / "results" / "report"
    make_report(**arguments, report=folder / "index.html")
    return (
        measured,
        read_table(arguments["measurements"], text=TEXT),
        read_table(root / layout.PLAUSIBILITY, text=TEXT),
        folder,
    )


def test_no_value_is_removed_or_changed(pooled):
    measured, kept, _, _ = pooled
    key = ["site", "participant_id", "session", "run", "biomarker", "roi"]
    first, second = (
        table.sort_values(key, ignore_index=True)[[*key, "value", "raw_value"]] for table in (measured, kept)
    )
    pd.testing.assert_frame_equal(first, second)


def test_only_the_swapped_run_is_violated(pooled):
    wrong = pooled[2].query("order == 'violated'")
    assert set(zip(wrong["site"], wrong["participant_id"], wrong["session"], wrong["run"], strict=True)) == {
        ("siteA", "T01", "01", "1")
    }
    assert sorted(wrong["rule"]) == ["T2 < T1"] * 3
    assert np.all(wrong["z"] < -1.645)


def test_the_violation_is_shown(pooled):
    folder = pooled[3]
    front, site, other = (
        (folder / name).read_text() for name in ("index.html", "sites/siteA.html", "sites/siteB.html")
    )
    sentence = "siteA sub-T01 ses-01 run-1: T2 of white matter"
    errors = {name: text.split('<section id="errors">')[1] for name, text in (("front", front), ("site", site))}
    assert sentence in errors["front"]
    assert sentence in errors["site"]
    assert "nothing was left out for it" in errors["site"]
    assert sentence not in other
    assert "3 pairs of values out of the order that tissues must have" in front
    table = site.split('<section id="plausibility">')[1].split("</section>")[0]
    assert len(re.findall(r"violated</a>", table)) == 3
    assert "T2 &lt; T1" in table
    assert "contradict" not in other.split('<section id="errors">')[1]


def test_every_new_column_is_in_the_dictionary(pooled):
    from isocenter.report.dictionary import COLUMNS as MEANINGS

    assert set(COLUMNS) <= set(MEANINGS)
    assert set(pooled[2].columns) <= set(MEANINGS)
