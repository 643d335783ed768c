"""Steps that do not register start in a second: what a job pays before its work begins, in a fresh interpreter."""

import os
import resource
import subprocess
import sys

import pytest

from house.source import SCRIPTS, steps

#: Seconds are measured, and other work on the machine moves them: not in every run of the tests.
pytestmark = pytest.mark.slow

#: What these steps do needs ANTs, whose import takes as long by itself (tests/house/test_floors.py).
REGISTERING = {"align_series", "correct_distortion", "place_map", "transfer_labels"}
#: Seconds of one core until a step's first line.
LIMIT = 1.0
#: What every step begins with, and how long that takes where the limit was set and nothing else runs [s]. A machine
#: that is slower, or shares its caches and cores with other work, may take longer in proportion.
COMMON, COMMON_SECONDS = "import numpy, pandas, nibabel", 0.5


def seconds_of(*arguments: str) -> float:
    """Processor time of an interpreter with these arguments, the best of three [s]."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


@pytest.fixture(scope="module")
def slowness() -> float:
    """How many times as long as on the quiet machine things take here and now; 1 where they take less."""
    return max(1.0, seconds_of("-c", COMMON) / COMMON_SECONDS)


@pytest.mark.parametrize("name", sorted({path.stem for path in steps()} - REGISTERING))
def test_a_step_starts_in_a_second(name, slowness):
    found = seconds_of(str(SCRIPTS / f"{name}.py"), "--help")
    limit = LIMIT * slowness
    assert found <= limit, f"{found:.2f} s of one core before the first line, on a machine {slowness:.1f} times slow"
