"""Steps that do not register start in a second: what a job pays before its work begins, in a fresh interpreter."""

import os
import resource
import subprocess
import sys

import pytest

from house.source import SCRIPTS, steps

#: What these steps do needs ANTs, whose import alone takes as long (tests/house/test_floors.py).
REGISTERING = {"align_series", "correct_distortion", "place_map", "transfer_labels"}
#: Seconds of one core, as the best of three: other work on the machine makes a start slower, never faster.
LIMIT = 1.0


def start(step: str) -> float:
    """Processor time [s] from the interpreter's first instruction to the step's first line."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(SCRIPTS / f"{step}.py"), "--help"]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", sorted({path.stem for path in steps()} - REGISTERING))
def test_a_step_starts_in_a_second(name):
    times = []
    for _ in range(3):
        times.append(start(name))
        if times[-1] <= LIMIT:
            return
    assert min(times) <= LIMIT, f"{name} takes {min(times):.2f} s of one core before its first line"
