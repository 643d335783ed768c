"""What each manufacturer does its own way: one small function a quirk, one file a manufacturer."""

from isocenter.dicom.values import Header, read_text
from isocenter.dicom.vendors import ge, generic, philips, siemens
from isocenter.dicom.vendors.generic import Vendor

VENDORS: tuple[Vendor, ...] = (siemens.VENDOR, ge.VENDOR, philips.VENDOR)


def find_vendor(header: Header) -> Vendor:
    """The vendor whose name stands in Manufacturer; the standard's own reading for any other."""
    name = read_text(header, "Manufacturer").lower()
    for vendor in VENDORS:
        if any(key in name for key in vendor.keys):
            return vendor
    return generic.VENDOR
