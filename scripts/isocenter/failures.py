"""Which jobs of a run failed, of whom, and why: read from what Snakemake and the jobs say while it goes on."""

import re
from dataclasses import replace
from pathlib import Path

from isocenter.unsettled import JobFailure, read_failure

_BEGINS = re.compile(r"^Error in rule (\w+)")
_MESSAGE = re.compile(r"^    message: (.*)")
_JOB = re.compile(r"^    jobid: (\d+)")
_FINISHED = re.compile(r"^Finished jobid: (\d+) ")
_LOG = re.compile(r"^    log: (.*?)(?: \(check log file.*)?$")
_REMEDY = "; what to do: "
#: What stands in a job's log before the reason of its failure.
_ERROR = "ERROR "
LOOK = "Read the job's own log; isocenter run tries it again"
_BUG = "Read the job's own log, and report it if the input is sound"


class Failures:
    """Gathers failed jobs from the lines of a run's log: Snakemake names the job, and the job itself says why."""

    def __init__(self) -> None:
        self._reported: dict[str, JobFailure] = {}
        self._named: list[JobFailure] = []
        self._numbers: list[str] = []  # of the jobs, in the same order
        self._is_in_block = False

    def read_line(self, line: str) -> bool:
        """Take a line into account; whether it says that a job failed."""
        said = read_failure(line)
        if said is not None:
            self._reported[said.log] = said
            return True
        if begins := _BEGINS.match(line):
            self._named.append(JobFailure(begins[1]))
            self._numbers.append("")
            self._is_in_block = True
            return True
        if self._is_in_block and line.startswith("    "):
            if message := _MESSAGE.match(line):
                self._named[-1] = replace(self._named[-1], about={"message": message[1]})
            elif number := _JOB.match(line):
                self._numbers[-1] = number[1]
            elif log := _LOG.match(line):
                self._named[-1] = replace(self._named[-1], log=log[1])
            return False
        self._is_in_block = False
        if finished := _FINISHED.match(line):  # a cluster tries again, with more memory
            for place in [k for k, number in enumerate(self._numbers) if number == finished[1]]:
                self._named[place] = replace(self._named[place], rule="")
        return False

    def list_all(self) -> list[JobFailure]:
        """The failed jobs, each once."""
        found: dict[tuple[str, str], JobFailure] = {}
        for named in filter(lambda one: one.rule, self._named):
            said = self._reported.get(named.log)
            reason = said.reason if said else ""
            about = named.about | (said.about if said else {})
            found[named.rule, named.log or str(about)] = replace(named, about=about, reason=reason)
        return list(found.values())


def explain_job(failure: JobFailure, directory: Path) -> tuple[str, str, str]:
    """Whom a failed job was about, why it failed, and what to do."""
    who = " ".join(failure.about[key] for key in ("participant", "session", "run", "biomarker", "map", "suffix")
                   if key in failure.about)  # fmt: skip
    reason = failure.reason.strip() or _read_reason(directory / failure.log if failure.log else None)
    if not reason:
        return who, "The job was killed, or ended without a word", LOOK
    if reason.startswith("Traceback"):
        return who, f"The step failed unexpectedly: {reason.splitlines()[-1]}", _BUG
    reason, _, remedy = reason.partition(_REMEDY)
    return who, reason, remedy or LOOK


def _read_reason(log: Path | None) -> str:
    """The last error that stands in a job's log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log else []
    except OSError:
        return ""
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")
