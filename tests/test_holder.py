"""One command at a time; one that died is told from one that works; locked data stay as they are."""

import os
import signal
import subprocess
import sys
import time

import pytest

from isocenter import audit, layout
from isocenter.data_lock import check_unlocked, lock_data, read_lock, unlock_data
from isocenter.errors import AuditError, HeldError
from isocenter.holder import find_holder, hold_trial
from isocenter.manifest import update_manifest
from isocenter.recorded_run import record_run
from isocenter.trial_digests import find_digests
from isocenter.verify_command import verify

HOLD = """
import sys, time
from pathlib import Path
from isocenter.holder import hold_trial
with hold_trial(Path(sys.argv[1]), "isocenter run") as hold:
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the trial."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_one_is_told_who_holds_the_trial(tmp_path, other):
    with (
        pytest.raises(HeldError, match=rf"isocenter run of \S+ on \S+ since .*process {other.pid}"),
        hold_trial(tmp_path, "isocenter run"),
    ):
        pass
    assert find_holder(tmp_path).pid == other.pid
    assert find_holder(tmp_path).is_alive


def test_a_killed_one_holds_nothing_but_is_remembered(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert find_holder(tmp_path) is None
    with hold_trial(tmp_path, "isocenter run") as hold:
        assert hold.left_by.pid == other.pid
        assert find_holder(tmp_path).pid == os.getpid()
    with hold_trial(tmp_path, "isocenter run") as hold:
        assert hold.left_by is None  # the one in between ended as it should


def test_an_interrupted_one_is_remembered_and_an_error_is_not(tmp_path):
    with pytest.raises(KeyboardInterrupt), hold_trial(tmp_path, "isocenter run"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no"), hold_trial(tmp_path, "isocenter run"):
        raise ValueError("no")
    with hold_trial(tmp_path, "isocenter run") as hold:
        assert hold.left_by is None


def test_what_inherits_the_lock_holds_the_trial_until_it_ends(tmp_path):
    """Snakemake outlives a front that was killed by a moment: no second run may begin in it."""
    code = HOLD.replace(
        'print("held", flush=True)',
        'import subprocess; subprocess.Popen(["sleep", "3"], pass_fds=(hold.descriptor,)); print("held", flush=True)',
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    began = time.monotonic()
    assert find_holder(tmp_path) is not None
    with hold_trial(tmp_path, "isocenter run") as hold:  # waits for it
        assert hold.left_by.pid == process.pid
    assert time.monotonic() - began > 0.5


# Locked data --------------------------------------------------------------------------------------------
@pytest.fixture
def trial(tmp_path):
    """Results that a run has recorded."""
    for path, text in {
        layout.CONFIG: "trial: x\n", layout.REPORT: "<p>report</p>", layout.MEASUREMENTS: "site\tvalue\na\t1\n",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    record_run(tmp_path, {}, "1 job")
    return tmp_path


def test_locked_data_stay_as_they_are_and_later_runs_make_another_version(trial):
    folder = lock_data(trial, "1.0", "interim analysis", "the data manager")
    assert verify(trial).findings == []
    with pytest.raises(HeldError, match=r"locked as version 1\.0.*the data manager.*interim analysis"):
        check_unlocked(trial)
    with pytest.raises(HeldError):
        lock_data(trial, "1.1", "again")
    assert unlock_data(trial, "late data arrived").version == "1.0"
    check_unlocked(trial)
    (trial / layout.MEASUREMENTS).write_text("site\tvalue\na\t2\n")
    update_manifest(trial, {})
    audit.append_entry(trial, "run", "1 job", digests=find_digests(trial))
    lock_data(trial, "1.1", "final analysis")
    assert (folder / layout.MEASUREMENTS).read_text() == "site\tvalue\na\t1\n"
    assert (folder / layout.CONFIG).is_file()
    assert read_lock(trial).version == "1.1"
    assert [entry.kind for entry in audit.read_log(trial)] == ["run", "lock", "override", "run", "lock"]


def test_a_change_of_a_locked_version_shows(trial):
    table = lock_data(trial, "1.0", "interim analysis") / layout.MEASUREMENTS
    assert table.stat().st_mode & 0o222 == 0
    table.chmod(0o644)
    table.write_text("site\tvalue\na\t3\n")
    assert [(f.path, f.what) for f in verify(trial).findings] == [(str(table.relative_to(trial)), "changed")]


@pytest.mark.parametrize("version", ["../1", "", "a/b", ".hidden", "1 0", "x" * 41])
def test_a_version_is_the_name_of_a_folder(trial, version):
    with pytest.raises(AuditError, match="no version"):
        lock_data(trial, version, "interim analysis")


def test_what_no_run_wrote_is_not_locked(trial):
    (trial / layout.MEASUREMENTS).write_text("site\tvalue\na\t9\n")
    with pytest.raises(AuditError, match=r"measurements\.tsv: changed"):
        lock_data(trial, "1.0", "interim analysis")
    assert read_lock(trial) is None


def test_a_version_is_never_used_twice(trial):
    lock_data(trial, "1.0", "interim analysis")
    unlock_data(trial, "late data")
    with pytest.raises(AuditError, match="locked already"):
        lock_data(trial, "1.0", "again")
