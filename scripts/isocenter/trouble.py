"""Is the machine at fault, or the data? A scan that cannot be used stays a row with a reason; a full disk passes.

What the machine's trouble broke must not be kept as if the scan were bad: it fails the job, or is noted to be made
again by the next run.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from isocenter.errors import DiskError, MachineError, OutOfMemoryError, explain

#: What the system's refusals to write mean.
_DISK = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk's quota is used up",
    errno.EFBIG: "A file would be larger than the system lets it be",
    errno.EROFS: "The disk is read-only",
}
#: With less room than this [bytes] left where a step writes, what fails there is not the data's fault.
NO_ROOM = 64 * 1024
#: A run does not begin with less room than this on the disk of the results [bytes].
LEAST_ROOM = 32 * 2**20
MAKE_ROOM = "make room on the disk, or give a larger quota; then isocenter run: it goes on with what is missing"
MORE_MEMORY = (
    "run with fewer cores (isocenter run --cores 1), end what else takes memory, or take a machine with more; the next "
    "run tries it again"
)


def find_trouble(error: BaseException) -> MachineError | None:
    """The machine's trouble that an exception tells of, or None where the data or the code are at fault."""
    if isinstance(error, MachineError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError(explain("The step wanted more memory than there is", found=error, remedy=MORE_MEMORY))
    if isinstance(error, OSError) and error.errno in _DISK:
        return disk_trouble(error.filename or Path.cwd(), error)
    # A converter that is another program says only that it failed.
    full = next((path for path in _list_disks() if count_free(path) < NO_ROOM), None)
    return None if full is None else disk_trouble(full, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _list_disks() -> list[Path]:
    """Where a step writes: its folder, and that for temporary files."""
    try:
        return [Path.cwd(), Path(tempfile.gettempdir())]
    except OSError:  # either may have gone away
        return []


def raise_trouble(error: BaseException) -> None:
    """Raise where the machine is at fault; return where the data are, for the caller to say so."""
    trouble = find_trouble(error)
    if trouble is not None:
        raise trouble from error


def disk_trouble(path: str | os.PathLike, error: OSError) -> DiskError:
    """What keeps a file from being written: in words, with the room that is left."""
    what = _DISK.get(error.errno, "A file cannot be written")
    remedy = MAKE_ROOM
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "see to the folder's rights and that its disk is there and may be written to; then isocenter run"
    found = f"{error.strerror or error}; {_say_room(Path(path))}"
    return DiskError(explain(what, where=str(path), found=found, remedy=remedy))


def count_free(path: Path) -> int:
    """Room that is left on the disk of a path [bytes]; that of the nearest folder that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def _say_room(path: Path) -> str:
    return f"{count_free(path.absolute()) / 2**20:.0f} MiB are left on its disk"
