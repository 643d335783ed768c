"""Steps use the threads that their rule gives them, and no library starts more.

What is counted is threads that want a core at the same time, which other work on the machine does not change.
"""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from isocenter.runner import SNAKEFILE
from isocenter.threads import THREAD_VARIABLES

SCRIPTS = SNAKEFILE.parents[1] / "scripts"

#: Says when `work` begins and ends; this process looks meanwhile.
TOLD = """
from isocenter.threads import hold_threads
hold_threads()
prepare()
print("begin", flush=True)
work()
print("end", flush=True)
"""

FIT = """
import numpy as np
from isocenter import models
from isocenter.fitting import fit
bound = models.get("t1_inversion_recovery").bind({"InversionTime": [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]})
times = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
def prepare():
    global signal
    t1 = np.linspace(0.3, 2.5, 400_000)[:, None]
    noise = np.random.default_rng(1).normal(0, 0.01, (len(t1), len(times)))
    signal = np.abs(1 - 2 * np.exp(-times / t1) + noise)
    fit(bound, signal[:2000], threads=1)
def work():
    fit(bound, signal, threads=THREADS)
"""

PRODUCTS = """
import numpy as np
def prepare():
    global a
    a = np.random.default_rng(1).normal(size=(700, 700))
    import scipy.linalg  # brings a BLAS of its own
def work():
    import scipy.linalg
    for _ in range(6):
        a @ a
        np.linalg.svd(a)
        scipy.linalg.svd(a)
"""

REGISTRATION = """
import numpy as np
def prepare():
    global ants, fixed, moving
    from isocenter.registration.loading import load_ants
    ants = load_ants()
    places = np.indices((64, 64, 64))
    beside = ((places[1] - 32) / 19) ** 2 + ((places[2] - 30) / 11) ** 2
    ball = lambda x: np.exp(-((places[0] - x) / 14) ** 2 - beside)
    fixed, moving = ants.from_numpy(ball(32).astype("f4")), ants.from_numpy(ball(35).astype("f4"))
def work():
    for _ in range(2):
        ants.registration(fixed, moving, type_of_transform="Rigid", random_seed=1)
"""


@dataclass
class Seen:
    """Which threads wanted a core whenever any did, over a few hundred looks."""

    looks: list[set[int]]
    main: int

    @property
    def shared(self) -> float:
        """The share of looks that saw two threads or more."""
        return sum(len(threads) >= 2 for threads in self.looks) / len(self.looks)

    @property
    def most_helpers(self) -> int:
        """The most threads beside the main one that wanted a core at the same time."""
        return max(len(threads - {self.main}) for threads in self.looks)

    @property
    def main_beside_helpers(self) -> float:
        """Of the looks that saw two helpers or more, the share in which the main thread wanted a core too."""
        looks = [threads for threads in self.looks if len(threads - {self.main}) >= 2]
        return sum(self.main in threads for threads in looks) / len(looks)


def watch(code: str) -> Seen:
    """Run `code`, then `TOLD`, in a fresh interpreter that nothing has told how many threads to use."""
    environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
    environment |= {"PYTHONPATH": str(SCRIPTS)}
    looks = []
    with subprocess.Popen([sys.executable, "-c", code + TOLD], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begin\n"
        os.set_blocking(process.stdout.fileno(), False)
        while process.stdout.read() is None:
            looks.append(find_wanting(process.pid))
            time.sleep(0.005)
    assert process.returncode == 0
    busy = [threads for threads in looks if threads]
    assert len(busy) > 50, "the work was too short to be watched"
    return Seen(busy, process.pid)


def find_wanting(pid: int) -> set[int]:
    """The threads of a process that have a core or wait for one."""
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if path.read_text().rpartition(")")[2].split()[0] == "R":
                found.add(int(path.parent.name))
    return found


@pytest.mark.parametrize("code", [PRODUCTS, REGISTRATION], ids=["products", "registration"])
def test_libraries_use_one_thread(code):
    assert watch(code).shared < 0.1


def test_what_watches_sees_a_library_that_uses_more():
    """The test above can fail: without our hold, BLAS takes all cores."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("this machine has one core")
    assert watch(f"{PRODUCTS}\nimport isocenter.threads\nisocenter.threads.hold_threads = lambda: None\n").shared > 0.3


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fit_uses_the_threads_that_it_is_given(threads):
    seen = watch(FIT.replace("THREADS", str(threads)))
    if threads == 1:
        assert seen.shared < 0.1
    else:
        assert seen.shared > 0.3  # the first of its batches runs alone
        assert seen.most_helpers <= threads
        # It wakes to hand out batches, and waits long for that on a busy machine; it must not work beside its helpers.
        assert seen.main_beside_helpers < 0.25
