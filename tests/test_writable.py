"""A folder that cannot be written is told before the first job, with what to do; to look is still possible."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isocenter import layout
from isocenter.errors import DiskError
from isocenter.holder import find_holder, hold_trial
from isocenter.writable import check_writable

REPOSITORY = Path(__file__).resolve().parents[1]
ISOCENTER = [sys.executable, "-c", "from isocenter.cli import main; main()"]


@pytest.fixture
def trial(tmp_path):
    """A trial of one site that was run before, as far as its folders go."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    shutil.copytree(REPOSITORY / "sites" / "_template", tmp_path / "sites" / "siteA")
    site = tmp_path / "sites" / "siteA" / "site.yaml"
    site.write_text(site.read_text().replace("site: template", "site: siteA"))
    for folder in (layout.TRIAL, layout.LOGS, layout.AUDIT, layout.fill(layout.BIDS, site="siteA")):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def run_as_root(*command):
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if ended.returncode:
        pytest.skip(f"this machine lets no test {command[0]}: {ended.stderr.strip()}")


@pytest.fixture
def read_only(trial):
    """The results on a disk that is mounted for reading only."""
    results = trial / layout.RESULTS
    run_as_root("mount", "--bind", results, results)
    run_as_root("mount", "-o", "remount,ro,bind", results)
    yield trial
    subprocess.run(["umount", str(results)], check=True)


def call(directory, *arguments):
    return subprocess.run([*ISOCENTER, *arguments, "-d", str(directory)], capture_output=True, text=True)


def test_a_disk_mounted_for_reading_is_told_at_the_start(read_only):
    ended = call(read_only, "run", "--cores", "1")
    assert ended.returncode == 2
    assert "DiskError: The disk is read-only" in ended.stderr
    assert "what to do: see to the folder's rights" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (read_only / layout.RUN_LOG).exists()
    ended = call(read_only, "status")  # who only looks needs no right to write
    assert ended.returncode == 0, ended.stderr
    assert "siteA" in ended.stdout


def test_a_decision_needs_the_disk_too_and_changes_nothing_without(read_only):
    ended = call(read_only, "exclude", "siteA", "T01", "-m", "moved")
    assert ended.returncode == 2
    assert "DiskError" in ended.stderr
    assert not (read_only / layout.fill(layout.LEFT_OUT, site="siteA")).exists()


def test_one_folder_that_nobody_may_change_is_named(trial):
    folder = trial / layout.fill(layout.BIDS, site="siteA")
    run_as_root("chattr", "+i", folder)  # a root user, too, is refused
    try:
        with pytest.raises(
            DiskError, match=rf"no run can begin; where: {folder}; expected: the right.*found: mode 755"
        ):
            check_writable(trial)
    finally:
        subprocess.run(["chattr", "-i", str(folder)], check=True)
    check_writable(trial)


def test_another_users_folder_is_told(trial):
    """A trial of one user, run by another."""
    if os.getuid() != 0:
        pytest.skip("only root can work as somebody else")
    for folder in (trial, *trial.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    code = (
        "import os, sys; from pathlib import Path; from isocenter.writable import check_writable\n"
        "from isocenter.errors import DiskError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: check_writable(Path(sys.argv[1]))\n"
        "except DiskError as error: print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(trial)], capture_output=True, text=True)
    assert "cannot be written, so no run can begin" in ended.stdout, ended.stderr
    assert "of user 0" in ended.stdout


def test_a_disk_without_room_begins_no_run(trial):
    results = trial / layout.RESULTS
    shutil.rmtree(results)
    results.mkdir()
    run_as_root("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", results)
    try:
        with pytest.raises(DiskError, match=r"The disk is full, so no run begins.*at least 32 MiB free.*found: 1 MiB"):
            check_writable(trial)
        with pytest.raises(OSError, match="No space"):
            (results / "filler").write_bytes(bytes(2**21))
        with hold_trial(trial, "isocenter run"), pytest.raises(DiskError, match="The disk is full"):
            check_writable(trial)
        assert find_holder(trial) is None
    finally:
        subprocess.run(["umount", str(results)], check=True)
