"""A map on the grid of real, oblique DICOM: the planes that leave are those that the scanner wrote."""

import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom.small_site import make_site
from export.small_scan import validate
from export.test_parametric_map import EXPECTED, frames, read_back, shared

from isocenter.dicom.index import read_sources
from isocenter.export.parametric_map import Description, build_parametric_map
from isocenter.export.sources import refer_to
from isocenter.io.nifti import load_image, read_sidecar

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "nist_system_phantom" / "session_a_dicom.tar.gz"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The first inversion time of the system phantom: its image, its sidecar, its source files, the intake's index."""
    if not ARCHIVE.exists():
        pytest.skip(f"{ARCHIVE.name} is not here")
    site = make_site(tmp_path_factory.mktemp("real"))
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(site.dicom, filter="data")
    (site.folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nphantom1\tphantom\tH20QMDSYS\n")
    table = site.take_in(suffixes=["IRT1"])
    name = table[table.suffix == "IRT1"].files.iloc[0].split("|")[0]
    path = site.bids / name
    _, index = read_sources(site.folder / "results/intake/index.json")
    return path, read_sidecar(path), index, site


def test_planes_of_a_real_scan_come_back(real, identity, tmp_path):
    path, sidecar, index, site = real
    image = load_image(path)
    values = np.asarray(image.dataobj, np.float32)
    uid = sidecar["SourceSeriesInstanceUID"]
    made = build_parametric_map(
        values, image.affine, parameter="T1", unit="s", sidecar=sidecar,
        sources=refer_to([index[uid]], identity, sidecar), identity=identity,
        description=Description(("real",), 90000, "T1MAP", "T1", datetime(2026, 1, 1, tzinfo=UTC)),
    )  # fmt: skip
    data = read_back(made, tmp_path)
    pixels, places = frames(data)
    originals = {}
    for file in site.dicom.rglob("*"):
        if file.is_file() and (header := pydicom.dcmread(file, force=True)).get("SeriesInstanceUID") == uid:
            originals[tuple(np.round(np.array(header.ImagePositionPatient, float), 3))] = header
    assert len(originals) == len(places)
    orientation = np.array(shared(data, "PlaneOrientationSequence").ImageOrientationPatient, float)
    for frame, place in zip(pixels, places, strict=True):
        header = originals[tuple(np.round(place, 3))]
        np.testing.assert_allclose(place, np.array(header.ImagePositionPatient, float), atol=1e-4)
        np.testing.assert_allclose(orientation, np.array(header.ImageOrientationPatient, float), atol=1e-6)
        # Intake scales by the vendor's rule, which for these images is none: the pixels are those of the file.
        np.testing.assert_array_equal(frame, header.pixel_array)
    assert np.abs(orientation[[1, 3, 4]]).max() > 1e-3, "this scan is oblique"
    assert [line for line in validate(tmp_path / "map.dcm") if not any(word in line for word in EXPECTED)] == []
    assert "H20QMDSYS" not in json.dumps(data.to_json_dict())
