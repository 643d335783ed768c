"""The region measurements of one run as a Comprehensive 3D SR of TID 1500 (PS3.16).

One measurement group a biomarker and region, tied to the segment that was measured. Each number says its quantity,
unit, statistic, whether it is calibrated, and the parametric map that it was read from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from highdicom.pm import ParametricMap
from highdicom.seg import Segmentation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as terms

from isocenter import __version__
from isocenter.export import codes
from isocenter.export.identity import Identity, make_uid, plain_text
from isocenter.export.parametric_map import MANUFACTURER, Description
from isocenter.export.segmentation import Region
from isocenter.export.sources import Sources

#: Columns of ``measurements.tsv`` that describe the fitted values of a region, and the statistic that each is.
_SPREAD = {
    "raw_median": codes.MEDIAN, "raw_mean": codes.MEAN, "raw_sd": codes.STANDARD_DEVIATION,
    "raw_iqr": codes.INTERQUARTILE_RANGE, "raw_p10": codes.TENTH_PERCENTILE, "raw_p90": codes.NINETIETH_PERCENTILE,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One row of ``measurements.tsv``, with what it was measured on.

    row : its numbers, NaN where there is none; region : of the segmentation; parameter : of the model
    is_mean : whether the region's value is its mean rather than its median
    fitted, calibrated : the maps; calibrated is None where the biomarker is not calibrated
    sources : of the maps; voxel_volume : [mm³]; key : of the segmentation's description
    """

    row: Mapping[str, float]
    biomarker: str
    unit: str
    parameter: str
    is_mean: bool
    region: Region
    segmentation: Segmentation
    segment: int
    fitted: ParametricMap
    calibrated: ParametricMap | None
    sources: Sources
    voxel_volume: float
    key: tuple[str, ...]


def build_report(
    measured: Sequence[Measured], *, session: str, identity: Identity, description: Description
) -> sr.Comprehensive3DSR:
    """A DICOM object of the measurements of one run."""
    observer = sr.ObserverContext(
        observer_type=terms.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=make_uid("software", __version__), name=MANUFACTURER, manufacturer_name=MANUFACTURER,
            model_name=MANUFACTURER, serial_number=description.code or __version__,
        ),
    )  # fmt: skip
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.MR_IMAGING,
        imaging_measurements=[_group(one, session) for one in measured],
        title=terms.DCM.ImagingMeasurementReport,
    )
    evidence: dict[str, Dataset] = {}
    for one in measured:
        for item in (one.segmentation, one.fitted, one.calibrated, *one.sources.first, *one.sources.others):
            if item is not None:
                evidence[item.SOPInstanceUID] = item
    made = sr.Comprehensive3DSR(
        list(evidence.values()),
        content[0],
        **description.shared(identity),
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number=description.code or __version__,
        is_complete=True,
        is_final=True,
    )
    description.finish(made, identity)
    return made


def _group(one: Measured, session: str) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    site = codes.find_region(one.region.name)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=one.region.tracking_uid(*one.key), identifier=plain_text(f"{one.biomarker} {one.region.name}")
        ),
        referenced_segment=sr.ReferencedSegment(
            one.segmentation.SOPClassUID,
            one.segmentation.SOPInstanceUID,
            one.segment,
            source_series=sr.SourceSeriesForSegmentation(one.sources.first[0].SeriesInstanceUID),
        ),
        finding_type=site or codes.TISSUE,
        finding_sites=[sr.FindingSite(site)] if site is not None else None,
        session=session,
        measurements=_measure(one),
    )


def _measure(one: Measured) -> list[sr.Measurement]:
    quantity, unit = codes.find_quantity(one.parameter), codes.find_units(one.unit)[0][0]
    statistic = codes.MEAN if one.is_mean else codes.MEDIAN
    made: list[sr.Measurement] = []

    def add(column: str, derivation, method, source: ParametricMap | None) -> None:
        value = one.row.get(column, np.nan)
        if source is not None and np.isfinite(value):
            made.append(_number(quantity, value, unit, derivation, method, source))

    add("value" if one.calibrated is not None else "", statistic, codes.CALIBRATED, one.calibrated)
    add("stderr" if one.calibrated is not None else "", codes.STANDARD_ERROR, codes.CALIBRATED, one.calibrated)
    for column, derivation in _SPREAD.items():
        add(column, derivation, codes.FITTED, one.fitted)
    add("raw_stderr", codes.STANDARD_ERROR, codes.FITTED, one.fitted)
    volume = one.row["n_voxels"] * one.voxel_volume
    made.append(_number(codes.VOLUME, volume, codes.CUBIC_MILLIMETER, None, None, None))
    made.append(_number(codes.N_VOXELS, one.row["n_voxels"], codes.COUNT, None, None, None))
    made.append(_number(codes.N_VALID, one.row["n_valid"], codes.COUNT, None, None, None))
    return made


def _number(name, value: float, unit, derivation, method, source: ParametricMap | None) -> sr.Measurement:
    images = [sr.SourceImageForMeasurement(source.SOPClassUID, source.SOPInstanceUID)] if source is not None else None
    number = float(f"{value:.9g}")  # as many digits as the tables have
    value = int(number) if number.is_integer() else number
    return sr.Measurement(
        name=name, value=value, unit=unit, derivation=derivation, method=method, referenced_images=images
    )
