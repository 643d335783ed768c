"""Nothing disappears between received and analyzed."""

import pandas as pd

from isocenter import flow

SCANS = pd.DataFrame(
    [
        # series, who, kind, session, run, suffix, disposition
        ("1.1", "T01", "traveler", "01", "1", "IRT1", "used", ""),
        ("1.2", "T01", "traveler", "01", "1", "IRT1", "used", ""),  # an acquisition of two series
        ("1.3", "T01", "traveler", "01", "1", "MESE", "used", ""),
        ("1.4", "T01", "traveler", "01", "2", "IRT1", "quarantined", "InversionTime (0018,0082) is absent"),
        ("1.5", "T01", "traveler", "01", "2", "MESE", "used", ""),
        ("1.6", "T01", "traveler", "01", "", "", "ignored", "a derived map"),
        ("1.7", "phantom1", "phantom", "01", "1", "IRT1", "used", ""),
    ],
    columns=["series_uid", "participant_id", "kind", "session", "run", "suffix", "disposition", "reason"],
).assign(n_files=10, action="")
UNREADABLE = pd.DataFrame(
    [
        {"series": "broken.dcm", "stage": "intake", "reason": "truncated", "action": "send again"},
        {"series": "1.4", "stage": "intake", "reason": "InversionTime (0018,0082) is absent", "action": "ask"},
    ]
)
VIALS = pd.DataFrame([{"session": "01", "biomarker": "T1", "used": True, "reason": ""}])
PEOPLE = [{"participant_id": "T01", "kind": "traveler"}, {"participant_id": "phantom1", "kind": "phantom"}]
SCHEDULE = {
    "traveler": {"sessions": {"01": {"runs": 2}, "02": {"runs": 1}}},
    "phantom": {"sessions": {"01": {"runs": 1}}},
}
MEASUREMENTS = pd.DataFrame(
    [
        ("A", "T01", "01", "1", "T1", "white_matter", 0.85),
        ("A", "T01", "01", "1", "T2", "white_matter", float("nan")),
        ("A", "T01", "01", "2", "T2", "white_matter", 0.07),
    ],
    columns=["site", "participant_id", "session", "run", "biomarker", "roi", "value"],
)
FIT_FAILED = pd.DataFrame(
    [("A", "T01", "01", "1", "T2", "n/a", "fit", "no echo left", "rescan")], columns=list(flow.EXCLUSION_COLUMNS)
)


def count(exclusions=FIT_FAILED):
    suffixes = {"T1": "IRT1", "T2": "MESE"}
    return flow.count_flow("A", SCANS, UNREADABLE, VIALS, MEASUREMENTS, exclusions, suffixes)


def test_every_row_adds_up():
    counts = count()
    assert (counts["n_in"] == counts["n_ignored"] + counts["n_excluded"] + counts["n_out"]).all()


def test_each_stage_starts_with_what_the_one_before_let_through():
    acquisitions = count().query("entity == 'acquisition'")
    assert acquisitions["n_in"].tolist()[1:] == acquisitions["n_out"].tolist()[:-1]
    assert acquisitions["n_in"].iloc[0] == 3
    assert acquisitions["n_out"].iloc[-1] == 2


def test_a_loss_is_counted_at_its_stage():
    counts = count().set_index("stage")
    assert counts.loc["fit", "n_excluded"] == 1
    assert counts.loc["intake", ["n_ignored", "n_excluded", "n_out"]].tolist() == [1, 1, 5]
    assert counts.loc["read", ["n_in", "n_excluded"]].tolist() == [71, 1]


def test_a_loss_nobody_explained_shows_at_the_last_stage():
    acquisitions = count(exclusions=FIT_FAILED.iloc[:0]).query("stage == 'analyze'")
    assert acquisitions["n_excluded"].tolist() == [1]


def test_missing_visits_are_rows_with_an_action():
    missing = flow.list_missing_visits("A", PEOPLE, SCANS, SCHEDULE)
    assert missing[["participant_id", "session", "run"]].values.tolist() == [["T01", "02", "1"]]
    assert "Ask the site" in missing["action"].iloc[0]


def test_intake_exclusions_hold_series_and_files():
    rows = flow.list_intake_exclusions("A", SCANS, UNREADABLE)
    assert rows["series"].tolist() == ["1.4", "1.6", "broken.dcm"]
    assert rows["reason"].str.contains(r"\(0018,0082\)").sum() == 1


def test_a_phantom_scan_without_a_usable_vial_is_a_row():
    vials = pd.DataFrame(
        [{"session": "02", "biomarker": "T2", "used": False, "reason": "the plate is not in the slice"}]
    )
    rows = flow.list_phantom_exclusions("A", vials)
    assert rows["reason"].tolist() == ["the plate is not in the slice"]
    assert len(flow.list_phantom_exclusions("A", VIALS)) == 0


def test_one_phantom_does_not_stand_for_another():
    """Two phantoms on one day, of which one was not found: it is a row, though the other one calibrates."""
    vials = pd.DataFrame(
        [
            {"session": "01", "serial": "130-0093", "biomarker": "T1", "used": True, "reason": ""},
            {"session": "01", "serial": "130-0111", "biomarker": "T1", "used": False, "reason": "the plate is cut off"},
        ]
    )
    assert flow.list_phantom_exclusions("A", vials)["reason"].tolist() == ["the plate is cut off"]
