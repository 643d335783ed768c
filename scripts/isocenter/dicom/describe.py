"""One series in the words of its first image: technique, scanner, date, and the acquisition record for the sidecar.

Read again at each run, because it holds what the index must not: the patient's ID and the study date.
"""

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.config import disable_value_validation

from isocenter.dicom import enhanced
from isocenter.dicom.deidentify import Redactor
from isocenter.dicom.headers import read_header
from isocenter.dicom.privacy import as_day, find_identifying, find_personal
from isocenter.dicom.values import Header, read_number, read_numbers, read_text, read_words
from isocenter.dicom.vendors import find_vendor
from isocenter.dicom.vendors.generic import Vendor

#: Sidecar key: (DICOM keyword, how to read it).
NUMBERS = {
    "MagneticFieldStrength": "MagneticFieldStrength",
    "ImagingFrequency": "ImagingFrequency",
    "PixelBandwidth": "PixelBandwidth",
    "SliceThickness": "SliceThickness",
    "SpacingBetweenSlices": "SpacingBetweenSlices",
    "NumberOfAverages": "NumberOfAverages",
    "EchoTrainLength": "EchoTrainLength",
    "PercentSampling": "PercentSampling",
    "PercentPhaseFOV": "PercentPhaseFieldOfView",
    "SAR": "SAR",
    "ParallelReductionFactorInPlane": "ParallelReductionFactorInPlane",
}
TEXTS = {
    "ManufacturersModelName": "ManufacturerModelName",
    "DeviceSerialNumber": "DeviceSerialNumber",
    "SoftwareVersions": "SoftwareVersions",
    "MRAcquisitionType": "MRAcquisitionType",
    "ScanningSequence": "ScanningSequence",
    "SequenceVariant": "SequenceVariant",
    "ScanOptions": "ScanOptions",
    "SequenceName": "SequenceName",
    "PulseSequenceName": "PulseSequenceName",
    "ReceiveCoilName": "ReceiveCoilName",
    "TransmitCoilName": "TransmitCoilName",
    "ParallelAcquisitionTechnique": "ParallelAcquisitionTechnique",
    "PatientPosition": "PatientPosition",
}
#: Names of pulse sequences that tell the technique where ScanningSequence is absent.
INVERSION_NAME = re.compile(r"(^|[^a-z])(t?ir|ir-?se|se-?ir)(\d|_|$|[^a-z])", re.IGNORECASE)
SPIN_ECHO_NAME = re.compile(r"(^|[^a-z])(se|tse|fse|memp|mese|mse|cpmg|semc|se_mc)(\d|_|$|[^a-z])", re.IGNORECASE)
#: A diffusion sequence's name on one vendor, and the words of ImageType that mark diffusion and its trace.
DIFFUSION_NAME = re.compile(r"(^|[^a-z])ep_b\d", re.IGNORECASE)
TRACE_WORDS = frozenset({"TRACEW", "TRACE", "ISOTROPIC"})
#: A field map's sequence on one vendor: its single phase image is the difference of its two echoes.
FIELD_MAP_NAME = re.compile(r"(^|[^a-z])fm[23]d\d", re.IGNORECASE)
#: Computed from diffusion images, and no trace of them.
DIFFUSION_MAP_WORDS = frozenset({"ADC", "FA", "EADC", "EXPADC"})
#: Characters of a code string.
LONGEST_CODE = 16
#: Of a text with several values.
LONGEST_TEXT = 512
#: Elements that only a scan in step with the heart has.
HEART_ELEMENTS = ("NominalInterval", "HeartRate", "LowRRValue", "HighRRValue")


@dataclass
class Description:
    """What the header of a series says. `date` is None when no element tells.

    `patient_id` and the `names` that people gave the series never leave memory.
    """

    modality: str
    vendor: Vendor
    date: datetime.date | None
    patient_id: str
    names: tuple[str, ...]
    identifying: tuple[str, ...]
    image_type: tuple[str, ...]
    derivation: str
    is_inversion: bool
    is_spin_echo: bool
    is_gradient_echo: bool
    is_echo_planar: bool
    is_diffusion: bool
    is_trace: bool
    is_gated: bool
    is_field_map: bool
    is_3d: bool
    serial: str
    field_strength: float | None
    has_scale: bool = True
    sidecar: dict[str, Any] = field(default_factory=dict)


