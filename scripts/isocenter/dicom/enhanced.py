"""Enhanced multi-frame images: what classic files say once per file stands here once per frame.

A :class:`FrameView` answers with classic keywords, so that everything after it knows one kind of header.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

#: Where a classic keyword stands in the functional groups: (sequence, element). Times are in ms, as in classic files.
PLACES = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "InversionRecovery": ("MRModifierSequence", "InversionRecovery"),
    "ParallelReductionFactorInPlane": ("MRModifierSequence", "ParallelReductionFactorInPlane"),
    "ParallelAcquisitionTechnique": ("MRModifierSequence", "ParallelAcquisitionTechnique"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "FrameAcquisitionDateTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "TemporalPositionTimeOffset": ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "DiffusionDirectionality": ("MRDiffusionSequence", "DiffusionDirectionality"),
    "FrameType": ("MRImageFrameTypeSequence", "FrameType"),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    "PixelBandwidth": ("MRImagingModifierSequence", "PixelBandwidth"),
    "ImagingFrequency": ("MRImagingModifierSequence", "TransmitterFrequency"),
    "MRAcquisitionFrequencyEncodingSteps": ("MRFOVGeometrySequence", "MRAcquisitionFrequencyEncodingSteps"),
    "NumberOfAverages": ("MRAveragesSequence", "NumberOfAverages"),
    "ReceiveCoilName": ("MRReceiveCoilSequence", "ReceiveCoilName"),
    "TransmitCoilName": ("MRTransmitCoilSequence", "TransmitCoilName"),
}
#: Philips keeps the classic attributes of each frame in one private sequence.
PHILIPS_FRAME = Tag(0x2005, 0x140F)


class FrameView:
    """One frame: its own functional groups first, then the shared ones, Philips' copy, then the file's own elements."""

    def __init__(self, dataset: Dataset, shared: Dataset | None, own: Dataset):
        self._dataset = dataset
        self._groups = [own] if shared is None else [own, shared]
        self._private = next((item for g in self._groups if (item := _first_item(g, PHILIPS_FRAME))), None)

    def get(self, key: Any, default: Any = None) -> Any:
        """The value behind a classic keyword, or the element behind a private (group, element) tag."""
        if isinstance(key, str):
            if key in PLACES:
                sequence, inner = (_tag(keyword) for keyword in PLACES[key])
                for group in self._groups:
                    item = _first_item(group, sequence)
                    if item is not None and inner in item:
                        return item[inner].value
            if self._private is not None and _tag(key) in self._private:
                return self._private[_tag(key)].value
            return self._dataset.get(key, default)
        if self._private is not None and key in self._private:
            return self._private[key]
        return self._dataset.get(key, default)


def is_enhanced(dataset: Dataset) -> bool:
    """Whether the values of this file stand per frame."""
    return "PerFrameFunctionalGroupsSequence" in dataset


def iterate_frames(dataset: Dataset) -> Iterator[FrameView]:
    """The frames in the order of the pixel data."""
    shared = _first_item(dataset, _tag("SharedFunctionalGroupsSequence"))
    for own in dataset.PerFrameFunctionalGroupsSequence:
        yield FrameView(dataset, shared, own)


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(tag_for_keyword(keyword) or 0)


def _first_item(group: Dataset, sequence: BaseTag) -> Dataset | None:
    if sequence not in group:
        return None
    element = group[sequence]
    return element.value[0] if element.VR == "SQ" and element.value else None
