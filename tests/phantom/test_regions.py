"""Vial regions drawn by hand: what the file may say, what is complained about, and where the regions end up."""

import numpy as np
import pytest
from phantom.drawing import draw_plate

from isocenter.errors import CalibrationError, ConfigError
from isocenter.figures.vials import draw_contact_sheet
from isocenter.phantom.hand_regions import take_regions
from isocenter.phantom.locate import locate_vials
from isocenter.vial_regions import read_rois


@pytest.fixture(scope="module")
def nickel(nist):
    return nist.geometry("T1"), nist.reference("T1", "130-0093", 3.0, 20.0, 0.5)


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "regions.tsv"
        path.write_text(text.replace(" ", "\t"), encoding="utf-8")
        return path

    return write_file


def test_millimeters_and_voxels_say_the_same_place(nickel, write):
    geometry, reference = nickel
    drawing = draw_plate(geometry, reference, angle=20.0)
    found = locate_vials(drawing.series, drawing.parameter_map, geometry, reference)
    rows = zip(found.vials, found.centers, found.voxels, strict=True)
    rows = [(v, *(" ".join(f"{x:.6f}" for x in p) for p in (c, i))) for v, c, i in rows]
    for header, column in (("vial x y z", 1), ("vial i j k", 2)):
        read = read_rois(write("\n".join([header, *(f"{row[0]} {row[column]}" for row in rows)])))
        taken = take_regions(read.vials, read.places, drawing.series, geometry, in_voxels=read.in_voxels)
        assert np.allclose(taken.voxels, found.voxels, atol=1e-4)
        assert np.allclose(taken.centers, found.centers, atol=1e-3)
        assert (taken.vials == found.vials).all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("vial x y z\n1 0 0 0\n1 5 5 5", r"row 2 \(vial 1\).*row 1 too"),
        ("vial x y z\n1 0 0 n/a", r"no clear place.*row 1 \(vial 1\).*x, y$"),
        ("vial x y z i j k\n1 0 0 0 1 1 1", "no clear place"),
        ("vial x y z i j k\n1 0 0 0 n/a n/a n/a\n2 n/a n/a n/a 1 1 1", "Some rows give millimeters"),
        ("vial x y z\n1 0 left 0", "line 2.*left"),
        ("vial x y z\n0 0 0 0", "line 2"),
        ("vial x y\n1 0 0", "no clear place"),
        ("number x y z\n1 0 0 0", "number"),
        ("vial x y z\n", "no rows"),
    ],
    ids=["twice", "half a place", "both", "mixed", "no number", "vial 0", "no z", "column", "empty"],
)
def test_a_wrong_file_says_which_row(write, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        read_rois(write(text))


def test_a_region_that_cannot_be_is_refused(nickel):
    geometry, reference = nickel
    series = draw_plate(geometry, reference).series
    with pytest.raises(CalibrationError, match="has no vial 15"):
        take_regions(np.array([15]), np.array([[60.0, 60.0, 0.0]]), series, geometry, in_voxels=True)
    with pytest.raises(CalibrationError, match="vial 3 lies outside"):
        take_regions(np.array([3]), np.array([[200.0, 60.0, 0.0]]), series, geometry, in_voxels=True)


def test_the_contact_sheet_shows_every_region(nickel, tmp_path):
    """Same bytes for the same numbers, and another picture where one region is left out or nothing is found."""
    geometry, reference = nickel
    drawing = draw_plate(geometry, reference)
    images = drawing.series.data.mean(axis=-1)
    vials = [
        {"vial": v, "voxel": (*p, 0.0), "used": True, "label": f"{r.value * 1000:.0f} ms"}
        for v, p, r in zip(geometry.vials.tolist(), drawing.voxels, reference, strict=True)
    ]
    pictures = []
    for name, shown in (("a", vials), ("b", vials), ("c", [{**vials[0], "used": False}, *vials[1:]]), ("d", [])):
        path = tmp_path / f"{name}.png"
        draw_contact_sheet(path, images, (2.0, 2.0), shown, diameter=10.0, reach=14.0, title="plate", note="a note")
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    assert len(set(pictures)) == 3
    assert pictures[0].startswith(b"\x89PNG")
