"""``python -m benchmarks``: measure every task, or some, and print what was found."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from benchmarks.measure import QUICK, TINY, Effort, measure
from benchmarks.peer_runs import run_peers
from benchmarks.report import show
from benchmarks.task import load_tasks


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; 2 when a task's name is unknown."""
    tasks = load_tasks()
    names = [task.name for task in tasks]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer voxels and rounds: a first look")
    parser.add_argument("--tiny", action="store_true", help="a handful of voxels: whether it runs at all")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=", ".join(names))
    parser.add_argument("--threads", type=int, default=2, help="threads of ours (default 2)")
    parser.add_argument(
        "--peers", action="append", default=[], metavar="PYTHON", help="interpreter that has other packages; repeatable"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="JSON into a file beside the tables, or instead of them"
    )
    given = parser.parse_args(arguments)
    effort = TINY if given.tiny else QUICK if given.quick else Effort()
    effort = replace(effort, threads=given.threads)
    notes = Console(stderr=True)
    found, runs = {}, {}
    tasks = [task for task in tasks if not given.only or task.name in given.only]
    for task in tasks:
        bound = task.bind()
        if bound is None:
            notes.print(f"{task.title}: not built yet", style="dim")
            continue
        notes.print(f"{task.title} ...", style="dim")
        found[task.name] = measure(task, bound, effort)
        runs[task.name] = run_peers(task, bound, given.peers, snr=effort.snr, share=effort.scipy_share)
        found[task.name].peers = [asdict(run) for run in runs[task.name]]
    if given.json:
        absent = [task.name for task in tasks if task.name not in found]
        text = json.dumps({"tasks": [m.as_dict() for m in found.values()], "not_built_yet": absent}, indent=2)
        if given.json == "-":
            print(text)
        else:
            Path(given.json).write_text(text + "\n", encoding="utf-8")
    if given.json != "-":
        # A file has no width of its own; the tables need this much.
        console = Console() if sys.stdout.isatty() else Console(width=150)
        show(console, tasks, found, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
