"""Archives in a site's folder: unpacked once, under numbers instead of names, within limits, and never outside.

What an archive calls its entries is told in tables alone, as ``archive.zip/entry``; no file gets such a name.
"""

import errno
import gzip
import hashlib
import json
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from isocenter.dicom.walk import COPY_INSTEAD, Found, is_junk_path
from isocenter.io.outcome import note_unsettled
from isocenter.trouble import raise_trouble

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
#: Images and tables of BIDS that are compressed one by one: no archives.
COMPRESSED_FILES = (".nii.gz", ".tsv.gz")
OTHER_ENDINGS = (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".tbz2", ".txz")
#: Files that systems never make of themselves stay far below: entries, bytes in all, times the size of the archive
#: (images seldom shrink by more than ten), and what is unpacked whatever the ratio.
MOST_ENTRIES, LARGEST_TOTAL, HIGHEST_RATIO, SMALL = 200_000, 2**36, 200, 2**27
CHUNK = 2**20
CONTENTS = "contents.json"
SEND_ANEW = "Pack the images again, as .zip or .tar.gz without a password, or put them into the folder unpacked"
SEE_TO_DISK = "Check its permissions, and that its disk is there; then run again"
#: What zipfile, tarfile and the decompressors raise of a damaged or hostile archive. ValueError: letters of a name that
#: are no UTF-8, numbers in a tar's header that are none; OverflowError: a length beyond any file's; RecursionError:
#: headers of headers; NotImplementedError: a compression that nobody uses, or a damaged number that says so.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
          ValueError, OverflowError, RecursionError, NotImplementedError)  # fmt: skip


class _RefusedError(Exception):
    """The whole archive is not taken; its text says why."""


@contextmanager
def _reading() -> Iterator[None]:
    """Refuse an archive whose reading fails; only what reads it stands within, or mistakes of ours would look alike."""
    try:
        yield
    except DAMAGE as error:
        raise _RefusedError(f"The archive is damaged or cut off ({type(error).__name__})") from error
    except OSError as error:  # bzip2 has no other word for damage, and a damaged offset is an invalid argument
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _RefusedError("The archive is damaged or cut off") from error


