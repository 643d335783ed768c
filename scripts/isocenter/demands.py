"""What each rule asks of a machine: memory and time, which local runs add up and clusters hold a job to.

The numbers are from measured peaks (docs/performance.md, ``python -m benchmarks.costs``), rounded up with room to
spare. A rule's memory has a part for the program and its libraries and a part for what it reads. Image files are
compressed, so that a megabyte read is several in memory, and more of air than of noise. At its second try a job gets
twice as much, at its third three times.
"""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from isocenter.errors import ConfigError, explain


@dataclass(frozen=True)
class Demand:
    """The demand of one job of a rule at its first try.

    Attributes
    ----------
    memory : int [MB]
        Whatever it reads.
    per_input : float [MB/MB]
        More for each megabyte of its input files, as they lie on disk.
    minutes : int [min]
        After which a cluster may take it for hung.
    """

    memory: int
    per_input: float
    minutes: int


DEMANDS = {
    "align_series": Demand(1000, 60, 60),
    "calibrate_map": Demand(700, 20, 20),
    "chart_control": Demand(700, 10, 20),
    "check_site": Demand(700, 10, 20),
    "choose_pulses": Demand(1200, 40, 60),
    "compute_statistics": Demand(1500, 20, 240),
    "correct_distortion": Demand(1000, 60, 60),
    "describe_derivatives": Demand(700, 10, 20),
    "export_statistics": Demand(1000, 20, 60),
    "extract_rois": Demand(700, 20, 20),
    "fit_calibration": Demand(700, 10, 20),
    "fit_map": Demand(1000, 20, 60),
    "index_site": Demand(1500, 10, 720),
    "make_phantom_page": Demand(1000, 10, 20),
    "make_report": Demand(2000, 5, 240),
    "make_template": Demand(2000, 0, 20),
    "mark_gradient": Demand(700, 20, 20),
    "measure_shim": Demand(700, 20, 20),
    "measure_vials": Demand(1200, 40, 60),
    "place_map": Demand(1000, 60, 60),
    "pool_measurements": Demand(1000, 20, 60),
    "pool_vials": Demand(700, 10, 20),
    "record_site": Demand(700, 10, 20),
    "transfer_labels": Demand(1500, 60, 60),
}


def memory(rule: str) -> Callable[..., int]:
    """What a rule gives Snakemake as its ``mem_mb``: a function of a job's inputs and of the number of the try."""
    demand = find_demand(rule)

    def ask(wildcards: Any, input: Iterable[str], attempt: int) -> int:
        return math.ceil((demand.memory + demand.per_input * size_of(input)) * attempt)

    return ask


def runtime(rule: str) -> Callable[..., int]:
    """What a rule gives Snakemake as its ``runtime`` [min]: more at each try."""
    demand = find_demand(rule)

    def ask(wildcards: Any, attempt: int) -> int:
        return demand.minutes * attempt

    return ask


def find_demand(rule: str) -> Demand:
    """The demand of a rule; ConfigError where nobody has measured it."""
    if rule not in DEMANDS:
        known = ", ".join(sorted(DEMANDS))
        raise ConfigError(
            explain("This rule declares no memory and time", expected=known, found=rule, remedy="add it to DEMANDS")
        )
    return DEMANDS[rule]


def size_of(paths: Iterable[str]) -> float:
    """Megabytes of files, those in folders included; what does not exist yet counts nothing."""
    return sum(_bytes_of(str(path)) for path in paths) / 1e6


def _bytes_of(path: str) -> int:
    try:
        if os.path.isdir(path):
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return os.path.getsize(path)
    except OSError:
        return 0
