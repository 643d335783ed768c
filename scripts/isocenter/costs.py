"""What a job cost: time to start, time of work, processor time, memory; told in the last line of its log.

What rules declare (:mod:`isocenter.demands`) is held against these lines; ``python -m benchmarks.costs`` tables them.
"""

import logging
import os
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("isocenter")

MB = 1_000_000
_LINE = re.compile(
    r"cost: start ([\d.]+) s, work ([\d.]+) s, processor ([\d.]+) s \+ ([\d.]+) s, memory (\d+) MB of (\d+|-) MB"
)


@dataclass(frozen=True)
class Cost:
    """The cost of one job.

    Attributes
    ----------
    start, work : float [s]
        From the birth of its process to the step's first line, and from there to the end.
    start_processor, work_processor : float [s]
        Processor time, that of ended child processes included.
    memory : float [MB]
        The most that was resident at a time: its own, plus the largest child process's.
    declared : float or None [MB]
        What the rule asked for; None outside of a rule.
    """

    start: float
    work: float
    start_processor: float
    work_processor: float
    memory: float
    declared: float | None

    def __str__(self) -> str:
        declared = "-" if self.declared is None else f"{self.declared:.0f}"
        return (
            f"cost: start {self.start:.2f} s, work {self.work:.2f} s, processor {self.start_processor:.2f} s "
            f"+ {self.work_processor:.2f} s, memory {self.memory:.0f} MB of {declared} MB"
        )


class Meter:
    """Measures the job that this process is, from its construction on."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._start = process_age()
        self._start_processor = _processor_time()

    def read(self, declared: float | None = None) -> Cost:
        """The cost until now."""
        return Cost(
            start=self._start,
            work=time.monotonic() - self._begin,
            start_processor=self._start_processor,
            work_processor=_processor_time() - self._start_processor,
            memory=peak_memory(),
            declared=declared,
        )

    def tell(self, declared: float | None) -> None:
        """Write the cost into the job's log, and a warning where the rule declares too little memory."""
        cost = self.read(declared)
        log.info("%s", cost)
        if declared is not None and cost.memory > declared:
            log.warning(
                "This job took %.0f MB of memory, its rule declares %.0f MB; what to do: declare more, with the option "
                "--set-resources RULE:mem_mb=MB after the -- of isocenter run",
                cost.memory,
                declared,
            )


def read_cost(path: Path) -> Cost | None:
    """The cost that a job's log tells; None when it tells none (the job was killed, or has not run)."""
    found = _LINE.findall(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []
    if not found:
        return None
    *times, memory, declared = found[-1]
    return Cost(*map(float, times), float(memory), None if declared == "-" else float(declared))


def peak_memory() -> float:
    """The most memory [MB] that this process had resident, with the largest ended child's.

    The kernel's mark is of the program that runs now: what ran in this process before an ``exec`` does not count.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                own = int(line.split()[1])
    except OSError:  # no Linux
        pass
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024 / MB


def process_age() -> float:
    """Seconds since this process was born, to a hundredth; 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        ticks = float(fields[19])  # field 22 of proc(5), after the boot, in clock ticks
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return 0.0


def _processor_time() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
