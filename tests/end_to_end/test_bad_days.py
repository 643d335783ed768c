"""Runs that are killed: the next one goes on, and the tables end as if nothing had happened."""

import os
import random
import signal
import time

import pytest
from end_to_end.conftest import SMALL
from end_to_end.running import assert_same_and_recorded, finish, jobs_done, remake_regions, tables, wait_for
from typer.testing import CliRunner

from isocenter import audit, layout
from isocenter.cli import app
from isocenter.holder import find_holder
from isocenter.recorded_run import record_run
from isocenter.verify_command import verify


def children(pid):
    """All processes below one, as the kernel knows them."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in map(int, file.read().split()):
                found.append(child)
                try:
                    found += children(child)
                except FileNotFoundError:
                    continue
    return found


def command_of(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def test_a_killed_run_goes_on_and_a_second_one_is_told(copy_of_small, start):
    directory = copy_of_small.directory
    expected = tables(directory)
    remake_regions(directory)
    front = start(directory)
    wait_for(lambda: jobs_done(directory) >= 2)
    second = CliRunner().invoke(app, ["exclude", "siteA", "T01", "-m", "moved", "-d", str(directory)])
    assert second.exit_code != 0
    assert f"process {front.pid}" in str(second.exception)
    below = children(front.pid)
    assert below
    os.kill(front.pid, signal.SIGKILL)
    front.wait()
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below), 20)
    finish(directory)
    assert_same_and_recorded(directory, expected)
    assert find_holder(directory) is None


def test_a_run_whose_snakemake_is_killed_ends_at_once_and_the_next_goes_on(copy_of_small, start):
    directory = copy_of_small.directory
    expected = tables(directory)
    remake_regions(directory)
    told = directory / "told.txt"
    with told.open("w") as output:
        front = start(directory, output)
    wait_for(lambda: jobs_done(directory) >= 2)
    (snakemake,) = (pid for pid in children(front.pid) if "launch.py" in command_of(pid))
    os.kill(snakemake, signal.SIGKILL)
    assert front.wait(timeout=30) == 1
    assert "Snakemake was ended by signal 9 (SIGKILL)" in " ".join(told.read_text().split())
    assert not list(directory.glob(".snakemake/locks/*"))
    finish(directory)
    assert_same_and_recorded(directory, expected)


def test_an_interrupted_run_stops_at_once_and_goes_on(copy_of_small, start):
    directory = copy_of_small.directory
    expected = tables(directory)
    remake_regions(directory)
    front = start(directory)
    wait_for(lambda: jobs_done(directory) >= 2)
    began = time.monotonic()
    os.kill(front.pid, signal.SIGINT)
    assert front.wait(timeout=30) == 130
    assert time.monotonic() - began < 10
    finish(directory)
    assert_same_and_recorded(directory, expected)


def test_a_withdrawn_participant_leaves_every_table_with_a_record_and_may_come_back(copy_of_small):
    directory = copy_of_small.directory
    expected = tables(directory)
    ended = CliRunner().invoke(app, ["exclude", "all", "T02", "--withdrawn", "-m", "consent", "-d", str(directory)])
    assert ended.exit_code == 0, ended.output
    (directory / layout.fill(layout.SCANS, site="siteB")).unlink()  # intake runs again; its DICOM is there
    finish(directory)
    measurements = copy_of_small.table(layout.MEASUREMENTS)
    assert set(measurements["participant_id"]) == {"T01"}
    assert not list(directory.glob("results/sites/*/*/**/sub-T02*"))
    flow = copy_of_small.table(layout.FLOW)
    assert (flow["n_in"] == flow["n_ignored"] + flow["n_excluded"] + flow["n_out"]).all()
    assert flow.query("stage == 'decide'")["n_excluded"].sum() > 0
    reasons = copy_of_small.table(layout.EXCLUSIONS).query("stage == 'decide'")["reason"]
    assert set(reasons) == {"Withdrawn from the trial: consent"}
    for name, content in tables(directory).items():
        if name != "exclusions.tsv":
            assert b"T02" not in content, name
    assert [e.what for e in audit.read_log(directory) if e.kind == "exclusion"] == [
        f"{site}: T02, withdrawn from the trial" for site in ("siteA", "siteB")
    ]
    back = CliRunner().invoke(app, ["include", "all", "T02", "-m", "the wrong person's form", "-d", str(directory)])
    assert back.exit_code == 0, back.output
    assert "intake/scans.tsv" in finish(directory)
    assert_same_and_recorded(directory, expected)


def test_results_that_were_cut_short_or_taken_away_are_made_again(copy_of_small):
    directory = copy_of_small.directory
    record_run(directory, {}, "the whole trial")
    expected = {path: path.read_bytes() for path in sorted(directory.glob("results/sites/**/*.nii.gz"))}
    images = sorted(directory.glob("results/sites/siteA/**/*_run-1_T1map.nii.gz"))
    truncated, gone = images[0], images[-1]
    raw = next(iter(sorted(directory.glob("results/sites/siteB/bids/sub-T01/**/*.nii.gz"))))
    for path in (truncated, raw):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    gone.unlink()
    (directory / layout.MEASUREMENTS).unlink()
    finish(directory)
    for path, content in expected.items():
        assert path.read_bytes() == content, path
    assert (directory / layout.MEASUREMENTS).is_file()
    assert verify(directory).findings == []


@pytest.mark.slow
def test_twenty_kills_change_no_table(small, tmp_path, start):
    """From the first job on: twenty times the front, Snakemake, the warm server or a job is killed."""
    draw = random.Random(20261126)
    trial = type(small)(tmp_path / "trial")
    trial.simulate(**SMALL)
    killed = 0
    while killed < 20:
        front = start(trial.directory)
        time.sleep(draw.uniform(2, 14))
        if front.poll() is not None:  # the run came to its end in between: take something away, and go on
            remake_regions(trial.directory)
            continue
        victim = draw.choice([front.pid, *children(front.pid)])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed += 1
        if victim != front.pid:
            time.sleep(draw.uniform(0, 2))
            os.kill(front.pid, signal.SIGKILL)
        front.wait()
    finish(trial.directory)
    assert_same_and_recorded(trial.directory, tables(small.directory))
