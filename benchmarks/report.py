"""The tables that a person reads."""

import os
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Measurement
from benchmarks.peer_runs import PeerRun
from benchmarks.task import Task

#: Asked of every task.
LARGEST_DIFFERENCE = 1e-3
LARGEST_ROBUST_COST = 8.0
LEAST_SAMPLES_ROBUST = 6


def show(
    console: Console, tasks: Sequence[Task], found: dict[str, Measurement], runs: dict[str, list[PeerRun]]
) -> None:
    """Speed, accuracy, roofline and peers, one table each."""
    titles = {task.name: task.title for task in tasks}
    for table in (
        _speed(titles, found),
        _accuracy(titles, found),
        _roofline(titles, found),
        _peers(tasks, found, runs),
    ):
        console.print(table)
    load = os.getloadavg()[0]
    console.print(f"Load of the machine over the last minute: {load:.1f} on {os.cpu_count()} cores.", style="dim")


def verdict(is_met: bool) -> str:
    """A bar that is met or missed, in words and color."""
    return "[green]met[/]" if is_met else "[red]missed[/]"


def _speed(titles: dict[str, str], found: dict[str, Measurement]) -> Table:
    table = Table(title="Speed: value, standard error and flag of every voxel", title_justify="left")
    table.add_column("task")
    for name in ("ours [voxels/s]", "scipy [voxels/s]", "ratio", "bar", "", "robust / plain", ""):
        table.add_column(name, justify="right")
    for name, title in titles.items():
        if name not in found:
            table.add_row(title, "not built yet")
            continue
        m = found[name]
        robust = ("refused", "") if np.isnan(m.robust_cost) else (f"{m.robust_cost:.1f}", _robust_verdict(m))
        ratio = (f"{m.ratio:,.0f}", f"{m.bar:,.0f}", verdict(m.ratio >= m.bar))
        table.add_row(title, _count(m.ours), _count(m.scipy), *ratio, *robust)
    return table


def _robust_verdict(m: Measurement) -> str:
    return verdict(m.robust_cost <= LARGEST_ROBUST_COST) if m.samples >= LEAST_SAMPLES_ROBUST else ""


def _accuracy(titles: dict[str, str], found: dict[str, Measurement]) -> Table:
    table = Table(title="Accuracy on the same voxels, of the first parameter", title_justify="left")
    table.add_column("task")
    columns = (
        "median |ours - scipy|",
        "95 %",
        "worse optimum",
        "our error",
        "scipy's",
        "bias",
        "coverage",
        "with value",
    )
    for name in columns:
        table.add_column(name, justify="right")
    for name, m in found.items():
        is_same = m.difference < LARGEST_DIFFERENCE
        table.add_row(
            titles[name],
            f"[{'green' if is_same else 'red'}]{m.difference:.1e}[/]",
            f"{m.difference_95:.1e}",
            f"{m.worse:.1%}",
            f"{m.error:.2%}",
            f"{m.scipy_error:.2%}",
            f"{m.bias:+.2%}",
            f"{m.coverage:.1%}",
            f"{m.ok:.1%}",
        )
    return table


def _roofline(titles: dict[str, str], found: dict[str, Measurement]) -> Table:
    table = Table(title="Distance to what cannot be avoided", title_justify="left")
    table.add_column("task")
    for name in ("our time [us]", "exponentials and memory [us]", "share", "four predictions [us]", "share"):
        table.add_column(name, justify="right")
    for name, m in found.items():
        seconds = 1 / m.ours
        floor = (f"{m.floor * 1e6:.3f}", f"{m.floor_share:.1%}")
        prediction = (f"{m.prediction_share * seconds * 1e6:.3f}", f"{m.prediction_share:.0%}")
        table.add_row(titles[name], f"{seconds * 1e6:.3f}", *floor, *prediction)
    return table


def _peers(tasks: Sequence[Task], found: dict[str, Measurement], runs: dict[str, list[PeerRun]]) -> Table:
    table = Table(title="Other packages, each in its own environment", title_justify="left")
    for name in ("task", "package"):
        table.add_column(name)
    for name in ("voxels/s", "ours, times", "bar", "", "its median error"):
        table.add_column(name, justify="right")
    table.add_column("note", max_width=44)
    for task in tasks:
        for run in runs.get(task.name, []):
            label = f"{run.peer} {run.version}".strip()
            if run.speed is None:
                table.add_row(task.title, label, run.note)
                continue
            ratio = found[task.name].ours / run.speed
            bar = task.peer_bars.get(run.peer)
            judged = ("", "") if bar is None else (f"{bar:,.0f}", verdict(ratio >= bar))
            table.add_row(task.title, label, _count(run.speed), f"{ratio:,.0f}", *judged, f"{run.error:.2%}", run.note)
    return table


def _count(speed: float) -> str:
    return f"{speed:,.0f}"
