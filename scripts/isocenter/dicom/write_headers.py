"""What all dialects of simulated DICOM share: UIDs, scaling, patient, scanner and place.

The same series gives the same bytes: UIDs come from its names, and nothing asks for the time of day.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.simulation.design import Acquisition
from isocenter.simulation.scanner import SimulatedSeries
from isocenter.simulation.techniques import TECHNIQUES
from isocenter.units import milliseconds_from_seconds

#: The group of Philips's private scaling: a stored value p is the true signal p / scale slope.
PHILIPS_CREATOR = "Philips MR Imaging DD 001"
PHILIPS_SCALE_SLOPE = 0.0121
#: Largest stored value: 12 bits in Siemens and Philips, 15 in GE.
TOP = {"siemens": 4095, "ge": 32767, "philips": 4095, "philips_enhanced": 4095}
#: Siemens' private group of diffusion, GE's of parameters, and what GE's multi-b protocols add to a b-value [s/mm2].
SIEMENS_CREATOR, GE_CREATOR, GE_B_VALUE_OFFSET = "SIEMENS MR HEADER", "GEMS_PARM_01", 1_000_000_000
#: What water's magnetization is stored as, so that the brightest voxel of a series stays below the top.
GAIN = {"siemens": 2000.0, "ge": 6000.0, "philips": 2000.0, "philips_enhanced": 2000.0}


def make_uid(*parts: object) -> str:
    """A UID that belongs to these names (2.25, a number of 128 bits)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big') >> 1}"


@dataclass(frozen=True)
class Scaling:
    """How one volume is stored.

    stored = round(signal * gain + offset); a reader shows stored * slope + intercept. On Philips the signal is
    stored / scale_slope.
    """

    gain: float
    slope: float = 1.0
    intercept: float = 0.0
    scale_slope: float | None = None
    offset: float = 0.0

    @property
    def is_written(self) -> bool:
        """Whether the header has to say how to read the integers."""
        return self.slope != 1.0 or self.intercept != 0.0


def choose_phase_scaling(plan: Acquisition) -> Scaling:
    """How a vendor stores phase [rad]: Siemens 4096, GE and Philips 1000 pi steps for half a turn."""
    if plan.site.dialect == "siemens":
        return Scaling(2048.0 / np.pi, 2.0, -4096.0, offset=2048.0)
    if plan.site.dialect == "ge":
        return Scaling(1000.0)
    slope = round(2000.0 * np.pi / TOP[plan.site.dialect], 9)
    return Scaling(1000.0 / slope, slope, -1000.0 * round(np.pi, 6), offset=1000.0 * np.pi / slope)


def store_phase(plan: Acquisition, volume: np.ndarray, scaling: Scaling) -> np.ndarray:
    """(slices, rows, columns) integers of one (columns, rows, slices) volume of phase [rad]."""
    lowest = -TOP["ge"] if plan.site.dialect == "ge" else 0
    stored = np.clip(np.rint(volume * scaling.gain + scaling.offset), lowest, TOP[plan.site.dialect])
    return np.ascontiguousarray(stored.transpose(2, 1, 0)).astype("<i2").view("<u2")


def choose_scaling(plan: Acquisition, index: int) -> Scaling:
    """The scaling of volume `index`; Philips chooses one of its own for each volume."""
    dialect = plan.site.dialect
    gain = GAIN[dialect]
    if plan.is_derived:
        return Scaling(1.0)
    if not dialect.startswith("philips"):
        return Scaling(gain)
    # Numbers as a Philips console writes them: neither slope is round, and display and true scale differ. A stored
    # value over the scale slope is the signal in one unit for all volumes; the display's unit is not.
    scale_slope = float(np.float32(PHILIPS_SCALE_SLOPE * (1 - 0.07 * (index % 3))))
    slope = round(1.2471 + 0.0313 * (index % 5), 6)
    return Scaling(gain * scale_slope / PHILIPS_SCALE_SLOPE, slope, 0.0, scale_slope)


