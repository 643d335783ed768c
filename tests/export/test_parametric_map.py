"""Maps as DICOM Parametric Map, read back with pydicom and numpy, and by dcmtk and dciodvfy where these exist."""

import io
import subprocess

import numpy as np
import pydicom
import pytest
from export.small_scan import POSES, SHAPE, describe, make_scan, need, validate

from isocenter.errors import ConfigError, DicomError
from isocenter.export.geometry import find_planes
from isocenter.export.identity import Identity
from isocenter.export.parametric_map import build_parametric_map
from isocenter.export.sources import refer_to

#: What dciodvfy may say: it knows no scheme of codes but the public ones, nor the standard's word for the contrast of a
#: parametric map; a pseudonymous object has no date of its study; nobody tells which part of the body it is.
EXPECTED = ("99ISOCENTER", "QUANTITY", "needed to build DICOMDIR", "Laterality")


def build(scan, identity, *, parameter="T1", unit="s", values=None, is_stderr=False, key="map", **sidecar):
    told = {**scan.sidecar, **sidecar}
    return build_parametric_map(
        scan.values if values is None else values, scan.affine, parameter=parameter, unit=unit, sidecar=told,
        sources=refer_to(scan.series, identity, told), identity=identity,
        description=describe(key), is_stderr=is_stderr,
    )  # fmt: skip


def read_back(made, folder):
    path = folder / "map.dcm"
    made.save_as(path)
    return pydicom.dcmread(path)


def frames(data):
    """(n, rows, columns) float32 array, and the place of each frame's first pixel."""
    pixels = np.frombuffer(data.FloatPixelData, "<f4").reshape(int(data.NumberOfFrames), data.Rows, data.Columns)
    groups = data.PerFrameFunctionalGroupsSequence
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
    return pixels, np.array(places, float)


def shared(data, sequence):
    return data.SharedFunctionalGroupsSequence[0][sequence][0]


