"""What people decide about a trial's data: to leave something out, to take it back, to delete what a withdrawn left.

What is left out is not deleted: it is no longer processed or pooled, and comes back with :func:`include`. Only what
a participant who withdrew has left in the results is deleted. Every decision is entered in the audit trail before it is
made.
"""

import shutil
from pathlib import Path
from typing import Any

from isocenter import audit, layout
from isocenter.entities import Kind
from isocenter.errors import ConfigError, explain
from isocenter.io.nifti import write_bytes
from isocenter.left_out import COLUMNS, SCOPE, Decision
from isocenter.manifest import forget
from isocenter.plan import read_rows
from isocenter.settings import read_left_out
from isocenter.trial_digests import find_digests


def exclude(settings: Any, sites: list[str], decision: Decision, *, who: str = "") -> list[str]:
    """Leave something out of the analysis at one or more sites; returns the sites where that is new.

    settings : of the trial (:class:`isocenter.settings.Settings`)
    decision : a row of the table, whole
    who : the person who decided, for the audit trail

    Raises
    ------
    ConfigError
        When no site knows the participant, the biomarker is unknown, or a phantom is to lose one biomarker.
    """
    known = [site for site in sites if decision["participant_id"] in _kinds(settings, site)]
    if not known:
        raise ConfigError(
            explain(
                "No such participant",
                where=", ".join(str(layout.fill(layout.PARTICIPANTS, site=site)) for site in sites),
                found=decision["participant_id"],
                expected=", ".join(sorted({name for site in sites for name in _kinds(settings, site)})) or "none yet",
                remedy="mend the label",
            )
        )
    biomarker = decision["biomarker"]
    if biomarker and biomarker not in settings.biomarkers:
        raise ConfigError(
            explain("Unknown biomarker", found=biomarker, expected=", ".join(settings.biomarkers), remedy="mend it")
        )
    if any(_kinds(settings, site)[decision["participant_id"]] == Kind.PHANTOM for site in known):
        _check_phantom(decision)
    _check_scope(settings.root, known, decision)
    changed = []
    for site in known:
        rows = settings.left_out(site)
        if any(all(row[key] == decision[key] for key in COLUMNS) for row in rows):
            continue
        kept = [row for row in rows if any(row[key] != decision[key] for key in SCOPE)]
        if decision["is_withdrawn"] == "true":
            delete_results(settings.root, site, decision["participant_id"])
        audit.append_entry(
            settings.root, "exclusion", _describe(site, decision), why=decision["reason"], who=who,
            digests=find_digests(settings.root),
        )  # fmt: skip
        _write(settings.root, site, [*kept, decision])
        changed.append(site)
    return changed


def include(settings: Any, sites: list[str], scope: Decision, *, why: str, who: str = "") -> list[str]:
    """Take back what was left out: the row with exactly this scope; returns the sites where there was one."""
    changed = []
    for site in sites:
        rows = settings.left_out(site)
        kept = [row for row in rows if any(row[key] != scope[key] for key in SCOPE)]
        if len(kept) == len(rows):
            continue
        audit.append_entry(settings.root, "override", f"included again: {_describe(site, scope)}", why=why, who=who)
        _write(settings.root, site, kept)
        changed.append(site)
    if not changed:
        there = [_describe(site, row) for site in sites for row in settings.left_out(site)]
        raise ConfigError(
            explain(
                "Nothing was left out by this name",
                found=", ".join(_describe(site, scope) for site in sites),
                expected="; ".join(there) or "nothing is left out at these sites",
                remedy="name the same participant, session, run and biomarker as when it was left out",
            )
        )
    return changed


def delete_results(root: Path, site: str, participant: str) -> list[Path]:
    """Delete what a site's results hold of one participant, images and tables of runs; returns the folders."""
    found = [layout.fill(pattern, site=site) / f"sub-{participant}" for pattern in (layout.BIDS, layout.DERIVATIVES)]
    gone = [root / path for path in found if (root / path).is_dir()]
    for folder in gone:
        shutil.rmtree(folder)
    forget(root, [folder.relative_to(root).as_posix() for folder in gone])
    return gone


def delete_withdrawn(root: Path) -> None:
    """Delete again what results hold of participants who withdrew: intake converts what a site has not deleted yet."""
    for path in sorted(root.glob(layout.LEFT_OUT.format(site="*"))):
        site = path.parent.name
        for row in read_left_out(root, site):
            if row["is_withdrawn"] == "true":
                delete_results(root, site, row["participant_id"])


def _kinds(settings: Any, site: str) -> dict[str, str]:
    return {row["participant_id"]: row["kind"] for row in settings.participants(site)}


def _check_scope(root: Path, sites: list[str], decision: Decision) -> None:
    """A session or run that nobody scanned is a slip of the pen, once intake has said what there is."""
    tables = [path for site in sites if (path := root / layout.fill(layout.SCANS, site=site)).is_file()]
    keys = [key for key in ("session", "run") if decision[key]]
    if not keys or len(tables) < len(sites):
        return
    rows = [row for path in tables for row in read_rows(str(path), path.stat().st_mtime_ns)]
    mine = [row for row in rows if row["participant_id"] == decision["participant_id"]]
    there = sorted({" ".join(f"{key} {row[key]}" for key in keys) for row in mine})
    if " ".join(f"{key} {decision[key]}" for key in keys) not in there:
        raise ConfigError(
            explain(
                "No such scan",
                where=", ".join(str(path.relative_to(root)) for path in tables),
                found=f"{decision['participant_id']} " + " ".join(f"{key} {decision[key]}" for key in keys),
                expected="; ".join(there) or "any scan",
                remedy="mend the label",
            )
        )


def _check_phantom(decision: Decision) -> None:
    if decision["biomarker"]:
        raise ConfigError(
            explain(
                "A phantom's session is left out whole",
                found=f"biomarker {decision['biomarker']}",
                remedy="leave out the biomarker's name, or exclude its scan by a rule of series in site.yaml",
            )
        )
    if decision["is_withdrawn"] == "true":
        raise ConfigError(explain("A phantom cannot withdraw", found=decision["participant_id"]))


def _write(root: Path, site: str, rows: list[Decision]) -> None:
    # No quoting: what a person writes is read as it stands, so a tab or a line break in a reason becomes a space.
    lines = [COLUMNS, *([" ".join(row[key].split()) or "n/a" for key in COLUMNS] for row in rows)]
    content = "".join("\t".join(line) + "\n" for line in lines)
    write_bytes(root / layout.fill(layout.LEFT_OUT, site=site), content.encode())


def _describe(site: str, decision: Decision) -> str:
    words = [f"{site}: {decision['participant_id']}"]
    words += [f"{key} {decision[key]}" for key in ("session", "run", "biomarker") if decision[key]]
    return " ".join(words) + (", withdrawn from the trial" if decision.get("is_withdrawn") == "true" else "")
