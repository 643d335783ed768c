"""The images that a map was made from, as an exported object refers to them and as highdicom takes geometry from them.

They come from the intake's index, which names nobody; the DICOM itself is opened only for identifiers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from isocenter.dicom.headers import Frame, Image
from isocenter.errors import DicomError, explain
from isocenter.export.identity import Identity

_MR = "1.2.840.10008.5.1.4.1.1.4"
_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
#: Components of directions that differ by less are the same, written with other digits.
SAME_ORIENTATION = 1e-4
#: Classes of images whose frames carry their geometry in functional groups.
_MULTI_FRAME = frozenset({_ENHANCED_MR, "1.2.840.10008.5.1.4.1.1.4.3", "1.2.840.10008.5.1.4.1.1.4.4"})


@dataclass(frozen=True)
class Sources:
    """Source images for highdicom. first : of one series, which gives the geometry; others : of further series."""

    first: list[Dataset]
    others: list[Dataset]
    orientation: np.ndarray

    @property
    def frame_of_reference(self) -> str:
        """The UID of the frame of reference."""
        return self.first[0].FrameOfReferenceUID


def refer_to(series: Sequence[Sequence[Image]], identity: Identity, sidecar: Mapping[str, Any]) -> Sources:
    """Source images of a map: series of the images that intake indexed; the first one is that of the map's grid.

    sidecar : the map's, which tells the slice thickness [mm]

    Raises DicomError where the index tells no geometry or frame of reference of them.
    """
    thickness = find_thickness(sidecar) or _find_step(series)
    datasets = [[_as_dataset(image, identity, thickness) for image in images if image.frames] for images in series]
    first, *others = [image for images in datasets for image in images] or [Dataset()]
    if "FrameOfReferenceUID" not in first:
        raise DicomError(
            explain(
                "No frame of reference is known of the images that a map was made from",
                expected="series with Frame of Reference UID (0020,0052) and Image Orientation (0020,0037)",
                remedy="run intake again (isocenter run); data that came as BIDS cannot leave as DICOM",
            )
        )
    # highdicom takes the geometry from one multi-frame image, or from single frames that are alike.
    alike = [first]
    if first.SOPClassUID not in _MULTI_FRAME:
        alike += [image for image in others if _is_like(image, first)]
    for image in alike[1:]:
        image.ImageOrientationPatient = first.ImageOrientationPatient
    rest = [image for image in others if "FrameOfReferenceUID" in image and not any(image is one for one in alike)]
    frame = next(image for images in series for image in images if image.frames).frames[0]
    return Sources(alike, rest, np.array(frame.orientation, float))


def _find_step(series: Sequence[Sequence[Image]]) -> float | None:
    """The distance of neighboring planes of the first series [mm]; None of a single plane."""
    frames = [frame for image in series[0] for frame in image.frames if _is_placed(frame)] if series else []
    if not frames:
        return None
    row, column = np.array(frames[0].orientation, float).reshape(2, 3)
    depths = np.unique(np.round([np.dot(frame.position, np.cross(row, column)) for frame in frames], 3))
    return float(np.diff(depths).min()) if len(depths) > 1 else None


def _is_like(image: Dataset, other: Dataset) -> bool:
    """Whether two single frames are of one series, size, frame of reference and, but for rounding, orientation."""
    keywords = ("SOPClassUID", "SeriesInstanceUID", "Rows", "Columns", "FrameOfReferenceUID")
    if any(image.get(keyword) != other.get(keyword) for keyword in keywords):
        return False
    pair = [np.array(one.ImageOrientationPatient, float) for one in (image, other)]
    return bool(np.abs(pair[0] - pair[1]).max() < SAME_ORIENTATION)


def find_thickness(sidecar: Mapping[str, Any]) -> float | None:
    """The slice thickness [mm] that a sidecar tells; None where it is silent or tells several."""
    thickness = sidecar.get("SliceThickness")
    return float(thickness) if isinstance(thickness, (int, float)) and thickness > 0 else None


def _as_dataset(image: Image, identity: Identity, thickness: float | None) -> Dataset:
    made = Dataset()
    identity.put(made)
    made.SOPClassUID = image.sop_class or (_MR if image.n_frames == 1 else _ENHANCED_MR)
    made.SOPInstanceUID = identity.uid(image.sop_uid)
    made.SeriesInstanceUID = identity.uid(image.series_uid)
    made.Modality = "MR"
    made.Rows, made.Columns = image.n_rows, image.n_columns
    if image.frame_of_reference and all(_is_placed(frame) for frame in image.frames):
        made.FrameOfReferenceUID = identity.uid(image.frame_of_reference)
        made.PositionReferenceIndicator = ""
        if made.SOPClassUID in _MULTI_FRAME:
            _place_frames(made, image.frames, thickness)
        else:
            _place(made, image.frames[0], thickness)
    return made


def _is_placed(frame: Frame) -> bool:
    return None not in (frame.position, frame.orientation, frame.spacing)


def _place(made: Dataset, frame: Frame, thickness: float | None) -> None:
    made.ImagePositionPatient = [_decimal(v) for v in frame.position]
    made.ImageOrientationPatient = [_decimal(v) for v in frame.orientation]
    made.PixelSpacing = [_decimal(v) for v in frame.spacing]
    made.SliceThickness = thickness


def _place_frames(made: Dataset, frames: Sequence[Frame], thickness: float | None) -> None:
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [_decimal(v) for v in frames[0].spacing]
    measures.SliceThickness = thickness
    orientation.ImageOrientationPatient = [_decimal(v) for v in frames[0].orientation]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence = [shared]
    made.NumberOfFrames = len(frames)
    groups = []
    for frame in frames:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [_decimal(v) for v in frame.position]
        group.PlanePositionSequence = [place]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, the nearest there is."""
    for digits in range(17, 5, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{float(value):.5g}"
