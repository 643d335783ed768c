"""What every number of ``measurements.tsv`` was made from, as it was recorded: for the pages of the report.

`isocenter trace` reads and hashes each file on the way of one number. For all numbers of a trial that would be every
file many times over, so here a hash is the one that the sidecars recorded, and only what nobody recorded is read.
"""

import logging
from pathlib import Path

from isocenter import layout
from isocenter.errors import IsocenterError
from isocenter.trace_command import Node, Tracer, read_rows

log = logging.getLogger("isocenter")

#: What the regions of one map share: their way back.
Key = tuple[str, str, str, str, str]
KEY = ("site", "participant_id", "session", "run", "biomarker")


def trace_values(measurements: Path) -> tuple[dict[Key, Node], list[str]]:
    """The tree of each run and biomarker of a trial's table of measurements, and what could not be followed.

    The keys are site, participant, session, run and biomarker; the regions of one map share its tree, whose root says
    the facts of the first one. A site whose intake left no table costs one sentence, never the report.
    """
    directory = Path(*measurements.parts[: -len(Path(layout.MEASUREMENTS).parts)])
    found: dict[Key, Node] = {}
    problems: dict[str, str] = {}
    tracers: dict[str, Tracer] = {}
    for number, row in enumerate(read_rows(measurements) if measurements.is_file() else [], start=1):
        key = tuple(row.get(name, "") for name in KEY)
        site = key[0]
        if key in found or site in problems:
            continue
        try:
            if site not in tracers:
                tracers[site] = Tracer(directory, site, is_checked=False)
            found[key] = tracers[site].trace(number, row)
        except (IsocenterError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
            log.warning("the values of %s cannot be followed: %s", site, error)
            problems[site] = f"The values of {site} cannot be followed to their scans: {error}"
    return found, list(problems.values())
