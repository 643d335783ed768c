"""Every file of the results with its size and SHA-256: what a later look is held against.

Only what a run wrote enters the manifest: a file that changed between two runs keeps the row that it had, and shows.
"""

import csv
import io
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isocenter import layout
from isocenter.errors import AuditError, explain
from isocenter.io.nifti import write_bytes
from isocenter.provenance import file_digest

COLUMNS = ("path", "size", "sha256")
#: Folders of the results that are no result.
APART = frozenset({layout.LOGS, layout.AUDIT})
#: Snakemake's own mark in a folder that a rule makes, and what a file is called while it is written.
_MARK, PARTIAL = ".snakemake_timestamp", ".partial"

#: Size [bytes] and time of change [ns] of each file, by its path from the trial's folder.
Snapshot = dict[str, tuple[int, int]]
#: Called with how many files are done, and of how many.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Row:
    """One file as it was recorded."""

    size: int
    sha256: str


Manifest = dict[str, Row]


def take_snapshot(directory: Path) -> Snapshot:
    """Sizes and times of all results; no file is read, and no link followed."""
    found: Snapshot = {}
    for folder, folders, names in os.walk(directory / layout.RESULTS):
        inside = Path(folder).relative_to(directory)
        folders[:] = sorted(name for name in folders if (inside / name).as_posix() not in APART)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            if name != _MARK and not (name.startswith(".") and name.endswith(PARTIAL)):
                status = os.lstat(os.path.join(folder, name))
                found[(inside / name).as_posix()] = (status.st_size, status.st_mtime_ns)
    return dict(sorted(found.items()))


def is_plain(path: Path) -> bool:
    """Whether a path is a file of its own: no link, pipe or device."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def update_manifest(
    directory: Path, before: Snapshot, *, adopt_all: bool = False, on_progress: OnProgress = lambda done, total: None
) -> Manifest:
    """Write the manifest anew with what changed since `before`, and return it.

    adopt_all : take every file as it is now, also what no run wrote

    What was there unchanged is not read again. A file that differs from its row without a run having written it keeps
    the row; one that a run removed loses it. Without a manifest every file is taken as it is.
    """
    old = read_manifest(directory)
    after = take_snapshot(directory)
    if adopt_all or old is None:
        rows, changed = {}, list(after)
    else:
        rows = {path: row for path, row in old.items() if path in after or path not in before}
        changed = [path for path, status in after.items() if before.get(path) != status]
    changed = [path for path in changed if is_plain(directory / path)]  # no run makes links: they stay extra
    for number, path in enumerate(changed, start=1):
        rows[path] = Row(after[path][0], file_digest(directory / path))
        on_progress(number, len(changed))
    return _write_manifest(directory, rows)


def forget(directory: Path, folders: list[str]) -> None:
    """Take the files of folders (paths from the trial's folder) out of the manifest: a decision has deleted them."""
    old = read_manifest(directory)
    if old is not None and folders:
        inside = tuple(f"{folder}/" for folder in folders)
        _write_manifest(directory, {path: row for path, row in old.items() if not path.startswith(inside)})


def _write_manifest(directory: Path, rows: Manifest) -> Manifest:
    manifest = dict(sorted(rows.items()))
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerows([COLUMNS, *((path, row.size, row.sha256) for path, row in manifest.items())])
    write_bytes(directory / layout.MANIFEST, buffer.getvalue().encode("utf-8", "surrogateescape"))
    return manifest


def read_manifest(directory: Path) -> Manifest | None:
    """The files as recorded, by path; None before the first record. AuditError when it is no manifest."""
    path = directory / layout.MANIFEST
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return {row["path"]: Row(int(row["size"]), row["sha256"]) for row in rows}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise AuditError(
            explain(
                "The manifest cannot be read",
                where=layout.MANIFEST,
                expected=f"a table of {', '.join(COLUMNS)}",
                found=error,
                remedy="bring it back from a copy; it is never edited",
            )
        ) from None


def write_snapshot(directory: Path, snapshot: Snapshot) -> None:
    """Keep a snapshot on disk, so that a run that is killed can still be told apart from other changes."""
    write_bytes(directory / layout.OPEN_RUN, json.dumps(snapshot).encode())


def read_snapshot(directory: Path) -> Snapshot | None:
    """The snapshot of a run that has not been recorded yet, or None."""
    path = directory / layout.OPEN_RUN
    if not path.is_file():
        return None
    return {name: (size, time) for name, (size, time) in json.loads(path.read_text(encoding="utf-8")).items()}
