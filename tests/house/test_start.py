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
    """Processor time of an interpreter with these arguments [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def common() -> list[float]:
    """What the libraries of every step took to import, time after time [s]."""
    return [seconds_of("-c", COMMON) for _ in range(3)]


@pytest.mark.parametrize("name", sorted({path.stem for path in steps()} - REGISTERING))
def test_a_step_starts_in_a_second(name, common):
    """The best of up to six starts, against the best of the imports: of those made between the starts too."""
    times = []
    for _ in range(6):
        times.append(seconds_of(str(SCRIPTS / f"{name}.py"), "--help"))
        # How many times as long as on the quiet machine things take here and now; 1 where they take less.
        slowness = max(1.0, min(common[-3:]) / COMMON_SECONDS)
        if min(times) <= LIMIT * slowness:
            return
        common.append(seconds_of("-c", COMMON))
    pytest.fail(f"{min(times):.2f} s of one core before the first line, on a machine {slowness:.1f} times slow")
