"""What a job says of its cost is what it cost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isocenter.costs import Cost, read_cost
from isocenter.runner import SNAKEFILE

SCRIPTS = SNAKEFILE.parents[1] / "scripts"

JOB = """
import logging, sys, time
logging.basicConfig(filename=sys.argv[1], level=logging.INFO, format="%(levelname)s %(message)s")
from isocenter.costs import Meter
time.sleep(0.3)
meter = Meter()
held = bytearray(200_000_000)
held[::4096] = bytes(b"x" * len(held[::4096]))
del held
end = time.process_time() + 0.4
while time.process_time() < end:
    pass
meter.tell(float(sys.argv[2]))
"""


@pytest.fixture
def run_job(tmp_path):
    def run(declared: float) -> tuple[Cost, str]:
        log = tmp_path / "job.log"
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        subprocess.run([sys.executable, "-c", JOB, str(log), str(declared)], env=environment, check=True)
        return read_cost(log), log.read_text()

    return run


def test_time_processor_and_memory_are_told(run_job):
    cost, text = run_job(400)
    assert cost.start >= 0.3
    assert cost.work >= 0.4
    assert 0.4 <= cost.work_processor < cost.work + 0.1
    assert 200 < cost.memory < 260
    assert cost.declared == 400
    assert "what to do" not in text


def test_a_job_that_took_more_than_declared_says_so(run_job):
    cost, text = run_job(150)
    assert cost.memory > 150
    assert "its rule declares 150 MB; what to do: declare more" in text


def test_a_log_without_a_cost_has_none(tmp_path):
    assert read_cost(tmp_path / "nothing.log") is None
    (tmp_path / "killed.log").write_text("INFO reading\n")
    assert read_cost(tmp_path / "killed.log") is None


def test_a_line_is_read_as_it_was_written(tmp_path):
    for declared in (None, 1000.0):
        cost = Cost(0.25, 3.5, 0.25, 3.25, 512.0, declared)
        Path(tmp_path / "job.log").write_text(f"INFO {cost}\nINFO more\n")
        assert read_cost(tmp_path / "job.log") == cost