@dataclass
class Contents:
    """What an archive holds: entries with the numbers of their files, and those not unpacked with their problem.

    refusal : why none of it is used, or ""
    """

    files: list[tuple[str, int]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    refusal: str = ""


def is_archive(name: str) -> bool:
    """Whether a file is unpacked, by its ending."""
    return name.lower().endswith(ENDINGS)


def expand(found: Found, known: list[Any] | None, folder: Path) -> tuple[list[Found], list[Any] | None]:
    """The files of an archive below `folder`, and what the index keeps of it: size, time stamp, digest.

    known : what it kept last time; an archive that is unchanged is neither read nor unpacked again
    """
    try:
        is_unchanged = known is not None and known[:2] == [found.size, found.mtime_ns]
        digest = known[2] if is_unchanged else _digest_file(found.path)
        place = folder / digest[:24]
        contents = _read_contents(place) or _unpack_once(found.path, place)
    except OSError as error:  # a disk that went away may come back, and rights may be mended
        raise_trouble(error)
        problem = f"The archive cannot be read: {error.strerror or type(error).__name__}"
        note_unsettled(problem)
        return [Found(found.path, found.relative, 0, 0, problem, SEE_TO_DISK)], known
    entry = [found.size, found.mtime_ns, digest]
    if contents.refusal:
        return [Found(found.path, found.relative, 0, 0, contents.refusal, SEND_ANEW)], entry
    stamp = int(digest[:12], 16)  # what stands in an archive is as old as its content says
    files = [
        Found(
            path := place / f"{number:06d}",
            f"{found.relative}/{name}",
            path.stat().st_size,
            stamp,
            archive=found.relative,
        )
        for name, number in contents.files
    ]
    return files + _tell_problems(found, contents.problems), entry


def remove_others(folder: Path, digests: set[str]) -> None:
    """Remove what was unpacked from archives that are no longer there."""
    if folder.is_dir():
        for place in folder.iterdir():
            if place.name not in {digest[:24] for digest in digests}:
                shutil.rmtree(place, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _tell_problems(found: Found, problems: list[tuple[str, str]]) -> list[Found]:
    """One row a problem: an archive of thousands of links is not thousands of rows."""
    names: dict[str, list[str]] = {}
    for name, problem in problems:
        names.setdefault(problem, []).append(name)
    return [
        Found(
            found.path,
            f"{found.relative}/{alike[0]}",
            0,
            0,
            problem + (f" (nor are {len(alike) - 1} more entries of the archive)" if len(alike) > 1 else ""),
            COPY_INSTEAD,
            archive=found.relative,
        )
        for problem, alike in names.items()
    ]


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_contents(place: Path) -> Contents | None:
    try:
        kept = json.loads((place / CONTENTS).read_text(encoding="utf-8"))
        contents = Contents([(n, k) for n, k in kept["files"]], [(n, p) for n, p in kept["problems"]], kept["refusal"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return contents if all((place / f"{number:06d}").is_file() for _, number in contents.files) else None


def _unpack_once(path: Path, place: Path) -> Contents:
    """Unpack beside `place` and move there when whole, so that a run that was stopped leaves nothing half."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="unfinished-", dir=place.parent))
    try:
        try:
            contents = _unpack(path, made)
        except _RefusedError as error:
            contents = Contents(refusal=str(error))
        if contents.refusal:
            shutil.rmtree(made)
            made.mkdir(mode=0o700)
        kept = {"files": contents.files, "problems": contents.problems, "refusal": contents.refusal}
        (made / CONTENTS).write_text(json.dumps(kept), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        os.replace(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return contents


def _unpack(path: Path, folder: Path) -> Contents:
    budget = _Budget(min(LARGEST_TOTAL, max(SMALL, HIGHEST_RATIO * path.stat().st_size)))
    contents = Contents()
    seen: dict[str, int] = {}
    entries = _iterate_zip(path, budget) if path.name.lower().endswith(".zip") else _iterate_tar(path, budget)
    for count, (name, problem, file) in enumerate(entries):
        if count >= MOST_ENTRIES:
            raise _RefusedError(f"The archive holds more than {MOST_ENTRIES} entries")
        if is_junk_path(name):
            continue
        problem = problem or _judge_name(name)
        if problem or file is None:
            contents.problems.append((name, problem))
            continue
        seen[name] = seen.get(name, 0) + 1
        number = len(contents.files)
        with (folder / f"{number:06d}").open("xb") as out:
            while chunk := _read_chunk(file):
                budget.spend(len(chunk))
                out.write(chunk)
        contents.files.append((name if seen[name] == 1 else f"{name} ({seen[name]})", number))
    return contents


def _read_chunk(file: BinaryIO) -> bytes:
    with _reading():
        return file.read(CHUNK)


class _Budget:
    """Bytes that may still come out of an archive; what they were said to be is not asked."""

    def __init__(self, limit: int):
        self.limit, self.left = limit, limit

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _RefusedError(f"The archive unpacks to more than {self.limit} bytes: no images do")


class _Counted:
    """A stream of bytes that spends a budget: headers of a tar count too."""

    def __init__(self, file: BinaryIO, budget: _Budget):
        self._file, self._budget, self._last = file, budget, b""

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._budget.spend(len(content))
        self._last = (self._last + content)[-tarfile.BLOCKSIZE :]
        return content

    def finish(self) -> None:
        """Read to the end, where gzip's checksum stands: a tar whose header is damaged looks as if it ended there."""
        while rest := self.read(CHUNK):
            if rest.strip(b"\0"):
                raise _RefusedError("The archive is damaged or cut off: what follows an entry cannot be read")
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise _RefusedError("The archive is damaged or cut off: it has no end")


def _iterate_zip(path: Path, budget: _Budget) -> Iterator[tuple[str, str, Any]]:
    """Name, problem and content of each entry that is no folder."""
    with _reading(), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith("/"):  # its own is_dir wants a name of at least one letter
                continue
            if info.flag_bits & 1:
                raise _RefusedError("The archive is locked by a password")
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, LINK, None
                continue
            with archive.open(info) as file:
                yield info.filename, "", file


def _iterate_tar(path: Path, budget: _Budget) -> Iterator[tuple[str, str, Any]]:
    open_it = open if path.name.lower().endswith(".tar") else gzip.open
    # The stream and what is written of it both count: a hole in a sparse entry is not in the stream.
    budget.limit, budget.left = 2 * budget.limit, 2 * budget.left
    with (
        _reading(),
        open_it(path, "rb") as raw,
        tarfile.open(fileobj=(stream := _Counted(raw, budget)), mode="r|") as archive,
    ):
        for member in archive:
            if member.isdir():
                continue
            if member.isreg():
                yield member.name, "", archive.extractfile(member)
            else:
                yield member.name, LINK if member.issym() or member.islnk() else "An entry that is no plain file", None
            archive.members = []  # or all headers of a large archive stay in memory
        stream.finish()


LINK = "A link within an archive was not followed"


def _judge_name(name: str) -> str:
    if not name:
        return "An entry of an archive that has no name was not unpacked"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or not parts[0] or ":" in parts[0] or "\0" in name:
        return "An entry of an archive whose name leads out of it was not unpacked"
    if name.lower().endswith(COMPRESSED_FILES):
        return ""
    if is_archive(name) or name.lower().endswith(OTHER_ENDINGS):
        return "An archive within an archive was not unpacked"
    return ""
