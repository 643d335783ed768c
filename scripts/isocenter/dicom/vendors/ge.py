"""GE: what an image shows (magnitude, phase …), its b-value and its filters stand in private elements."""

from typing import Any

from isocenter.dicom.values import Header, as_number, read_number, read_private, read_private_count, read_words
from isocenter.dicom.vendors import generic
from isocenter.dicom.vendors.generic import Reading, Scaling, Vendor
from isocenter.units import seconds_from_milliseconds

#: Image type (0043,102F): what the reconstruction wrote.
COMPONENT_NUMBERS = {0: "M", 1: "P", 2: "R", 3: "I"}

#: Multi-b protocols add a thousand million to the b-value in (0043,1039); no b-value [s/mm²] reaches this.
B_VALUE_OFFSET = 100_000


def read_phase_scaling(header: Header) -> Scaling:
    """Phase images hold thousandths of a radian."""
    plain = generic.read_scaling(header)
    return Scaling(plain.slope / 1000.0, plain.intercept / 1000.0, plain.source)


def read_b_value(header: Header) -> Reading:
    """The standard's b-value, else the first number of (0043,1039), without the offset of multi-b protocols."""
    standard = generic.read_b_value(header)
    if standard.value is not None:
        return standard
    value = read_private_count(header, 0x0043, "GEMS_PARM_01", 0x39)
    return generic.as_weighting(None if value is None else value % B_VALUE_OFFSET, "GE b-value (0043,1039)")


def read_frame_time(header: Header) -> float | None:
    """Of several temporal positions the trigger time [ms] since the first; all images may share one time of day."""
    trigger = read_number(header, "TriggerTime")
    if trigger is not None and (read_number(header, "NumberOfTemporalPositions") or 0) > 1:
        return seconds_from_milliseconds(trigger)
    return generic.read_frame_time(header)


def read_component(header: Header) -> str:
    """Image type (0043,102F) where GE wrote it, else as the standard says."""
    number = read_private(header, 0x0043, "GEMS_PARM_01", 0x2F)
    if number is None:
        return generic.read_component(header)
    return COMPONENT_NUMBERS.get(int(number), "M")


def read_details(header: Header) -> dict[str, Any]:
    """Gradient nonlinearity correction (word DIS2D/DIS3D of ImageType) and the acceleration of ASSET (0043,1083)."""
    details: dict[str, Any] = {}
    words = read_words(header, "ImageType")
    if "DIS2D" in words or "DIS3D" in words:
        details["NonlinearGradientCorrection"] = True
    asset = header.get((0x0043, 0x1083))
    inverse = as_number(asset) if asset is not None else None
    if inverse and 0 < inverse <= 1:  # GE stores the inverse of the reduction factor
        details["ParallelReductionFactorInPlane"] = 1.0 / inverse
    return details


VENDOR = Vendor(
    "GE",
    ("ge medical", "ge healthcare", "general electric"),
    read_phase_scaling=read_phase_scaling,
    read_b_value=read_b_value,
    read_frame_time=read_frame_time,
    read_component=read_component,
    read_details=read_details,
)
