"""DICOM-SEG of two known ellipsoids, written by highdicom (tests/dicom/segmentations/write.py)."""

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest

from isocenter.dicom.segmentation import read_segmentation
from isocenter.errors import DicomError, RegistrationError
from isocenter.site_regions import name_region

FOLDER = Path(__file__).parent / "segmentations"
KINDS = ["binary", "fractional", "labelmap"]
AXES = np.array([[2.0, 1.0, -0.5], [-1.0, 2.0, 0.0], [1.0, 0.5, 5.0]]) / np.sqrt([[5.25], [5.0], [26.25]])


def true_places():
    """RAS millimeters of the voxels of both ellipsoids."""
    x, y, z = np.meshgrid(np.arange(20), np.arange(16), np.arange(7), indexing="ij")
    a = ((x - 6) / 4.0) ** 2 + ((y - 7) / 5.0) ** 2 + ((z - 2) / 1.6) ** 2 <= 1
    b = (((x - 13) / 4.5) ** 2 + ((y - 8) / 4.0) ** 2 + ((z - 4) / 1.2) ** 2 <= 1) & ~a
    lps = [np.argwhere(m) * [1.5, 2.0, 4.0] @ AXES + [-30.0, 12.0, 40.0] for m in (a, b)]
    return [places * [-1, -1, 1] for places in lps]


def ordered(places):
    return places[np.lexsort(np.round(places, 4).T)]


@pytest.mark.parametrize("kind", KINDS)
def test_segments_lie_where_they_were_drawn(kind):
    segments, affine = read_segmentation(FOLDER / f"{kind}.dcm")
    assert [name for name, _ in segments] == ["Left Ventricle", "Myocardium (LV)"]
    for (_, mask), places in zip(segments, true_places(), strict=True):
        found = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_allclose(ordered(found), ordered(places), atol=1e-6)


def test_frames_may_come_in_any_order(tmp_path):
    data = pydicom.dcmread(FOLDER / "fractional.dcm")
    frames, order = data.pixel_array, np.random.default_rng(0).permutation(int(data.NumberOfFrames))
    data.PixelData = np.ascontiguousarray(frames[order]).tobytes()
    groups = list(data.PerFrameFunctionalGroupsSequence)
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence([groups[i] for i in order])
    data.save_as(tmp_path / "shuffled.dcm")
    found, affine = read_segmentation(tmp_path / "shuffled.dcm")
    expected, true = read_segmentation(FOLDER / "fractional.dcm")
    np.testing.assert_allclose(affine, true)
    for (_, a), (_, b) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_slice_off_the_grid_is_refused(tmp_path):
    data = pydicom.dcmread(FOLDER / "binary.dcm")
    place = data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    place.ImagePositionPatient = (np.array(place.ImagePositionPatient, float) + 1.3 * AXES[2]).tolist()
    data.save_as(tmp_path / "bent.dcm")
    with pytest.raises(DicomError, match="no common grid"):
        read_segmentation(tmp_path / "bent.dcm")


def test_a_label_does_not_name_the_patient(tmp_path):
    data = pydicom.dcmread(FOLDER / "binary.dcm")
    data.PatientName = "Quillfeather^Zebulon"
    data.SegmentSequence[0].SegmentLabel = "Quillfeather, lesion 2"
    data.save_as(tmp_path / "named.dcm")
    segments, _ = read_segmentation(tmp_path / "named.dcm")
    assert name_region(segments[0][0]) == "withheld_lesion_2"


@pytest.mark.parametrize("label", ["左心室", "", "---", "Желудочек"])
def test_labels_without_a_latin_letter_are_refused_and_not_made_one_region(label):
    with pytest.raises(RegistrationError, match="gives no name"):
        name_region(label)


def test_what_is_no_segmentation_is_refused(tmp_path):
    data = pydicom.dcmread(FOLDER / "binary.dcm")
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.save_as(tmp_path / "image.dcm")
    with pytest.raises(DicomError, match=re.escape("no DICOM segmentation")):
        read_segmentation(tmp_path / "image.dcm")
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(DicomError, match="cannot be read"):
        read_segmentation(tmp_path / "text.dcm")


def test_labels_become_names():
    assert name_region("Left Ventricle") == "left_ventricle"
    assert name_region("Myocardium (LV)") == "myocardium_lv"
