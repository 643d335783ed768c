"""Write a simulated series as classic DICOM, one file per slice and time, in the dialect of its vendor.

Speed matters, for a trial holds many thousand images: what is the same in all images of a series is encoded once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import MRImageStorage

from isocenter.dicom.write_elements import Encoder
from isocenter.dicom.write_headers import (
    GE_B_VALUE_OFFSET,
    GE_CREATOR,
    PHILIPS_CREATOR,
    SIEMENS_CREATOR,
    choose_phase_scaling,
    choose_scaling,
    clock,
    decimal,
    describe,
    make_uid,
    plane_directions,
    slice_step,
    store_phase,
    store_volume,
    study_attributes,
)
from isocenter.simulation.design import Acquisition
from isocenter.simulation.scanner import SimulatedSeries
from isocenter.simulation.techniques import TECHNIQUES
from isocenter.units import milliseconds_from_seconds

#: What GE calls the sequence, and Philips the technique in its image type.
GE_SEQUENCES = {"MESE": "memp", "IRT1": "fse-ir", "dwi": "epi2", "MOLLI": "smart1map", "MEGRE": "ideal3d"}
PHILIPS_KINDS = {"MESE": "SE", "IRT1": "IR", "dwi": "SE", "MOLLI": "FFE", "MEGRE": "FFE"}


def write_classic(folder: Path, plan: Acquisition, series: SimulatedSeries) -> Iterator[Path]:
    """One file per slice and time; Siemens makes one series per inversion time, the others one of all."""
    is_split = plan.site.dialect == "siemens" and plan.suffix == "IRT1"
    slices = series.data.shape[2]
    encoder, last_part = None, ()
    n = len(series.times)
    for count, time in enumerate([*series.times, *(series.times if series.phase is not None else ())]):
        index, is_phase = count % n, count >= n
        part = index if is_split else int(is_phase and plan.site.dialect == "siemens")
        number = plan.number + part
        series_uid = make_uid("series", *plan.key, part)
        if (part, is_phase) != last_part:
            encoder = Encoder(_constant_attributes(plan, series, time, number, series_uid, is_phase))
            last_part = (part, is_phase)
        # Each inversion time takes a minute or so; all echoes of a train come with one excitation. Philips writes
        # the start of the series into all its images.
        is_stepped = plan.suffix == "IRT1" and plan.site.dialect != "philips"
        started = plan.start + 60.0 * index * is_stepped
        if is_phase:
            scaling = choose_phase_scaling(plan)
            stored = store_phase(plan, series.phase[..., index], scaling)
        else:
            scaling = choose_scaling(plan, index)
            stored = store_volume(plan, series.data[..., index], scaling)
        for place in range(slices):
            instance = place + 1 + (0 if is_split else (count - n * part) * slices)
            varying = _varying_attributes(plan, series, index, place, instance, started, series_uid)
            private: dict[tuple[int, str], Any] = {}
            if scaling.is_written:
                varying["RescaleIntercept"] = decimal(scaling.intercept)
                varying["RescaleSlope"] = decimal(scaling.slope)
            if scaling.scale_slope is not None:
                private = {(0x2005100D, "FL"): 0.0, (0x2005100E, "FL"): scaling.scale_slope}
            private |= _private_weighting(plan, float(time))
            path = folder / _file_name(plan, number, instance)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoder.encode(varying, private, stored[place].tobytes()))
            yield path


def _constant_attributes(plan, series, time, number, series_uid, is_phase=False) -> Dataset:
    dataset = Dataset()
    technique = TECHNIQUES.get(plan.suffix)  # a vendor's own map has none
    is_echo = technique is not None and technique.is_echo
    values = study_attributes(plan)
    values |= {
        "SeriesInstanceUID": series_uid,
        "SeriesNumber": number,
        "SeriesTime": clock(plan.start),
        "SeriesDescription": describe(plan, time),
        "ProtocolName": describe(plan, time),
        "AcquisitionDate": f"{plan.day:%Y%m%d}",
        "ContentDate": f"{plan.day:%Y%m%d}",
        "ImageType": _image_type(plan, is_phase),
        "MRAcquisitionType": technique.acquisition_type if technique else "2D",
        "ScanningSequence": _words(technique.scanning_sequence) if technique else "SE",
        "SequenceVariant": _sequence_variant(plan),
        "ScanOptions": _words(technique.scan_options) if technique else "",
        "SliceThickness": decimal(series.thickness),
        "SpacingBetweenSlices": decimal(series.thickness),
        "RepetitionTime": decimal(milliseconds_from_seconds(series.repetition_time)),
        "NumberOfAverages": "1",
        "ImagingFrequency": decimal(plan.site.imaging_frequency),
        "ImagedNucleus": "1H",
        "MagneticFieldStrength": "3",
        "NumberOfPhaseEncodingSteps": series.data.shape[1],
        "EchoTrainLength": len(series.times) if is_echo else 1,
        "PercentSampling": "100",
        "PercentPhaseFieldOfView": "100",
        "PixelBandwidth": "228",
        "ReceiveCoilName": "Head_20" if plan.site.dialect == "siemens" else "HNS Head",
        "TransmitCoilName": "Body",
        "AcquisitionMatrix": [0, series.data.shape[0], series.data.shape[1], 0],
        "InPlanePhaseEncodingDirection": "ROW",
        "FlipAngle": decimal(series.flip_angle),
        "VariableFlipAngleFlag": "N",
        "ImageOrientationPatient": [decimal(v) for v in plane_directions(series)],
        "Rows": series.data.shape[1],
        "Columns": series.data.shape[0],
        "PixelSpacing": [decimal(np.linalg.norm(series.rows)), decimal(np.linalg.norm(series.columns))],
        "WindowCenter": "1000",
        "WindowWidth": "2000",
    }
    if plan.site.dialect == "siemens":
        name = technique.sequence_name if technique else "*tir2d1_1"
        values["SequenceName"] = name.format(n=len(series.times), value=series.times.max())
    if plan.site.dialect == "ge":
        values["ImagesInAcquisition"] = series.data.shape[2] * len(series.times)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if plan.site.dialect == "ge":
        dataset.add_new(0x00190010, "LO", "GEMS_ACQU_01")
        dataset.add_new(0x0019109C, "LO", GE_SEQUENCES.get(plan.suffix, "fse-ir"))
        dataset.add_new(0x00430010, "LO", GE_CREATOR)
        dataset.add_new(0x0043102F, "SS", int(is_phase))
    if plan.site.dialect == "philips":
        dataset.add_new(0x20050010, "LO", PHILIPS_CREATOR)
    if plan.site.dialect == "siemens" and plan.suffix == "dwi":
        dataset.add_new(0x00190010, "LO", SIEMENS_CREATOR)
    return dataset


def _words(value: str | tuple[str, ...]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


def _private_weighting(plan: Acquisition, b_value: float) -> dict[tuple[int, str], Any]:
    """The b-value where Siemens and GE keep it; Philips uses the standard's element."""
    if plan.suffix != "dwi" or plan.lacks_b_value:
        return {}
    if plan.site.dialect == "siemens":
        return {(0x0019100C, "IS"): f"{b_value:.0f}"}
    if plan.site.dialect == "ge":
        return {(0x00431039, "IS"): [f"{b_value + GE_B_VALUE_OFFSET * (b_value > 0):.0f}", "8", "0", "0"]}
    return {}


