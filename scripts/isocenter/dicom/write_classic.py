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
    PHILIPS_CREATOR,
    choose_scaling,
    clock,
    decimal,
    describe,
    make_uid,
    plane_directions,
    slice_step,
    store_volume,
    study_attributes,
)
from isocenter.simulation.design import Acquisition
from isocenter.simulation.scanner import SimulatedSeries
from isocenter.units import milliseconds_from_seconds


def write_classic(folder: Path, plan: Acquisition, series: SimulatedSeries) -> Iterator[Path]:
    """One file per slice and time; Siemens makes one series per inversion time, the others one of all."""
    is_split = plan.site.dialect == "siemens" and plan.suffix == "IRT1"
    slices = series.data.shape[2]
    encoder, last_part = None, -1
    for index, time in enumerate(series.times):
        part = index if is_split else 0
        number = plan.number + part
        series_uid = make_uid("series", *plan.key, part)
        if part != last_part:
            encoder, last_part = Encoder(_constant_attributes(plan, series, time, number, series_uid)), part
        # Each inversion time takes a minute or so; all echoes of a train come with one excitation. Philips writes
        # the start of the series into all its images.
        is_stepped = plan.suffix == "IRT1" and plan.site.dialect != "philips"
        started = plan.start + 60.0 * index * is_stepped
        scaling = choose_scaling(plan, index)
        stored = store_volume(plan, series.data[..., index], scaling)
        for place in range(slices):
            instance = place + 1 + (0 if is_split else index * slices)
            varying = _varying_attributes(plan, series, index, place, instance, started, series_uid)
            private: dict[tuple[int, str], Any] = {}
            if scaling.scale_slope is not None:
                varying["RescaleIntercept"] = decimal(scaling.intercept)
                varying["RescaleSlope"] = decimal(scaling.slope)
                private = {(0x2005100D, "FL"): 0.0, (0x2005100E, "FL"): scaling.scale_slope}
            path = folder / _file_name(plan, number, instance)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoder.encode(varying, private, stored[place].tobytes()))
            yield path


def _constant_attributes(plan, series, time, number, series_uid) -> Dataset:
    dataset = Dataset()
    is_echo, is_inversion = plan.suffix == "MESE", plan.suffix == "IRT1"
    values = study_attributes(plan)
    values |= {
        "SeriesInstanceUID": series_uid,
        "SeriesNumber": number,
        "SeriesTime": clock(plan.start),
        "SeriesDescription": describe(plan, time),
        "ProtocolName": describe(plan, time),
        "AcquisitionDate": f"{plan.day:%Y%m%d}",
        "ContentDate": f"{plan.day:%Y%m%d}",
        "ImageType": _image_type(plan),
        "MRAcquisitionType": "2D",
        "ScanningSequence": ["SE", "IR"] if is_inversion else "SE",
        "SequenceVariant": _sequence_variant(plan),
        "ScanOptions": "",
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
        values["SequenceName"] = f"*se2d{len(series.times)}" if is_echo else "*tir2d1_1"
    if plan.site.dialect == "ge":
        values["ImagesInAcquisition"] = series.data.shape[2] * len(series.times)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if plan.site.dialect == "ge":
        dataset.add_new(0x00190010, "LO", "GEMS_ACQU_01")
        dataset.add_new(0x0019109C, "LO", "memp" if is_echo else "fse-ir")
        dataset.add_new(0x00430010, "LO", "GEMS_PARM_01")
        dataset.add_new(0x0043102F, "SS", 0)
    if plan.site.dialect == "philips":
        dataset.add_new(0x20050010, "LO", PHILIPS_CREATOR)
    return dataset


def _varying_attributes(plan, series, index, place, instance, started, series_uid) -> dict[str, Any]:
    position = series.position + place * slice_step(series)
    normal = slice_step(series) / np.linalg.norm(slice_step(series))
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": make_uid(series_uid, instance),
        "AcquisitionTime": clock(started),
        "ContentTime": clock(started + 0.01 * instance),
        "AcquisitionNumber": 1 if plan.suffix == "MESE" or plan.site.dialect == "siemens" else index + 1,
        "InstanceNumber": instance,
        "ImagePositionPatient": [decimal(v) for v in position],
        "SliceLocation": decimal(position @ normal),
        "EchoTime": decimal(milliseconds_from_seconds(series.echo_time or float(series.times[index]))),
        "EchoNumbers": index + 1 if plan.suffix == "MESE" else 1,
    }
    if plan.suffix == "IRT1" and not plan.lacks_inversion_time:
        values["InversionTime"] = decimal(milliseconds_from_seconds(float(series.times[index])))
    if plan.site.dialect == "philips":
        values["TemporalPositionIdentifier"] = 1
        values["NumberOfTemporalPositions"] = 1
    return values


def _image_type(plan: Acquisition) -> list[str]:
    if plan.is_derived:
        return ["DERIVED", "PRIMARY", "T1 MAP", "ND"]
    return {
        "siemens": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ge": ["ORIGINAL", "PRIMARY", "OTHER"],
        "philips": [
            "ORIGINAL",
            "PRIMARY",
            "M_SE" if plan.suffix == "MESE" else "M_IR",
            "M",
            "SE" if plan.suffix == "MESE" else "IR",
        ],
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
