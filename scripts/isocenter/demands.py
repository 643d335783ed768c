"""What each rule asks of a machine: memory and time, which local runs add up and clusters hold a job to.

The numbers are from measured peaks (docs/performance.md, ``python -m benchmarks.limits``, ``large_jobs``), rounded up
with room to spare. A rule's memory has a part for the program and its libraries, the two Snakemakes of a job on a
cluster among them, and a part for what it reads. Compressed images count by their voxels and not by what they take
on disk, where air of zeros is next to nothing. At its second try a job gets twice as much, at its third three times.
"""

import math
import os
import struct
import zlib
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
        More for each megabyte of its inputs: images as single precision holds them, other files as they lie on disk.
    minutes : int [min]
        After which a cluster may take it for hung.
    one_at_a_time : bool
        It reads its inputs one after another, so that only the largest counts, not the sum of a whole trial's.
    """

    memory: int
    per_input: float
    minutes: int
    one_at_a_time: bool = False


DEMANDS = {
    "align_series": Demand(1000, 18, 60),
    "calibrate_map": Demand(700, 10, 20),
    "chart_control": Demand(700, 10, 20),
    "check_site": Demand(700, 10, 20),
    "choose_pulses": Demand(1200, 12, 60),
    "compute_statistics": Demand(1500, 20, 240),
    "correct_distortion": Demand(1000, 18, 60),
    "describe_derivatives": Demand(700, 10, 20),
    "export_statistics": Demand(1000, 20, 60),
    "extract_rois": Demand(700, 5, 20),
    "fit_calibration": Demand(700, 10, 20),
    "fit_map": Demand(1000, 8, 60),
    "index_site": Demand(1500, 10, 720),
    "make_phantom_page": Demand(1000, 10, 20),
    "make_report": Demand(2000, 20, 240, one_at_a_time=True),
    "make_template": Demand(2000, 0, 20),
    "mark_gradient": Demand(700, 10, 20),
    "measure_shim": Demand(700, 10, 20),
    "measure_vials": Demand(1200, 12, 60),
    "place_map": Demand(1000, 18, 60),
    "pool_measurements": Demand(1000, 20, 60),
    "pool_vials": Demand(700, 10, 20),
    "record_site": Demand(700, 0, 20),
    "transfer_labels": Demand(1500, 6, 60),
}


def memory(rule: str) -> Callable[..., int]:
    """What a rule gives Snakemake as its ``mem_mb``: a function of a job's inputs and of the number of the try."""
    demand = find_demand(rule)

    def ask(wildcards: Any, input: Iterable[str], attempt: int) -> int:
        size = max((size_of([path]) for path in input), default=0) if demand.one_at_a_time else size_of(input)
        return math.ceil((demand.memory + demand.per_input * size) * attempt)

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
    """Megabytes of files, those in folders included, images in single precision; what does not exist yet is nothing."""
    return sum(_bytes_of(str(path)) for path in paths) / 1e6


def _bytes_of(path: str) -> int:
    try:
        if os.path.isdir(path):
            return sum(_bytes_of(entry.path) for entry in os.scandir(path) if entry.is_file())
        return (path.endswith(".nii.gz") and _bytes_of_image(path)) or os.path.getsize(path)
    except OSError:
        return 0


def _bytes_of_image(path: str) -> int:
    """Four bytes a voxel, by the NIfTI header that a compressed file begins with; 0 where it has none."""
    with open(path, "rb") as file:
        begin = file.read(1024)
    try:
        header = zlib.decompressobj(wbits=31).decompress(begin, 56)
        order = "<" if 1 <= struct.unpack_from("<h", header, 40)[0] <= 7 else ">"
        axes, *shape = struct.unpack_from(f"{order}8h", header, 40)
    except (zlib.error, struct.error):
        return 0
    return 4 * math.prod(shape[:axes]) if 1 <= axes <= 7 and min(shape[:axes]) > 0 else 0
