"""Runs in processes of their own, as a person starts them: begun, watched, ended."""

import subprocess
import sys
import time

from isocenter import layout
from isocenter.verify_command import verify

ISOCENTER = [sys.executable, "-c", "from isocenter.cli import main; main()"]
RUN = [*ISOCENTER, "run", "--cores", "2"]


def call(directory, *arguments):
    """What a command answers."""
    return subprocess.run([*ISOCENTER, *arguments], cwd=directory, capture_output=True, text=True)


def finish(directory):
    """A run that comes to its end; what it printed."""
    ended = subprocess.run(RUN, cwd=directory, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def wait_for(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def jobs_done(directory):
    log = directory / layout.RUN_LOG
    return log.read_text(errors="replace").count("%) done") if log.is_file() else 0


def tables(directory):
    return {path.name: path.read_bytes() for path in sorted((directory / layout.TRIAL).glob("*.tsv"))}


def assert_same_and_recorded(directory, expected):
    assert tables(directory) == expected
    assert verify(directory).findings == []
    partial = [path for path in directory.glob("results/**/*.partial") if path.is_file()]
    assert partial == []


def remake_regions(directory, site="siteA"):
    """Take away a part of one site's results, so that a run has work of many jobs."""
    folders = f"results/sites/{site}/derivatives/**/"
    for pattern in (f"{folders}*_T1map.nii.gz", f"{folders}*_rois.tsv", "results/trial/*", layout.RUN_LOG):
        for path in directory.glob(pattern):
            if path.is_file():
                path.unlink()
