"""A control group of this machine's kernel: the memory that some processes may take together, and what they took."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

_FIRST, _SECOND = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
#: Between two looks at what is taken [s].
INTERVAL = 0.02


class ControlGroup:
    """A group of processes that may take a limited memory, by control groups of either version.

    Raises OSError where this machine lets nobody make one: only root may, and a container often not even root.
    """

    def __init__(self, name: str, *, limit: int):
        """limit : what the processes may take together [bytes]; the kernel ends one that wants more."""
        self._is_first = (_FIRST / "memory.limit_in_bytes").is_file()
        self.folder = (_FIRST if self._is_first else _SECOND) / name
        self.folder.mkdir()
        try:
            (self.folder / ("memory.limit_in_bytes" if self._is_first else "memory.max")).write_text(str(limit))
        except OSError:
            self.folder.rmdir()
            raise

    def __enter__(self) -> "ControlGroup":
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(200):  # its last process may still be on the way out
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(0.05)
        raise OSError(f"{self.folder} still holds processes")

    def start(self, command: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
        """Start a command of the shell within the group."""
        inside = f"echo $$ > {self.folder}/cgroup.procs && {command}"
        return subprocess.Popen(inside, shell=True, env=environment or dict(os.environ))

    def kill(self) -> None:
        """End all processes of the group."""
        for pid in (self.folder / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def watch(self, process: subprocess.Popen) -> dict[str, float]:
        """Wait for the end of a process; what its group took.

        ``peak`` is the most at a time [MB] by looks every `INTERVAL`: what processes hold and what the kernel keeps for
        them, without copies of files, which it drops when memory is wanted. ``killed``: how many processes it
        ended for want of memory. ``seconds``: until the end.
        """
        begin, peak = time.monotonic(), 0
        while process.poll() is None:
            peak = max(peak, self._taken())
            time.sleep(INTERVAL)
        return {"peak": peak / 1e6, "killed": self._killed(), "seconds": time.monotonic() - begin}

    def _taken(self) -> int:
        stat = _numbers(self.folder / "memory.stat")
        if not self._is_first:
            return stat["anon"] + stat["shmem"] + stat["kernel"]
        kernel = int((self.folder / "memory.kmem.usage_in_bytes").read_text(encoding="ascii"))
        return stat["total_rss"] + stat["total_shmem"] + kernel

    def _killed(self) -> int:
        return _numbers(self.folder / ("memory.oom_control" if self._is_first else "memory.events"))["oom_kill"]


def _numbers(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in map(str.split, path.read_text(encoding="ascii").splitlines())}
