"""``python -m benchmarks.stages TRIAL``: how long each stage of a run took, by Snakemake's own records.

The table is Markdown, for docs/performance.md. Times are those of the last run of each job.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np


def read_jobs(trial: Path) -> dict[str, list[float]]:
    """Seconds of every job by rule, slowest rule first. A job has a record for each of its outputs, and one log."""
    spans: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for path in (trial / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            record = json.loads(path.read_text(encoding="utf-8"))
            spans[record["rule"], *record["log"]] += [record["starttime"], record["endtime"]]
    seconds = defaultdict(list)
    for (rule, *_), times in spans.items():
        seconds[rule].append(max(times) - min(times))
    return dict(sorted(seconds.items(), key=lambda item: -sum(item[1])))


def tabulate(seconds: dict[str, list[float]]) -> str:
    """A Markdown table of `read_jobs`."""
    whole = sum(sum(times) for times in seconds.values())
    lines = [
        "| stage | jobs | seconds, all jobs | share | median job | slowest job |",
        "|---|---|---|---|---|---|",
    ]
    for rule, times in seconds.items():
        lines.append(
            f"| `{rule}` | {len(times)} | {sum(times):.1f} | {100 * sum(times) / whole:.0f} % | "
            f"{np.median(times):.2f} s | {max(times):.2f} s |"
        )
    lines.append(f"| all | {sum(map(len, seconds.values()))} | {whole:.1f} | | | |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """2 when the folder holds no record of a run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("trial", type=Path, help="the folder of a trial that was run")
    trial = parser.parse_args(arguments).trial
    seconds = read_jobs(trial)
    if not seconds:
        print(f"No run is on record in {trial / '.snakemake' / 'metadata'}; run the trial first", file=sys.stderr)
        return 2
    print(tabulate(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
