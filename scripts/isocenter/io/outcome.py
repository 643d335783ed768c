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
from isocenter.errors import IsocenterError
from isocenter.io.nifti import write_map
from isocenter.volume import ParameterMap

log = logging.getLogger("isocenter")

__all__ = ["EXCLUSION_COLUMNS", "Exclusion", "read_exclusion", "write_excluded_map"]


@dataclass(frozen=True)
class Exclusion:
    """Why a scan is left out: at which stage, the reason, and what a data manager does about it."""

    stage: str
    reason: str
    action: str

    @classmethod
    def from_error(cls, stage: str, error: Exception) -> "Exclusion":
        """An exclusion from whatever a stage raised; the traceback goes to the step's log."""
        log.warning("%s", "".join(traceback.format_exception(error)))
        if isinstance(error, IsocenterError):
            return cls(stage, str(error), "Mend the input that the reason names, then run again")
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
