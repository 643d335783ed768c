"""Which jobs of a run failed, of whom, and why: read from what Snakemake and the jobs say while it goes on."""

import re
from dataclasses import replace
from pathlib import Path

from isocenter.errors import part_remedy
from isocenter.trouble import MAKE_ROOM
from isocenter.unsettled import JobFailure, read_failure

_BEGINS = re.compile(r"^Error in rule (\w+)")
_STARTED = re.compile(r"^Job (\d+): (.*)")
#: Snakemake's own words when it could not even start a job, as on a full disk; the next line says what it was.
_RAISED = re.compile(r'^(?!CalledProcessError)(\w+) in file ".*", line \d+:$')
_JOB = re.compile(r"^    jobid: (\d+)")
#: Jobs of a group, which fail together; each is told of again by the run on the node, under numbers of its own.
_GROUPED_JOB = re.compile(r"^ {12}jobid: (\d+)")
_GROUPED_LOG = re.compile(r"^ {12}log: (.*?)(?: \(check log file.*)?$")
_FINISHED = re.compile(r"^Finished jobid: (\d+) ")
_LOG = re.compile(r"^    log: (.*?)(?: \(check log file.*)?$")
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
        self._grouped = ""  # the number of the job of a group that is being told of
        self._logs: dict[str, str] = {}  # of such jobs, by number
        self._messages: dict[str, str] = {}
        self._raised = ""
        self._is_in_block = False

    def read_line(self, line: str) -> bool:
        """Take a line into account; whether it says that a job failed."""
        said = read_failure(line)
        if said is not None:
            self._reported[said.log] = said
            return True
        if started := _STARTED.match(line):
            self._messages[started[1]] = started[2]
        elif raised := _RAISED.match(line):
            self._raised = f"{raised[1]}: "
        elif self._raised.endswith(": "):
            self._raised += line
        if begins := _BEGINS.match(line):
            self._named.append(JobFailure(begins[1], reason=self._raised))
            self._numbers.append("")
            self._is_in_block, self._raised = True, ""
            return True
        if self._is_in_block and line.startswith("    "):
            if number := _JOB.match(line):
                self._numbers[-1] = number[1]
                self._named[-1] = replace(self._named[-1], about={"message": self._messages.get(number[1], "")})
            elif log := _LOG.match(line):
                self._named[-1] = replace(self._named[-1], log=log[1])
            return False
        self._is_in_block = False
        if number := _GROUPED_JOB.match(line):
            self._grouped = number[1]
        elif self._grouped and (log := _GROUPED_LOG.match(line)):
            self._logs[self._grouped] = log[1]
            self._grouped = ""
        elif finished := _FINISHED.match(line):  # a cluster tries again, with more memory
            self._forget(finished[1])
        return False

    def _forget(self, number: str) -> None:
        """A job that failed has ended well since."""
        log = self._logs.get(number)
        for place, named in enumerate(self._named):
            if self._numbers[place] == number or (log and named.log == log):
                self._named[place] = replace(named, rule="")

    def list_all(self) -> list[JobFailure]:
        """The failed jobs, each once; one of which Snakemake is still telling is not among them yet."""
        found: dict[tuple[str, str], JobFailure] = {}
        told = self._named[:-1] if self._is_in_block else self._named
        for named in filter(lambda one: one.rule, told):
            said = self._reported.get(named.log)
            reason = said.reason if said else named.reason
            about = named.about | (said.about if said else {})
            found[named.rule, named.log or str(about)] = replace(named, about=about, reason=reason)
        return list(found.values())


def name_job(failure: JobFailure) -> str:
    """A failed job in the words of its rule, or by its rule and whom it was about."""
    if failure.about.get("message"):
        return failure.about["message"]
    keys = ("site", "participant", "session", "run", "biomarker", "map", "suffix")
    return " ".join([failure.rule, *(failure.about[key] for key in keys if key in failure.about)])


def explain_job(failure: JobFailure, directory: Path) -> tuple[str, str]:
    """Why a job failed, and what to do."""
    reason = failure.reason.strip() or _read_reason(directory / failure.log if failure.log else None)
    if not reason:
        return "The job was killed, or ended without a word", LOOK
    if "Traceback (most recent call last)" in reason:  # of another process, it does not begin with that word
        return f"The step failed unexpectedly: {reason.splitlines()[-1]}", _BUG
    if reason.startswith("OSError: [Errno 28]"):  # Snakemake's own words, before the job began
        return f"The disk is full; found: {reason.removeprefix('OSError: ')}", MAKE_ROOM[:1].upper() + MAKE_ROOM[1:]
    reason, remedy = part_remedy(reason)
    return reason, remedy or LOOK


def _read_reason(log: Path | None) -> str:
    """The last error that stands in a job's log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log else []
    except OSError:
        return ""
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")
