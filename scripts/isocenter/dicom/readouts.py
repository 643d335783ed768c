"""How an echo-planar series was read out, where its header does not tell and its site does (``readouts`` of site.yaml).

Philips writes along which axis lines were encoded, and not which way. A site states the direction as the person lies,
which holds for axial, sagittal and coronal stacks alike; here it becomes an axis of the image with its sign, as BIDS
writes it. What the header tells is never overridden: where the two disagree, the series keeps both and is not
corrected.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

#: From where to where lines were encoded, as a direction in RAS+ coordinates.
DIRECTIONS = {
    "LR": (1, 0, 0), "RL": (-1, 0, 0), "PA": (0, 1, 0), "AP": (0, -1, 0), "IS": (0, 0, 1), "SI": (0, 0, -1),
}  # fmt: skip
#: The sidecar keys that say where a value came from, and the word for a site's own statement.
SOURCES = {key: f"{key}Source" for key in ("PhaseEncodingDirection", "TotalReadoutTime")}
BY_SITE = "site.yaml"
#: Why the header and the site cannot both be right; a series with it is not corrected.
CONFLICT = "ReadoutConflict"
#: A site may count the lines themselves where BIDS counts the steps between them.
TIME_TOLERANCE = 0.05


def find_statement(
    names: Sequence[str], scanner: str, statements: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The first statement of ``site.yaml`` that speaks of a series; None where there is none.

    names : what the site calls the series; scanner : the id of the scanner that made it
    """
    folded = [name.casefold() for name in names]
    for one in statements:
        if one.get("scanner") and one["scanner"] != scanner:
            continue
        if any(fnmatchcase(name, one["name"].casefold()) for name in folded or [""]):
            return one
    return None


def complete_readout(
    readout: Mapping[str, Any], statement: Mapping[str, Any] | None, affine: np.ndarray
) -> dict[str, Any]:
    """The sidecar keys of a readout: what the header tells, and what the site states beside it.

    Parameters
    ----------
    readout : mapping
        BIDS keys from the header, as far as it tells: PhaseEncodingDirection, PhaseEncodingAxis, TotalReadoutTime [s].
    statement : mapping, optional
        The site's: ``phase_encoding`` (a key of `DIRECTIONS`), ``total_readout_time`` [s] or None.
    affine : (4, 4) array
        Voxel to RAS+ mm, of the image as converted.
    """
    known = dict(readout)
    if statement is None:
        return known
    conflicts = []
    axis = known.get("PhaseEncodingDirection", known.get("PhaseEncodingAxis", ""))[:1]
    stated = name_direction(statement["phase_encoding"], affine)
    if axis and stated[0] != axis:
        conflicts.append(f"lines along {stated[0]} ({statement['phase_encoding']}), and the header along {axis}")
    elif known.get("PhaseEncodingDirection", stated) != stated:
        conflicts.append(f"{stated} ({statement['phase_encoding']}), and the header {known['PhaseEncodingDirection']}")
    elif stated[0] == "k":
        conflicts.append(f"lines across the slices ({statement['phase_encoding']})")
    elif "PhaseEncodingDirection" not in known:
        known |= {"PhaseEncodingDirection": stated, SOURCES["PhaseEncodingDirection"]: BY_SITE}
    time, told = statement.get("total_readout_time"), known.get("TotalReadoutTime")
    if time is not None and told is None:
        known |= {"TotalReadoutTime": time, SOURCES["TotalReadoutTime"]: BY_SITE}
    elif time is not None and abs(time / told - 1) > TIME_TOLERANCE:
        conflicts.append(f"a readout of {time:g} s, and the header of {told:g} s")
    return known | ({CONFLICT: f"site.yaml states {' and '.join(conflicts)}"} if conflicts else {})


def name_direction(direction: str, affine: np.ndarray) -> str:
    """BIDS' name (``i``, ``j-`` …) of an anatomical direction in an image: the axis that runs closest to it.

    direction : a key of `DIRECTIONS`; affine : (4, 4) array, voxel to RAS+ mm
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    along = np.array(DIRECTIONS[direction], dtype=float) @ axes
    axis = int(np.argmax(np.abs(along)))
    return "ijk"[axis] + ("-" if along[axis] < 0 else "")
