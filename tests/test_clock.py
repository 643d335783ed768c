"""Times that mislead are set right before a run: no result is made for ever, and no change is missed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isocenter import audit, layout
from isocenter.clock import note_seen, settle_times
from isocenter.manifest import read_snapshot, take_snapshot, write_snapshot

YEAR = 365 * 86400 * 10**9
SITE = layout.fill(layout.SITE_YAML, site="a")
SCANS = str(layout.fill(layout.SCANS, site="a"))


@pytest.fixture
def trial(tmp_path):
    """What people wrote, and results that came of it, a second apart from one another, an hour ago."""
    hour_ago = time.time_ns() - 3600 * 10**9
    files = [layout.CONFIG, str(SITE), SCANS, layout.MEASUREMENTS, layout.REPORT]
    for number, name in enumerate(files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        date(path, hour_ago + number * 10**9)
    note_seen(tmp_path)
    return tmp_path


def date(path, stamp):
    os.utime(path, ns=(stamp, stamp))


def times(trial):
    names = (layout.CONFIG, SITE, SCANS, layout.MEASUREMENTS, layout.REPORT)
    return [(trial / name).stat().st_mtime_ns for name in names]


def test_nothing_is_touched_where_times_are_in_order(trial):
    before = times(trial)
    assert settle_times(trial) == []
    assert times(trial) == before


def test_what_people_wrote_is_not_dated_in_the_future(trial):
    """Else it would be newer than its results after every run."""
    date(trial / SITE, time.time_ns() + YEAR)
    assert settle_times(trial) == [str(SITE)]
    found = times(trial)
    assert found[1] <= time.time_ns()
    assert found[1] > max(found[2:])  # what came of it is made again, once
    assert settle_times(trial) == []


def test_results_of_a_clock_that_was_ahead_keep_their_order(trial):
    """Else a change that is made now would be older than they are, and be missed."""
    for name in (SCANS, layout.MEASUREMENTS, layout.REPORT):
        path = trial / name
        date(path, path.stat().st_mtime_ns + YEAR)
    begin = time.time_ns()
    assert settle_times(trial) == []  # nothing of it was written by people
    found = times(trial)
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert found[-1] <= time.time_ns()
    assert found[2] > begin - 10**6


def test_a_change_made_while_results_were_ahead_is_seen(trial):
    for name in (SCANS, layout.MEASUREMENTS, layout.REPORT):
        date(trial / name, time.time_ns() + YEAR)
    (trial / SITE).write_text("another source")  # dated now, a year before the results
    assert settle_times(trial) == [str(SITE)]
    found = times(trial)
    assert found[1] >= max(found[2:])


def test_a_file_that_came_back_from_a_copy_with_an_old_date_is_seen(trial):
    path = trial / SITE
    path.write_text("an older version")
    date(path, 0)
    assert settle_times(trial) == [str(SITE)]
    assert path.stat().st_mtime_ns > (trial / layout.REPORT).stat().st_mtime_ns
    note_seen(trial)
    assert settle_times(trial) == []


def test_what_a_person_edits_is_not_told_as_a_wrong_date(trial):
    time.sleep(0.02)
    (trial / SITE).write_text("edited today")
    assert settle_times(trial) == []


def test_an_old_date_alone_changes_nothing(trial):
    date(trial / SITE, 0)
    assert settle_times(trial) == []
    assert (trial / SITE).stat().st_mtime_ns == 0


def test_a_run_that_was_killed_did_not_write_what_was_dated_anew(trial):
    ahead = time.time_ns() + YEAR
    date(trial / layout.REPORT, ahead)
    write_snapshot(trial, take_snapshot(trial))
    settle_times(trial)
    assert read_snapshot(trial) == take_snapshot(trial)


def test_the_chain_of_the_audit_log_holds_over_a_jump_of_the_clock(tmp_path):
    """With a clock that is really wrong: a library between the program and the system tells another time."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed (Debian: libfaketime)")
    code = (
        "import sys; from pathlib import Path; from isocenter import audit\n"
        "audit.append_entry(Path(sys.argv[1]), 'run', sys.argv[2])"
    )
    for jump in ("-400d", "+0d", "+400d", "-4000d"):
        environment = os.environ | {"LD_PRELOAD": str(library), "FAKETIME": jump}
        subprocess.run([sys.executable, "-c", code, str(tmp_path), jump], env=environment, check=True)
    entries = audit.read_log(tmp_path)
    assert [entry.what for entry in entries] == ["-400d", "+0d", "+400d", "-4000d"]
    dates = [entry.time for entry in entries]
    assert dates[0] < dates[1] < dates[2] > dates[3]
    assert audit.check_chain(tmp_path) is None


def test_a_list_of_contents_that_cannot_be_read_is_made_anew(trial):
    (trial / layout.SEEN).write_text("{")
    assert settle_times(trial) == []
    note_seen(trial)
    assert set(json.loads((trial / layout.SEEN).read_text())) == {layout.CONFIG, str(SITE)}
    shutil.rmtree(trial / "sites")
    assert settle_times(trial) == []
