"""Every file below a folder, in one order, whatever its name; what an operating system left there is passed by."""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Files that systems, not scanners, put beside images. A DICOMDIR is a table of contents, not an image.
JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "lockfile", ".gitkeep", ".gitignore"})
JUNK_FOLDERS = frozenset({"__macosx", ".git", "$recycle.bin", "system volume information", ".unpacked"})
#: macOS writes a resource fork of every file on foreign disks under this prefix.
JUNK_PREFIX = "._"
#: No DICOM file is larger: the lengths of its elements are 32-bit numbers [bytes].
LARGEST_FILE = 2**32
COPY_INSTEAD = "Copy the images themselves into the folder"


@dataclass(frozen=True)
class Found:
    """One file: where it is, and its path below the source folder with forward slashes.

    problem, action : why it is not read, and what to do about it; "" when it is
    archive : the path of the archive that it came in; then `relative` says archive.zip/entry, and `path` is a number
    """

    path: Path
    relative: str
    size: int
    mtime_ns: int
    problem: str = ""
    action: str = ""
    archive: str = ""


def walk_tree(root: Path, without: Collection[Path] = ()) -> Iterator[Found]:
    """All files below `root`, sorted by path. What must not be read (links that leave the tree) says why.

    without : folders, as absolute paths, that somebody else reads
    """
    root = root.resolve()
    paths: list[Path] = []
    unread: dict[Path, str] = {}
    for folder, folders, names in os.walk(root, onerror=lambda error: _note_unread(error, unread)):
        if Path(folder) in without:
            folders.clear()
            continue
        folders[:] = [name for name in folders if name.lower() not in JUNK_FOLDERS]
        paths += [Path(folder, name) for name in names if not _is_junk(name)]
        # A linked folder is not walked (it may lead anywhere, or in circles), but it is not passed over in silence.
        paths += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
    for path in sorted([*paths, *unread]):
        relative = path.relative_to(root).as_posix()
        if path in unread:
            yield Found(path, relative, 0, 0, f"The folder cannot be read: {unread[path]}", "Check its permissions")
        else:
            yield _look_at(path, relative, root)


def _note_unread(error: OSError, unread: dict[Path, str]) -> None:
    unread[Path(error.filename)] = error.strerror or type(error).__name__


def _look_at(path: Path, relative: str, root: Path) -> Found:
    try:
        status = path.stat()
        is_outside = path.is_symlink() and not path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link to nothing, or in a circle
        return Found(path, relative, 0, 0, "A link that leads nowhere", COPY_INSTEAD)
    if is_outside or (path.is_symlink() and stat.S_ISDIR(status.st_mode)):
        problem = "A link that leads out of the site's source folder, or to a folder, was not followed"
        return Found(path, relative, 0, 0, problem, COPY_INSTEAD)
    if not stat.S_ISREG(status.st_mode):
        return Found(path, relative, 0, 0, "This is no plain file but a pipe, socket or device", "Remove it")
    if status.st_size > LARGEST_FILE:
        problem = f"The file is larger than any DICOM file can be: {status.st_size} bytes"
        return Found(path, relative, 0, 0, problem, "Nothing, if it holds no images; otherwise send them one by one")
    return Found(path, relative, status.st_size, status.st_mtime_ns)


def is_junk_path(relative: str) -> bool:
    """Whether a path, with forward slashes, is one that `walk_tree` passes by."""
    *folders, name = relative.split("/")
    return _is_junk(name) or any(folder.lower() in JUNK_FOLDERS for folder in folders)


def _is_junk(name: str) -> bool:
    return name.lower() in JUNK_NAMES or name.startswith(JUNK_PREFIX)
