"""Write a series as one enhanced multi-frame file: values that change stand per frame, the others once, shared."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage

from isocenter.dicom.write_elements import (
    PIXEL_DATA,
    encode_dataset,
    encode_file,
    encode_item,
    encode_value,
)
from isocenter.dicom.write_headers import (
    PHILIPS_CREATOR,
    choose_phase_scaling,
    choose_scaling,
    clock,
    date_time,
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
from isocenter.simulation.techniques import TECHNIQUES, Technique
from isocenter.units import milliseconds_from_seconds

PER_FRAME = 0x52009230
#: Where the value that varies stands among the functional groups, by axis: element and group.
PLACES = {
    "echo_time": ("EffectiveEchoTime", "MREchoSequence"),
    "inversion_time": ("InversionTimes", "MRModifierSequence"),
    "b_value": ("DiffusionBValue", "MRDiffusionSequence"),
}


def _technique(plan: Acquisition) -> Technique:
    return TECHNIQUES["IRT1" if plan.is_derived else plan.suffix]


def write_enhanced(folder: Path, plan: Acquisition, series: SimulatedSeries) -> Path:
    """Write all times and slices of a series as one Enhanced MR Image; returns the file."""
    series_uid = make_uid("series", *plan.key, 0)
    instance_uid = make_uid(series_uid, 1)
    scalings = [choose_scaling(plan, index) for index in range(len(series.times))]
    stored = [store_volume(plan, series.data[..., index], scaling) for index, scaling in enumerate(scalings)]
    if series.phase is not None:
        phase = choose_phase_scaling(plan)
        stored += [store_phase(plan, series.phase[..., index], phase) for index in range(len(scalings))]
        scalings += [phase] * len(scalings)
    slices = series.data.shape[2]
    dataset = _file_attributes(plan, series, series_uid, instance_uid)
    dataset.SharedFunctionalGroupsSequence = Sequence([_shared_groups(plan, series)])
    # Frames run through the times of one slice before the next slice, as the vendor orders echoes.
    order = [(place, index) for place in range(slices) for index in range(len(scalings))]
    elements = encode_dataset(dataset)
    elements[PER_FRAME] = encode_value(PER_FRAME, "SQ", _encode_frames(plan, series, order, scalings))
    pixels = np.stack([stored[index][place] for place, index in order])
    elements[PIXEL_DATA] = encode_value(PIXEL_DATA, "OW", pixels.tobytes())
    path = folder / f"{plan.patient_id}/{plan.day:%Y%m%d}/{_file_name(plan)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_file(EnhancedMRImageStorage, instance_uid, elements))
    return path


def _file_attributes(plan, series, series_uid, instance_uid) -> Dataset:
    dataset = Dataset()
    technique = _technique(plan)
    is_echo, contrast = technique.is_echo, technique.contrast
    values = study_attributes(plan) | {
        "SOPClassUID": EnhancedMRImageStorage,
        "SOPInstanceUID": instance_uid,
        "SeriesInstanceUID": series_uid,
        "SeriesNumber": plan.number,
        "SeriesTime": clock(plan.start),
        "SeriesDescription": describe(plan, 0.0),
        "ProtocolName": describe(plan, 0.0),
        "InstanceNumber": 1,
        "AcquisitionNumber": 1,
        "AcquisitionDateTime": date_time(plan, 0.0),
        "AcquisitionDuration": technique.step * len(series.times) or technique.duration,
        "ContentDate": f"{plan.day:%Y%m%d}",
        "ContentTime": clock(plan.start),
        "ImageType": ["DERIVED", "PRIMARY", "T1 MAP", "NONE"]
        if plan.is_derived
        else ["ORIGINAL", "PRIMARY", contrast, "NONE"],
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE" if series.phase is None else "MIXED",
        "AcquisitionContrast": contrast,
        "ContentQualification": "RESEARCH",
        "MagneticFieldStrength": 3.0,
        "ResonantNucleus": "1H",
        "KSpaceFiltering": "NONE",
        "ApplicableSafetyStandardAgency": "IEC",
        "PulseSequenceName": technique.pulse_sequence,
        "MRAcquisitionType": technique.acquisition_type,
        "EchoPulseSequence": technique.echo_kind,
        "MultipleSpinEcho": "YES" if is_echo and technique.echo_kind == "SPIN" else "NO",
        "MultiPlanarExcitation": "NO",
        "PhaseContrast": "NO",
        "TimeOfFlightContrast": "NO",
        "ArterialSpinLabelingContrast": "NONE",
        "SteadyStatePulseSequence": "NONE",
        "EchoPlanarPulseSequence": "YES" if technique.is_echo_planar else "NO",
        "SaturationRecovery": "NO",
        "SpectrallySelectedSuppression": "NONE",
        "OversamplingPhase": "2D",
        "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "RectilinearPhaseEncodeReordering": "LINEAR",
        "SegmentedKSpaceTraversal": "SINGLE",
        "CoverageOfKSpace": "FULL",
        "NumberOfKSpaceTrajectories": 1,
        "NumberOfFrames": series.data.shape[2] * len(series.times) * (1 if series.phase is None else 2),
        "Rows": series.data.shape[1],
        "Columns": series.data.shape[0],
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
    }
    if plan.suffix == "MOLLI":
        values["CardiacSynchronizationTechnique"] = "PROSPECTIVE"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    organization = make_uid("dimensions", *plan.key)
    dataset.DimensionOrganizationSequence = _sequence(DimensionOrganizationUID=organization)
    pointers = [("StackID", "FrameContentSequence"), ("InStackPositionNumber", "FrameContentSequence")]
    pointers.append(PLACES[technique.axis])
    dataset.DimensionIndexSequence = Sequence(
        [
            _item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=Tag(keyword),
                FunctionalGroupPointer=Tag(group),
                DimensionDescriptionLabel=keyword,
            )
            for keyword, group in pointers
        ]
    )
    return dataset


def _shared_groups(plan, series) -> Dataset:
    n_columns, n_rows = series.data.shape[:2]
    is_echo = _technique(plan).is_echo
    return _item(
        MRImagingModifierSequence=_sequence(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=plan.site.imaging_frequency,
            PixelBandwidth=228.0,
        ),
        MRReceiveCoilSequence=_sequence(
            ReceiveCoilName="MULTI COIL",
            ReceiveCoilManufacturerName=plan.site.manufacturer,
            ReceiveCoilType="MULTICOIL",
            QuadratureReceiveCoil="NO",
        ),
        MRTransmitCoilSequence=_sequence(
            TransmitCoilName="B", TransmitCoilManufacturerName=plan.site.manufacturer, TransmitCoilType="BODY"
        ),
        MRTimingAndRelatedParametersSequence=_sequence(
            RepetitionTime=decimal(milliseconds_from_seconds(series.repetition_time)),
            FlipAngle=decimal(series.flip_angle),
            EchoTrainLength=len(series.times) if is_echo else 1,
            RFEchoTrainLength=len(series.times) if is_echo else 1,
            GradientEchoTrainLength=0,
        ),
        MRFOVGeometrySequence=_sequence(
            InPlanePhaseEncodingDirection="ROW",
            MRAcquisitionFrequencyEncodingSteps=n_columns,
            MRAcquisitionPhaseEncodingStepsInPlane=n_rows,
            PercentSampling=100.0,
            PercentPhaseFieldOfView=100.0,
        ),
        MRAveragesSequence=_sequence(NumberOfAverages=1.0),
        PixelMeasuresSequence=_sequence(
            SliceThickness=decimal(series.thickness),
            SpacingBetweenSlices=decimal(series.thickness),
            PixelSpacing=[decimal(np.linalg.norm(series.rows)), decimal(np.linalg.norm(series.columns))],
        ),
        PlaneOrientationSequence=_sequence(ImageOrientationPatient=[decimal(v) for v in plane_directions(series)]),
    )


def _encode_frames(plan, series, order, scalings) -> bytes:
    """The functional groups of all frames; a group that depends on the slice or on the time alone is encoded once."""
    by_place = [
        encode_dataset(
            _item(
                PlanePositionSequence=_sequence(
                    ImagePositionPatient=[decimal(v) for v in series.position + place * slice_step(series)]
                )
            )
        )
        for place in range(series.data.shape[2])
    ]
    by_time = [encode_dataset(_time_groups(plan, series, i, scaling)) for i, scaling in enumerate(scalings)]
    return b"".join(
        encode_item(by_place[place] | by_time[index] | encode_dataset(_frame_content(plan, place, index)))
        for place, index in order
    )


def _frame_content(plan, place, index) -> Dataset:
    moment = date_time(plan, _technique(plan).step * index if not plan.is_derived else 0.0)
    return _item(
        FrameContentSequence=_sequence(
            FrameAcquisitionNumber=1,
            FrameAcquisitionDateTime=moment,
            FrameReferenceDateTime=moment,
            FrameAcquisitionDuration=60000.0,
            StackID="1",
            InStackPositionNumber=place + 1,
            TemporalPositionIndex=1,
            DimensionIndexValues=[1, place + 1, index + 1],
        )
    )


def _time_groups(plan, series, index, scaling) -> Dataset:
    technique = _technique(plan)
    is_echo = technique.is_echo
    is_inversion = technique.is_inversion and not plan.is_derived
    component = "MAGNITUDE" if index < len(series.times) else "PHASE"
    index %= len(series.times)
    time = milliseconds_from_seconds(float(series.times[index]))
    echo_time = time if is_echo else milliseconds_from_seconds(series.echo_time)
    modifier = {
        "InversionRecovery": "YES" if is_inversion else "NO",
        "FlowCompensation": "NONE",
        "Spoiling": "NONE",
        "T2Preparation": "NO",
        "SpectrallySelectedExcitation": "NONE",
        "SpatialPresaturation": "NONE",
        "PartialFourier": "NO",
        "ParallelAcquisition": "NO",
    }
    if is_inversion and not plan.lacks_inversion_time:
        modifier["InversionTimes"] = time
    philips = _item(
        EchoNumbers=index + 1 if is_echo else 1,
        RescaleIntercept=decimal(scaling.intercept),
        RescaleSlope=decimal(scaling.slope),
    )
    groups = _item(
        MRImageFrameTypeSequence=_sequence(
            FrameType=["ORIGINAL", "PRIMARY", technique.contrast, "NONE"],
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
            ComplexImageComponent=component,
            AcquisitionContrast=technique.contrast,
        ),
        MREchoSequence=_sequence(EffectiveEchoTime=echo_time),
        MRModifierSequence=_sequence(**modifier),
        PixelValueTransformationSequence=_sequence(
            RescaleIntercept=decimal(scaling.intercept),
            RescaleSlope=decimal(scaling.slope),
            RescaleType="US",
        ),
        FrameVOILUTSequence=_sequence(WindowCenter="1000", WindowWidth="2000"),
    )
    if technique.axis == "b_value" and not plan.lacks_b_value:
        b_value = float(series.times[index])
        groups.MRDiffusionSequence = _sequence(
            DiffusionBValue=b_value, DiffusionDirectionality="ISOTROPIC" if b_value else "NONE"
        )
    if plan.suffix == "MOLLI":
        groups.CardiacSynchronizationSequence = _sequence(
            NominalCardiacTriggerDelayTime=600.0, CardiacCyclePosition="DIASTOLE"
        )
    if scaling.scale_slope is not None:
        philips.add_new(0x20050010, "LO", PHILIPS_CREATOR)
        philips.add_new(0x2005100D, "FL", 0.0)
        philips.add_new(0x2005100E, "FL", scaling.scale_slope)
        groups.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
        groups.add_new(0x2005140F, "SQ", Sequence([philips]))
    return groups


def _item(**values) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _sequence(**values) -> Sequence:
    return Sequence([_item(**values)])


def _file_name(plan: Acquisition) -> str:
    return f"IM_{plan.number:04d}.dcm"
