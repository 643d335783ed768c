"""A line of the history of a site's verdicts as pages show it."""

from typing import Any

from isocenter.figures.palette import state_of
from isocenter.report.wording import shorten


def day_of(entry: dict[str, Any]) -> str:
    """The day on which a verdict was given."""
    return shorten(str(entry.get("date", ""))[:10], 12)


def describe_verdict(entry: dict[str, Any]) -> dict[str, str]:
    """A line of the history as pages show it."""
    counts = entry.get("counts") or {}
    word = str(entry.get("verdict") or "unreadable")
    to_change = shorten(", ".join(map(str, entry.get("changes") or [])).replace("_", " "), 200)
    return {
        "date": day_of(entry),
        "state": state_of(word),
        "word": shorten(word, 12),
        "text": f"{counts.get('fail', '–')} fail, {counts.get('warn', '–')} warn",
        "title": to_change or "nothing to change",
    }
