"""Siemens: distortion correction stands in ImageType, the coil in a private text element."""

from typing import Any

from isocenter.dicom.values import Header, read_text, read_words
from isocenter.dicom.vendors.generic import Vendor

#: Words of ImageType: not distorted back, corrected in plane, corrected in three dimensions.
DISTORTION_WORDS = {"ND": "none", "DIS2D": "2D", "DIS3D": "3D"}


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


VENDOR = Vendor("Siemens", ("siemens",), read_details=read_details)
