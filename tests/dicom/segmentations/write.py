"""Wrote the segmentations of this folder with highdicom 0.28.2: two ellipsoids on an oblique series of seven slices.

``python write.py`` in an environment with highdicom; Isocenter itself does not need it. Nobody was scanned for them.
"""

from pathlib import Path

import highdicom
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

FOLDER = Path(__file__).parent
#: Rows, columns, slices; distance of rows, of columns and of slices [mm]; the first pixel's place [LPS mm].
ROWS, COLUMNS, SLICES = 16, 20, 7
DOWN, RIGHT, DEEP = 2.0, 1.5, 4.0
START = np.array([-30.0, 12.0, 40.0])
NAMES = ["Left Ventricle", "Myocardium (LV)"]
#: Along a row, along a column, through the slices: orthogonal and oblique.
AXES = np.array([[2.0, 1.0, -0.5], [-1.0, 2.0, 0.0], [1.0, 0.5, 5.0]]) / np.sqrt([[5.25], [5.0], [26.25]])


def uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.4242.{number}"


def image(k: int) -> Dataset:
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid(100 + k)
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = uid(1), uid(2), uid(3)
    d.PatientID, d.PatientName, d.PatientBirthDate, d.PatientSex = "SUB1", "None^", "", "O"
    d.AccessionNumber = d.ReferringPhysicianName = d.PositionReferenceIndicator = ""
    d.StudyID, d.StudyDate, d.StudyTime = "1", "20260101", "000000"
    d.Modality, d.Manufacturer, d.SeriesNumber, d.InstanceNumber = "MR", "none", 1, k + 1
    d.Rows, d.Columns, d.PixelSpacing = ROWS, COLUMNS, [DOWN, RIGHT]
    d.SliceThickness = d.SpacingBetweenSlices = DEEP
    d.ImageOrientationPatient = np.round(AXES[:2].ravel(), 10).tolist()
    d.ImagePositionPatient = np.round(START + k * DEEP * AXES[2], 8).tolist()
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    return d


def write(number: int, kind: str, pixels: np.ndarray, **options) -> None:
    segments = [
        highdicom.seg.SegmentDescription(i, name, codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
        for i, name in enumerate(NAMES, start=1)
    ]
    made = highdicom.seg.Segmentation(
        [image(k) for k in range(SLICES)], pixels, kind, segments, uid(200 + number), 9, uid(300 + number), 1, "none",
        "none", "0", "none", **options,
    )  # fmt: skip
    made.ContentDate, made.ContentTime = "20260101", "000000"
    made.save_as(FOLDER / f"{kind.lower()}.dcm")


z, y, x = np.meshgrid(np.arange(SLICES), np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
a = ((x - 6) / 4.0) ** 2 + ((y - 7) / 5.0) ** 2 + ((z - 2) / 1.6) ** 2 <= 1
b = (((x - 13) / 4.5) ** 2 + ((y - 8) / 4.0) ** 2 + ((z - 4) / 1.2) ** 2 <= 1) & ~a
write(1, "BINARY", np.stack([a, b], axis=-1).astype(np.uint8))
shares = np.stack([np.where(a, 0.9, 0.2), np.where(b, 0.6, 0.0)], axis=-1).astype(np.float32)
write(2, "FRACTIONAL", shares, max_fractional_value=200)
write(3, "LABELMAP", (a + 2 * b).astype(np.uint8))