def _varying_attributes(plan, series, index, place, instance, started, series_uid) -> dict[str, Any]:
    position = series.position + place * slice_step(series)
    normal = slice_step(series) / np.linalg.norm(slice_step(series))
    technique = TECHNIQUES.get(plan.suffix)
    is_echo = technique is not None and technique.is_echo
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": make_uid(series_uid, instance),
        "AcquisitionTime": clock(started),
        "ContentTime": clock(started + 0.01 * instance),
        "AcquisitionNumber": 1 if is_echo or plan.site.dialect == "siemens" else index + 1,
        "InstanceNumber": instance,
        "ImagePositionPatient": [decimal(v) for v in position],
        "SliceLocation": decimal(position @ normal),
        "EchoTime": decimal(milliseconds_from_seconds(series.echo_time or float(series.times[index]))),
        "EchoNumbers": index + 1 if is_echo else 1,
    }
    if technique is not None and technique.is_inversion and not plan.lacks_inversion_time:
        values["InversionTime"] = decimal(milliseconds_from_seconds(float(series.times[index])))
    if plan.suffix == "MOLLI":
        values["NominalInterval"] = "950"
        values["HeartRate"] = "63"
    if plan.suffix == "dwi" and plan.site.dialect == "philips" and not plan.lacks_b_value:
        values["DiffusionBValue"] = float(series.times[index])
    if plan.site.dialect == "philips":
        values["TemporalPositionIdentifier"] = 1
        values["NumberOfTemporalPositions"] = 1
    return values


def _image_type(plan: Acquisition, is_phase: bool) -> list[str]:
    if plan.is_derived:
        return ["DERIVED", "PRIMARY", "T1 MAP", "ND"]
    kind = PHILIPS_KINDS[plan.suffix]
    is_trace = plan.suffix == "dwi"
    return {
        "siemens": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]
        if is_trace
        else ["ORIGINAL", "PRIMARY", "P" if is_phase else "M", "ND"],
        "ge": ["ORIGINAL", "PRIMARY", "OTHER"],
        "philips": ["ORIGINAL", "PRIMARY", *(("PHASE MAP", "P") if is_phase else (f"M_{kind}", "M")), kind],
    }[plan.site.dialect]


def _sequence_variant(plan: Acquisition) -> Any:
    if plan.site.dialect == "siemens":
        return ["SK", "SP", "MP"] if plan.suffix == "IRT1" else "SP"
    return "SK" if plan.site.dialect == "philips" else "NONE"


def _file_name(plan: Acquisition, number: int, instance: int) -> str:
    """Where a site's archive puts an image: vendors differ in folders, names and endings."""
    day = f"{plan.day:%Y%m%d}"
    if plan.site.dialect == "siemens":
        return f"{plan.patient_id}_{day}/{number:04d}/{plan.patient_id}.MR.{number:04d}.{instance:04d}.IMA"
    if plan.site.dialect == "ge":
        return f"{plan.patient_id}/{day}/s{number:03d}/i{instance:04d}.MRDCM.{instance}"
    return f"{day}/{plan.patient_id}/DICOM/{number * 100 + 1:04d}/IM_{instance:04d}"
