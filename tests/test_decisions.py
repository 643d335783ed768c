"""What people leave out leaves the tables, stands in the audit trail, and comes back."""

from dataclasses import replace

import pandas as pd
import pytest

from isocenter import audit, flow, layout
from isocenter.decisions import exclude, include
from isocenter.errors import ConfigError
from isocenter.io.tables import write_table
from isocenter.left_out import covers, find_decision
from isocenter.manifest import read_manifest, update_manifest
from isocenter.plan import Plan
from isocenter.settings import Settings, read_left_out

PEOPLE = [
    {"participant_id": "T01", "kind": "traveler"},
    {"participant_id": "T02", "kind": "traveler"},
    {"participant_id": "phantom1", "kind": "phantom"},
]
BIOMARKERS = {"T1": {"suffix": "IRT1"}, "T2": {"suffix": "MESE"}}
SUFFIXES = {name: block["suffix"] for name, block in BIOMARKERS.items()}
RUNS = [("T01", "01", "1"), ("T01", "01", "2"), ("T01", "02", "1"), ("T02", "01", "1")]


def scans() -> pd.DataFrame:
    rows = [
        (f"{n}.{suffix}", who, "traveler", session, run, suffix, "used", "")
        for n, (who, session, run) in enumerate(RUNS)
        for suffix in ("IRT1", "MESE")
    ]
    rows.append(("9", "phantom1", "phantom", "01", "1", "IRT1", "used", ""))
    columns = ["series_uid", "participant_id", "kind", "session", "run", "suffix", "disposition", "reason"]
    return pd.DataFrame(rows, columns=columns).assign(n_files=10, action="")


@pytest.fixture
def settings(tmp_path):
    """A trial of two sites with the same people; the first one's intake is done."""
    path = tmp_path / layout.fill(layout.SCANS, site="a")
    path.parent.mkdir(parents=True)
    write_table(path, scans())
    people = {"a": PEOPLE, "b": PEOPLE}
    return Settings(tmp_path, {}, BIOMARKERS, [], {}, ["a", "b"], {}, {"a": {}, "b": {}}, people, {"a": [], "b": []})


def again(settings) -> Settings:
    """The settings as the next command reads them."""
    return replace(settings, _left_out={site: read_left_out(settings.root, site) for site in settings.sites})


def decide(participant, session="", run="", biomarker="", reason="moved", withdrawn=False):
    return {
        "participant_id": participant, "session": session, "run": run, "biomarker": biomarker,
        "is_withdrawn": "true" if withdrawn else "false", "reason": reason,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "run", "is_covered"),
    [
        (decide("T01"), ("T01", "02", "1", "T2"), True),
        (decide("T01", "01"), ("T01", "01", "2", "T1"), True),
        (decide("T01", "01"), ("T01", "02", "1", "T1"), False),
        (decide("T01", "01", "2", "T1"), ("T01", "01", "2", "T1"), True),
        (decide("T01", "01", "2", "T1"), ("T01", "01", "2", "T2"), False),
        (decide("T01", "01", "2", "T1"), ("T01", "01", "2"), False),  # the run as a whole goes on
        (decide("T01", "01", "2"), ("T01", "01", "2"), True),
        (decide("T02"), ("T01", "01", "1", "T1"), False),
    ],
)
def test_whom_a_decision_is_about(decision, run, is_covered):
    assert covers(decision, *run) is is_covered


def test_what_is_left_out_is_not_planned_and_comes_back(settings, monkeypatch):
    monkeypatch.chdir(settings.root)
    assert len(Plan(again(settings)).runs("a", phantom=False)) == 4
    assert exclude(settings, ["a"], decide("T01", "01", "2")) == ["a"]
    kept = Plan(again(settings)).runs("a", phantom=False)
    assert [(key.participant, key.session, key.run) for key in kept] == [RUNS[0], *RUNS[2:]]
    assert include(again(settings), ["a"], decide("T01", "01", "2"), why="it was another run") == ["a"]
    assert len(Plan(again(settings)).runs("a", phantom=False)) == 4
    kinds = [(entry.kind, entry.what, entry.why) for entry in audit.read_log(settings.root)]
    assert kinds == [
        ("exclusion", "a: T01 session 01 run 2", "moved"),
        ("override", "included again: a: T01 session 01 run 2", "it was another run"),
    ]


def test_a_phantom_session_is_left_out(settings, monkeypatch):
    monkeypatch.chdir(settings.root)
    exclude(settings, ["a"], decide("phantom1", "01"))
    assert Plan(again(settings)).runs("a", phantom=True) == []
    with pytest.raises(ConfigError, match="left out whole"):
        exclude(settings, ["a"], decide("phantom1", "01", "1", "T1"))


