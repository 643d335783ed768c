"""What became of a scan: nothing disappears, a scan that cannot be used travels on as a reason.

A step that cannot make a map writes one voxel of NaN whose sidecar says why under ``Outcome``. Later steps pass
the reason on, and `extract_rois` turns it into a row of ``exclusions.tsv``.
"""

import logging
import traceback
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from isocenter.entities import EXCLUSION_COLUMNS, Flag
from isocenter.errors import IsocenterError, OutOfMemoryError, part_remedy
from isocenter.io.nifti import write_map
from isocenter.trouble import find_trouble
from isocenter.volume import ParameterMap

log = logging.getLogger("isocenter")

__all__ = ["EXCLUSION_COLUMNS", "Exclusion", "note_unsettled", "read_exclusion", "take_unsettled", "write_excluded_map"]

#: Stages that work on one scan: one that wants too much memory must not stop the others.
PER_SCAN = ("align", "fit", "regions", "calibrate")
#: Why what this process writes is to be made again by the next run.
_unsettled: list[str] = []


def note_unsettled(reason: str) -> None:
    """Say that what the step writes holds only until the next run, which makes it again."""
    _unsettled.append(reason)


def take_unsettled() -> list[str]:
    """The reasons noted since the last call."""
    found = list(_unsettled)
    _unsettled.clear()
    return found


@dataclass(frozen=True)
class Exclusion:
    """Why a scan is left out: at which stage, the reason, and what a data manager does about it."""

    stage: str
    reason: str
    action: str

    @classmethod
    def from_error(cls, stage: str, error: Exception) -> "Exclusion":
        """An exclusion from whatever a stage raised; the traceback goes to the step's log.

        Raises
        ------
        MachineError
            When the machine is at fault: the job fails, and the next run tries it again. A scan that wants more memory
            than there is becomes a row, so that the others go on, and is tried again all the same.
        """
        trouble = find_trouble(error)
        if trouble is not None and not (isinstance(trouble, OutOfMemoryError) and stage in PER_SCAN):
            raise trouble from error
        log.warning("%s", "".join(traceback.format_exception(error)))
        if trouble is not None:
            note_unsettled(str(trouble))
            return cls(stage, *part_remedy(str(trouble)))
        if isinstance(error, IsocenterError):
            reason, remedy = part_remedy(str(error))
            return cls(stage, reason, remedy or "Mend the input that the reason names, then run again")
        return cls(
            stage,
            f"The step failed unexpectedly: {type(error).__name__}: {error}",
            "See the step's log under results/logs; report it if the input is sound",
        )


def read_exclusion(sidecar: dict[str, Any]) -> Exclusion | None:
    """The exclusion that a sidecar carries, or None when the scan is usable."""
    outcome = sidecar.get("Outcome")
    return Exclusion(**outcome) if outcome else None


def write_excluded_map(path, stderr_path, flag_path, exclusion: Exclusion, unit: str) -> None:
    """Write a map of one NaN voxel, flagged masked, that carries the reason in its sidecar."""
    nan = np.full((1, 1, 1), np.nan, np.float32)
    flag = np.full((1, 1, 1), Flag.MASKED, np.uint8)
    write_map(
        path,
        ParameterMap(nan, nan, flag, np.eye(4), unit),
        stderr_path,
        flag_path,
        {"Outcome": asdict(exclusion)},
    )
