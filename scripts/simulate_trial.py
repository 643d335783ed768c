"""Simulate a multicenter trial as DICOM, with its truth beside it.

Writes ``DIR/sites/<site>/{site.yaml, participants.tsv, dicom/}`` for every site, ``rois/`` where a site outlines its
regions itself, and ``DIR/demo-truth/``. The same seed gives the same bytes, however many workers share the work.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from isocenter import layout
from isocenter.dicom.write_damage import damage_trial
from isocenter.dicom.write_trial import WrittenSeries, write_trial
from isocenter.documents import read_document, read_phantom
from isocenter.errors import ConfigError, explain
from isocenter.io.nifti import write_bytes, write_image, write_json
from isocenter.io.tables import write_table
from isocenter.phantom.library import load_phantom
from isocenter.simulation import truth
from isocenter.simulation.design import design_trial
from isocenter.simulation.settings import SimulationSettings, read_settings
from isocenter.simulation.site_files import MARK, format_participants, format_site_yaml
from isocenter.simulation.techniques import ARMS
from isocenter.step import In, run_step

TRUTH = "demo-truth"
SETTINGS = "settings.json"
#: The sizes of the two demonstrations: the plain one, and the one with every arm, smaller for it scans more.
PLAIN: dict[str, Any] = {}
FULL: dict[str, Any] = {"participants": 3, "options": {"arms": list(ARMS)}}


def simulate_trial(
    phantom: In,
    *,
    directory: Path,
    seed: int = SimulationSettings.seed,
    sites: int = SimulationSettings.sites,
    participants: int = SimulationSettings.participants,
    sessions: int = SimulationSettings.sessions,
    workers: int = 1,
    options: dict[str, Any] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Simulate a trial into `directory`; DICOM and truth of an earlier simulation there are replaced.

    phantom : the phantom's definition, a file of ``config/phantoms/``
    options : further fields of `SimulationSettings`
    on_progress : called with (series done, series in all, patient ID)

    Raises ConfigError where the folder holds a site that no simulation wrote: its images are somebody's own.
    """
    directory = Path(directory)
    settings = read_settings(seed=seed, sites=sites, participants=participants, sessions=sessions, **(options or {}))
    library = load_phantom(read_phantom(Path(phantom)))
    design = design_trial(settings)
    _refuse_own_sites(directory, {site.name for site in design.sites})

    shutil.rmtree(directory / TRUTH, ignore_errors=True)
    folders = {}
    for site in design.sites:
        folders[site.name] = directory / layout.fill(layout.SITE_FOLDER, site=site.name) / "dicom"
        for folder in (folders[site.name], folders[site.name].parent / "rois"):
            shutil.rmtree(folder, ignore_errors=True)
        for pattern, text in (
            (layout.SITE_YAML, format_site_yaml(site, settings)),
            (layout.PARTICIPANTS, format_participants(site, design)),
        ):
            write_bytes(directory / layout.fill(pattern, site=site.name), text.encode())

    written = write_trial(design, library, folders, workers=workers, on_progress=on_progress)
    bad = damage_trial(design.bad, written, folders)

    for series in written:
        _write_drawn_regions(directory, series)

    folder = directory / TRUTH
    write_table(folder / "roi_truth.tsv", truth.tabulate_regions(row for w in written for row in w.regions))
    write_table(folder / "vial_truth.tsv", truth.tabulate_vials(row for w in written for row in w.vials))
    write_table(folder / "ruler.tsv", truth.tabulate_rulers(design))
    write_table(folder / "bad.tsv", truth.tabulate_bad_things(bad))
    write_json(folder / SETTINGS, settings.to_dict())  # last, for its presence says that the trial is whole


def _refuse_own_sites(directory: Path, simulated: set[str]) -> None:
    folders = {directory / layout.fill(layout.SITE_FOLDER, site=name) for name in simulated}
    for folder in sorted(folders | {path.parent for path in directory.glob(layout.SITE_YAML.format(site="[!_]*"))}):
        described = directory / layout.fill(layout.SITE_YAML, site=folder.name)
        if described.is_file():
            is_own = not described.read_text(encoding="utf-8", errors="replace").startswith(MARK)
        else:
            is_own = folder.is_dir() and any(folder.iterdir())
        if is_own:
            raise ConfigError(
                explain(
                    "This folder holds a site that no simulation wrote; nothing was touched",
                    where=str(folder),
                    expected="an empty folder, or an earlier simulation",
                    remedy="simulate into another folder: isocenter simulate DIR, or isocenter demo --directory DIR",
                )
            )


def _write_drawn_regions(directory: Path, series: WrittenSeries) -> None:
    """The segmentation that a site sends with a series, and the names of its labels."""
    if series.drawn is None:
        return
    plan = series.plan
    path = directory / layout.fill(
        layout.SENT_REGIONS,
        site=plan.site.name,
        participant=plan.participant,
        session=plan.session,
        run=plan.run,
        suffix=plan.suffix,
    )
    write_image(path, series.drawn.labels, series.drawn.affine)
    names = pd.DataFrame({"index": range(1, len(series.drawn.names) + 1), "name": series.drawn.names})
    write_table(path.with_name(path.name.replace(".nii.gz", ".tsv")), names)


def place_config(directory: Path, source: Path, *, full: bool) -> None:
    """Give a demonstration's folder a copy of the config folder `source`, unless it has one; the full one's own file.

    Raises ConfigError where the full demonstration would run under the config of another trial.
    """
    target = Path(directory) / layout.CONFIG
    wanted = source / ("full.yaml" if full else target.name)
    if not target.parent.exists():
        shutil.copytree(source, target.parent)
        shutil.copyfile(wanted, target)
    elif full and not set(ARMS) <= set(read_document(target, "config", name=layout.CONFIG)["biomarkers"]):
        raise ConfigError(
            explain(
                "This folder holds another trial",
                where=str(target),
                expected=f"a config that selects {', '.join(ARMS)}",
                remedy="name an empty folder with --directory",
            )
        )


def is_simulated(directory: Path, *, options: dict[str, Any] | None = None, **arguments: Any) -> bool:
    """Whether `directory` holds the whole trial that `simulate_trial` would write with these arguments."""
    try:
        directory = Path(directory)
        found = json.loads((directory / TRUTH / SETTINGS).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    settings = read_settings(**arguments, **(options or {}))
    if found != json.loads(json.dumps(settings.to_dict())):
        return False
    sites = [directory / layout.fill(layout.SITE_FOLDER, site=site.name) for site in design_trial(settings).sites]
    return all((site / "site.yaml").is_file() and (site / "dicom").is_dir() for site in sites)


if __name__ == "__main__":
    run_step(simulate_trial, globals())
