"""What DICOM calls a quantity, a unit, a statistic and a region.

Codes come from the standard's context groups (CID 218 quantitative image features, 7464 and 7465 statistics, 7192
anatomical structures), units from UCUM. What has no code there has one of the scheme 99ISOCENTER, which every object
that uses it introduces.
"""

import re

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from isocenter.errors import ConfigError, explain

PRIVATE = "99ISOCENTER"


def _own(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, PRIVATE, meaning)


def _public(scheme: str, value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, scheme, meaning)


#: By the name of a model's parameter.
QUANTITIES = {
    "T1": _public("DCM", "113063", "T1"),
    "T2": _public("DCM", "113065", "T2"),
    "T2star": _public("DCM", "113064", "T2*"),
    "R1": _public("DCM", "126393", "R1"),
    "R2": _public("DCM", "126394", "R2"),
    "R2star": _public("DCM", "126395", "R2*"),
    "ADC": _public("DCM", "113041", "Apparent Diffusion Coefficient"),
    "PDFF": _public("DCM", "129100", "Fat fraction"),
    "Ktrans": _public("DCM", "126312", "Ktrans"),
    "kep": _public("DCM", "126313", "kep"),
    "ve": _public("DCM", "126314", "ve"),
    "vp": _public("DCM", "126331", "vp"),
    "M0": _public("DCM", "113058", "Proton Density"),
    "R2prime": _own("R2prime", "R2'"),
    "B0": _own("B0", "Offset of the main magnetic field"),
    "B1": _own("B1", "Transmit field relative to the nominal one"),
}
#: UCUM by our unit: further columns are other ways to show it, with the factor from the stored number.
UNITS = {
    "s": [("s", "second", 1.0), ("ms", "millisecond", 1000.0)],
    "1/s": [("/s", "per second", 1.0)],
    "mm2/s": [("mm2/s", "square millimeter per second", 1.0), ("um2/s", "square micrometer per second", 1e6)],
    "percent": [("%", "percent", 1.0)],
    "1/min": [("/min", "per minute", 1.0)],
    "Hz": [("Hz", "hertz", 1.0)],
    "1": [("1", "no units", 1.0)],
    "mM": [("mmol/L", "millimole per liter", 1.0)],
    "arbitrary": [("[arb'U]", "arbitrary unit", 1.0)],
}
MEDIAN = _public("SCT", "373099004", "Median")
MEAN = _public("SCT", "373098007", "Mean")
STANDARD_DEVIATION = _public("SCT", "386136009", "Standard Deviation")
INTERQUARTILE_RANGE = _public("DCM", "130614", "Interquartile Range of population")
TENTH_PERCENTILE = _public("SCT", "371890005", "10th Percentile Value of population")
NINETIETH_PERCENTILE = _public("SCT", "371887004", "90th Percentile Value of population")
STANDARD_ERROR = _own("standard-error", "Standard error")
VOLUME = _public("SCT", "118565006", "Volume")
N_VOXELS = _own("voxels", "Voxels of the region")
N_VALID = _own("valid-voxels", "Voxels of the region that hold a value")
FITTED = _own("fitted", "As fitted, not calibrated")
CALIBRATED = _own("calibrated", "Calibrated on the site's phantom")
CUBIC_MILLIMETER = _public("UCUM", "mm3", "cubic millimeter")
COUNT = _public("UCUM", "{voxels}", "voxels")
TISSUE = _public("SCT", "85756007", "Tissue")
STRUCTURE = _public("SCT", "91723000", "Anatomical Structure")
DEFORMABLE_MODELS = _public("DCM", "123111", "Deformable Models")
MR_IMAGING = _public("SCT", "113091000", "Magnetic resonance imaging")
#: Regions whose names say less, or are said otherwise, than the standard's terms.
_REGIONS = {
    "white_matter": _public("SCT", "389080008", "White Matter"),
    "gray_matter": _public("SCT", "389081007", "Gray Matter"),
    "csf": _public("SCT", "65216001", "Cerebrospinal Fluid"),
    "myocardium": _public("SCT", "74281007", "Myocardium"),
    "thigh_muscle": _public("SCT", "127954009", "Skeletal muscle"),
    "subcutaneous_fat": _public("SCT", "71966008", "Subcutaneous tissue"),
}


def find_quantity(parameter: str) -> CodedConcept:
    """The concept of a model's parameter."""
    return QUANTITIES.get(parameter) or _own(re.sub(r"[^A-Za-z0-9-]", "-", parameter)[:16], parameter)


def find_units(unit: str) -> list[tuple[CodedConcept, float]]:
    """UCUM of one of our units, and of others that it may be shown in with their factors; the stored one is first."""
    if unit not in UNITS:
        raise ConfigError(explain("A map has a unit that UCUM has no code for here", expected=", ".join(UNITS),
                                  found=unit or "none"))  # fmt: skip
    return [(_public("UCUM", value, meaning), factor) for value, meaning, factor in UNITS[unit]]


def find_region(name: str) -> CodedConcept | None:
    """The anatomical structure that a region's name is the standard's name of; None for any other."""
    if name in _REGIONS:
        return _REGIONS[name]
    wanted = name.replace("_", " ").lower()
    for code in codes.cid7192.concepts.values():
        if code.meaning.lower() == wanted:
            return CodedConcept.from_code(code)
    return None


def introduce_scheme(dataset: Dataset) -> None:
    """Say in an object that uses private codes what their scheme is (PS3.3 C.12.1.1, Coding Scheme Identification)."""
    keyword = "CodingSchemeDesignator"
    if not any(element.keyword == keyword and element.value == PRIVATE for element in dataset.iterall()):
        return
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE
    item.CodingSchemeName = "Isocenter's own terms"
    item.CodingSchemeResponsibleOrganization = "Isocenter"
    dataset.CodingSchemeIdentificationSequence = [item]
