"""Sites that were run elsewhere and taken in: which they are, and the audit trails that came with them.

A site's trail (log, head, manifest) is kept beside this trial's own, and the log's entry says what each of its files
hashed to. So the way back from a pooled number does not end at this folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from isocenter import audit, layout
from isocenter.errors import ConfigError, explain
from isocenter.provenance import file_digest

#: The files of an audit trail, by what an entry of the log calls their digests.
TRAIL = {"log": layout.AUDIT_LOG, "head": layout.AUDIT_HEAD, "manifest": layout.MANIFEST}
#: What the entry of a site that was taken in begins with, before its name.
TAKEN_IN = "took in "


def list_origins(directory: Path) -> list[str]:
    """The sites of a trial's folder that were run elsewhere."""
    return sorted(path.name for path in (directory / layout.ORIGINS).glob("*") if path.is_dir())


def name_trail(directory: Path, site: str) -> dict[str, Path]:
    """Where the trail of a site that was taken in is kept."""
    folder = directory / layout.fill(layout.ORIGIN, site=site)
    return {name: folder / Path(path).name for name, path in TRAIL.items()}


def check_run_here(directory: Path, sites: Sequence[str]) -> None:
    """Raise ConfigError when one of the sites was taken in: its DICOM is not here, and a run would lose its results."""
    elsewhere = sorted(set(sites) & set(list_origins(directory)))
    if elsewhere:
        others = sorted(set(sites) - set(elsewhere))
        raise ConfigError(
            explain(
                f"{', '.join(elsewhere)} {'was' if len(elsewhere) == 1 else 'were'} run elsewhere and taken in",
                where=str(directory / layout.ORIGINS),
                expected="sites whose DICOM lies here",
                remedy="run them where they lie, then isocenter pool FOLDER here"
                + (f"; isocenter run --site {others[0]} runs one that lies here" if others else ""),
            )
        )


def find_changed_trails(directory: Path) -> Iterator[tuple[str, str, str]]:
    """Trails that are not as they were taken in: the file, its digest then, its digest now ("" where it is gone)."""
    last: dict[str, audit.Entry] = {}
    for entry in audit.read_log(directory):
        if entry.kind == "pool" and entry.what.startswith(TAKEN_IN):
            last[entry.what.removeprefix(TAKEN_IN).split(":", 1)[0]] = entry
    for site, entry in sorted(last.items()):
        for name, path in name_trail(directory, site).items():
            found = file_digest(path) if path.is_file() else ""
            if found != entry.digests.get(f"site {name}", ""):
                yield path.relative_to(directory).as_posix(), entry.digests.get(f"site {name}", ""), found
