"""DICOM Segmentation objects: named regions in the scanner's coordinates (PS3.3 A.51, C.8.20)."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from isocenter.dicom.deidentify import Redactor
from isocenter.dicom.privacy import find_personal
from isocenter.errors import DicomError, explain

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
#: LPS to RAS.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
#: A frame may lie this far off the grid of slices, as a share of their distance.
_OFF_GRID = 0.05


def read_segmentation(path: Path) -> tuple[list[tuple[str, np.ndarray]], np.ndarray]:
    """The segments of a DICOM-SEG on their common grid.

    Returns
    -------
    Pairs of the segment's label, without what names the object's patient, and (x, y, z) booleans; (4, 4) affine, voxel
    to RAS+ mm. Slices that the object leaves out are empty. Fractional segments are taken from half of their largest
    value on.

    Raises
    ------
    DicomError
        The file is no segmentation, or its frames share no grid.
    """
    try:
        data = pydicom.dcmread(path)
    except Exception as error:
        raise DicomError(explain("A segmentation cannot be read", where=Path(path).name, found=error)) from None
    if data.get("SOPClassUID") not in SEGMENTATION_CLASSES:
        raise DicomError(
            explain(
                "A file is no DICOM segmentation",
                where=Path(path).name,
                expected="SOP Class Segmentation Storage or Label Map Segmentation Storage",
                found=data.get("SOPClassUID", "none"),
            )
        )
    frames = np.atleast_3d(data.pixel_array) if int(data.get("NumberOfFrames", 1)) > 1 else data.pixel_array[np.newaxis]
    places = np.array([_of_frame(data, i, "PlanePositionSequence", "ImagePositionPatient") for i in range(len(frames))])
    affine, depth = _find_grid(data, places, Path(path).name)
    inverse = np.linalg.inv(affine)
    shape = (frames.shape[2], frames.shape[1], depth)
    is_label_map = data.SegmentationType == "LABELMAP"
    half = 0.5 * int(data.get("MaximumFractionalValue", 1)) if data.SegmentationType == "FRACTIONAL" else 0.5
    redactor = Redactor(find_personal(data))  # people name a lesion after the patient
    labels = {int(one.SegmentNumber): redactor.redact(str(one.SegmentLabel)) for one in data.SegmentSequence}
    if is_label_map:  # a label map names its background too
        labels.pop(int(data.get("PixelPaddingValue", 0)), None)
    masks = {number: np.zeros(shape, bool) for number in labels}
    for i, frame in enumerate(frames):
        lps = np.append(places[i], 1.0)
        k = round(float((inverse @ _FLIP @ lps)[2]))
        if is_label_map:
            for number, mask in masks.items():
                mask[:, :, k] |= (frame == number).T
        else:
            number = int(_of_frame(data, i, "SegmentIdentificationSequence", "ReferencedSegmentNumber"))
            masks[number][:, :, k] |= (frame >= half).T
    return [(labels[number], mask) for number, mask in masks.items()], affine


def _of_frame(data: Dataset, frame: int, sequence: str, keyword: str):
    """A value of one frame: from its own functional groups, else from the shared ones."""
    groups = [data.PerFrameFunctionalGroupsSequence[frame]] if "PerFrameFunctionalGroupsSequence" in data else []
    for group in (*groups, *data.get("SharedFunctionalGroupsSequence", [])):
        if sequence in group and keyword in group[sequence][0]:
            return group[sequence][0].get(keyword)
    raise DicomError(
        explain(
            f"A frame of a segmentation lacks {keyword}",
            found=f"frame {frame + 1}",
            remedy="export the segmentation on the series that it was drawn on",
        )
    )


def _find_grid(data: Dataset, places: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """Voxel to RAS+ mm, and how many slices there are from the first frame's place to the last one's."""
    row, column = np.array(_of_frame(data, 0, "PlaneOrientationSequence", "ImageOrientationPatient"), float).reshape(
        2, 3
    )
    down, right = (float(v) for v in _of_frame(data, 0, "PixelMeasuresSequence", "PixelSpacing"))
    normal = np.cross(row, column)
    depths = np.unique(np.round(places @ normal, 4))
    measures = "PixelMeasuresSequence"
    try:
        step = float(_of_frame(data, 0, measures, "SpacingBetweenSlices"))
    except DicomError:
        step = (
            float(np.diff(depths).min()) if len(depths) > 1 else float(_of_frame(data, 0, measures, "SliceThickness"))
        )
    index = (depths - depths[0]) / step
    across = places - np.outer(places @ normal, normal)
    if np.abs(index - np.rint(index)).max() > _OFF_GRID or np.ptp(across, axis=0).max() > _OFF_GRID * step:
        raise DicomError(
            explain(
                "The frames of a segmentation lie on no common grid",
                where=name,
                expected=f"positions {step:g} mm apart along the normal of the slices",
                found=", ".join(f"{depth:.2f}" for depth in depths[:8]),
            )
        )
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = row * right, column * down, normal * step
    lps[:3, 3] = places[int(np.argmin(places @ normal))]
    return _FLIP @ lps, round(float(index[-1])) + 1
