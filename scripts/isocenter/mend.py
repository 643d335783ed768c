"""Results that something cut short or took away behind our back: found by their sizes before a run, and made again.

Snakemake goes by times: a map that is missing under a report that stands is no work for it, and one that was cut short
looks new. The manifest knows how large each result was. What has grown or changed otherwise is left for
``isocenter verify`` to name: a person may have done it.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from isocenter import layout
from isocenter.manifest import PARTIAL, read_manifest
from isocenter.plan import Plan
from isocenter.step import BEGUN
from isocenter.unsettled import read_unsettled

#: Products of one run and biomarker, of one run, and of one site, that others are made from.
_PER_MAP = (layout.MAP, layout.MAP_STDERR, layout.MAP_FLAG, layout.FIT)
_PER_CALIBRATED = (layout.CALIBRATED, layout.CALIBRATED_STDERR, layout.CALIBRATED_FLAG)
_PER_RUN = (layout.ROIS, layout.RUN_EXCLUSIONS, layout.LABELS)
_PER_SITE = (layout.SCANS, layout.INTAKE_EXCLUSIONS, layout.VIALS, layout.CONTROL, layout.VERDICT)


def find_damaged(directory: Path, sites: Sequence[str] = ()) -> list[str]:
    """Results that are missing, or shorter than a run has recorded them, as paths from the trial's folder.

    sites : look only at what belongs to these sites
    """
    manifest = read_manifest(directory) or {}
    inside = _folders_of(sites)
    found = []
    for path, row in manifest.items():
        if not path.startswith(inside):
            continue
        file = directory / path
        if not file.is_file() or file.stat().st_size < row.size:
            found.append(path)
    return found


def find_unconverted(directory: Path, plan: Plan, sites: Sequence[str] = ()) -> list[str]:
    """Raw images that intake has told of and that are gone: no run recorded them, but jobs are planned from them.

    They are those of a participant who withdrew, which were deleted, and was taken back.
    """
    found: list[str] = []
    for site in sites or plan.sites:
        if not (directory / layout.fill(layout.SCANS, site=site)).is_file():
            continue
        for key, suffix in plan.acquisitions(site):
            raw = plan.raw_files(key.site, key.participant, key.session, key.run, suffix, with_phase=True)
            found += [path for path in raw if not (directory / path).is_file()]
    return found


def _folders_of(sites: Sequence[str]) -> tuple[str, ...]:
    """What paths of these sites begin with, and of what all share; of all sites where none is named."""
    if not sites:
        return ("",)
    return (f"{layout.TEMPLATE}/", *(f"{layout.fill(layout.SITE, site=site)}/" for site in sites))


def clear_damaged(directory: Path, plan: Plan, damaged: list[str], *, is_dry: bool = False) -> list[str]:
    """Delete what is left of damaged results; returns the products that a run must make again.

    is_dry : delete nothing

    Only products that the plan still has: what belongs to a run that was left out since then is no product.
    """
    delete = _keep if is_dry else _delete
    again: dict[str, None] = {}
    products = _list_products(plan) if damaged else set()
    for path in damaged:
        for product in _products_of(path):
            if product in products:
                delete(directory / product)
                again[product] = None
                break
        else:
            if path.startswith(f"{layout.TEMPLATE}/"):
                delete(directory / layout.TEMPLATE)
                again[layout.TEMPLATE] = None
            elif (site := _site_of_bids(path)) and site in plan.sites:
                # Intake keeps what it has read; without its memory it converts the series again.
                delete(directory / layout.fill(layout.INTAKE_INDEX, site=site))
                scans = str(layout.fill(layout.SCANS, site=site))
                delete(directory / scans)
                again[scans] = None
            elif path.startswith(f"{Path(layout.REPORT).parent}/"):
                delete(directory / layout.REPORT)
                again[layout.REPORT] = None
    return list(again)


def clear_unsettled(directory: Path, plan: Plan, sites: Sequence[str] = (), *, is_dry: bool = False) -> list[str]:
    """Delete results that held only until now (`isocenter.unsettled`); returns the products to make again.

    sites : look only at what belongs to these sites
    is_dry : delete nothing

    The mark stays until the job has settled it; that of a result which is no longer planned goes.
    """
    marks = read_unsettled(directory)
    products = _list_products(plan) if marks else set()
    again = []
    for mark, outputs in marks.items():
        if not any(path.startswith(_folders_of(sites)) for path in outputs):
            continue  # of a site that this run leaves alone
        mine = [path for path in outputs if path in products]
        for path in mine if not is_dry else ():
            _delete(directory / path)
        if not mine and not is_dry:
            mark.unlink(missing_ok=True)
        again += mine
    return again


def sweep_partials(directory: Path) -> None:
    """Delete what a process that was killed had begun to write; nobody else works on the trial."""
    for folder, _, names in os.walk(directory / layout.RESULTS):
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL):
                if name.endswith(BEGUN):
                    shutil.rmtree(os.path.join(folder, name[1:].removesuffix(BEGUN)), ignore_errors=True)
                os.unlink(os.path.join(folder, name))


def _products_of(path: str) -> Iterator[str]:
    """The file itself, the image that a sidecar describes, the folder that a rule makes as a whole."""
    yield path
    if path.endswith(".json"):
        yield path.removesuffix(".json") + ".nii.gz"
    yield str(Path(path).parent)


def _list_products(plan: Plan) -> set[str]:
    sites = [site for site in plan.sites if layout.fill(layout.SCANS, site=site).is_file()]
    found = {str(layout.fill(pattern, site=site)) for site in plan.sites for pattern in _PER_SITE}
    for site in sites:
        for pattern in _PER_MAP:
            found.update(plan.per_map(pattern, site=site), plan.per_map(pattern, site=site, phantom=True))
        for pattern in _PER_CALIBRATED:
            found.update(path for path in plan.per_map(pattern, site=site) if _is_calibrated(plan, path))
        for pattern in _PER_RUN:
            found.update(plan.per_run(pattern, site=site))
        found.update(plan.per_aligned(layout.ALIGNED, site=site), plan.site_calibrations(site))
        found.update(plan.per_corrected(layout.UNDISTORTED, site=site))
    return found


def _is_calibrated(plan: Plan, path: str) -> bool:
    name = path.removesuffix(".nii.gz").rpartition("_")[2]
    return plan.is_calibrated(plan.biomarker_of_map(name))


def _site_of_bids(path: str) -> str:
    for part in Path(path).parts[2:3]:
        if path.startswith(f"{layout.fill(layout.BIDS, site=part)}/"):
            return part
    return ""


def _keep(path: Path) -> None:
    """Delete nothing."""


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
