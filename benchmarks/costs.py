"""``python -m benchmarks.costs TRIAL``: what a run's jobs cost beside what their rules declare, and what the rest cost.

Everything is read from the logs that a run leaves. Memory is the largest peak of a rule's jobs. The rest is the
processor time that is not work of a step: Snakemake, the warm server, the start of every job.
"""

import argparse
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isocenter import layout
from isocenter.costs import Cost, read_cost

_LAST = re.compile(r"isocenter: (\d+) jobs in ([\d.]+) s on (\d+) cores; ([\d.]+) s of processor time besides the jobs")


@dataclass(frozen=True)
class Overhead:
    """How a run's processor time, and the time of its cores, were spent [s]."""

    n_jobs: int
    seconds: float
    cores: int
    besides: float
    starts: float
    work: float
    busy: float

    @property
    def share(self) -> float:
        """The share of all processor time that was not work of a step; other load on the machine hardly changes it."""
        return (self.besides + self.starts) / (self.besides + self.starts + self.work)

    @property
    def idle_share(self) -> float:
        """The share of wall time x cores in which no step worked; right on a quiet machine only."""
        return 1 - self.busy / (self.seconds * self.cores)


def read_costs(trial: Path) -> dict[str, list[Cost]]:
    """The cost of every job by rule, most work first."""
    costs = defaultdict(list)
    for path in sorted((trial / layout.LOGS).rglob("*.log")):
        cost = read_cost(path)
        if cost:
            rule = path.relative_to(trial / layout.LOGS).parts[0].removesuffix(".log")
            costs[rule].append(cost)
    return dict(sorted(costs.items(), key=lambda item: -sum(cost.work for cost in item[1])))


def read_overhead(trial: Path) -> Overhead | None:
    """What the last run of a trial cost besides the work; None where it ran elsewhere or did not end."""
    path = trial / layout.LOGS / "run.log"
    found = _LAST.findall(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []
    if not found:
        return None
    n_jobs, seconds, cores, besides = found[-1]
    costs = [cost for group in read_costs(trial).values() for cost in group]
    return Overhead(
        n_jobs=int(n_jobs),
        seconds=float(seconds),
        cores=int(cores),
        besides=float(besides),
        starts=sum(cost.start_processor for cost in costs),
        work=sum(cost.work_processor for cost in costs),
        busy=sum(cost.work for cost in costs),
    )


def tabulate(costs: dict[str, list[Cost]]) -> str:
    """A Markdown table of `read_costs`."""
    lines = [
        "| rule | jobs | median start | median work | most memory | declared |",
        "|---|---|---|---|---|---|",
    ]
    for rule, group in costs.items():
        worst = max(group, key=lambda cost: cost.memory)
        declared = "" if worst.declared is None else f"{worst.declared:.0f} MB"
        lines.append(
            f"| `{rule}` | {len(group)} | {np.median([cost.start for cost in group]):.2f} s | "
            f"{np.median([cost.work for cost in group]):.2f} s | {worst.memory:.0f} MB | {declared} |"
        )
    return "\n".join(lines)


def describe(overhead: Overhead) -> str:
    """Two sentences about what a run cost besides the work."""
    return (
        f"{overhead.n_jobs} jobs in {overhead.seconds:.0f} s on {overhead.cores} cores. Processor time: "
        f"{overhead.work:.0f} s of work, {overhead.starts:.0f} s of starts, {overhead.besides:.0f} s of Snakemake and "
        f"the warm server: {100 * overhead.share:.1f} % besides the work. No step worked in "
        f"{100 * overhead.idle_share:.1f} % of the cores' time."
    )


def main(arguments: list[str] | None = None) -> int:
    """1 when a job took more memory than its rule declares; 2 when the folder holds no record of a run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("trial", type=Path, help="the folder of a trial that was run")
    trial = parser.parse_args(arguments).trial
    costs = read_costs(trial)
    if not costs:
        print(f"No job has told its cost in {trial / layout.LOGS}; run the trial first", file=sys.stderr)
        return 2
    print(tabulate(costs))
    overhead = read_overhead(trial)
    if overhead:
        print(f"\n{describe(overhead)}")
    return int(any(c.declared is not None and c.memory > c.declared for group in costs.values() for c in group))


if __name__ == "__main__":
    sys.exit(main())
