"""Run the workflow and say how far it is: Snakemake in a process of its own, its log turned into progress."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from isocenter import layout
from isocenter.failures import Failures, JobFailure
from isocenter.trouble import disk_trouble

SNAKEFILE = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"
#: The workflow that pools sites which were run by themselves.
POOL = SNAKEFILE.with_name("pool.smk")
WARM = Path(__file__).resolve().parent / "warm"

#: Libraries that would start a thread a core by themselves; Snakemake owns the parallelism.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

STEPS_DONE = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
MESSAGE = re.compile(r"^Job (\d+): (.*)")
ENDED = re.compile(r"^(?:Finished jobid: |    jobid: )(\d+)")


@dataclass
class Outcome:
    """How a run ended."""

    returncode: int
    seconds: float
    n_jobs: int = 0
    failures: list[JobFailure] = field(default_factory=list)
    nothing_to_do: bool = False
    is_locked: bool = False
    mended: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """The rules of the jobs that failed."""
        return sorted({failure.rule for failure in self.failures})


@dataclass(frozen=True)
class Progress:
    """How far a run is: jobs done, jobs known so far (more after intake), what began last, what runs, what failed."""

    done: int
    total: int
    text: str
    seconds: float
    running: tuple[str, ...] = ()
    failures: tuple[JobFailure, ...] = ()


def read_progress(directory: Path) -> tuple[int, int, list[JobFailure]]:
    """How far the last run has come, from its log: jobs done, jobs known, the jobs that failed and why."""
    path = directory / layout.RUN_LOG
    if not path.is_file():
        return 0, 0, []
    done, total, failures = 0, 0, Failures()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            failures.read_line(line.rstrip("\n"))
            if match := STEPS_DONE.search(line):
                done, total = int(match[1]), int(match[2])
    return done, total, failures.list_all()


@contextlib.contextmanager
def warm_server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Keep a warm server while the block runs; gives the environment that leads jobs to it."""
    with tempfile.TemporaryDirectory(prefix="isocenter-") as folder:
        address = str(Path(folder) / "warm")
        server = subprocess.Popen([sys.executable, str(WARM / "server.py"), address], env=environment)
        try:
            yield environment | {"ISOCENTER_PYTHON": sys.executable, "ISOCENTER_WARM": address}
        finally:
            server.kill()
            server.wait()


def run_workflow(
    directory: Path,
    *,
    cores: int,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    inherit: Sequence[int] = (),
    snakefile: Path = SNAKEFILE,
) -> Outcome:
    """Run the workflow in a trial's folder; the whole log goes to ``results/logs/run.log``.

    snakefile : of the whole trial, or `POOL`
    inherit : open files that Snakemake inherits, such as the one that holds the trial
    """
    command = [sys.executable, str(WARM / "launch.py"), "--snakefile", str(snakefile), "--directory", str(directory)]
    command += ["--cores", str(cores), *options]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1") | {"PYTHONHASHSEED": "0"}
    log_path = directory / layout.RUN_LOG
    start = time.monotonic()
    outcome = Outcome(returncode=0, seconds=0.0)
    done, total, text = 0, 0, "planning"
    failures, running = Failures(), {}
    with (
        _open_log(log_path) as log_file,
        warm_server(environment) as environment,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            pass_fds=tuple(inherit),
            process_group=0,
        ) as process,
    ):
        try:
            for line in process.stdout:
                with contextlib.suppress(OSError):  # a full disk ends jobs, which say so, and not the telling of it
                    log_file.write(line)
                line = line.rstrip()
                outcome.tail = [*outcome.tail[-39:], line]
                is_failure = failures.read_line(line)
                if match := STEPS_DONE.search(line):
                    done, total = int(match[1]), int(match[2])
                elif match := MESSAGE.match(line):
                    text = running[match[1]] = match[2]
                elif match := ENDED.match(line):  # well, or badly: then its number stands in the message of the error
                    running.pop(match[1], None)
                elif is_failure:
                    pass
                elif "Nothing to be done" in line:
                    outcome.nothing_to_do = True
                elif "cannot be locked" in line:
                    outcome.is_locked = True
                else:
                    continue
                seconds = time.monotonic() - start
                on_progress(Progress(done, total, text, seconds, tuple(running.values()), tuple(failures.list_all())))
        except KeyboardInterrupt:
            # At once: files are written whole or not at all, and the next run goes on with what is missing.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    outcome.returncode = process.returncode
    outcome.seconds = time.monotonic() - start
    outcome.n_jobs = done
    outcome.failures = failures.list_all()
    return outcome


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[IO[str]]:
    """The log of the run, opened anew; what a full disk does not take at the end is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise disk_trouble(path, error) from error
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()
