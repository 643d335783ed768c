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

from isocenter import layout
from isocenter.machine import usable_memory
from isocenter.profiles import find_remote
from isocenter.threads import THREAD_VARIABLES

SNAKEFILE = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"
WARM = Path(__file__).resolve().parent / "warm"

#: What runs first on a cluster: it decides which jobs there are, or everything waits for it.
FIRST = ("index_site", "make_template")
#: How long Snakemake may take to call its jobs back from a cluster [s].
PATIENCE = 60.0

STEPS_DONE = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
MESSAGE = re.compile(r"^Job \d+: (.*)")
FAILED = re.compile(r"Error in rule (\w+)")


@dataclass
class Outcome:
    """How a run ended."""

    returncode: int
    seconds: float
    n_jobs: int = 0
    failed: list[str] = field(default_factory=list)
    nothing_to_do: bool = False
    is_locked: bool = False
    mended: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """How far a run is: jobs done, jobs known so far (more become known after intake), what runs now."""

    done: int
    total: int
    text: str
    seconds: float


def read_progress(directory: Path) -> tuple[int, int, list[str]]:
    """How far the last run has come, from its log: jobs done, jobs known, the rules of jobs that failed."""
    path = directory / layout.LOGS / "run.log"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    steps = STEPS_DONE.findall(text)
    done, total = map(int, steps[-1]) if steps else (0, 0)
    return done, total, sorted(set(FAILED.findall(text)))


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
    cores: int | None = None,
    options: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    inherit: Sequence[int] = (),
) -> Outcome:
    """Run the workflow in a trial's folder; the whole log goes to ``results/logs/run.log``.

    cores : jobs share them (default: all of the machine; on a cluster, what the profile says of one submission)
    options : of Snakemake. With ``--workflow-profile`` jobs may run elsewhere; without ``--resources`` jobs here share
        most of the machine's memory
    inherit : open files that Snakemake inherits, such as the one that holds the trial

    On a cluster the intake runs first and by itself: the rest is planned once, before its jobs are put into groups.
    """
    profile = find_remote(options)
    if profile is None:
        memory = None if "--resources" in options else usable_memory()
        options = [*options, "--resources", f"mem_mb={memory}"] if memory else options
        return _run_snakemake(directory, cores or os.cpu_count() or 1, options, on_progress, inherit)
    first = _run_snakemake(
        directory, cores, [*options, "--until", *FIRST], on_progress, inherit, where=profile.folder.name
    )
    if first.is_locked:
        return first
    outcome = _run_snakemake(
        directory, cores, options, on_progress, inherit, where=profile.folder.name, n_before=first.n_jobs
    )
    outcome.seconds += first.seconds
    outcome.nothing_to_do &= first.nothing_to_do
    return outcome


def _run_snakemake(
    directory: Path,
    cores: int | None,
    options: Sequence[str],
    on_progress: Callable[[Progress], None],
    inherit: Sequence[int],
    *,
    where: str = "",
    n_before: int | None = None,
) -> Outcome:
    """Run Snakemake once.

    where : the cluster's name; none runs jobs here
    n_before : jobs done by a run whose log this one goes on with
    """
    command = [sys.executable, str(WARM / "launch.py"), "--snakefile", str(SNAKEFILE), "--directory", str(directory)]
    command += [*(["--cores", str(cores)] if cores else []), *options]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1") | {"PYTHONHASHSEED": "0"}
    log_path = directory / layout.LOGS / "run.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    start, spent = time.monotonic(), _processor_time()
    outcome = Outcome(returncode=0, seconds=0.0)
    done, total, text, before = 0, 0, "planning", n_before or 0
    with (
        log_path.open("w" if n_before is None else "a", encoding="utf-8", buffering=1) as log_file,
        contextlib.nullcontext(environment) if where else warm_server(environment) as environment,
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
                log_file.write(line)
                line = line.rstrip()
                outcome.tail = [*outcome.tail[-39:], line]
                if match := STEPS_DONE.search(line):
                    done, total = int(match[1]), int(match[2])
                elif match := MESSAGE.match(line):
                    text = match[1]
                elif match := FAILED.search(line):
                    outcome.failed.append(match[1])
                elif "Nothing to be done" in line:
                    outcome.nothing_to_do = True
                elif "cannot be locked" in line:
                    outcome.is_locked = True
                else:
                    continue
                on_progress(Progress(before + done, before + total, text, time.monotonic() - start))
        except KeyboardInterrupt:
            if where:
                _call_back_jobs(process)
            # At once: files are written whole or not at all, and the next run goes on with what is missing.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    outcome.returncode = process.returncode
    outcome.seconds = time.monotonic() - start
    outcome.n_jobs = before + done
    spent = _processor_time() - spent
    with log_path.open("a", encoding="utf-8") as log_file:
        log_file.write(
            f"isocenter: {done} jobs in {outcome.seconds:.1f} s on {where or f'{cores} cores'}; "
            f"{spent:.1f} s of processor time besides the jobs\n"
        )
    return outcome


def _call_back_jobs(process: subprocess.Popen) -> None:
    """Let Snakemake call its jobs back from the cluster, where they would go on; killed here, it could not."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        process.communicate(timeout=PATIENCE)


def _processor_time() -> float:
    """Seconds of processor time of ended child processes; the forks of the warm server are not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
