"""The audit trail: who did what to a trial, when and why, in lines that hold on to one another.

``results/audit/log.jsonl`` has one JSON object a line and only grows. Each entry carries the SHA-256 of the line before
it, so that a line that was edited or removed shows: :func:`check_chain` names the first one. The last line has no
successor; ``head.txt`` beside the log holds its number and hash. Whoever can write the folder can also write the whole
chain anew: a head that was noted elsewhere tells (:func:`holds_head`).
"""

import errno
import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from isocenter import __version__, layout
from isocenter.errors import AuditError, DiskError, explain
from isocenter.io.nifti import write_bytes

KINDS = ("run", "exclusion", "override", "lock", "export", "pool")
#: Kinds that are a person's decision, and say in the person's words why.
DECISIONS = ("exclusion", "override", "lock", "export")
#: What stands for the line before the first.
NOTHING_BEFORE = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the log; `time` is UTC, `previous` the SHA-256 of the line before, `digests` SHA-256 by name."""

    number: int
    time: str
    kind: str
    who: str
    what: str
    why: str
    version: str
    digests: dict[str, str]
    previous: str


@dataclass(frozen=True)
class Break:
    """Where the chain is broken: the line (from 1), what is wrong with it, expected and found."""

    line: int
    what: str
    expected: str
    found: str


def _writable(text: str) -> str:
    """A text in UTF-8: names of files may hold bytes that are none, which are told by their codes."""
    return text.encode("utf-8", "backslashreplace").decode()


def append_entry(
    directory: Path, kind: str, what: str, *, why: str = "", who: str = "", digests: Mapping[str, str] | None = None
) -> Entry:
    """Append one entry to a trial's log and return it.

    directory : of the trial
    what : what was done, to which run, series or file
    why : the person's reason; an exclusion and an override must have one
    who : a person's name; the name of the operating system's user where it is ""

    Raises
    ------
    AuditError
        When the kind is unknown, a reason is missing, or the log cannot be written.
    """
    if kind not in KINDS:
        raise AuditError(explain("Unknown kind of audit entry", expected=" or ".join(KINDS), found=kind))
    if kind in DECISIONS and not why.strip():
        raise AuditError(
            explain(f"An {kind} has no reason", where=what, expected="a sentence that says why", remedy="give a reason")
        )
    path = directory / layout.AUDIT_LOG
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two commands may end at once
            file.seek(0)
            lines = file.read().split(b"\n")
            torn = lines.pop()  # b"" where the last line was written whole
            lines += [torn] if torn else []
            entry = Entry(
                number=len(lines) + 1,
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                kind=kind,
                who=_writable(who.strip() or user_name()),
                what=_writable(what),
                why=_writable(why.strip()),
                version=__version__,
                digests=dict(digests or {}),
                previous=_digest(lines[-1]) if lines else NOTHING_BEFORE,
            )
            line = json.dumps(asdict(entry), ensure_ascii=False).encode()
            head = f"{entry.number} {_digest(line)}\n".encode()
            whole = (b"\n" if torn else b"") + line + b"\n"
            _extend(file, whole, lambda: write_bytes(directory / layout.AUDIT_HEAD, head))
    except (OSError, DiskError) as error:
        raise AuditError(
            explain(
                "The audit log cannot be written",
                where=str(path),
                found=error,
                remedy="see to the folder's rights and to room on its disk",
            )
        ) from None
    return entry


def _extend(file: IO[bytes], content: bytes, complete: Callable[[], None]) -> None:
    """Append to the log and complete what holds it; on a disk that takes only a part, the log stays as it was."""
    size = file.seek(0, os.SEEK_END)
    try:
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
        complete()
    except (OSError, DiskError):
        os.ftruncate(file.fileno(), size)
        raise


def read_log(directory: Path) -> list[Entry]:
    """The entries of a trial's log, none before the first; AuditError names the first line that is no entry."""
    entries = []
    for number, line in enumerate(_read_lines(directory), start=1):
        entry = _parse(line)
        if isinstance(entry, str):
            raise AuditError(
                explain(
                    "A line of the audit log is no entry",
                    where=f"{layout.AUDIT_LOG}, line {number}",
                    expected=f"a JSON object with {', '.join(field.name for field in fields(Entry))}",
                    found=entry,
                    remedy="bring back the log from a copy; it is never edited",
                )
            )
        entries.append(entry)
    return entries


def check_chain(directory: Path) -> Break | None:
    """The first line of a trial's log at which the chain is broken, or None when it holds."""
    lines = _read_lines(directory)
    previous = NOTHING_BEFORE
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if isinstance(entry, str):
            return Break(number, "is no entry", "a JSON object, as it was written", entry)
        if entry.number != number:
            return Break(number, "has a line missing before it", f"entry {number}", f"entry {entry.number}")
        if entry.previous != previous:
            if number == 1:
                return Break(1, "does not begin a chain", previous, entry.previous)
            return Break(number - 1, "was edited", entry.previous, previous)
        previous = _digest(line)
    return _check_head(directory, lines)


def _check_head(directory: Path, lines: list[bytes]) -> Break | None:
    path = directory / layout.AUDIT_HEAD
    if not lines and not path.is_file():
        return None
    head = path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []
    if len(head) != 2 or not head[0].isdigit():
        words = f"{path.name} with its number and hash"
        return Break(len(lines), "is not held by a head", words, " ".join(head) or "nothing")
    if int(head[0]) > len(lines):
        return Break(len(lines) + 1, "was removed", f"{head[0]} lines, as {path.name} says", f"{len(lines)}")
    if (found := f"{len(lines)} {_digest(lines[-1])}") != " ".join(head):
        return Break(len(lines), "was edited", " ".join(head), found)
    return None


def holds_head(directory: Path, head: str) -> bool:
    """Whether a hash that was noted earlier is that of a line of the log: nothing up to it was written anew."""
    return head in {_digest(line) for line in _read_lines(directory)}


def read_head(directory: Path) -> str:
    """SHA-256 of the last line, to be noted elsewhere; "" before the first entry."""
    lines = _read_lines(directory)
    return _digest(lines[-1]) if lines else ""


def _read_lines(directory: Path) -> list[bytes]:
    try:
        content = (directory / layout.AUDIT_LOG).read_bytes()
    except FileNotFoundError:
        return []
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _parse(line: bytes) -> Entry | str:
    """The entry of a line, or what stands there instead."""
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError):
        return line[:80].decode(errors="replace") or "an empty line"


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def user_name() -> str:
    """The name of the operating system's user, or the number where there is no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may know no name
        return f"uid {os.getuid()}"
