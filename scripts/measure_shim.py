"""Measure how well the magnet was shimmed for one run, from its map of B0.

Reads   a map of B0 with its standard error and flags
Writes  the shim figures over the map's voxels (JSON), or the reason why there are none
"""

import logging
from dataclasses import asdict

import numpy as np

from isocenter.fields.shim import measure_shim as measure
from isocenter.io.nifti import read_map, write_json
from isocenter.io.outcome import Exclusion, read_exclusion
from isocenter.step import In, Out, run_step

log = logging.getLogger("isocenter")


def measure_shim(
    map: In,
    stderr: In,
    flag: In,
    *,
    shim: Out,
    biomarker: str,
    participant_id: str,
    kind: str,
    session: str,
    run: str,
    scanner: str,
) -> None:
    """Write the shim figures [Hz] of one map; the other parameters say whose they are."""
    who = {
        "biomarker": biomarker, "participant_id": participant_id, "kind": kind, "session": session, "run": run,
        "scanner": scanner,
    }  # fmt: skip
    try:
        field, sidecar = read_map(map, stderr, flag)
        exclusion = read_exclusion(sidecar)
        if exclusion is None:
            found = measure(field.value, field.ok & np.isfinite(field.value))
            log.info("shim of %s: SD %.1f Hz over %d voxels", map.name, found.sd, found.n_voxels)
            write_json(shim, {**who, "reason": "", **asdict(found)})
            return
    except Exception as error:  # one bad map must not stop the others
        exclusion = Exclusion.from_error("shim", error)
    write_json(shim, {**who, "reason": exclusion.reason})


if __name__ == "__main__":
    run_step(measure_shim, globals())
