"""The BIDS sidecar of one converted volume: the acquisition as the header gives it, in BIDS keys and units."""

import hashlib
from typing import Any

from isocenter.dicom.convert import Converted, converter_version
from isocenter.dicom.group import Member
from isocenter.dicom.sets import AcquisitionSet

#: A spin echo's flip angle element often holds the refocusing angle [deg]; a spin echo is excited with 90 at most.
SMALLEST_REFOCUSING_ANGLE = 100.0


def build_sidecar(acquisition: AcquisitionSet, value: float, volume: Converted, scanner: str) -> dict[str, Any]:
    """Everything that travels with one volume; nothing that names a person, and no date."""
    members = acquisition.volumes[value]
    frame = members[0].frame
    series = next(s for s in acquisition.used if s.uid == members[0].image.series_uid)
    about = series.description
    sidecar = dict(about.sidecar)
    if about.field_strength is not None:
        sidecar["MagneticFieldStrength"] = about.field_strength
    timing = {
        "RepetitionTime": frame.repetition_time,
        "EchoTime": frame.echo_time,
        "FlipAngle": frame.flip_angle,
    }
    kind = acquisition.kind
    if kind.is_spoiled:  # what a header calls TR is the time between excitations there
        timing["RepetitionTimeExcitation"] = frame.repetition_time
        sidecar["PulseSequenceType"] = "Spoiled gradient echo"  # BIDS wants it of VFA
    if kind.axis == "echo_time":  # of an echo train some of whose echoes did not arrive this still tells the spacing
        timing["EchoNumber"] = frame.echo_number
    timing[kind.key] = value if kind.is_time else getattr(frame, kind.axis)
    if kind.axis == "inversion_time" and "(0018,0082)" not in frame.inversion_source:
        sidecar["InversionTimeSource"] = frame.inversion_source
    if kind.axis == "b_value":
        sidecar["DiffusionBValueSource"] = frame.b_source
    if acquisition.part == "phase" and acquisition.difference_of:  # of two echoes, and at none
        timing["EchoTime"] = None
        timing |= {f"EchoTime{k}": time for k, time in enumerate(acquisition.difference_of, start=1)}
    sidecar |= {key: number for key, number in timing.items() if number is not None}
    if about.is_spin_echo and (frame.flip_angle or 0.0) >= SMALLEST_REFOCUSING_ANGLE:
        sidecar["RefocusingFlipAngle"] = frame.flip_angle
    sidecar |= volume.readout
    if acquisition.part == "phase":
        sidecar["Units"] = "rad"
    if volume.saturation is not None and acquisition.part != "phase":
        sidecar["SaturationValue"] = volume.saturation
    sidecar |= {
        "AcquisitionTimeOfDay": round(min(m.image.time for m in members), 3),
        "Scanner": scanner,
        "BitsStored": members[0].image.bits_stored,
        "SourceSeriesInstanceUID": series.uid,
        "SourceFiles": len({m.image.sha256 for m in members}),
        "SourceSHA256": digest_sources(members),
        "ConversionSoftware": "dcm2niix",
        "ConversionSoftwareVersion": converter_version(),
        "ConversionVerified": volume.is_verified,
    }
    return sidecar


def merge_sidecars(sidecars: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """The sidecar of a 4D file: what differs between its volumes becomes a list, `key` in any case."""
    keys = dict.fromkeys(name for sidecar in sidecars for name in sidecar)
    values = {name: [sidecar.get(name) for sidecar in sidecars] for name in keys}
    return {
        name: found if name == key or any(value != found[0] for value in found) else found[0]
        for name, found in values.items()
    }


def digest_sources(members: list[Member]) -> str:
    """One SHA-256 over the sorted SHA-256 digests of the files of a volume."""
    digests = sorted({member.image.sha256 for member in members})
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
