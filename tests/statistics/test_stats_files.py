"""`isocenter stats` and `isocenter plan` on files: dialects of tables, SAS transport, the R script, bad input."""

import json
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyreadstat
import pytest
import yaml
from trials import make_claim, simulate_values

from isocenter.design_command import plan_designs, read_counts
from isocenter.errors import ConfigError, TableError
from isocenter.io.any_table import read_any_table
from isocenter.io.transport import MEMBERS, prepare_columns, shorten_names, to_ascii, write_transport
from isocenter.statistics.planning import expect_bound, simulate_bound
from isocenter.statistics.power import Plan
from isocenter.statistics.tables import COLUMNS
from isocenter.stats_command import analyze_file, read_mapping


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A written analysis of an unbalanced trial on the log scale, and its folder."""
    folder = tmp_path_factory.mktemp("stats")
    table = simulate_values(np.random.default_rng(1), subjects=6, sites=4, missing=0.15, mean=100)
    table["value"] = table["value"].round(4)
    table.to_csv(folder / "table.csv", index=False)
    outcome = analyze_file(folder / "table.csv", folder / "out", unit="ms", scale="log")
    return folder / "out", outcome


def test_everything_is_written(trial):
    out, outcome = trial
    for name in COLUMNS:
        assert (out / f"{name}.tsv").is_file()
        assert (out / "xpt" / f"{MEMBERS[name].lower()}.xpt").is_file()
    content = json.loads((out / "statistics.json").read_text())
    assert {name: len(rows) for name, rows in content.items()} == outcome.rows
    assert content["reproducibility"][0]["estimate"] > 0


def test_transport_reads_back_as_it_was_written(trial):
    out, _ = trial
    names = pd.read_csv(out / "xpt" / "names.tsv", sep="\t")
    for table in ("reproducibility", "variance_components", "measurements"):
        text = dict.fromkeys(("session", "run", "unit"), str)
        tsv = pd.read_csv(out / f"{table}.tsv", sep="\t", na_values=["n/a"], dtype=text)
        xpt, meta = pyreadstat.read_xport(str(out / "xpt" / f"{MEMBERS[table].lower()}.xpt"))
        assert meta.table_name == MEMBERS[table]
        assert len(xpt) == len(tsv)
        short = names[names["table"] == table].set_index("column")["variable"]
        for column in tsv.columns:
            theirs = xpt[short[column]]
            assert meta.column_names_to_labels[short[column]] == column[:40]
            if pd.api.types.is_numeric_dtype(tsv[column]) and tsv[column].notna().any():
                assert theirs.to_numpy() == pytest.approx(tsv[column].to_numpy(), rel=1e-8, nan_ok=True)
            elif tsv[column].notna().any():
                assert list(theirs) == list(tsv[column].fillna("").map(to_ascii))


def test_transport_is_the_same_to_the_byte(tmp_path):
    table = pd.DataFrame({"participant_id": ["a", "b"], "value": [1.5, np.nan]})
    for copy in ("one", "two"):
        write_transport(tmp_path / copy, {"measurements": table})
    assert (tmp_path / "one" / "measure.xpt").read_bytes() == (tmp_path / "two" / "measure.xpt").read_bytes()
    assert b"01JAN00" in (tmp_path / "one" / "measure.xpt").read_bytes()[:1000]


def test_names_of_every_table_are_short_and_unique():
    for columns in COLUMNS.values():
        short = shorten_names(list(columns))
        assert len(set(short.values())) == len(columns)
        assert all(len(name) <= 8 and name.isascii() and name[0].isalpha() for name in short.values())


def test_long_text_continues_and_extreme_numbers_do_not_lie():
    table = pd.DataFrame({"sentence": ["é × 2 " * 60, ""], "tiny": [1e-200, 1e90]})
    prepared, meaning = prepare_columns(table)
    assert list(meaning.values()) == ["sentence", "sentence (2)", "tiny"]
    assert prepared["SENTENCE"].iloc[0] + prepared["SENTENC2"].iloc[0] == "e x 2 " * 60
    assert prepared["TINY"].iloc[0] == 0
    assert np.isnan(prepared["TINY"].iloc[1])


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="no R here")
def test_r_script_reproduces_the_components(trial):
    """lme4's variances beside ours, within 1e-5 of the total; the script itself says so too."""
    out, _ = trial
    if subprocess.run(["Rscript", "-e", "library(lme4)"], capture_output=True).returncode:
        pytest.skip("no lme4 here")
    ended = subprocess.run(["Rscript", str(out / "reproduce.R"), str(out)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    rows = pd.read_csv(out / "r_estimates.tsv", sep="\t", na_values=["n/a"])
    assert set(rows["component"]) == {"subject", "site", "subject:site", "session", "residual"}
    assert rows["difference_of_total"].abs().max() < 1e-5


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="no R here")
def test_r_script_goes_on_where_one_optimizer_stops(tmp_path):
    """Sites that differ 50 times as much as repeats: lme4's bobyqa alone stops 4.6e-5 of the total away."""
    if subprocess.run(["Rscript", "-e", "library(lme4)"], capture_output=True).returncode:
        pytest.skip("no lme4 here")
    rng = np.random.default_rng(0)
    people, sites, rows = rng.normal(0, 0.026, 5), rng.normal(0, 0.054, 4), []
    for person in range(5):
        for site in range(4):
            for session in (1, 2):
                level = people[person] + sites[site] + rng.normal(0, 0.0033)
                for run in range(1, 4 - session):
                    value = 0.9 * np.exp(level + rng.normal(0, 0.001))
                    rows.append((f"P{person}", f"site{site}", f"{session:02d}", run, value))
    table = tmp_path / "table.tsv"
    columns = ["participant_id", "site", "session", "run", "value"]
    pd.DataFrame(rows, columns=columns).to_csv(table, sep="\t", index=False)
    analyze_file(table, tmp_path)
    subprocess.run(["Rscript", str(tmp_path / "reproduce.R"), str(tmp_path)], capture_output=True, check=True)
    found = pd.read_csv(tmp_path / "r_estimates.tsv", sep="\t", na_values=["n/a"])
    assert found["difference_of_total"].abs().max() < 5e-6


@pytest.mark.parametrize("dialect", ["csv", "tsv", "semicolon", "parquet", "bom"])
def test_dialects_give_the_same_numbers(tmp_path, dialect):
    table = pd.DataFrame({"who": np.repeat(["01", "02", "10"], 2), "y": [1.25, 1.5, 2.5, 2.25, 3.0, 3.5]})
    path = tmp_path / f"table.{ {'tsv': 'tsv', 'parquet': 'parquet'}.get(dialect, 'csv') }"
    if dialect == "parquet":
        table.to_parquet(path)
    elif dialect == "semicolon":
        table.to_csv(path, index=False, sep=";", decimal=",")
    else:
        encoding = "utf-8-sig" if dialect == "bom" else "utf-8"
        table.to_csv(path, index=False, sep="\t" if dialect == "tsv" else ",", encoding=encoding)
    analyze_file(path, tmp_path / "out", columns=read_mapping(["participant_id=who", "value=y"]))
    row = pd.read_csv(tmp_path / "out" / "repeatability.tsv", sep="\t").iloc[0]
    assert row["wsd"] == pytest.approx(np.sqrt((0.25**2 + 0.25**2 + 0.5**2) / 6))
    assert set(pd.read_csv(tmp_path / "out" / "measurements.tsv", sep="\t", dtype=str)["participant_id"]) == {
        "01", "02", "10"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("participant_id,value\nP1,1\nP1,two\n", "row.* 3.*two"),
        ("participant_id,value\nP1,1\n,2\n", "participant_id.*rows 3"),
        ("participant_id,value,value\nP1,1,2\n", "Two columns"),
        ("", "header"),
        ("participant_id,value\n", "holds no values"),
        ("participant_id,session,value\nP1,1,1\nP1,1,2\n", "rows 2, 3"),
    ],
)
def test_bad_tables_say_what_and_where(tmp_path, content, words):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(TableError, match=f"(?s){words}"):
        analyze_file(tmp_path / "table.csv", tmp_path / "out")
    assert not (tmp_path / "out" / "repeatability.tsv").exists()


