"""Times of files that mislead: a clock that was wrong, a file that came back from a copy with its old date.

Snakemake makes a result again when one of its inputs is newer. An input dated in the future would be newer after each
run, for ever; a result dated in the future would hide every later change; a file that people wrote and then replaced by
a copy with an older date would not show. So before a run times are brought back to the present, in their order, and
what people wrote is compared by content.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from isocenter import layout
from isocenter.io.nifti import write_bytes
from isocenter.manifest import read_snapshot, write_snapshot
from isocenter.provenance import file_digest
from isocenter.trial_digests import list_written

#: A file may be this much newer than the clock [ns]: clocks of a network's machines differ.
TOLERANCE = 5 * 10**9
#: Times that are brought back lie this far from one another [ns].
STEP = 1000


def settle_times(directory: Path) -> list[str]:
    """Bring times of files that lie in the future back to now, and date what people changed since the last run.

    Returns what was dated anew among the files that people wrote, as paths from the trial's folder; not what was
    changed since and said so by its date.
    """
    now = time.time_ns()
    ahead = {path: stamp for path, stamp in _list_times(directory) if stamp > now + TOLERANCE}
    moved = {stamp: now - STEP * place for place, stamp in enumerate(sorted(set(ahead.values()), reverse=True))}
    snapshot = read_snapshot(directory)
    for path, stamp in ahead.items():
        os.utime(path, ns=(now, moved[stamp]))
        name = path.relative_to(directory).as_posix()
        if snapshot and name in snapshot and snapshot[name][1] == stamp:
            snapshot[name] = (snapshot[name][0], moved[stamp])  # a run that was killed did not write it
    if ahead and snapshot:
        write_snapshot(directory, snapshot)
    told = [path for path in _list_seen(directory) if path in ahead]
    for path in _find_changed(directory):
        stamp = path.stat().st_mtime_ns
        if stamp < now:
            os.utime(path, ns=(now, now))
            if ahead or stamp <= (directory / layout.SEEN).stat().st_mtime_ns:
                told.append(path)
    return sorted({path.relative_to(directory).as_posix() for path in told})


def note_seen(directory: Path) -> None:
    """Keep the content's digest of each file that people wrote, for the next run to compare."""
    seen = {path.relative_to(directory).as_posix(): file_digest(path) for path in _list_seen(directory)}
    write_bytes(directory / layout.SEEN, json.dumps(seen, indent=0).encode())


def _find_changed(directory: Path) -> list[Path]:
    """What people wrote and the last run saw with other content."""
    try:
        seen = json.loads((directory / layout.SEEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [
        path
        for path in _list_seen(directory)
        if (digest := seen.get(path.relative_to(directory).as_posix())) and digest != file_digest(path)
    ]


def _list_seen(directory: Path) -> list[Path]:
    """Files that people wrote, and what sites sent about regions: all that jobs read beside results and DICOM."""
    sent = directory.glob(f"{layout.SITES}/*/rois/*")
    return sorted({*list_written(directory), *(path for path in sent if path.is_file())})


def _list_times(directory: Path) -> Iterator[tuple[Path, int]]:
    """All files that Snakemake compares by their times: results, what people wrote, what sites sent of regions."""
    for path in _list_seen(directory):
        yield path, path.stat().st_mtime_ns
    for folder, folders, names in os.walk(directory / layout.RESULTS):
        inside = Path(folder)
        folders[:] = [name for name in folders if inside / name != directory / layout.AUDIT]
        for path in (inside, *(inside / name for name in names)):  # a folder that a rule makes has a time, too
            yield path, path.lstat().st_mtime_ns