def store_volume(plan: Acquisition, volume: np.ndarray, scaling: Scaling) -> np.ndarray:
    """(slices, rows, columns) integers of one (columns, rows, slices) volume."""
    stored = np.clip(np.rint(volume * scaling.gain), 0, TOP[plan.site.dialect])
    return np.ascontiguousarray(stored.transpose(2, 1, 0)).astype("<u2")


def study_attributes(plan: Acquisition) -> dict[str, Any]:
    """What every dialect says about patient, study and scanner."""
    site = plan.site
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "StudyDate": f"{plan.day:%Y%m%d}",
        "SeriesDate": f"{plan.day:%Y%m%d}",
        "StudyTime": clock(_study_start(plan)),
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": site.manufacturer,
        "InstitutionName": f"Demonstration hospital {site.name.removeprefix('site')}",
        "ReferringPhysicianName": "",
        "StationName": f"MR{site.serial}",
        "StudyDescription": "Phantom^QA" if plan.kind == "phantom" else "Brain^Relaxometry",
        "ManufacturerModelName": site.model,
        "PatientName": plan.patient_id,
        "PatientID": plan.patient_id,
        "PatientBirthDate": "",
        "PatientSex": "O",
        "BodyPartExamined": "PHANTOM" if plan.kind == "phantom" else _organ(plan).upper(),
        "DeviceSerialNumber": site.serial,
        "SoftwareVersions": site.software.split("\\"),
        "PatientPosition": "HFS",
        "StudyInstanceUID": make_uid("study", site.name, plan.participant, plan.session),
        "StudyID": plan.session,
        "FrameOfReferenceUID": make_uid("frame", site.name, plan.participant, plan.session),
        "PositionReferenceIndicator": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16 if site.dialect == "ge" else 12,
        "HighBit": 15 if site.dialect == "ge" else 11,
        "PixelRepresentation": 1 if site.dialect == "ge" else 0,
    }


def describe(plan: Acquisition, time: float) -> str:
    """The name that the console's operator gave the series."""
    if plan.is_derived:
        return "T1_Images"
    if plan.suffix == "IRT1" and plan.site.dialect == "siemens":
        return f"T1-IR-{milliseconds_from_seconds(time):.0f}ms"
    return TECHNIQUES[plan.suffix].description


def _organ(plan: Acquisition) -> str:
    return "brain" if plan.is_derived else TECHNIQUES[plan.suffix].organ


def clock(seconds: float) -> str:
    """A DICOM time from seconds after midnight."""
    whole = int(seconds)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round((seconds - whole) * 1e6):06d}"


def _study_start(plan: Acquisition) -> float:
    return plan.start // 3600 * 3600


def decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    text = f"{float(value):.10g}"
    return text if len(text) <= 16 else f"{float(value):.8g}"


def slice_step(series: SimulatedSeries) -> np.ndarray:
    """(3,) array, from one slice's center to the next [mm, LPS]."""
    return series.slices / np.linalg.norm(series.slices) * series.thickness


def plane_directions(series: SimulatedSeries) -> np.ndarray:
    """(6,) array, unit vectors along a row and down a column, LPS: DICOM's ImageOrientationPatient."""
    return np.concatenate([series.columns / np.linalg.norm(series.columns), series.rows / np.linalg.norm(series.rows)])


def find_affine(series: SimulatedSeries) -> np.ndarray:
    """(4, 4) array from (column, row, slice) indices to millimeters, RAS as NIfTI has it."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack([series.columns, series.rows, slice_step(series)], axis=1)
    affine[:3, 3] = series.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def date_time(plan: Acquisition, seconds: float) -> str:
    """The DICOM date-time of a moment `seconds` after the series began."""
    return f"{plan.day:%Y%m%d}{clock(plan.start + seconds)}"
