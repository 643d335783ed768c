"""What this machine has: the memory that jobs may share."""

from pathlib import Path

#: Of all memory, what jobs may share; the rest is the system's and Snakemake's.
SHARE = 0.9

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def usable_memory() -> int | None:
    """Megabytes that jobs may share: most of the machine's memory, or of its container's; None where nobody tells."""
    limits = [limit for limit in (_read_total(_MEMINFO), _read_limit(_CGROUP / "memory.max")) if limit]
    return int(min(limits) * SHARE / 1e6) if limits else None


def _read_total(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max" is no limit
