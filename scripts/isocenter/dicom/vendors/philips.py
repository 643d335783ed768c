"""Philips: display scaling hides the measured value, and the inversion delay may stand in the trigger time."""

from typing import Any

from isocenter.dicom.values import Header, read_number, read_private, read_words
from isocenter.dicom.vendors import generic
from isocenter.dicom.vendors.generic import Reading, Scaling, Vendor
from isocenter.units import seconds_from_milliseconds

CREATOR_IMAGING = "Philips Imaging DD 001"
CREATOR_MR = "Philips MR Imaging DD 001"


def read_scaling(header: Header) -> Scaling:
    """Measured value = (slope * stored + intercept) / (slope * scale slope), scale slope in (2005,100E).

    Only this value may be compared between series: the rescaled one depends on how each series filled the stored
    range. Reference: Chenevert 2014, doi 10.1593/tlo.13811.
    """
    plain = generic.read_scaling(header)
    scale_slope = read_private(header, 0x2005, CREATOR_MR, 0x0E)
    if scale_slope is None or scale_slope == 0.0 or plain.slope == 0.0:
        return plain
    denominator = plain.slope * scale_slope
    return Scaling(
        plain.slope / denominator,
        plain.intercept / denominator,
        "RescaleSlope, RescaleIntercept, Philips scale slope (2005,100E)",
    )


def read_phase_scaling(header: Header) -> Scaling:
    """The rescaled phase is in thousandths of a radian; the scale slope is for magnitudes."""
    plain = generic.read_scaling(header)
    return Scaling(plain.slope / 1000.0, plain.intercept / 1000.0, plain.source)


def read_inversion_time(header: Header) -> Reading:
    """Inversion time, else the prepulse delay (2001,101B), else the trigger time (0018,1060).

    The trigger time is a stand-in only where the header says that there is an inversion: whoever asks checks that.
    """
    standard = generic.read_inversion_time(header)
    if standard.value:
        return standard
    delay = read_private(header, 0x2001, CREATOR_IMAGING, 0x1B)
    if delay is not None and delay > 0:
        return Reading(seconds_from_milliseconds(delay), "Philips prepulse delay (2001,101B)")
    trigger = read_number(header, "TriggerTime")
    if trigger is not None and trigger > 0:
        return Reading(seconds_from_milliseconds(trigger), "TriggerTime (0018,1060)")
    return standard


def read_b_value(header: Header) -> Reading:
    """The standard's b-value, else the private one (2001,1003) of older releases."""
    standard = generic.read_b_value(header)
    if standard.value is not None:
        return standard
    return generic.as_weighting(read_private(header, 0x2001, CREATOR_IMAGING, 0x03), "Philips b-value (2001,1003)")


def read_frame_time(header: Header) -> float | None:
    """The begin of the dynamic scan (2005,10A0) [s], as all images of a series share one time of day."""
    begin = read_private(header, 0x2005, CREATOR_MR, 0xA0)
    if begin is not None and (read_number(header, "NumberOfTemporalPositions") or 0) > 1:
        return begin
    return generic.read_frame_time(header)


def read_component(header: Header) -> str:
    """The fourth word of ImageType (``M``, ``P`` …); the third carries the technique too (``M_SE``)."""
    for word in reversed(read_words(header, "ImageType")[2:4]):
        if word[:2] in ("M_", "P_", "R_", "I_"):
            return word[0]
        if word in generic.COMPONENTS:
            return generic.COMPONENTS[word]
    return generic.read_component(header)


def read_details(header: Header) -> dict[str, Any]:
    """The scaling as it stood; no public element of classic headers tells the geometry correction."""
    details: dict[str, Any] = {}
    for key, value in (
        ("PhilipsRescaleSlope", read_number(header, "RescaleSlope")),
        ("PhilipsRescaleIntercept", read_number(header, "RescaleIntercept")),
        ("PhilipsScaleSlope", read_private(header, 0x2005, CREATOR_MR, 0x0E)),
    ):
        if value is not None:
            details[key] = value
    return details


VENDOR = Vendor(
    "Philips",
    ("philips",),
    read_scaling=read_scaling,
    read_phase_scaling=read_phase_scaling,
    read_inversion_time=read_inversion_time,
    read_b_value=read_b_value,
    read_frame_time=read_frame_time,
    read_component=read_component,
    read_details=read_details,
    fills_stored_range=True,
    scale_key="Philips scale slope (2005,100E)",
)