@pytest.mark.parametrize("is_multi_frame", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("pose", POSES)
def test_every_voxel_has_its_value_at_its_place(pose, is_multi_frame, identity, tmp_path):
    """Bit for bit, and within 1e-4 mm of where the NIfTI's affine puts it."""
    scan = make_scan(pose, is_multi_frame=is_multi_frame)
    data = read_back(build(scan, identity), tmp_path)
    pixels, places = frames(data)
    iop = np.array(shared(data, "PlaneOrientationSequence").ImageOrientationPatient, float)
    down, across = np.array(shared(data, "PixelMeasuresSequence").PixelSpacing, float)
    to_index = np.linalg.inv(np.diag([-1.0, -1, 1, 1]) @ scan.affine)
    seen = set()
    for k, row, column in np.ndindex(pixels.shape):
        lps = places[k] + iop[:3] * across * column + iop[3:] * down * row
        exact = to_index @ np.append(lps, 1)
        index = tuple(int(v) for v in np.rint(exact[:3]))
        assert np.abs(scan.affine[:3, :3] @ (exact[:3] - index)).max() < 1e-4
        assert pixels[k, row, column].tobytes() == scan.values[index].tobytes()
        seen.add(index)
    assert len(seen) == np.prod(SHAPE)


@pytest.mark.parametrize("pose", POSES)
def test_geometry_is_that_of_the_source_series(pose, identity, tmp_path):
    scan = make_scan(pose)
    data = read_back(build(scan, identity), tmp_path)
    _, places = frames(data)
    order = np.argsort(places @ np.cross(scan.orientation[:3], scan.orientation[3:]))
    np.testing.assert_allclose(places[order], scan.positions, atol=1e-4)
    found = shared(data, "PlaneOrientationSequence").ImageOrientationPatient
    np.testing.assert_allclose(np.array(found, float), scan.orientation, atol=1e-6)
    measures = shared(data, "PixelMeasuresSequence")
    assert [float(v) for v in measures.PixelSpacing] == pytest.approx(scan.spacing, abs=1e-4)
    assert float(measures.SliceThickness) == 3.0
    assert float(measures.SpacingBetweenSlices) == pytest.approx(3.5, abs=1e-4)


def test_a_plane_refers_to_the_images_of_its_own_place(identity, tmp_path):
    """Of both series, one image each: the one at the plane's position, under a UID that is not the archive's."""
    scan = make_scan("oblique")
    data = read_back(build(scan, identity), tmp_path)
    _, places = frames(data)
    for group, place in zip(data.PerFrameFunctionalGroupsSequence, places, strict=True):
        images = group.DerivationImageSequence[0].SourceImageSequence
        expected = {
            identity.uid(image.sop_uid)
            for series in scan.series for image in series if np.allclose(image.frames[0].position, place, atol=1e-3)
        }  # fmt: skip
        assert {image.ReferencedSOPInstanceUID for image in images} == expected
        assert len(expected) == 2
    referred = {s.SeriesInstanceUID for s in data.ReferencedSeriesSequence}
    assert referred == {identity.uid(series[0].series_uid) for series in scan.series}
    originals = {image.sop_uid for series in scan.series for image in series}
    originals |= {image.series_uid for series in scan.series for image in series}
    assert not originals & {str(element.value) for element in data.iterall()}


@pytest.mark.parametrize(
    ("parameter", "unit", "quantity", "ucum"),
    [
        ("T1", "s", ("113063", "DCM"), [("s", 1.0), ("ms", 1000.0)]),
        ("T2star", "s", ("113064", "DCM"), [("s", 1.0), ("ms", 1000.0)]),
        ("ADC", "mm2/s", ("113041", "DCM"), [("mm2/s", 1.0), ("um2/s", 1e6)]),
        ("PDFF", "percent", ("129100", "DCM"), [("%", 1.0)]),
        ("Ktrans", "1/min", ("126312", "DCM"), [("/min", 1.0)]),
        ("R2star", "1/s", ("126395", "DCM"), [("/s", 1.0)]),
        ("B0", "Hz", ("B0", "99ISOCENTER"), [("Hz", 1.0)]),
        ("an_own-quantity", "1", ("an-own-quantity", "99ISOCENTER"), [("1", 1.0)]),
    ],
)
def test_quantity_and_unit_are_coded(parameter, unit, quantity, ucum, identity, tmp_path):
    scan = make_scan("axial", n_series=1)
    data = read_back(build(scan, identity, parameter=parameter, unit=unit), tmp_path)
    mappings = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert [(m.MeasurementUnitsCodeSequence[0].CodeValue, float(m.RealWorldValueSlope)) for m in mappings] == ucum
    for mapping in mappings:
        assert mapping.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"
        assert mapping.RealWorldValueIntercept == 0
        assert mapping.DoubleFloatRealWorldValueFirstValueMapped == np.nanmin(scan.values)
        assert mapping.DoubleFloatRealWorldValueLastValueMapped == np.nanmax(scan.values)
        concept = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
        assert (concept.CodeValue, concept.CodingSchemeDesignator) == quantity
    is_introduced = "CodingSchemeIdentificationSequence" in data
    assert is_introduced == (quantity[1] == "99ISOCENTER")


def test_a_standard_error_says_that_it_is_one(identity, tmp_path):
    data = read_back(build(make_scan("axial"), identity, is_stderr=True), tmp_path)
    mapping = data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    quantity, derivation = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeMeaning == "T1"
    assert derivation.ConceptNameCodeSequence[0].CodeMeaning == "Derivation"
    assert derivation.ConceptCodeSequence[0].CodeMeaning == "Standard error"
    assert mapping.LUTExplanation == "Standard error of T1 in second"


def test_the_same_map_gives_the_same_bytes_and_another_map_another_uid(identity):
    def bytes_of(made):
        buffer = io.BytesIO()
        made.save_as(buffer)
        return buffer.getvalue()

    scan = make_scan("oblique")
    first, again, other = build(scan, identity), build(scan, identity), build(scan, identity, key="other")
    assert bytes_of(first) == bytes_of(again)
    assert len({made.SOPInstanceUID for made in (first, again, other)}) == 2
    named = Identity({"PatientID": "1", "StudyInstanceUID": "1.2.3"}, is_real=True)
    assert build(scan, named).SOPInstanceUID != first.SOPInstanceUID
    assert build(scan, named).SourceImageSequence[0].ReferencedSOPInstanceUID == scan.series[0][0].sop_uid


def test_hostile_text_stays_within_its_element(identity, tmp_path):
    scan = make_scan("axial")
    title = "../../etc\\passwd\r\n<script>alert(1)</script>\x00 Δ" + "x" * 500
    made = build_parametric_map(
        scan.values, scan.affine, parameter="T1", unit="s", sidecar={**scan.sidecar, "Model": "a\\b\n" * 900},
        sources=scan.sources(identity), identity=identity, description=describe("map", title=title),
    )  # fmt: skip
    data = read_back(made, tmp_path)
    assert data.SeriesDescription == "../../etc passwd <script>alert(1)</script> Δ" + "x" * 19
    assert len(data.SeriesDescription.encode()) == 64
    assert len(data.DerivationDescription) <= 1024
    assert "\\" not in data.DerivationDescription


def test_a_map_without_values_is_refused(identity):
    scan = make_scan("axial")
    with pytest.raises(DicomError, match="No voxel of a map holds a value"):
        build(scan, identity, values=np.full(SHAPE, np.nan, np.float32))


def test_an_unknown_unit_is_refused(identity):
    with pytest.raises(ConfigError, match="UCUM"):
        build(make_scan("axial"), identity, unit="furlong")


def test_a_sheared_grid_is_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.05
    with pytest.raises(DicomError, match="no right angles"):
        find_planes(SHAPE, affine)


def test_images_without_a_frame_of_reference_are_refused(identity):
    scan = make_scan("axial")
    for images in scan.series:
        for image in images:
            image.frame_of_reference = ""
    with pytest.raises(DicomError, match="frame of reference"):
        build(scan, identity)


def test_images_of_one_series_may_differ_in_rounding_and_in_kind(identity, tmp_path):
    """Directions with other digits are the same; an image of another size is a source, and lends no geometry."""
    scan = make_scan("oblique")
    for image in scan.series[0][1:]:
        image.frames[0].orientation = tuple(v + 3e-6 for v in image.frames[0].orientation)
    scan.series[0][-1].n_rows += 7
    scan.series[1][0].frame_of_reference = ""
    data = read_back(build(scan, identity), tmp_path)
    _, places = frames(data)
    np.testing.assert_allclose(places[np.argsort(places[:, 0])], scan.positions, atol=1e-4)
    assert len(data.SourceImageSequence) == 2 * SHAPE[2] - 1  # one lies in no frame of reference


def test_a_thickness_that_nobody_told_is_the_distance_of_the_planes(identity, tmp_path):
    data = read_back(build(make_scan("axial"), identity, SliceThickness=[3.0, 4.0]), tmp_path)
    assert float(shared(data, "PixelMeasuresSequence").SliceThickness) == 3.5


@pytest.mark.parametrize(("pose", "is_stderr", "is_multi_frame"), [("oblique", False, False), ("sagittal", True, True)])
def test_dciodvfy_finds_no_error(pose, is_stderr, is_multi_frame, identity, tmp_path):
    made = build(make_scan(pose, is_multi_frame=is_multi_frame), identity, is_stderr=is_stderr)
    read_back(made, tmp_path)
    complaints = validate(tmp_path / "map.dcm")
    assert [line for line in complaints if not any(word in line for word in EXPECTED)] == []


def test_dcmtk_reads_the_same_floats(identity, tmp_path):
    """The floats as another implementation finds and prints them: seven digits."""
    scan = make_scan("oblique")
    ours, _ = frames(read_back(build(scan, identity), tmp_path))
    listed = subprocess.run(
        [need("dcmdump"), "+P", "7fe0,0008", "+L", str(tmp_path / "map.dcm")], capture_output=True, text=True,
        check=True, timeout=60,
    ).stdout  # fmt: skip
    numbers = np.array(listed.split("OF ")[1].split("#")[0].strip().split("\\"), np.float64)
    np.testing.assert_allclose(numbers, ours.ravel(), rtol=1e-6)
