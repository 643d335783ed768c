"""A trial through a real Slurm, on a bad day: stopped, a step killed, a job cancelled, the node gone.

Its tables are those of a run on one machine, to the byte.

Slow; skipped where Slurm is not installed (``make test-slurm`` installs it) or this is not root, who may start it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from end_to_end.conftest import Trial
from end_to_end.slurm import Slurm, children, find_obstacle, find_obstacle_to_limits, wait_for

from isocenter import layout
from isocenter.holder import find_holder
from isocenter.verify_command import verify

#: The executor looks into squeue, because this Slurm keeps no accounts, and soon, because its jobs are short.
RUN = [
    sys.executable, "-c", "from isocenter.cli import main; main()", "run", "--profile", "slurm", "--",
    "--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "3",
]  # fmt: skip
#: How long a job may take to begin, and the whole trial to end, on a machine that is busy with other things [s].
PATIENCE, WHOLE = 900, 7200

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle())]


@pytest.fixture
def slurm(request):
    # Not in tmp_path: its parents are closed to others, and munged takes no socket there.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = Slurm(Path(folder), cores=2, memory=12_000, is_enforced=getattr(request, "param", False))
        yield cluster
        cluster.close()


@pytest.fixture
def trial(small, tmp_path) -> Trial:
    """What people sent of the small trial, without results."""
    fresh = Trial(tmp_path / "trial")
    shutil.copytree(small.directory, fresh.directory, ignore=shutil.ignore_patterns("results", ".snakemake"))
    return fresh


@pytest.fixture
def start(slurm, trial):
    fronts = []

    def begin(*options: str) -> subprocess.Popen:
        log = (trial.directory / f"front-{len(fronts)}.log").open("w")
        front = subprocess.Popen([*RUN, *options], cwd=trial.directory, stdout=log, stderr=log)
        fronts.append(front)
        return front

    yield begin
    for front in fronts:
        front.kill()
        front.wait()


def tables(trial: Trial) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((trial.directory / layout.TRIAL).glob("*.tsv"))}


def log_of(trial: Trial) -> str:
    path = trial.directory / layout.LOGS / "run.log"
    return path.read_text(errors="replace") if path.is_file() else ""


def steps(slurm: Slurm) -> list[int]:
    """The processes on the node that run a step: Python programs that Snakemake wrote for its jobs."""
    below = [child for daemon in slurm.step_daemons() for child in children(daemon)]
    return [pid for pid in below if b".snakemake/scripts/" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def memory_of(job: dict[str, str]) -> float:
    """What a job asked for [MiB]."""
    size, unit = re.search(r"mem=([\d.]+)([MG])", job["Tres"]).groups()
    return float(size) * (1024 if unit == "G" else 1)


def test_a_trial_through_slurm_on_a_bad_day_ends_as_on_one_machine(small, trial, slurm, start):
    # Stopped: jobs that wait or run are taken back.
    front = start()
    wait_for(lambda: slurm.jobs("RUNNING") or front.poll() is not None, PATIENCE)
    assert front.poll() is None, log_of(trial)[-3000:]
    front.terminate()
    assert front.wait(timeout=120) == 130
    wait_for(lambda: not slurm.jobs("RUNNING", "PENDING"), 60)

    began = time.monotonic()
    front = start()
    wait_for(lambda: "images-" in slurm.ask("squeue", "--noheader", "--format=%k", "--states=RUNNING"), PATIENCE)
    # A step is killed, as by a machine that ran out of memory: its job fails and is sent again, asking for more.
    wait_for(lambda: bool(steps(slurm)), PATIENCE)
    os.kill(steps(slurm)[0], signal.SIGKILL)
    wait_for(lambda: any(job["JobState"] == "FAILED" for job in slurm.ended()), PATIENCE)
    # A job is cancelled behind Snakemake's back.
    wait_for(lambda: bool(slurm.jobs("RUNNING")), PATIENCE)
    slurm.ask("scancel", slurm.jobs("RUNNING")[0])
    # The node goes, with all that runs on it, and comes back.
    wait_for(lambda: bool(slurm.jobs("RUNNING") and steps(slurm)), PATIENCE)
    slurm.take_node_away()
    wait_for(lambda: not slurm.jobs("RUNNING"), 60)
    slurm.start_node()

    assert front.wait(timeout=WHOLE) == 0, log_of(trial)[-5000:]
    states = [job["JobState"] for job in slurm.ended()]
    print(
        f"\n{len(states)} submissions, {time.monotonic() - began:.0f} s:",
        {s: states.count(s) for s in sorted({*states})},
    )
    assert {"FAILED", "CANCELLED", "NODE_FAIL", "COMPLETED"} <= {state.split("+")[0] for state in states}
    failed = memory_of(next(job for job in slurm.ended() if job["JobState"] == "FAILED"))
    assert any(memory_of(job) == pytest.approx(2 * failed, rel=0.01) for job in slurm.ended()), "no more at the 2nd try"

    expected = tables(small)
    assert tables(trial) == expected
    assert len(expected) > 10
    assert verify(trial.directory).findings == []
    assert find_holder(trial.directory) is None


@pytest.mark.skipif(bool(find_obstacle_to_limits()), reason=find_obstacle_to_limits())
@pytest.mark.parametrize("slurm", [True], indirect=True, ids=["enforced"])
def test_a_job_that_takes_more_memory_than_it_asked_for_is_sent_again_with_more(trial, slurm, start):
    # Too little for the intake and the two Snakemakes above it; twice as much is enough.
    options = ("--set-resources", "index_site:mem_mb=250*attempt", "--until", "index_site")
    assert start(*options).wait(timeout=WHOLE) == 0, log_of(trial)[-5000:]
    ended = [(job["JobState"], memory_of(job)) for job in slurm.ended() if memory_of(job) < 1000]
    print(f"\n{ended}")
    assert sorted(ended) == [("COMPLETED", 500.0)] * 2 + [("OUT_OF_MEMORY", 250.0)] * 2
    for site in ("siteA", "siteB"):
        assert (trial.directory / layout.fill(layout.SCANS, site=site)).is_file()
