"""How failed jobs are shown: those of one reason together, whom they were about, why, and what to do."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from isocenter import layout
from isocenter.failures import explain_job, name_job
from isocenter.terminal import console, errors
from isocenter.trouble import LEAST_ROOM, MAKE_ROOM, MORE_MEMORY, count_free
from isocenter.unsettled import JobFailure

#: So many names stand in a line; of the others the number.
NAMES = 4
#: How the remedies of the machine's trouble begin.
_PASSING = tuple(words[:1].upper() + words[1:] for words in (MAKE_ROOM, MORE_MEMORY))


def explain_failure(outcome) -> None:
    """Why a run of the workflow ended early, and where its log is."""
    if outcome.is_locked:
        errors.print(
            "Another run holds this trial, or one was killed; what to do: wait for it to end, "
            "or, when none runs, say: isocenter run -- --unlock",
            soft_wrap=True,
        )
        return
    if outcome.failures:
        n = len(outcome.failures)
        errors.print(f"{n} job{'s' if n > 1 else ''} failed; what needs them was not made", highlight=False)
        show_failures(outcome.failures, Path.cwd(), limit=12, out=errors)
    else:
        errors.print("The workflow could not start, or ended early:")
        for line in outcome.tail:
            errors.print(line, highlight=False, soft_wrap=True)
    if count_free(Path(layout.RESULTS)) < LEAST_ROOM:
        errors.print(f"The disk of {layout.RESULTS} is full; what to do: {MAKE_ROOM}", soft_wrap=True)
    errors.print(f"The whole log: {layout.RUN_LOG}; each job's own log stands beside it", soft_wrap=True)


def show_failures(
    failures: list[JobFailure], directory: Path, limit: int | None = None, out: Console = console
) -> None:
    """The jobs that failed, those of one reason together: whom they were about, why, and what to do."""
    groups: dict[tuple[str, str], list[JobFailure]] = {}
    for failure in failures:
        reason, remedy = explain_job(failure, directory)
        # A full disk is one reason, wherever it was met.
        kind = reason.partition("; ")[0].rpartition(": ")[2] if remedy.startswith(_PASSING) else reason
        groups.setdefault((kind, remedy), []).append(failure)
    for (_, remedy), members in list(groups.items())[:limit]:
        reason, _ = explain_job(members[0], directory)
        log = f" (log: {members[0].log})" if members[0].log else ""
        show_reason(name_some([name_job(one) for one in members]), reason, remedy + log, out)
    if limit and len(groups) > limit:
        out.print(f"… and {len(groups) - limit} more reasons; isocenter status shows all", highlight=False)


def show_reason(who: str, reason: str, action: str, out: Console = console) -> None:
    """Three things, wrapped under one another in a terminal; each on a line of its own elsewhere, to be searched."""
    for depth, text in ((2, Text(who, "bold")), (4, Text(reason)), (4, Text(f"→ {action}"))):
        if out.is_terminal:
            out.print(Padding(text, (0, 0, 0, depth)))
        else:
            out.print(" " * depth + text.plain, soft_wrap=True, highlight=False)


def name_some(names: list[str]) -> str:
    """The first few names, each once with how often it stands there, and how many more there are."""
    told = [f"{name} (×{n})" if n > 1 else name for name, n in Counter(names).items()]
    more = f" and {len(told) - NAMES} more" if len(told) > NAMES else ""
    return ", ".join(told[:NAMES]) + more