def test_mapping_and_scale_are_checked(tmp_path):
    with pytest.raises(TableError, match="OURS=THEIRS"):
        read_mapping(["subject=who"])
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="mapped"):
        analyze_file(tmp_path / "t.csv", tmp_path / "out", columns={"value": "c"})
    with pytest.raises(TableError, match="no such table"):
        read_any_table(tmp_path / "nowhere.csv")


def test_a_claim_is_about_a_table_without_names(tmp_path):
    claim = make_claim(delta=30.0)
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim]}))
    table = simulate_values(np.random.default_rng(2), subjects=10, sites=6)
    table.to_csv(tmp_path / "table.tsv", sep="\t", index=False)
    outcome = analyze_file(tmp_path / "table.tsv", tmp_path / "out", claims=tmp_path / "claims.yaml")
    assert [(row["biomarker"], row["roi"]) for row in outcome.verdicts] == [("T1", "")]
    assert outcome.verdicts[0]["upper95"] < 30
    # No phantom was measured, so linearity is open and the verdict with it.
    assert outcome.verdicts[0]["verdict"] == "indeterminate"
    assert "no phantom" in outcome.verdicts[0]["reasons"]


GRID = {"n_sites": [3, 6], "n_subjects": [5], "n_sessions": [2], "n_repeats": [2]}
VARIANCES = {"residual": 1.0, "session": 0.5, "subject:site": 0.25, "site": 1.0}


def test_plan_by_formula_is_the_bound_of_simulated_trials():
    """The formula's expected bound lies near the median of trials that go through REML and MLS; both chances agree."""
    formula = expect_bound(Plan(6, 8, 2, 2), VARIANCES, "reproducibility", 8.5)
    simulated = simulate_bound(formula, VARIANCES, "reproducibility", 8.5, trials=120, seed=3)
    assert simulated.bound_simulated == pytest.approx(formula.bound, rel=0.12)
    assert simulated.chance_simulated == pytest.approx(formula.chance, abs=0.12)


def test_plan_writes_a_table_and_a_plot(tmp_path):
    outcome = plan_designs(
        tmp_path, variances=VARIANCES, coefficient="reproducibility", delta=9.0, grid=GRID, simulate=10, missing=0.1
    )
    rows = pd.read_csv(outcome.table, sep="\t")
    assert rows["bound"].iloc[0] > rows["bound"].iloc[1] > rows["true_value"].iloc[0]
    assert "6 sites" in outcome.answer
    drawing = ElementTree.parse(outcome.figure).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(drawing.findall(".//{*}circle")) > 2


def test_plan_refuses_what_cannot_be_told():
    with pytest.raises(ConfigError, match="No design"):
        plan_designs(None, variances=VARIANCES, coefficient="reproducibility", delta=1, grid=GRID | {"n_sites": [2]})
    with pytest.raises(ConfigError, match="numbers of sites"):
        read_counts("3,x", "sites")
    assert read_counts("3-5,8", "sites") == [3, 4, 5, 8]
