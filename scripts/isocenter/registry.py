"""A registry that refuses to overwrite and names what it knows."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from isocenter.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name."""

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate an entry; a name that is taken raises ConfigError."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ConfigError(f"The {self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """The entry called `name`; an unknown name raises ConfigError that lists the known ones."""
        if name not in self._entries:
            known = ", ".join(sorted(self._entries)) or "none"
            raise ConfigError(f"Unknown {self.kind} {name!r}; known: {known}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries
