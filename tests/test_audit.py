"""The log only grows, and says where somebody laid hands on it."""

import hashlib
import itertools
import json
import re

import pytest

from isocenter import audit, layout
from isocenter.errors import AuditError


@pytest.fixture
def trial(tmp_path):
    """A trial whose log has four entries."""
    audit.append_entry(tmp_path, "run", "12 jobs", digests={"manifest": "ab" * 32})
    audit.append_entry(tmp_path, "exclusion", "sub-T01 ses-01 run-1 T1", why="The volunteer moved", who="M. Curie")
    audit.append_entry(tmp_path, "override", "site A passes", why="The coil was exchanged")
    audit.append_entry(tmp_path, "run", "3 jobs")
    return tmp_path


def lines_of(trial) -> list[str]:
    return (trial / layout.AUDIT_LOG).read_text(encoding="utf-8").splitlines(keepends=True)


def write(trial, lines) -> None:
    (trial / layout.AUDIT_LOG).write_text("".join(lines), encoding="utf-8")


def test_an_entry_says_who_did_what_when_and_why(trial):
    entry = audit.read_log(trial)[1]
    assert (entry.kind, entry.who, entry.why) == ("exclusion", "M. Curie", "The volunteer moved")
    assert entry.what == "sub-T01 ses-01 run-1 T1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry.time)
    assert audit.read_log(trial)[0].who  # the user of the operating system
    assert audit.check_chain(trial) is None


def test_a_line_holds_the_hash_of_the_one_before(trial):
    lines = lines_of(trial)
    for before, after in itertools.pairwise(lines):
        assert json.loads(after)["previous"] == hashlib.sha256(before.rstrip("\n").encode()).hexdigest()


def test_what_was_written_is_never_touched_again(trial):
    before = (trial / layout.AUDIT_LOG).read_bytes()
    audit.append_entry(trial, "run", "one more")
    after = (trial / layout.AUDIT_LOG).read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == before.count(b"\n") + 1


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_edited_line_is_named(trial, number):
    lines = lines_of(trial)
    lines[number - 1] = lines[number - 1].replace('"who": "', '"who": "not ')
    write(trial, lines)
    broken = audit.check_chain(trial)
    assert (broken.line, broken.what) == (number, "was edited")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_line_is_named(trial, number):
    lines = lines_of(trial)
    del lines[number - 1]
    write(trial, lines)
    broken = audit.check_chain(trial)
    assert (broken.line, broken.what) == (number, "has a line missing before it")
    assert (broken.expected, broken.found) == (f"entry {number}", f"entry {number + 1}")


def test_the_last_line_is_held_by_the_head(trial):
    write(trial, lines_of(trial)[:-1])
    broken = audit.check_chain(trial)
    assert (broken.line, broken.what) == (4, "was removed")


def test_a_missing_head_is_named(trial):
    (trial / layout.AUDIT_HEAD).unlink()
    assert audit.check_chain(trial).what == "is not held by a head"


def test_a_log_that_is_gone_is_named_by_its_head(trial):
    (trial / layout.AUDIT_LOG).unlink()
    assert audit.check_chain(trial).what == "was removed"


def test_a_noted_head_tells_a_log_that_was_written_anew(trial):
    noted = audit.read_head(trial)
    audit.append_entry(trial, "run", "later")
    assert audit.holds_head(trial, noted)
    for path in (layout.AUDIT_LOG, layout.AUDIT_HEAD):
        (trial / path).unlink()
    audit.append_entry(trial, "run", "a history of one's own")
    assert audit.check_chain(trial) is None
    assert not audit.holds_head(trial, noted)


def test_a_torn_line_is_named_and_the_log_goes_on(trial):
    """A machine that stops while a line is written leaves half of it."""
    with (trial / layout.AUDIT_LOG).open("a") as file:
        file.write('{"number": 5, "ti')
    assert audit.check_chain(trial).line == 5
    assert audit.append_entry(trial, "run", "after the power came back").number == 6
    assert audit.check_chain(trial).line == 5
    with pytest.raises(AuditError, match=r"log\.jsonl, line 5"):
        audit.read_log(trial)


@pytest.mark.parametrize("kind", ["exclusion", "override"])
def test_a_decision_without_a_reason_is_refused(tmp_path, kind):
    with pytest.raises(AuditError, match="give a reason"):
        audit.append_entry(tmp_path, kind, "sub-T01", why="  ")
    assert audit.read_log(tmp_path) == []


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(AuditError, match="run or exclusion or override"):
        audit.append_entry(tmp_path, "wish", "a better scanner", why="why not")


def test_a_trial_without_a_log_has_no_entries(tmp_path):
    assert audit.read_log(tmp_path) == []
    assert audit.check_chain(tmp_path) is None
    assert audit.read_head(tmp_path) == ""
