"""Complaints about what a person wrote, kept so that all of them are said at once."""

from collections.abc import Callable
from typing import Any, TypeVar

from isocenter.errors import ConfigError, explain

T = TypeVar("T")


class Complaints:
    """Collects ConfigErrors, so that a person reads all of them at once."""

    def __init__(self):
        self.lines: list[str] = []

    def collect(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """What `function` gives; None when it raises ConfigError, which is kept."""
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            self.lines += str(error).splitlines()
            return None

    def add(self, what: str, **parts: Any) -> None:
        """Keep one complaint."""
        self.lines.append(explain(what, **parts))

    def raise_if_any(self) -> None:
        """Raise ConfigError with one line a complaint; nothing when there is none."""
        if self.lines:
            raise ConfigError("\n".join(dict.fromkeys(self.lines)))


def check_unique(rows: list[dict[str, Any]], key: str, where: str, complaints: Complaints) -> None:
    """Complain of each value of a key that more than one row has."""
    values = [row[key] for row in rows]
    for value in dict.fromkeys(v for v in values if values.count(v) > 1):
        complaints.add(
            f"The same {key} stands {values.count(value)} times",
            where=where,
            expected=f"each {key} once",
            found=value,
            remedy="remove or mend the repeated one",
        )
