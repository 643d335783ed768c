"""Run the workflow and say how far it is: Snakemake in a process of its own, its log turned into progress."""

import contextlib
import os
import re
import resource
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
from isocenter.machine import usable_memory
from isocenter.planned_jobs import DRY_OPTIONS, PlannedJobs
from isocenter.profiles import find_remote
from isocenter.threads import THREAD_VARIABLES
from isocenter.trouble import disk_trouble

SNAKEFILE = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"
#: The workflow that pools sites which were run by themselves.
POOL = SNAKEFILE.with_name("pool.smk")
WARM = Path(__file__).resolve().parent / "warm"

#: What runs first on a cluster: it decides which jobs there are, or everything waits for it.
FIRST = ("index_site", "make_template")
#: How long Snakemake may take to call its jobs back from a cluster [s].
PATIENCE = 60.0

STEPS_DONE = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
#: With these options Snakemake counts steps that it is not to do.
PARTIAL = ("--until", "-U", "--omit-from", "-O")
#: Snakemake keeps going past what it cannot do, and ends well even where it lost count of what a job waits for.
UNFINISHED = (
    "Snakemake ended after {done} of {total} steps without a word of the others; what to do: isocenter run, which goes "
    "on with what is missing"
)
KILLED = (
    "Snakemake was ended by signal {number} ({name}), by the system when memory runs out, or by a person; what to do: "
    "isocenter run, which goes on from here"
)
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
    planned: PlannedJobs = field(default_factory=PlannedJobs)

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
        command = [sys.executable, str(WARM / "server.py"), address]
        # In a group of its own: Ctrl-C in a terminal reaches a whole group, and this process ends the server by itself.
        server = subprocess.Popen(command, env=environment, process_group=0)
        try:
            yield environment | {"ISOCENTER_PYTHON": sys.executable, "ISOCENTER_WARM": address}
        finally:
            server.kill()
            server.wait()


def run_workflow(
    directory: Path,
    *,
    cores: int | None = None,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    inherit: Sequence[int] = (),
    snakefile: Path = SNAKEFILE,
) -> Outcome:
    """Run the workflow in a trial's folder; the log goes to ``results/logs/run.log``, of a dry run to ``plan.log``.

    cores : jobs share them (default: all of the machine; on a cluster, what the profile says of one submission)
    options : of Snakemake. With ``--workflow-profile`` jobs may run elsewhere; without ``--resources`` jobs here share
        most of the machine's memory
    snakefile : of the whole trial, or `POOL`
    inherit : open files that Snakemake inherits, such as the one that holds the trial

    On a cluster the intake runs first and by itself: the rest is planned once, before its jobs are put into groups.
    """
    trial = ["--snakefile", str(snakefile), "--directory", str(directory)]
    profile = find_remote(options)
    if profile is None:
        cores = cores or os.cpu_count() or 1
        memory = None if "--resources" in options else usable_memory()
        options = [*options, "--resources", f"mem_mb={memory}"] if memory else options
    command = [*trial, *(["--cores", str(cores)] if cores else []), *options]
    start, spent = time.monotonic(), _processor_time()
    is_dry = bool(DRY_OPTIONS & {*options})
    with _open_log(directory / (layout.PLAN_LOG if is_dry else layout.RUN_LOG)) as log_file:
        if profile is None or is_dry:
            outcome = _run_snakemake(command, log_file, start, on_progress, inherit, warm=not profile)
        else:
            outcome = _run_snakemake([*command, "--until", *FIRST], log_file, start, on_progress, inherit)
            if not outcome.is_locked and outcome.returncode >= 0:
                outcome = _run_snakemake(command, log_file, start, on_progress, inherit, after=outcome)
        if outcome.returncode < 0 and not is_dry:  # it could not lift its lock, and the next run would be told of it
            _run_snakemake([*trial, "--cores", "1", "--unlock"], log_file, start, on_progress, inherit)
        where = profile.folder.name if profile else f"{cores} cores"
        with contextlib.suppress(OSError):
            log_file.write(
                f"isocenter: {outcome.n_jobs} jobs in {outcome.seconds:.1f} s on {where}; "
                f"{_processor_time() - spent:.1f} s of processor time besides the jobs\n"
            )
    return outcome


def _run_snakemake(
    arguments: Sequence[str],
    log_file: IO[str],
    start: float,
    on_progress: Callable[[Progress], None],
    inherit: Sequence[int],
    *,
    warm: bool = False,
    after: Outcome | None = None,
) -> Outcome:
    """Run Snakemake once; `after` is how a run before it ended, to whose jobs its own are added."""
    command = [sys.executable, str(WARM / "launch.py"), *arguments]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1") | {"PYTHONHASHSEED": "0"}
    environment["ISOCENTER_FRONT"] = str(os.getpid())
    outcome = Outcome(returncode=0, seconds=0.0)
    earlier, failed_before = (after.n_jobs, after.failures) if after else (0, [])
    done, total, text = 0, 0, "planning"
    failures, running = Failures(), {}
    with (
        warm_server(environment) if warm else contextlib.nullcontext(environment) as environment,
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
                outcome.planned.read_line(line)
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
                now = tuple(running.values()), tuple([*failed_before, *failures.list_all()])
                on_progress(Progress(earlier + done, earlier + total, text, seconds, *now))
        except KeyboardInterrupt:
            if not warm:
                _call_back_jobs(process, log_file)
            # At once: files are written whole or not at all, and the next run goes on with what is missing.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    outcome.returncode = process.returncode
    is_whole = not any(argument.startswith(PARTIAL) for argument in arguments)
    early = ""
    if outcome.returncode < 0:
        number = -outcome.returncode
        early = KILLED.format(number=number, name=signal.Signals(number).name)
    elif is_whole and not outcome.returncode and done < total:
        outcome.returncode = 1
        early = UNFINISHED.format(done=done, total=total)
    if early:
        outcome.tail.append(early)
        with contextlib.suppress(OSError):
            log_file.write(f"{outcome.tail[-1]}\n")
    outcome.seconds = time.monotonic() - start
    outcome.n_jobs = earlier + done
    outcome.failures = [*failed_before, *failures.list_all()]
    if after:
        outcome.nothing_to_do &= after.nothing_to_do
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


def _call_back_jobs(process: subprocess.Popen, log_file: IO[str]) -> None:
    """Let Snakemake call its jobs back from the cluster, where they would go on; killed here, it could not."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt, OSError):
        log_file.write(process.communicate(timeout=PATIENCE)[0])


def _processor_time() -> float:
    """Seconds of processor time of ended child processes; the forks of the warm server are not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
