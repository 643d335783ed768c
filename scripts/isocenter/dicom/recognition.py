"""What the intake made of one series: its suffix, its outcome, and what a site does about it."""

from dataclasses import dataclass

from isocenter.entities import Disposition

NOT_NEEDED = "Nothing: the series is not needed by this trial's biomarkers"


@dataclass(frozen=True)
class Recognition:
    """A series' BIDS suffix ("" when it has none here) and, unless it can be used, why not and what to do."""

    suffix: str
    disposition: Disposition = Disposition.USED
    reason: str = ""
    action: str = ""


def ignore(suffix: str, reason: str, action: str = NOT_NEEDED) -> Recognition:
    """A series that nobody has to act on."""
    return Recognition(suffix, Disposition.IGNORED, reason, action)


def quarantine(suffix: str, reason: str, action: str) -> Recognition:
    """A series that would be used if it were sound."""
    return Recognition(suffix, Disposition.QUARANTINED, reason, action)


def count(n: int, noun: str) -> str:
    """A number with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
