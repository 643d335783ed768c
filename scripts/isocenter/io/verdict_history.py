"""Every verdict that a site was given, one JSON line each: a verdict that says the same as the last adds nothing."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isocenter import __version__


def read_history(path: Path) -> list[dict[str, Any]]:
    """The verdicts of a site in order; a line that cannot be read is told as one of unknown verdict, never left out."""
    if not path.is_file():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        is_entry = isinstance(entry, dict) and {"date", "verdict", "counts"} <= set(entry)
        entries.append(entry if is_entry else {"number": number, "date": "unreadable", "verdict": "", "counts": {}})
    return entries


def append_verdict(path: Path, answer: dict[str, Any], *, when: str = "") -> list[dict[str, Any]]:
    """Add a verdict unless it is the last one again; returns the whole history.

    answer : what ``verdict.json`` holds; when : date and time in UTC (ISO 8601), without it now
    """
    history = read_history(path)
    digest = hashlib.sha256(json.dumps(answer, sort_keys=True, default=str).encode()).hexdigest()
    if history and history[-1].get("digest") == digest:
        return history
    entry = {
        "number": len(history) + 1,
        "date": when or datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": str(answer["verdict"]),
        "counts": {str(word): n for word, n in answer["counts"].items()},
        "changes": sorted({f"{change['id']} ({change['verdict']})" for change in answer["changes"]}),
        "protocol": answer["protocol"],
        "version": __version__,
        "digest": digest,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:  # what stands there is never written again
        is_cut = path.stat().st_size and not path.read_bytes().endswith(b"\n")
        file.write((b"\n" if is_cut else b"") + json.dumps(entry, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return [*history, entry]
