"""Every file below a folder, in one order, whatever its name; what an operating system left there is passed by."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Files that systems, not scanners, put beside images. A DICOMDIR is a table of contents, not an image.
JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "lockfile", ".gitkeep", ".gitignore"})
JUNK_FOLDERS = frozenset({"__macosx", ".git", "$recycle.bin", "system volume information"})
#: macOS writes a resource fork of every file on foreign disks under this prefix.
JUNK_PREFIX = "._"


@dataclass(frozen=True)
class Found:
    """One file: where it is, and its path below the source folder with forward slashes."""

    path: Path
    relative: str
    size: int
    mtime_ns: int
    is_outside: bool = False


def walk_tree(root: Path) -> Iterator[Found]:
    """All files below `root`, sorted by path. Links that leave the tree come with ``is_outside`` set."""
    root = root.resolve()
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name.lower() not in JUNK_FOLDERS]
        paths += [Path(folder, name) for name in names if not _is_junk(name)]
        # A linked folder is not walked (it may lead anywhere, or in circles), but it is not passed over in silence.
        paths += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
    for path in sorted(paths):
        relative = path.relative_to(root).as_posix()
        if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root)):
            yield Found(path, relative, 0, 0, is_outside=True)
            continue
        status = path.stat()
        yield Found(path, relative, status.st_size, status.st_mtime_ns)


def _is_junk(name: str) -> bool:
    return name.lower() in JUNK_NAMES or name.startswith(JUNK_PREFIX)
