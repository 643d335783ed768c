"""Siemens: distortion correction stands in ImageType, coil and b-value in private elements."""

from typing import Any

import numpy as np

from isocenter.dicom.values import Header, read_private_count, read_text, read_words
from isocenter.dicom.vendors import generic
from isocenter.dicom.vendors.generic import Reading, Scaling, Vendor

#: Half a turn of phase, in rescaled units.
PHASE_STEPS = 4096.0
#: Words of ImageType: not distorted back, corrected in plane, corrected in three dimensions.
DISTORTION_WORDS = {"ND": "none", "DIS2D": "2D", "DIS3D": "3D"}


def read_phase_scaling(header: Header) -> Scaling:
    """The rescaled phase runs from -4096 to 4096 for one turn."""
    plain = generic.read_scaling(header)
    if plain.source == "none":  # older software leaves the 12 bits as they are, half a turn in the middle
        plain = Scaling(2.0, -PHASE_STEPS, "12 bits")
    return Scaling(plain.slope * np.pi / PHASE_STEPS, plain.intercept * np.pi / PHASE_STEPS, plain.source)


def read_b_value(header: Header) -> Reading:
    """The standard's b-value, else the private one (0019,100C), which is all that older software writes."""
    standard = generic.read_b_value(header)
    if standard.value is not None:
        return standard
    value = read_private_count(header, 0x0019, "SIEMENS MR HEADER", 0x0C)
    return generic.as_weighting(value, "Siemens b-value (0019,100C)")


def read_details(header: Header) -> dict[str, Any]:
    """Gradient nonlinearity correction (ND, DIS2D, DIS3D), intensity normalization (NORM) and the coil elements."""
    words = read_words(header, "ImageType")
    details: dict[str, Any] = {}
    for word, correction in DISTORTION_WORDS.items():
        if word in words:
            details["NonlinearGradientCorrection"] = correction != "none"
            details["NonlinearGradientCorrectionKind"] = correction
    details["IntensityNormalization"] = "NORM" in words
    elements = header.get((0x0051, 0x100F))
    if elements is not None:
        details["ReceiveCoilActiveElements"] = read_text({"coil": getattr(elements, "value", elements)}, "coil")
    return details


VENDOR = Vendor(
    "Siemens", ("siemens",), read_phase_scaling=read_phase_scaling, read_b_value=read_b_value, read_details=read_details
)
