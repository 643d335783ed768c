"""Many computations on several processes: their answers in order, their errors, and the death of one of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isocenter.errors import FitError, OutOfMemoryError
from isocenter.processes import run_in_order

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_answers_come_in_order_and_see_the_data(workers):
    data = list(range(40))
    assert list(run_in_order(lambda index: data[index] ** 2, len(data), workers)) == [value**2 for value in data]


def test_several_processes_work_unless_one_is_asked_for():
    assert set(run_in_order(lambda index: os.getpid(), 4, 1)) == {os.getpid()}
    found = set(run_in_order(lambda index: (time.sleep(0.2), os.getpid())[1], 4, 2))
    assert len(found) == 2
    assert os.getpid() not in found


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(workers):
    def task(index):
        if index == 3:
            raise FitError("the fourth")
        return index

    with pytest.raises(FitError, match="the fourth"):
        list(run_in_order(task, 8, workers))


def test_a_worker_that_the_system_ends_is_an_error_and_not_a_wait_for_ever():
    def task(index):
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return index

    with pytest.raises(OutOfMemoryError, match="ended by the system"):
        list(run_in_order(task, 8, 2))


@pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux tells of a parent's death")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    code = (
        "import os, time; from pathlib import Path; from isocenter.processes import run_in_order\n"
        "def task(index):\n"
        f"    Path({str(tmp_path)!r}, str(os.getpid())).touch(); time.sleep(600)\n"
        "list(run_in_order(task, 2, 2))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    parent.kill()
    parent.wait()
    while any(_lives(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(workers) == 2
    assert not any(_lives(pid) for pid in workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux tells of a parent's death")
def test_one_whose_parent_died_before_it_asked_ends_too():
    code = "from isocenter.processes import die_with_parent; die_with_parent(9, {parent}); print('goes on')"
    ended = subprocess.run([sys.executable, "-c", code.format(parent=os.getpid())], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "goes on\n")
    ended = subprocess.run([sys.executable, "-c", code.format(parent=1)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-9, "")


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as state:
            return state.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


#: A program that a shell began in the background ignores Ctrl-C, and hands that down: tests that run so, too.
LARGE = """
import signal
import numpy as np
from isocenter.processes import run_in_order
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    for number, _ in enumerate(run_in_order(lambda n: np.full(4_000_000, n), 60, 2)):
        if number == 1:
            print("ready", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_while_large_answers_are_sent_ends_at_once():
    """Answers of 32 MB are nearly always half sent; a worker that left one so had its parent wait forever."""
    for delay in (0.0, 0.1, 0.2):
        program = subprocess.Popen(
            [sys.executable, "-c", LARGE], stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        )  # fmt: skip
        try:
            assert program.stdout.readline() == "ready\n"
            time.sleep(delay)
            os.killpg(program.pid, signal.SIGINT)
            assert program.communicate(timeout=60)[0] == "interrupted\n"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
