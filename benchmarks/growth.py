"""What it costs to plan a trial as it grows, in time and memory: ``python -m benchmarks.growth``.

Writes trials as they stand after intake (`benchmarks.planned_trial`) and has Snakemake plan them without doing a thing:
the whole trial, one site of it (`isocenter run --site`), and the pool of all sites (`isocenter pool`), for which every
result of a site is there and empty. Each plan is a process of its own, whose processor time and peak memory count.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from benchmarks.planned_trial import Size, write_planned_trial
from isocenter import layout
from isocenter.plan import Plan
from isocenter.recorded_run import name_sites
from isocenter.runner import POOL, SNAKEFILE, WARM
from isocenter.settings import load_settings

#: Trials by about how many jobs they have; people have four runs in three sessions, a run about seven jobs.
SIZES = {1_000: Size(2, 17, 3), 10_000: Size(20, 17, 3), 100_000: Size(200, 17, 3)}
#: The trial of which a plan must take at most a minute and 1.5 GiB.
BAR = Size(10, 20, 3)
_TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """What one plan took: jobs planned (None when it did not end), wall and processor seconds, peak memory [MiB]."""

    jobs: int | None
    seconds: float
    cpu_seconds: float
    memory: float


def measure_plan(directory: Path, snakefile: Path, targets: Sequence[str], limit: float) -> Cost:
    """Plan in a process of its own; it is killed after `limit` seconds.

    Raises RuntimeError with the end of what it said when it fails by itself.
    """
    command = [sys.executable, str(WARM / "launch.py"), "--snakefile", str(snakefile), "--directory", str(directory)]
    command += ["--cores", "2", *targets, "--dry-run", "--quiet", "rules"]
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONHASHSEED": "0"}
        )
        timer = threading.Timer(limit, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        said.seek(0)
        text = said.read()
    is_killed = process.returncode < 0
    if process.returncode > 0:
        raise RuntimeError(text[-2000:])
    total = _TOTAL.search(text)
    jobs = None if is_killed else int(total[1]) if total else 0
    return Cost(jobs, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure_trial(size: Size, limit: float, *, with_dicom: bool, with_parts: bool) -> list[tuple[str, Cost]]:
    """The costs of planning one trial: whole and, where wanted, one of its sites and the pool of all."""
    with tempfile.TemporaryDirectory(prefix="isocenter-growth-") as folder:
        directory = Path(folder)
        n_files = write_planned_trial(directory, size, with_dicom=with_dicom)
        _say(f"{size}: {n_files} files written")
        found = [("whole trial", measure_plan(directory, SNAKEFILE, ["all"], limit))]
        _say(f"{size}: whole trial {found[-1][1]}")
        if with_parts:
            site = load_settings(directory).sites[0]
            targets = [str(layout.fill(layout.SITE_RECORD, site=site)), name_sites([site])]
            found.append(("one site", measure_plan(directory, SNAKEFILE, targets, limit)))
            _say(f"{size}: one site {found[-1][1]}")
            _write_results(directory)
            found.append(("pool of the sites", measure_plan(directory, POOL, ["all"], limit)))
            _say(f"{size}: pool {found[-1][1]}")
        return found


def _write_results(directory: Path) -> None:
    """Every result of every site, empty."""
    with chdir(directory):
        plan = Plan(load_settings(directory))
        for site in plan.sites:
            for path in map(Path, plan.site_results(site)):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    path.mkdir() if path.name.endswith("_labels") else path.touch()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Write, plan, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="*", choices=sorted(SIZES), default=[1_000, 10_000])
    parser.add_argument("--bar", action="store_true", help=f"also a trial of {BAR} with its DICOM files")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a plan is given up")
    options = parser.parse_args()
    rows = []
    if options.bar:
        rows += [(BAR, *row) for row in measure_trial(BAR, options.limit, with_dicom=True, with_parts=True)]
    for count in options.jobs:
        size = SIZES[count]
        rows += [(size, *row) for row in measure_trial(size, options.limit, with_dicom=False, with_parts=True)]
    print("| sites × people × sessions | planned | jobs | seconds | of a processor | peak memory |")
    print("|---|---|---|---|---|---|")
    for size, what, cost in rows:
        jobs = "not ended" if cost.jobs is None else cost.jobs
        print(f"| {size} | {what} | {jobs} | {cost.seconds:.0f} | {cost.cpu_seconds:.0f} | {cost.memory:.0f} MiB |")


if __name__ == "__main__":
    main()
