"""One command at a time changes a trial: who holds it, since when, and what to do about one that died.

The lock is the operating system's, on a file (``flock``): it ends with the process, however that ends. What the file
says of the holder is for people. Snakemake inherits the lock, so that a run whose front was killed holds
the trial until Snakemake has ended, too.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from isocenter import layout
from isocenter.audit import user_name
from isocenter.errors import HeldError, explain
from isocenter.trouble import disk_trouble

#: How long to wait for the jobs of a run whose front died [s]; they end with it, but not at once.
PATIENCE = 20.0


@dataclass(frozen=True)
class Holder:
    """Who works on a trial: user, host, process, since when (UTC), doing what."""

    who: str
    host: str
    pid: int
    since: str
    what: str

    @property
    def is_alive(self) -> bool:
        """Whether the process is there, as far as this host can tell."""
        return self.host != socket.gethostname() or Path(f"/proc/{self.pid}").exists()

    def __str__(self) -> str:
        return f"{self.what} of {self.who} on {self.host} since {self.since} (process {self.pid})"


@dataclass(frozen=True)
class Hold:
    """A trial that this process holds: the open file that jobs inherit, and who died holding it, if anybody did."""

    descriptor: int
    left_by: Holder | None


@contextlib.contextmanager
def hold_trial(directory: Path, what: str) -> Iterator[Hold]:
    """Hold a trial while the block runs.

    Raises
    ------
    HeldError
        When another command holds it: who, since when, and what to do.
    DiskError
        When the trial's folder cannot be written.
    """
    path = directory / layout.HOLDER
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise disk_trouble(path, error) from None
    try:
        _lock(descriptor, path)
        left_by = _read(path)
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        _write(descriptor, json.dumps(asdict(Holder(user_name(), socket.gethostname(), os.getpid(), since, what))))
        try:
            yield Hold(descriptor, left_by)
        except Exception:
            _write(descriptor, "")
            raise
        _write(descriptor, "")  # what a process that was killed or interrupted leaves stays, and tells the next one
    finally:
        os.close(descriptor)


def find_holder(directory: Path) -> Holder | None:
    """Who holds a trial now, or None."""
    path = directory / layout.HOLDER
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(path)
    return None


def _lock(descriptor: int, path: Path) -> None:
    begin = time.monotonic()
    end = begin + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _read(path)
            # Without a name somebody is just looking or just beginning; a dead holder's jobs are about to end.
            if time.monotonic() < (end if holder and not holder.is_alive else begin + 2 if not holder else begin):
                time.sleep(0.1)
                continue
            raise HeldError(
                explain(
                    "Another command works on this trial",
                    where=str(path),
                    found=holder or "a command that has not said its name yet",
                    remedy="wait until it has ended; isocenter status shows how far it is",
                )
            ) from None


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8").partition("\n")[0]))
    except (ValueError, TypeError, OSError):
        return None


def _write(descriptor: int, text: str) -> None:
    # Cut last: a process that is killed in between leaves its name in the first line.
    line = f"{text}\n".encode() if text else b""
    with contextlib.suppress(OSError):  # the lock is the system's: a full disk takes only the name for people
        os.pwrite(descriptor, line, 0)
    os.ftruncate(descriptor, len(line))
