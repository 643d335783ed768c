"""What a run leaves for the next one to do again, and how a job says to the run why it failed.

A scan that wanted more memory than there was, or a site whose folder was not there, becomes a row with a reason, so
that the rest goes on. Such a result is not settled: a mark in the audit folder names it, and the next run makes it
again.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from isocenter import layout

#: Set in the environment of a job that is to say why it cannot do its work, instead of trying: the reason.
GIVE_UP = "ISOCENTER_GIVE_UP"
#: What a line of the run's log begins with by which a job says why it failed.
MARK = "Reason of failure: "


@dataclass(frozen=True)
class JobFailure:
    """A job that failed: the rule, what it was about, its own log, and why."""

    rule: str
    about: dict[str, str] = field(default_factory=dict)
    log: str = ""
    reason: str = ""


def report_failure(rule: str, about: dict[str, str], log: str, reason: str) -> None:
    """Tell who runs the workflow why a job fails, on one line of standard error."""
    line = json.dumps(asdict(JobFailure(rule, about, log, reason)), ensure_ascii=False)
    with contextlib.suppress(OSError):
        print(f"{MARK}{line}", file=sys.stderr, flush=True)


def read_failure(line: str) -> JobFailure | None:
    """What :func:`report_failure` said, where a line of a log is such a report."""
    _, mark, text = line.partition(MARK)
    try:
        return JobFailure(**json.loads(text)) if mark else None
    except (ValueError, TypeError):  # cut off, or mixed up with another job's words
        return None


def mark_unsettled(outputs: Sequence[str], reasons: Sequence[str]) -> None:
    """Note, in the trial's folder, that the next run makes `outputs` again; without a reason they are settled."""
    name = hashlib.sha256("\n".join(outputs).encode()).hexdigest()[:16]
    path = Path(layout.UNSETTLED, f"{name}.json")
    if not reasons:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"outputs": list(outputs), "reasons": list(reasons)}), encoding="utf-8")
    partial.replace(path)


def read_unsettled(directory: Path) -> dict[Path, list[str]]:
    """What the next run makes again: the results, as paths from the trial's folder, by the mark that names them."""
    found = {}
    for path in sorted((directory / layout.UNSETTLED).glob("*.json")):
        with contextlib.suppress(ValueError, KeyError, OSError):
            found[path] = list(json.loads(path.read_text(encoding="utf-8"))["outputs"])
    return found
