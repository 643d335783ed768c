"""Can a run write where it must? Asked before the first job, not by the hundredth."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from isocenter import layout
from isocenter.audit import user_name
from isocenter.errors import DiskError, explain
from isocenter.trouble import LEAST_ROOM, MAKE_ROOM, count_free, disk_trouble


def check_writable(directory: Path) -> None:
    """Raise DiskError when a folder that a run writes into is read-only, or its disk has no room."""
    for folder in _list_folders(directory):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DiskError(
                explain(
                    "The trial's folder cannot be written, so no run can begin",
                    where=str(folder),
                    expected=f"the right to write there for the user {user_name()}",
                    found=_say_owner(folder),
                    remedy="give the right (chown, chmod), or mount its disk for writing; isocenter status only reads",
                )
            )
    results = directory / layout.RESULTS
    try:
        with tempfile.TemporaryFile(dir=results if results.is_dir() else directory) as probe:
            probe.write(bytes(4096))
            probe.flush()
    except OSError as error:
        raise disk_trouble(results, error) from None
    free = count_free(results)
    if free < LEAST_ROOM:
        raise DiskError(
            explain(
                "The disk is full, so no run begins",
                where=str(results),
                expected=f"at least {LEAST_ROOM // 2**20} MiB free",
                found=f"{free / 2**20:.0f} MiB",
                remedy=MAKE_ROOM,
            )
        )


def _list_folders(directory: Path) -> Iterator[Path]:
    """The folders that a run writes into, as far as they are there, from the trial's folder down to each site's."""
    for folder in (
        directory,
        *(directory / name for name in (layout.RESULTS, layout.AUDIT, layout.LOGS, layout.TRIAL, ".snakemake")),
        *sorted(directory.glob(layout.SITE.format(site="*"))),
        *sorted(directory.glob(f"{layout.SITE.format(site='*')}/*")),
    ):
        if folder.is_dir():
            yield folder


def _say_owner(folder: Path) -> str:
    status = folder.stat()
    is_mount = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    return f"mode {status.st_mode & 0o7777:o} of user {status.st_uid}" + (", on a read-only disk" if is_mount else "")
