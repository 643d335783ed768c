"""How the DICOM standard itself says things: what holds for every vendor without a quirk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isocenter.dicom.values import Header, read_clock, read_number, read_text, read_words
from isocenter.units import seconds_from_milliseconds

COMPONENTS = {
    "M": "M", "P": "P", "R": "R", "I": "I",
    "MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I", "PHASE MAP": "P",
}  # fmt: skip
#: Words of ImageType that name a computed image. Word one is DERIVED in most, but not in all of them.
MAP_WORDS = frozenset(
    {"ADC", "FA", "TRACEW", "EADC", "T1 MAP", "T2 MAP", "T2_STAR MAP", "R2 MAP", "T1_MAP", "T2_MAP", "MOCO",
     "PROJECTION IMAGE", "CSA MPR", "MPR", "REFORMATTED"}
)  # fmt: skip


@dataclass(frozen=True)
class Scaling:
    """Stored integer to image value: value = slope * stored + intercept."""

    slope: float
    intercept: float
    source: str


@dataclass(frozen=True)
class Reading:
    """A value with where it stood. value : a time [s] or a b-value [s/mm²], None when absent."""

    value: float | None
    source: str


def read_scaling(header: Header) -> Scaling:
    """RescaleSlope and RescaleIntercept, 1 and 0 when the file has none."""
    slope, intercept = read_number(header, "RescaleSlope"), read_number(header, "RescaleIntercept")
    if slope is None:  # one of 0 is damage, and is told as such (`plausible`)
        return Scaling(1.0, 0.0, "none")
    return Scaling(slope, intercept or 0.0, "RescaleSlope, RescaleIntercept")


def read_phase_scaling(header: Header) -> Scaling | None:
    """Stored integer to radians; None, for the standard names no unit of phase that scanners keep to."""
    return None


def read_inversion_time(header: Header) -> Reading:
    """Inversion Time (0018,0082) in seconds."""
    value = read_number(header, "InversionTime")
    return Reading(None if value is None else seconds_from_milliseconds(value), "InversionTime (0018,0082)")


def read_b_value(header: Header) -> Reading:
    """Diffusion b-value (0018,9087) [s/mm²]; a negative one is none."""
    return as_weighting(read_number(header, "DiffusionBValue"), "DiffusionBValue (0018,9087)")


def read_frame_time(header: Header) -> float | None:
    """When a plane of a dynamic series was acquired [s]: the offset that enhanced files name, else the time of day."""
    offset = read_number(header, "TemporalPositionTimeOffset")
    if offset is not None:
        return offset
    return read_clock(header, ("FrameAcquisitionDateTime", "AcquisitionTime", "AcquisitionDateTime"))


def as_weighting(value: float | None, source: str) -> Reading:
    """A b-value with its source; what cannot be one counts as absent."""
    return Reading(value, source) if value is not None and value >= 0 else Reading(None, "")


def read_component(header: Header) -> str:
    """``M``, ``P``, ``R`` or ``I``: magnitude where nothing else is said."""
    component = COMPONENTS.get(read_text(header, "ComplexImageComponent").upper())
    if component:
        return component
    for word in read_words(header, "ImageType")[2:]:
        if word in COMPONENTS:
            return COMPONENTS[word]
    return "M"


def read_derivation(header: Header) -> str:
    """The word that says that an image was computed from others, "" for an original."""
    words = read_words(header, "ImageType") or read_words(header, "FrameType")
    if words and words[0] == "DERIVED":
        return " ".join(words[:4])
    return next((word for word in words if word in MAP_WORDS), "")


def read_details(header: Header) -> dict[str, Any]:
    """Sidecar keys that only this vendor's headers give; the standard adds none."""
    return {}


@dataclass(frozen=True)
class Vendor:
    """One manufacturer: its name in BIDS, the words that tell it, and its way with each value.

    fills_stored_range : whether every image is scaled until its brightest pixel stands at the stored ceiling; one pixel
    there then means nothing
    scale_key : the private element without which volumes that were scaled each for itself cannot be compared; "" where
    there is none
    """

    name: str
    keys: tuple[str, ...]
    read_scaling: Callable[[Header], Scaling] = read_scaling
    read_phase_scaling: Callable[[Header], Scaling | None] = read_phase_scaling
    read_inversion_time: Callable[[Header], Reading] = read_inversion_time
    read_b_value: Callable[[Header], Reading] = read_b_value
    read_frame_time: Callable[[Header], float | None] = read_frame_time
    read_component: Callable[[Header], str] = read_component
    read_derivation: Callable[[Header], str] = read_derivation
    read_details: Callable[[Header], dict[str, Any]] = read_details
    fills_stored_range: bool = False
    scale_key: str = ""


VENDOR = Vendor("", ())
