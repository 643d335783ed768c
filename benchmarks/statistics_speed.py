"""Time of all statistics of many metrics on a large trial.

    python -m benchmarks.statistics_speed --metrics 1000 --workers 2

The trial: 20 sites × 50 traveling participants × 3 sessions × 2 repeats, 6,000 values a metric; `--missing` loses runs
at random, `--nested` gives each site its own participants. Prints seconds for the whole analysis, from the table in
memory to all tables; reading and writing are timed beside it with `--files FOLDER`.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from isocenter.statistics.analyze import analyze_table

SITES, PEOPLE, SESSIONS, REPEATS = 20, 50, 3, 2


def make_table(metrics: int, missing: float, nested: bool, seed: int = 1) -> pd.DataFrame:
    """A long table of all metrics; labels are categories, values differ from metric to metric."""
    rng = np.random.default_rng(seed)
    shape = (PEOPLE, SITES, SESSIONS, REPEATS)
    person, site, session, run = (index.ravel() for index in np.indices(shape))
    n = len(person)
    person = person + PEOPLE * site if nested else person
    values = []
    for _ in range(metrics):
        y = 100 + rng.normal(0, 5, PEOPLE * SITES)[person] + rng.normal(0, 2, SITES)[site]
        cell = rng.normal(0, 1, shape[:2])[..., None, None] + rng.normal(0, 1, shape[:3])[..., None]
        values.append(y + (cell + rng.normal(0, 1, shape)).ravel())
    names = [f"metric{k:04d}" for k in range(metrics)]

    def label(codes, texts):
        return pd.Categorical.from_codes(np.tile(codes, metrics), texts)

    table = pd.DataFrame(
        {
            "participant_id": label(person, [f"P{k:04d}" for k in range(PEOPLE * (SITES if nested else 1))]),
            "site": label(site, [f"site{k:02d}" for k in range(SITES)]),
            "session": label(session, ["01", "02", "03"]),
            "run": label(run, ["1", "2"]),
            "biomarker": pd.Categorical.from_codes(np.repeat(np.arange(metrics), n), names),
            "value": np.concatenate(values),
        }
    )
    return table[rng.random(len(table)) >= missing].reset_index(drop=True) if missing else table


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--missing", type=float, default=0.0)
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--files", type=Path, help="also time `isocenter stats` from a Parquet file, written here")
    options = parser.parse_args()
    table = make_table(options.metrics, options.missing, options.nested)

    def show(done: int, total: int) -> None:
        if done % max(1, total // 20) == 0:
            print(f"{done}/{total} after {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)

    start = time.perf_counter()
    tables = analyze_table(table, workers=options.workers, on_progress=show)
    seconds, rows = time.perf_counter() - start, sum(map(len, tables.values()))
    print(
        f"{options.metrics} metrics, {len(table):,} values, {options.workers} workers: {seconds:.1f} s, {rows:,} rows"
    )
    if options.files:
        from isocenter.stats_command import analyze_file

        options.files.mkdir(parents=True, exist_ok=True)
        table.to_parquet(options.files / "table.parquet")
        start = time.perf_counter()
        analyze_file(options.files / "table.parquet", options.files / "out", workers=options.workers, on_progress=show)
        print(f"isocenter stats, file to files: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