def describe_series(path: Path) -> Description:
    """Read the description of a series from one of its files."""
    with disable_value_validation():
        dataset, _ = read_header(path)
        header: Header = next(enhanced.iterate_frames(dataset)) if enhanced.is_enhanced(dataset) else dataset
        vendor = find_vendor(header)
        sequence = set(read_words(header, "ScanningSequence"))
        redactor = Redactor(find_personal(dataset))
        name = read_text(header, "SequenceName") or read_text(header, "PulseSequenceName")
        echo_kind = read_text(header, "EchoPulseSequence").upper()
        is_named_only = not sequence and not echo_kind
        return Description(
            modality=redactor.redact(_plain(read_text(header, "Modality")))[:LONGEST_CODE],
            vendor=vendor,
            date=_read_date(header),
            patient_id=read_text(header, "PatientID"),
            names=tuple(filter(None, (read_text(header, key) for key in ("SeriesDescription", "ProtocolName")))),
            identifying=tuple(sorted(find_identifying(dataset))),
            image_type=read_words(header, "ImageType"),
            derivation=redactor.redact(_plain(vendor.read_derivation(header))),
            is_inversion="IR" in sequence
            or "IR" in read_words(header, "ScanOptions")
            or read_text(header, "InversionRecovery").upper() == "YES"
            or bool(is_named_only and INVERSION_NAME.search(name)),
            is_spin_echo="SE" in sequence
            or echo_kind in ("SPIN", "BOTH")
            or bool(is_named_only and SPIN_ECHO_NAME.search(name)),
            is_gradient_echo="GR" in sequence or echo_kind in ("GRADIENT", "BOTH"),
            is_echo_planar="EP" in sequence or read_text(header, "EchoPlanarPulseSequence").upper() == "YES",
            is_diffusion=_is_diffusion(header, vendor, name),
            is_trace=bool(_image_words(header) & TRACE_WORDS) and not _image_words(header) & DIFFUSION_MAP_WORDS,
            is_gated=_is_gated(header),
            is_field_map=bool(FIELD_MAP_NAME.search(name)),
            is_3d=read_text(header, "MRAcquisitionType").upper() == "3D",
            serial=read_text(header, "DeviceSerialNumber"),
            field_strength=read_number(header, "MagneticFieldStrength"),
            has_scale=vendor.scale_key in vendor.read_scaling(header).source,
            sidecar=_without_names(_read_sidecar(header, vendor), redactor),
        )


def _read_sidecar(header: Header, vendor: Vendor) -> dict[str, Any]:
    """The acquisition record in BIDS keys and units, without anything that a person typed about a person."""
    sidecar: dict[str, Any] = {
        "Modality": "MR",
        "Manufacturer": vendor.name or read_text(header, "Manufacturer"),
    }
    for key, keyword in TEXTS.items():
        text = read_text(header, keyword)
        if text:
            sidecar[key] = _plain(text)
    for key, keyword in NUMBERS.items():
        number = read_number(header, keyword)
        if number is not None:
            sidecar[key] = number
    samples = _read_samples(header)
    if samples:
        sidecar["FrequencyEncodingSteps"] = samples
    words = read_words(header, "ImageType")
    if words:
        sidecar["ImageType"] = [_plain(word) for word in words]
    return sidecar | vendor.read_details(header)


def _plain(text: str) -> str:
    """A text of a header as pages, tables and terminals may show it: printable, and not endless."""
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST_TEXT]


def _without_names(sidecar: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    """The record with every name of the header blotted out of its texts: people type into any field.

    The serial number stays: it tells the scanner, and where phantoms are named after it, no person.
    """
    told = {}
    for key, value in sidecar.items():
        if isinstance(value, str) and key not in ("DeviceSerialNumber", "Modality"):
            value = redactor.redact(value)
        elif isinstance(value, list):
            value = [redactor.redact(v) if isinstance(v, str) else v for v in value]
        told[key] = value
    return told


def _read_samples(header: Header) -> int:
    """How many samples one readout has, before any interpolation; 0 where the header does not tell.

    Acquisition Matrix (0018,1310) holds frequency rows and columns, then those of the phase; two of the four are 0.
    """
    whole = read_number(header, "MRAcquisitionFrequencyEncodingSteps")
    matrix = read_numbers(header, "AcquisitionMatrix", 4) or (whole or 0.0,)
    return int(max(matrix[:2]))


def _image_words(header: Header) -> set[str]:
    return {*read_words(header, "ImageType"), *read_words(header, "FrameType")}


def _is_diffusion(header: Header, vendor: Vendor, name: str) -> bool:
    """Whether a header speaks of diffusion, its b-value apart."""
    return (
        "DIFFUSION" in _image_words(header)
        or bool(read_text(header, "DiffusionDirectionality"))
        or bool(DIFFUSION_NAME.search(name))
        or vendor.read_b_value(header).value is not None
    )


def _is_gated(header: Header) -> bool:
    """Whether the scan was in step with the heart."""
    technique = read_text(header, "CardiacSynchronizationTechnique").upper()
    return (
        technique not in ("", "NONE")
        or bool({"CG", "CT"} & set(read_words(header, "ScanOptions")))
        or any((read_number(header, keyword) or 0) > 0 for keyword in HEART_ELEMENTS)
    )


def _read_date(header: Header) -> datetime.date | None:
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"):
        day = as_day(read_text(header, keyword))
        if day is not None:
            return day
    return None
