"""Tables as they come: whatever stands in them, all is written, without a warning, and a verdict has reasons."""

import warnings

import numpy as np
import pandas as pd
import pytest
from trials import make_claim, simulate_values

from isocenter.statistics.analyze import analyze_table


def few(values, people="aabbcc"):
    return pd.DataFrame({"participant_id": list(people), "value": np.array(values, float)})


def trial(seed=0, **changes):
    return simulate_values(np.random.default_rng(seed), **changes)


def number_of(table, column):
    return table[column].str.extract(r"(\d+)$")[0].astype(int)


def islands():
    table = trial(subjects=8, sites=6)
    return table[number_of(table, "participant_id") % 2 == number_of(table, "site") % 2]


def grid(value):
    rows = [(f"p{i}", f"s{j}", r, value(i, j)) for i in range(5) for j in range(4) for r in (1, 2)]
    return pd.DataFrame(rows, columns=["participant_id", "site", "run", "value"])


TABLES = {
    "one value": few([1.0], "a"),
    "one participant twice": few([1, 2], "aa"),
    "no value at all": few([np.nan] * 3, "aab"),
    "an infinite value": few([1, np.inf, 2, 3], "aabb"),
    "huge values": few(np.array([1, 1.1, 2, 2.1, 3, 3.3]) * 1e15),
    "tiny values": few(np.array([1, 1.1, 2, 2.1, 3, 3.3]) * 1e-12),
    "one constant": few([7] * 6),
    "only zeros": few([0] * 6),
    "copies": few([1, 1, 2, 2, 3, 3]),
    "copies at every site": grid(lambda i, j: 10.0 * i),
    "participants plus sites, exactly": grid(lambda i, j: 10.0 * i + 3 * j).query("run == 1"),
    "one participant at five sites": trial(subjects=1, sites=5),
    "one participant at two sites": trial(subjects=1, sites=2),
    "negative values": trial(mean=-50),
    "a mean of zero": trial(mean=0),
    "two islands of sites": islands(),
    "one traveler": trial(subjects=8, sites=5).query("participant_id == 'P00' or site == 'site0'"),
    "most values missing": trial(missing=0.8),
    "an absurd value": trial().assign(value=lambda t: np.where(t.index == 5, 1e6, t["value"])),
    "numbers as labels": trial().assign(participant_id=lambda t: number_of(t, "participant_id"), session=1.0 * 2)
    .drop_duplicates(["participant_id", "site", "run"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_analyzed(name):
    claims = [make_claim(biomarker="value", roi="", coefficient=c, delta=5.0, delta_unit=unit)
              for c, unit in (("reproducibility", "percent"), ("repeatability", "arbitrary"))]  # fmt: skip
    for scale in ("absolute", "log"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tables = analyze_table(TABLES[name], {"scale": scale}, claims=claims, combat=True)
        verdicts = tables["qualification"]
        assert len(verdicts) == 2
        for _, row in verdicts.iterrows():
            assert row["verdict"] in ("qualified", "not_qualified", "indeterminate")
            assert row["reasons"]
            assert "nan" not in row["sentence"]
            assert np.isfinite(row["upper95"]) or row["verdict"] != "qualified"


def test_sessions_stand_in_natural_order():
    table = trial(sessions=11, subjects=4, sites=1, repeats=1)
    table["session"] = table["session"].astype(int)
    contrasts = analyze_table(table)["bland_altman"]["contrast"]
    assert list(contrasts) == ["session 2 - session 1"]


def test_islands_keep_their_interaction():
    """Sites that no traveler links still tell participant × site apart: two ranks are lost, not one."""
    from isocenter.statistics.design import build_design

    table = islands()
    design = build_design(table["value"], table["participant_id"], table["site"], table["session"])
    assert design.additive_rank == 8 + 6 - 2
    assert "subject:site" in design.active
