"""A data freeze: the trial's tables and report are copied under a version's name, and no run goes on until it ends.

The copy (``results/locked/<version>/``) is read-only and stands in the manifest, so that ``isocenter verify`` names any
change of it. Lifting the lock leaves the copy: what later runs make is another version.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from isocenter import audit, layout
from isocenter.errors import AuditError, HeldError, explain
from isocenter.io.nifti import write_json
from isocenter.manifest import take_snapshot, update_manifest
from isocenter.trial_digests import find_digests, list_written
from isocenter.verify_command import verify

#: A version's name is a folder's name.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True)
class Lock:
    """The version as which a trial's data are locked, by whom, when (UTC) and why."""

    version: str
    who: str
    time: str
    why: str


def read_lock(directory: Path) -> Lock | None:
    """The lock of a trial's data, or None; AuditError when the file is no lock."""
    path = directory / layout.LOCK
    try:
        return Lock(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise AuditError(
            explain("The lock cannot be read", where=layout.LOCK, found=error, remedy="bring it back from a copy")
        ) from None


def check_unlocked(directory: Path) -> None:
    """Raise HeldError when a trial's data are locked."""
    lock = read_lock(directory)
    if lock is not None:
        raise HeldError(
            explain(
                f"The data are locked as version {lock.version}",
                where=layout.LOCK,
                found=f"locked by {lock.who} on {lock.time}: {lock.why}",
                remedy="isocenter unlock with a reason begins the next version; the locked one stays as it is",
            )
        )


def lock_data(directory: Path, version: str, why: str, who: str = "") -> Path:
    """Lock a trial's data as a version; returns the folder of the copy.

    Raises
    ------
    AuditError
        When the name is no version or taken, a reason is missing, there is no report yet, or a result is not as a run
        wrote it.
    HeldError
        When the data are locked already.
    """
    check_unlocked(directory)
    if not VERSION.fullmatch(version):
        found = explain("This is no version", found=version, expected="letters, digits, dots and dashes, at most 40")
        raise AuditError(found)
    if not why.strip():
        raise AuditError(explain("A lock has no reason", remedy="say what this version is for"))
    folder = directory / layout.fill(layout.LOCKED_VERSION, version=version)
    if folder.exists():
        raise AuditError(
            explain(
                "This version is locked already", where=str(folder), remedy="take the next name; none is used twice"
            )
        )
    if not (directory / layout.REPORT).is_file():
        raise AuditError(explain("There is no report to lock", where=layout.REPORT, remedy="isocenter run"))
    found = verify(directory)
    if found.findings or found.is_open:
        names = ", ".join(f"{finding.path}: {finding.what}" for finding in found.findings[:5])
        raise AuditError(
            explain(
                "The results are not as a run wrote them, so they are not locked",
                found=names or "a run that was not recorded to its end",
                remedy="isocenter verify names each; isocenter run makes them again",
            )
        )
    before = take_snapshot(directory)
    partial = folder.with_name(f".{version}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path in _list_locked(directory):
        target = partial / path.relative_to(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o444)
    partial.rename(folder)
    update_manifest(directory, before)
    entry = audit.append_entry(
        directory, "lock", f"data locked as version {version}", why=why, who=who, digests=find_digests(directory)
    )
    time = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    write_json(directory / layout.LOCK, asdict(Lock(version, entry.who, time, entry.why)))
    return folder


def unlock_data(directory: Path, why: str, who: str = "") -> Lock:
    """Lift the lock: later runs make the next version. Returns the lock that was."""
    lock = read_lock(directory)
    if lock is None:
        raise AuditError(explain("The data are not locked", where=str(directory)))
    audit.append_entry(directory, "override", f"lock of version {lock.version} lifted", why=why, who=who)
    (directory / layout.LOCK).unlink()
    return lock


def _list_locked(directory: Path) -> Iterator[Path]:
    """What a version holds: the tables of the trial, its report, and what people wrote."""
    for folder in (directory / layout.TRIAL, (directory / layout.REPORT).parent):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())
    yield from list_written(directory)