def test_a_decision_twice_is_one_and_a_new_reason_replaces_the_old(settings):
    assert exclude(settings, ["a"], decide("T01")) == ["a"]
    assert exclude(again(settings), ["a"], decide("T01")) == []
    assert exclude(again(settings), ["a"], decide("T01", reason="artifact")) == ["a"]
    assert [row["reason"] for row in read_left_out(settings.root, "a")] == ["artifact"]


def test_a_reason_is_kept_as_it_was_written(settings):
    exclude(settings, ["a"], decide("T01", reason='"moved"\tin the\nscanner, n/a'))
    assert read_left_out(settings.root, "a")[0]["reason"] == '"moved" in the scanner, n/a'


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (decide("T09"), "No such participant.*T01, T02, phantom1.*T09"),
        (decide("T01", "07"), "No such scan.*session 01; session 02.*session 07"),
        (decide("T02", "02", "1"), "No such scan"),
        (decide("T01", "01", "1", "T3"), "Unknown biomarker.*T1, T2.*T3"),
        (decide("phantom1", withdrawn=True), "cannot withdraw"),
    ],
)
def test_a_slip_of_the_pen_is_told(settings, decision, words):
    with pytest.raises(ConfigError, match=words):
        exclude(settings, ["a"], decision)
    assert audit.read_log(settings.root) == []


def test_what_was_never_left_out_cannot_come_back(settings):
    exclude(settings, ["a"], decide("T01", "01"))
    with pytest.raises(ConfigError, match=r"a: T01 session 01\b"):
        include(again(settings), ["a"], decide("T01"), why="a slip")


def test_a_withdrawal_deletes_what_results_hold_and_the_manifest_forgets_it(settings):
    root = settings.root
    for site in ("a", "b"):
        for pattern in (layout.BIDS, layout.DERIVATIVES):
            for who in ("T01", "T02"):
                path = root / layout.fill(pattern, site=site) / f"sub-{who}" / "map.nii.gz"
                path.parent.mkdir(parents=True)
                path.write_text(who)
    update_manifest(root, {})
    assert exclude(settings, ["a", "b"], decide("T01", withdrawn=True)) == ["a", "b"]
    assert [path.read_text() for path in sorted(root.glob("results/**/map.nii.gz"))] == ["T02"] * 4
    assert not any("sub-T01" in path for path in read_manifest(root))
    assert sum("sub-T02" in path for path in read_manifest(root)) == 4


def test_tables_lose_it_and_the_flow_adds_up():
    decisions = [decide("T02", withdrawn=True, reason="consent"), decide("T01", "01", "1", "T2"), decide("phantom1")]
    measurements = pd.DataFrame(
        [("a", *run, name, "white_matter", 1.0) for run in RUNS for name in BIOMARKERS],
        columns=["site", *flow.RUN, "biomarker", "roi", "value"],
    )
    kept = flow.drop_left_out(measurements, {"a": decisions})
    assert len(kept) == 5
    assert find_decision(decisions, "T02", "01", "1") is decisions[0]
    assert len(flow.drop_left_out(measurements, {"b": decisions})) == 8
    excluded = flow.list_decisions("a", scans(), decisions, SUFFIXES)
    assert sorted(excluded["reason"].unique()) == ["Left out by a person: moved", "Withdrawn from the trial: consent"]
    empty = pd.DataFrame(columns=["series", "stage", "reason", "action"])
    vials = pd.DataFrame(columns=["session", "biomarker", "used", "reason"])
    counts = flow.count_flow("a", scans(), empty, vials, kept, excluded, SUFFIXES)
    assert (counts["n_in"] == counts["n_ignored"] + counts["n_excluded"] + counts["n_out"]).all()
    decided = counts.query("stage == 'decide'").iloc[0]
    assert (decided["n_in"], decided["n_excluded"]) == (8, 3)
    assert counts.query("stage == 'analyze'")["n_out"].item() == 5
    assert counts.query("entity == 'phantom'")["n_excluded"].item() == 1


def test_nobody_waits_for_a_participant_who_withdrew():
    schedule = {"traveler": {"sessions": {"01": {"runs": 2}, "02": {"runs": 1}, "03": {"runs": 1}}}}
    everybody = flow.list_missing_visits("a", PEOPLE, scans(), schedule)
    assert set(everybody["participant_id"]) == {"T01", "T02"}
    rest = flow.list_missing_visits("a", PEOPLE, scans(), schedule, [decide("T02", withdrawn=True)])
    assert set(rest["participant_id"]) == {"T01"}
