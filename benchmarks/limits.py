"""``python -m benchmarks.limits TRIAL``: run a trial with every job held to the memory that its rule declares.

The kernel holds it: each job is in a control group of its own, as on a cluster that enforces memory, with the two
Snakemakes that such a job starts before its step; with ``--groups`` jobs go together as the profile for Slurm says. A
MB is a million bytes here, and 2**20 on a cluster. Needs root.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.control_group import ControlGroup
from benchmarks.costs import read_costs
from isocenter.documents import read_plain
from isocenter.profiles import PROFILES
from isocenter.runner import SNAKEFILE, run_workflow

EXECUTOR = Path(__file__).with_name("limited")
#: The file of uses, in the trial's folder; the variable that tells the executor of it.
RECORDS, VARIABLE = "limits.jsonl", "ISOCENTER_LIMITS"
#: A job that has less of its memory left has too little: another machine's libraries take more.
ROOM = 0.2


@dataclass(frozen=True)
class Use:
    """What one job, or a group of them, took of the memory [MB] that it declared, and how it ended."""

    rule: str
    declared: float
    peak: float
    killed: int
    status: int
    seconds: float

    @property
    def room(self) -> float:
        """The share of its memory that it left."""
        return 1 - self.peak / self.declared


def run_within_limits(trial: Path, options: Sequence[str] = (), snakefile: Path = SNAKEFILE) -> int:
    """Run what is missing of a trial; the exit code of Snakemake."""
    above = EXECUTOR.parent.parent
    paths = [str(EXECUTOR), str(above), str(above / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ[VARIABLE] = str(trial / RECORDS)
    options = ["--workflow-profile", str(EXECUTOR), *options]
    return run_workflow(trial, options=options, snakefile=snakefile).returncode


def group_options() -> list[str]:
    """The groups of the profile for Slurm, their jobs one after the other, as options of Snakemake."""
    profile = read_plain(PROFILES / "slurm" / "config.yaml")
    pairs = [[f"{key}={value}" for key, value in profile[name].items()] for name in ("groups", "group-components")]
    return ["--cores", str(profile["cores"]), "--groups", *pairs[0], "--group-components", *pairs[1]]


def read_uses(trial: Path) -> dict[str, list[Use]]:
    """What the jobs of every run took, by rule."""
    uses = defaultdict(list)
    for line in (trial / RECORDS).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        rule = ", ".join(record.pop("rules"))
        uses[rule].append(Use(rule, **record))
    return dict(sorted(uses.items()))


def tabulate(trial: Path) -> str:
    """A Markdown table: of each rule the job that left the smallest share of its memory."""
    steps = {rule: max(cost.memory for cost in costs) for rule, costs in read_costs(trial).items()}
    lines = [
        "| rule | jobs | the step alone | the job | declared | left | killed |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule, uses in read_uses(trial).items():
        worst = min(uses, key=lambda use: use.room)
        alone = max(steps.get(name, 0) for name in rule.split(", "))
        lines.append(
            f"| `{rule}` | {len(uses)} | {alone:.0f} MB | {worst.peak:.0f} MB | "
            f"{worst.declared:.0f} MB | {100 * worst.room:.0f} % | {sum(use.killed for use in uses)} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """1 when a job was ended or came within `ROOM` of its limit, 2 when this machine lets nobody limit memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("trial", type=Path, help="the folder of a trial; what it has no results of is run")
    parser.add_argument("--groups", action="store_true", help="jobs in groups, as the profile for Slurm sends them")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="of Snakemake, after --")
    given = parser.parse_args(arguments)
    trial = given.trial.resolve()
    try:
        ControlGroup(f"isocenter-{os.getpid()}-try", limit=10**8).__exit__()
    except OSError as error:
        print(f"This machine lets nobody limit the memory of a process here ({error}); be root there", file=sys.stderr)
        return 2
    status = run_within_limits(trial, [*(group_options() if given.groups else []), *given.options])
    print(tabulate(trial))
    uses = [use for group in read_uses(trial).values() for use in group]
    return int(status != 0 or any(use.killed or use.room < ROOM for use in uses))


if __name__ == "__main__":
    sys.exit(main())
