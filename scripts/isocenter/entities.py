"""The vocabulary: who was measured, where, when, and what became of it.

Entities follow BIDS: ``sub-<label>_ses-<label>_run-<index>``. Labels are alphanumeric.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from isocenter.errors import ConfigError

#: Columns of every exclusions table.
EXCLUSION_COLUMNS = (
    "site",
    "participant_id",
    "session",
    "run",
    "biomarker",
    "series",
    "stage",
    "reason",
    "action",
)

#: Sidecar keys of what varies over a series, under which BIDS takes one number.
ONE_NUMBER = frozenset({"InversionTime", "RepetitionTime", "RepetitionTimeExcitation"})

LABEL = re.compile(r"[A-Za-z0-9]+")


class Flag(IntEnum):
    """Why a voxel has a value or has none. The value is NaN wherever the flag is not ``OK``.

    The numbers are stored in ``desc-flag`` maps and never change.
    """

    OK = 0
    MASKED = 1
    NO_SIGNAL = 2
    AT_BOUND = 3
    NOT_CONVERGED = 4
    SINGULAR = 5
    CLIPPED = 6
    OUT_OF_RANGE = 7


class Kind(StrEnum):
    """What was scanned."""

    PATIENT = "patient"
    VOLUNTEER = "volunteer"
    TRAVELER = "traveler"
    PHANTOM = "phantom"


class Disposition(StrEnum):
    """What intake did with a series."""

    USED = "used"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"


class Verdict(StrEnum):
    """The outcome of one check."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, order=True)
class RunKey:
    """One run of one session of one participant at one site."""

    site: str
    participant: str
    session: str
    run: str

    @property
    def prefix(self) -> str:
        """The BIDS file-name prefix, ``sub-…_ses-…_run-…``."""
        return f"sub-{self.participant}_ses-{self.session}_run-{self.run}"


def check_label(label: str, what: str) -> str:
    """Return `label` when BIDS allows it as an entity label; raise ConfigError otherwise."""
    if not LABEL.fullmatch(label):
        raise ConfigError(
            f"{what} {label!r} is not a BIDS label; expected letters and digits only; what to do: rename it"
        )
    return label


def name_fields(block: Mapping[str, object], key: str) -> tuple[str, ...]:
    """The maps of B0 that a block's ``distortion`` or ``field_gradient`` names: none, one, or several."""
    named = block.get(key, "none")
    return () if named == "none" else (named,) if isinstance(named, str) else tuple(named)


def name_several(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sidecar values of what is no series itself: several under a key of `ONE_NUMBER` are told in its plural."""
    return {f"{k}s" if k in ONE_NUMBER and getattr(v, "ndim", isinstance(v, list)) else k: v for k, v in values.items()}
