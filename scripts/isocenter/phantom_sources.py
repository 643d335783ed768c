"""What the files of a phantom session say of their making: the DICOM series, the definition, regions, code.

Nothing here tells the time, the machine or a folder, so that the same session gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from isocenter.dicom.session import Session
from isocenter.phantom.methods import FLIP_ANGLES, FLIP_ANGLES_B1, METHODS
from isocenter.phantom.vial_fits import MethodResult
from isocenter.provenance import code_digest, file_digest
from isocenter.stamps import describe_making

#: How a DICOM series is named among sources.
SERIES = "dicom:"


def describe_sources(session: Session, results: Iterable[MethodResult], files: Sequence[Path]) -> dict[str, Any]:
    """``Sources``, ``SourceHashes`` (SHA-256) and ``GeneratedBy`` of what was made from the series of `results`.

    session : its `scans` tell the digest of every series; files : the phantom's definition, and regions drawn by hand,
    by their names alone. The geometry scan belongs to all: it tells where the vials lie.
    """
    results = list(results)
    made = {(_suffix_of(one.method.key), one.run) for one in results}
    uids = [uid for a in session.acquisitions if (a.suffix, a.run) in made for uid in a.uids]
    uids += session.geometry_uids
    known = {row["series_uid"]: row["files_sha256"] for row in session.scans}
    hashes = {f"{SERIES}{uid}": known[uid] for uid in dict.fromkeys(uids)}
    hashes |= {path.name: file_digest(path) for path in files}
    models = tuple(sorted({one.method.model for one in results}))
    code = code_digest("isocenter/phantom_command", models=models)
    return {
        "Sources": list(hashes),
        "SourceHashes": hashes,
        "GeneratedBy": [describe_making("isocenter phantom", code)],
    }


def _suffix_of(key: str) -> str:
    """The kind of series that a method, by its key, is fitted to."""
    own = FLIP_ANGLES.key if key == FLIP_ANGLES_B1.key else key
    return next(suffix for suffix, methods in METHODS.items() if own in {m.key for m in methods})
