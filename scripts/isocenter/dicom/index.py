"""What was learned from each file, kept so that a file that has not changed is not read again.

The index lies under ``results/`` and names nobody: files go by a digest of their path, patients by a digest of
their ID, and it holds no date.
"""

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom

from isocenter.dicom.archives import expand, is_archive, remove_others
from isocenter.dicom.deidentify import digest_path
from isocenter.dicom.headers import Frame, Image, read_image
from isocenter.dicom.privacy import UidRule
from isocenter.dicom.walk import Found, walk_tree
from isocenter.errors import DicomError, explain
from isocenter.io.nifti import write_bytes
from isocenter.io.tables import write_table

FRAME_FIELDS = tuple(f.name for f in fields(Frame))
#: How the keys of archives begin among those of files.
ARCHIVE = "archive-"
IMAGE_FIELDS = tuple(f.name for f in fields(Image) if f.name not in ("relative", "frames", "path"))


def digest_code() -> str:
    """A digest of everything that decides what is read and written: a change of code empties the cache."""
    digest = hashlib.sha256(pydicom.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if not path.name.startswith("write"):  # writing simulated DICOM does not change how any is read
            digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def read_index(path: Path) -> dict[str, Any]:
    """The index of the last run; empty when there is none, or when the code has changed since."""
    empty: dict[str, Any] = {"code": digest_code(), "files": {}, "volumes": {}}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return empty
    if not isinstance(index, dict):
        return empty
    if index.get("code") != empty["code"]:  # what arrived when does not depend on the code
        return {**empty, **{key: index[key] for key in ("arrived", "received") if key in index}}
    return index


def read_sources(path: Path) -> tuple[dict[str, Any], dict[str, list[Image]]]:
    """An intake's index as it is, and what it tells of the files of each series, by series UID; nothing without one.

    Raises DicomError when another version wrote it: its columns cannot be told.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        index = {"files": {}}
    found: dict[str, list[Image]] = {}
    for image in list_images(index, where=str(path)):
        found.setdefault(image.series_uid, []).append(image)
    return index, {uid: sorted(ones, key=lambda one: (one.sop_uid, one.sha256)) for uid, ones in found.items()}


def list_images(index: dict[str, Any], *, where: str = "") -> list[Image]:
    """The files of an index, without their places; DicomError when another version wrote it."""
    if index["files"] and index.get("fields") != list(IMAGE_FIELDS):
        raise DicomError(
            explain(
                "The intake's index was written by another version of Isocenter",
                where=where,
                expected=", ".join(IMAGE_FIELDS),
                found=", ".join(map(str, index.get("fields") or ())) or "no names of its columns",
                remedy="isocenter run brings it up to date",
            )
        )
    nowhere = Found(Path(), "", 0, 0)
    return [
        _unpack(nowhere, packed)
        for key, (_size, _time, packed) in index["files"].items()
        if packed is not None and not key.startswith(ARCHIVE)  # a file that is no image, an archive
    ]


def list_digests(path: Path) -> dict[str, list[str]]:
    """SHA-256 of the DICOM files of each series by an index; nothing where it is absent or of another version."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if index.get("fields") != list(IMAGE_FIELDS):
        return {}
    found: dict[str, set[str]] = {}
    for key, (_size, _time, packed) in index["files"].items():
        if packed is None or key.startswith(ARCHIVE):  # a file that is no image
            continue
        image = dict(zip(IMAGE_FIELDS, packed[0], strict=True))
        found.setdefault(image["series_uid"], set()).add(image["sha256"])
    return {uid: sorted(digests) for uid, digests in found.items()}


def write_index(path: Path, index: dict[str, Any]) -> None:
    """Write the index unless it stands there already."""
    content = (json.dumps(index, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()
    write_if_changed(path, content)


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file unless it holds the same bytes: then its time stamp stays, and nothing downstream reruns."""
    try:
        if path.read_bytes() == content:
            return False
    except OSError:
        pass
    write_bytes(path, content)
    return True


def write_table_if_changed(path: Path, table: pd.DataFrame) -> None:
    """Write a TSV unless the same stands there already."""
    with tempfile.TemporaryDirectory(prefix="isocenter-intake-") as folder:
        made = Path(folder, path.name)
        write_table(made, table)
        write_if_changed(path, made.read_bytes())


def write_paths(path: Path, paths: dict[str, str]) -> None:
    """The files behind the codes of the tables, readable by their owner alone; no table when no code was given."""
    if not paths:
        path.unlink(missing_ok=True)
        return
    told = {code: name.encode("utf-8", "backslashreplace").decode() for code, name in sorted(paths.items())}
    lines = [f"{code}\t{json.dumps(name, ensure_ascii=False)}\n" for code, name in told.items()]
    content = "".join(["file\tpath\n", *lines]).encode()
    if write_if_changed(path, content):
        path.chmod(0o600)


def read_images(
    source: Path,
    index: dict[str, Any],
    unpacked: Path,
    rule: UidRule | None = None,
    without: Collection[Path] = (),
) -> tuple[list[Image], dict[str, Any]]:
    """All files below `source`, from the index where size and time stamp agree; and the entries of the next index.

    unpacked : the folder for what comes out of archives; it holds names and dates as the DICOM does
    rule : which UIDs may be kept; a file that was read under another one is read again; without one, files of the index
        are as it has them
    without : folders below `source` that hold no DICOM
    """
    files, entries = list_files(source, index, unpacked, without)
    images, read = read_files(files, index, rule)
    return images, entries | read


def list_files(
    source: Path, index: dict[str, Any], unpacked: Path, without: Collection[Path] = ()
) -> tuple[list[Found], dict[str, Any]]:
    """All files below `source`, those of archives too; and what the next index keeps of the archives.

    unpacked, without : as for :func:`read_images`
    """
    files: list[Found] = []
    entries: dict[str, Any] = {}
    digests = set()
    for found in walk_tree(source, without):
        if found.problem or not is_archive(found.relative):
            files.append(found)
            continue
        key = f"{ARCHIVE}{_key(found)}"
        inner, entry = expand(found, index["files"].get(key), unpacked)
        if entry:
            entries[key] = entry
            digests.add(entry[2])
        files += inner
    remove_others(unpacked, digests)
    return files, entries


def read_files(
    files: Iterable[Found], index: dict[str, Any], rule: UidRule | None = None
) -> tuple[list[Image], dict[str, Any]]:
    """The images among `files`, and the entries of the next index; `rule` as for :func:`read_images`."""
    known = index["files"] if rule is None or index.get("rule") == digest_rule(rule) else {}
    entries: dict[str, Any] = {}
    images = []
    for found in files:
        key = _key(found)
        entry = known.get(key)
        if entry and entry[:2] == [found.size, found.mtime_ns]:
            image = _unpack(found, entry[2])
        else:
            image = read_image(found, rule)
            entry = [found.size, found.mtime_ns, _pack(image)]
        is_read = image is None or image.sha256
        if is_read and not found.problem:
            entries[key] = entry
        if image is not None:
            images.append(image)
    return images, entries


def digest_rule(rule: UidRule) -> str:
    """What the index keeps of a rule: it names nobody."""
    told = f"{rule.keep_dates}:{sorted(rule.phantoms)}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _key(found: Found) -> str:
    return digest_path(found.relative)


def _pack(image: Image | None) -> list[Any] | None:
    if image is None:
        return None
    frames = [[getattr(frame, name) for name in FRAME_FIELDS] for frame in image.frames]
    return [[getattr(image, name) for name in IMAGE_FIELDS], frames]


def _unpack(found: Found, packed: list[Any] | None) -> Image | None:
    if packed is None:
        return None
    values, frames = packed
    image = Image(found.relative, **dict(zip(IMAGE_FIELDS, values, strict=True)), path=found.path)
    for row in frames:
        frame = Frame(*row)
        for name in ("position", "orientation", "spacing"):
            value = getattr(frame, name)
            setattr(frame, name, None if value is None else tuple(value))
        image.frames.append(frame)
    return image
