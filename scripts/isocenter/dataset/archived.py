"""BIDS datasets that came in archives: laid out under their names, as nothing else of an archive is.

A dataset is read by its names. Entries whose path is made of plain letters get it back, beside the numbers under which
the archive was unpacked; any other entry of a dataset stays a number, and is told.
"""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from isocenter.dataset.names import DESCRIPTION, Dataset, parse_name
from isocenter.dicom.walk import Found
from isocenter.trouble import raise_trouble

#: Folder beside the numbers of an archive's files.
NAMED = "named"
#: Letters that BIDS names are made of; a part of a path begins with none that a system or shell takes for its own.
_PART = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}|\.bidsignore)")


def take_datasets(files: Iterable[Found]) -> tuple[list[Dataset], list[Found]]:
    """The datasets within archives, laid out to be read, and the files that belong to none of them."""
    archives: dict[str, list[Found]] = {}
    rest: list[Found] = []
    for found in files:
        (archives.setdefault(found.archive, []) if found.archive else rest).append(found)
    datasets = []
    for archive, entries in archives.items():
        roots = _find_roots(entry.relative[len(archive) + 1 :] for entry in entries)
        for number, root in enumerate(roots):
            below = f"{archive}/{root}".rstrip("/")
            inside = [entry for entry in entries if entry.relative.startswith(f"{below}/")]
            entries = [entry for entry in entries if not entry.relative.startswith(f"{below}/")]
            readable = [entry for entry in inside if not entry.problem]
            rest += [entry for entry in inside if entry.problem]
            if readable:
                place = readable[0].path.parent / NAMED / str(number)
                rest += _lay_out(readable, len(below) + 1, place)
                datasets.append(Dataset(place, below))
        rest += entries
    return datasets, rest


def _find_roots(names: Iterable[str]) -> list[str]:
    """The topmost folders of an archive that are datasets, by description or by content; "" is the archive itself."""
    roots = set()
    for name in names:
        parts = name.split("/")
        if parts[-1] == DESCRIPTION:
            roots.add(tuple(parts[:-1]))
        for depth, part in enumerate(parts):
            if part.startswith("sub-") and parse_name("/".join(parts[depth:])):
                roots.add(tuple(parts[:depth]))
                break
    topmost = [root for root in roots if not any(root[:depth] in roots for depth in range(len(root)))]
    return ["/".join(root) for root in sorted(topmost)]


def _lay_out(entries: list[Found], start: int, place: Path) -> list[Found]:
    """Give files their names below `place`, anew each time; those that cannot have it say so."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    strays = []
    for entry in entries:
        parts = entry.relative[start:].split("/")
        try:
            if not all(map(_PART.fullmatch, parts)):
                raise ValueError
            path = place.joinpath(*parts)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link(entry.path, path)
        except (OSError, ValueError) as error:
            raise_trouble(error)
            problem = "A name that BIDS does not know, or that stands twice in a dataset's archive: it was not read"
            strays.append(replace(entry, problem=problem, action="Nothing, if it holds no images of the trial"))
    return strays


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        with source.open("rb") as old, target.open("xb") as new:
            shutil.copyfileobj(old, new)
