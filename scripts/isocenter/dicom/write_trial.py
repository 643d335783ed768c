"""Write a whole simulated trial: every series in its site's dialect, by as many workers as there are.

Each series draws from random streams of its own, so the order of the work and the number of workers change no byte.
"""

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isocenter.dicom.write import write_series
from isocenter.dicom.write_headers import find_affine
from isocenter.phantom.library import Phantom
from isocenter.simulation.design import Acquisition, TrialDesign
from isocenter.simulation.head import Tissues, build_head
from isocenter.simulation.scanner import simulate_body, simulate_head, simulate_phantom
from isocenter.simulation.settings import SimulationSettings
from isocenter.simulation.techniques import TECHNIQUES
from isocenter.simulation.template import load_tissues
from isocenter.simulation.truth import RegionTruth, VialRow, list_region_truth, list_vial_truth

#: What the jobs of one process share; set by `_prepare`.
_shared: dict[str, Any] = {}


@dataclass(frozen=True)
class DrawnRegions:
    """A segmentation that a site sends. names : of labels 1, 2, …; labels : (x, y, z) uint8 array; affine : (4, 4)."""

    names: tuple[str, ...]
    labels: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class WrittenSeries:
    """One series on disk, and what was true in it."""

    plan: Acquisition
    files: list[Path]
    regions: list[RegionTruth]
    vials: list[VialRow]
    drawn: DrawnRegions | None = None


def write_trial(
    design: TrialDesign,
    phantom: Phantom,
    folders: Mapping[str, Path],
    *,
    workers: int = 1,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> list[WrittenSeries]:
    """Simulate and write all series of a trial.

    folders : the DICOM folder of each site
    on_progress : called with (series done, series in all, patient ID) after each volunteer's session and phantom
    """
    jobs: dict[tuple[str, str], list[Acquisition]] = {}
    for plan in design.acquisitions:
        key = (plan.patient_id, "" if plan.kind == "phantom" else plan.session)
        jobs.setdefault(key, []).append(plan)
    has_heads = any(plan.kind != "phantom" for plan in design.acquisitions)
    shared = (design.settings, load_tissues() if has_heads else None, phantom, dict(folders))
    written: dict[tuple[str, ...], WrittenSeries] = {}
    for patient_id, batch in _run_jobs(jobs, shared, workers):
        written |= {series.plan.key: series for series in batch}
        if on_progress:
            on_progress(len(written), len(design.acquisitions), patient_id)
    return [written[plan.key] for plan in design.acquisitions]


def _run_jobs(jobs: dict, shared: tuple, workers: int) -> Iterator[tuple[str, list[WrittenSeries]]]:
    """Who was simulated and what was written, in the order in which the jobs end."""
    if workers <= 1:
        _prepare(*shared)
        for (patient_id, _), plans in jobs.items():
            yield patient_id, _write_job(plans)
        return
    # Fresh processes: forking a program that has threads (a progress bar) can deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_prepare, initargs=shared) as pool:
        futures = {pool.submit(_write_job, plans): patient_id for (patient_id, _), plans in jobs.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _prepare(settings: SimulationSettings, tissues: Tissues | None, phantom: Phantom, folders: dict[str, Path]) -> None:
    """Keep in this process what all its jobs share."""
    _shared.update(settings=settings, phantom=phantom, folders=folders)
    # Sessions of one volunteer follow each other, and a head takes a second to build.
    _shared["head"] = functools.lru_cache(maxsize=1)(lambda participant: build_head(tissues, participant, settings))


def _write_job(plans: list[Acquisition]) -> list[WrittenSeries]:
    """Simulate and write all series of one volunteer's session or of one phantom."""
    settings = _shared["settings"]
    written = []
    for plan in plans:
        if plan.kind == "phantom":
            series = simulate_phantom(plan, _shared["phantom"], settings)
        elif not plan.is_derived and TECHNIQUES[plan.suffix].organ != "brain":
            series = simulate_body(plan, settings)
        else:
            series = simulate_head(plan, _shared["head"](plan.participant), settings)
        files = write_series(_shared["folders"][plan.site.name], plan, series)
        regions, vials = list_region_truth(plan, series), list_vial_truth(plan, series)
        drawn = DrawnRegions(tuple(series.drawn), _stack(series.drawn), find_affine(series)) if series.drawn else None
        written.append(WrittenSeries(plan, files, regions, vials, None if plan.lacks_regions else drawn))
    return written


def _stack(drawn: dict[str, np.ndarray]) -> np.ndarray:
    """One label image of all regions, numbered from 1 in their order."""
    labels = np.zeros(next(iter(drawn.values())).shape, np.uint8)
    for number, region in enumerate(drawn.values(), start=1):
        labels[region] = number
    return labels
