"""What of a trial is to be exported, where to, and what became of it. Paths are relative to the trial's folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isocenter import layout
from isocenter.entities import RunKey
from isocenter.errors import ConfigError, explain
from isocenter.plan import Plan


@dataclass(frozen=True)
class Selection:
    """Sites, participants and biomarkers to export; all of them where nothing is named."""

    sites: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    biomarkers: tuple[str, ...] = ()


@dataclass
class Exported:
    """The files written, and what was left out: what, and why."""

    files: list[Path] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def check_selection(plan: Plan, selection: Selection) -> Selection:
    """The selection with every name filled in; ConfigError names what the trial does not hold."""
    sites = _choose("site", selection.sites, plan.sites)
    for site in sites:
        path = layout.fill(layout.SCANS, site=site)
        if not path.is_file():
            raise ConfigError(
                explain("A site has no results yet", where=str(path), remedy="isocenter run makes them; then export")
            )
    people = {row["participant_id"] for site in sites for row in plan.scans(site) if row["participant_id"] != "n/a"}
    participants = [label.removeprefix("sub-") for label in selection.participants]
    return Selection(
        sites,
        _choose("participant", participants, sorted(filter(None, people))),
        _choose("biomarker", selection.biomarkers, plan.biomarkers),
    )


def _choose(what: str, wanted: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    known = tuple(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigError(
            explain(f"The trial has no such {what}", expected=", ".join(known) or "none yet", found=", ".join(unknown))
        )
    return tuple(dict.fromkeys(wanted)) or known


def list_runs(plan: Plan, selection: Selection) -> list[RunKey]:
    """The runs of the selection, people's and phantoms'."""
    return [
        key
        for site in selection.sites
        for key in sorted({*plan.runs(site, phantom=False), *plan.runs(site, phantom=True)})
        if key.participant in selection.participants
    ]


def check_out(out: Path, trial: Path) -> Path:
    """The folder to export into: a new or empty one, away from what the trial reads and vouches for."""
    out, trial = out.resolve(), trial.resolve()
    for folder, why in (
        (layout.RESULTS, "isocenter verify would find files that no run wrote"),
        (layout.SITES, "intake would read the exported files as the site's"),
    ):
        if out == trial / folder or out.is_relative_to(trial / folder):
            raise ConfigError(
                explain("An export cannot lie there", where=str(out), expected=f"a folder outside {folder}/: {why}")
            )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            explain("The folder to export into is not empty", where=str(out), expected="a new or an empty folder",
                    remedy="name another with --out, so that nothing of an earlier export is taken for one of this")
        )  # fmt: skip
    return out


def place(out: Path, pattern: str, **values: str) -> Path:
    """Where an exported file lies; ConfigError when its names would lead out of the folder."""
    path = out / layout.fill(pattern, **values)
    if not path.resolve().is_relative_to(out.resolve()):
        raise ConfigError(explain("A name leads out of the folder to export into", where=str(out), found=values))
    return path
