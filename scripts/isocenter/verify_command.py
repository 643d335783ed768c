"""Hold the results of a trial against its audit trail: the log's chain, the manifest, every file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from isocenter import audit, layout
from isocenter.errors import AuditError, explain
from isocenter.manifest import is_plain, read_manifest, take_snapshot
from isocenter.origins import find_changed_trails
from isocenter.provenance import file_digest

#: What to do about a result, by what is wrong with it.
_MEND = {
    "changed": "bring it back from a copy, or delete it and run again; or accept it with a reason",
    "missing": "bring it back from a copy, or run again; or accept with a reason that it is gone",
    "extra": "take it elsewhere, or accept it with a reason",
}
_TRAIL = "bring the audit folder back from a copy; its files are never edited"


@dataclass(frozen=True)
class Finding:
    """One thing that is off: which file or line, how, what was expected and found, what to do."""

    path: str
    what: str
    expected: str
    found: str
    remedy: str


@dataclass
class Verification:
    """What `verify` found; `head` is the hash of the log's last line, `last` its entry."""

    n_files: int
    n_entries: int
    head: str
    findings: list[Finding] = field(default_factory=list)
    is_open: bool = False


def verify(
    directory: Path, *, head: str = "", on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Check a trial's audit trail and hash all of its results anew.

    head : a hash that an earlier `verify` showed; it must still be that of a line of the log

    Raises
    ------
    AuditError
        When the trial has no audit trail yet, or one that cannot be read at all.
    """
    if not any((directory / path).is_file() for path in (layout.AUDIT_LOG, layout.MANIFEST)):
        raise AuditError(
            explain(
                "This trial has no audit trail",
                where=layout.AUDIT,
                expected="log.jsonl and manifest.tsv, which each isocenter run writes",
                found="neither",
                remedy="isocenter run; or, for results of an earlier version, isocenter verify --accept with a reason",
            )
        )
    findings = check_trail(directory, head=head)
    manifest = read_manifest(directory) or {}
    present = take_snapshot(directory)
    for path in sorted(present.keys() - manifest.keys()):
        size = f"{present[path][0]} bytes"
        findings.append(Finding(path, "extra", "no such file: no recorded run wrote it", size, _MEND["extra"]))
    for number, (path, row) in enumerate(manifest.items(), start=1):
        if path not in present:
            findings.append(Finding(path, "missing", f"{row.size} bytes, {row.sha256}", "no file", _MEND["missing"]))
        elif (found := _digest_plain(directory / path)) != row.sha256:
            sizes = (f"{size} bytes, {digest}" for size, digest in ((row.size, row.sha256), (present[path][0], found)))
            findings.append(Finding(path, "changed", *sizes, _MEND["changed"]))
        on_progress(number, len(manifest))
    n_entries = (directory / layout.AUDIT_LOG).read_bytes().count(b"\n") if _has_log(directory) else 0
    is_open = (directory / layout.OPEN_RUN).is_file()
    return Verification(len(present), n_entries, audit.read_head(directory), findings, is_open)


def _digest_plain(path: Path) -> str:
    """SHA-256 of a file, or why there is none: a link may lead anywhere, and a pipe has no end."""
    if not is_plain(path):
        return "a link, pipe or device in its place"
    try:
        return file_digest(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def check_trail(directory: Path, *, head: str = "") -> list[Finding]:
    """What is off with the audit trail, of this folder and of sites that were taken in; no result is read."""
    found = [*_check_log(directory, head), *_check_manifest(directory)]
    try:
        for where, expected, seen in find_changed_trails(directory):
            found.append(Finding(where, "missing" if not seen else "changed", expected, seen or "no file", _TRAIL))
    except AuditError:  # the chain has said so already
        pass
    return found


def _has_log(directory: Path) -> bool:
    return (directory / layout.AUDIT_LOG).is_file()


def _check_log(directory: Path, head: str) -> list[Finding]:
    findings = []
    if not _has_log(directory):
        findings.append(Finding(layout.AUDIT_LOG, "missing", "the log of all runs", "no file", _TRAIL))
    broken = audit.check_chain(directory)
    if broken is not None:
        where = f"{layout.AUDIT_LOG}, line {broken.line}"
        findings.append(Finding(where, broken.what, broken.expected, broken.found, _TRAIL))
    if head and not audit.holds_head(directory, head):
        findings.append(
            Finding(layout.AUDIT_LOG, "does not hold the noted head", head, "no line with this hash", _TRAIL)
        )
    return findings


def _check_manifest(directory: Path) -> list[Finding]:
    """Whether the manifest is the one that the last entry with a manifest speaks of."""
    path = directory / layout.MANIFEST
    try:
        recorded = [entry.digests["manifest"] for entry in audit.read_log(directory) if "manifest" in entry.digests]
    except AuditError:  # the chain has said so already
        return []
    expected = recorded[-1] if recorded else "an entry of the log that speaks of it"
    if not path.is_file():
        return [Finding(layout.MANIFEST, "missing", expected, "no file", _TRAIL)]
    found = file_digest(path)
    return [] if found == expected else [Finding(layout.MANIFEST, "changed", expected, found, _TRAIL)]
