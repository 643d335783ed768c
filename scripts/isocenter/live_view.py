"""What `isocenter run` shows while it goes on: a live page in a terminal, a line now and then in a log."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.text import Text

from isocenter.failures import explain_job, name_job
from isocenter.overview import SiteStatus, read_status
from isocenter.plan import Plan
from isocenter.runner import Progress
from isocenter.status_view import site_table
from isocenter.terminal import console, run_progress

#: The table of sites is read again after this long [s], and never takes more than a share of the time.
REFRESH, SHARE = 3.0, 0.05
#: So many sites, jobs and failures are shown; a terminal has few lines.
SITES, JOBS, FAILURES = 15, 6, 4
#: Where nobody watches, a line after this long [s].
QUIET = 60.0

Follow = Callable[[Progress], None]


@contextlib.contextmanager
def follow_run(plan: Plan, directory: Path) -> Iterator[Follow]:
    """Give what a run calls with its progress; what it shows ends with the block."""
    if not console.is_terminal:
        yield _follow_quietly(directory)
        return
    page = _Page(plan, directory)
    with Live(console=console, get_renderable=page.render, refresh_per_second=4, transient=True):
        yield page.follow


class _Page:
    def __init__(self, plan: Plan, directory: Path):
        self.plan, self.directory = plan, directory
        self.now = Progress(0, 0, "planning", 0.0)
        self.sites: list[SiteStatus] = []
        self.read_at, self.cost = -REFRESH, 0.0
        self.bar = run_progress()
        self.task = self.bar.add_task("planning", total=None)

    def follow(self, now: Progress) -> None:
        self.now = now
        self.bar.update(self.task, completed=now.done, total=now.total or None, description="jobs")
        start = time.monotonic()
        if start - self.read_at > max(REFRESH, self.cost / SHARE):
            with contextlib.suppress(OSError, KeyError):  # a table may be made anew in this moment
                self.sites = read_status(self.plan, with_size=False)
            self.read_at = time.monotonic()
            self.cost = self.read_at - start

    def render(self) -> Group:
        # Sites with work left come first where not all find room.
        order = sorted(self.sites, key=lambda site: all(c and c[0] == c[1] for c in site.stages.values()))
        shown = order[:SITES] if len(order) > SITES else self.sites
        parts = [site_table(shown, with_size=False)] if shown else []
        if len(order) > SITES:
            parts.append(Text(f"… and {len(order) - SITES} more sites"))
        parts += [Text(f"  {text}", overflow="ellipsis", no_wrap=True) for text in self.now.running[:JOBS]]
        for failure in self.now.failures[-FAILURES:]:
            reason, _ = explain_job(failure, self.directory)
            parts.append(Text(f"✗ {name_job(failure)}: {reason}", "red", overflow="ellipsis", no_wrap=True))
        return Group(*parts, self.bar)


def _follow_quietly(directory: Path) -> Follow:
    said = {"time": time.monotonic(), "failures": 0}

    def follow(now: Progress) -> None:
        for failure in now.failures[said["failures"] :]:
            reason, _ = explain_job(failure, directory)
            console.print(f"Failed: {name_job(failure)}: {reason}", soft_wrap=True, highlight=False)
        said["failures"] = len(now.failures)
        if time.monotonic() - said["time"] >= QUIET:
            said["time"] = time.monotonic()
            left = now.seconds / now.done * (now.total - now.done) if now.done else 0.0
            rest = f", about {timedelta(seconds=round(left))} left" if now.done else ""
            console.print(f"{now.done} of {now.total or '?'} jobs{rest}", highlight=False)

    return follow
