"""Siemens mosaics: each slice in its place, or the series in quarantine with the reason."""

import re
import struct

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom.small import GAP, N_COLUMNS, N_ROWS, SPACING, header, save, uid
from dicom.test_recognize import only

from isocenter.dicom.mosaic import MosaicError, read_mosaic

N_SLICES, N_SIDE = 7, 3
B_VALUES = (0, 500, 1000)
#: Axes of an oblique stack, and where its first slice begins [mm].
TURN = np.deg2rad(20.0)
RIGHT = np.array([1.0, 0.0, 0.0])
DOWN = np.array([0.0, np.cos(TURN), np.sin(TURN)])
FIRST = np.array([-8.0, -10.0, -3.0])


def make_csa(tags: dict[str, tuple[str, list[str]]]) -> bytes:
    """A CSA header of the second kind."""
    out = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for number, (name, (vr, items)) in enumerate(tags.items()):
        n_items = 6 if len(items) <= 6 else len(items)
        out += struct.pack("<64si4s3i", name.encode(), len(items), vr.encode(), number, n_items, 77)
        for k in range(n_items):
            text = f"{items[k]}\0".encode() if k < len(items) else b""
            out += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return out


def volume_of(b: float) -> np.ndarray:
    """(slices, rows, columns) stored integers that differ between slices, rows and columns."""
    k, i, j = np.meshgrid(np.arange(N_SLICES), np.arange(N_ROWS), np.arange(N_COLUMNS), indexing="ij")
    return (100 + 250 * k + 11 * i + 3 * j + i * j * k % 7 + b // 10).astype("<u2")


def write_mosaics(folder, *, normal_sign=1, csa=True, n_told=N_SLICES, **elements):
    """A diffusion series of one mosaic a b-value."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = normal_sign * np.cross(RIGHT, DOWN)
    paths = []
    for number, b in enumerate(B_VALUES, start=1):
        base = header("mosaic", ScanningSequence="EP", SequenceName=f"*ep_b{b}", **elements)
        base.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC"]
        volume = volume_of(b)
        mosaic = np.zeros((N_SIDE * N_ROWS, N_SIDE * N_COLUMNS), "<u2")
        for k in range(N_SLICES):
            row, column = divmod(k, N_SIDE)
            mosaic[row * N_ROWS :, column * N_COLUMNS :][:N_ROWS, :N_COLUMNS] = volume[k]
        corner = FIRST - (RIGHT * N_COLUMNS + DOWN * N_ROWS) * SPACING * (N_SIDE - 1) / 2
        base.InstanceNumber, base.AcquisitionNumber = str(number), str(number)
        base.SOPInstanceUID = uid(base.SeriesInstanceUID, number)
        base.ImagePositionPatient = [float(v) for v in corner]
        base.ImageOrientationPatient = [float(v) for v in (*RIGHT, *DOWN)]
        base.PixelSpacing = [SPACING, SPACING]
        block = base.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", N_SLICES)
        block.add_new(0x0C, "IS", str(b))
        if csa:
            block = base.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
            content = make_csa(
                {
                    "NumberOfImagesInMosaic": ("US", [str(n_told)]),
                    "SliceNormalVector": ("FD", [f"{v:.8f}" for v in normal]),
                    "AcquisitionMatrixText": ("SH", [f"{N_ROWS}p*{N_COLUMNS}"]),
                    "B_value": ("IS", [str(b)]),
                    "PhaseEncodingDirectionPositive": ("IS", ["1"]),
                    "BandwidthPerPixelPhaseEncode": ("FD", ["20.0"]),
                    "ProtocolSliceNumber": ("IS", ["0"]),
                }
            )
            block.add_new(0x10, "OB", content)
        base.SamplesPerPixel, base.PhotometricInterpretation = 1, "MONOCHROME2"
        base.Rows, base.Columns = mosaic.shape
        base.BitsAllocated, base.BitsStored, base.HighBit, base.PixelRepresentation = 16, 12, 11, 0
        base.PixelData = mosaic.tobytes()
        paths.append(save(base, folder / f"m{number}"))
    return paths


def assert_in_place(image, normal_sign):
    """Every voxel of every volume at its patient position."""
    data = np.asarray(image.dataobj)
    assert data.shape == (N_COLUMNS, N_ROWS, N_SLICES, len(B_VALUES))
    normal = normal_sign * np.cross(RIGHT, DOWN)
    to_voxel = np.linalg.inv(image.affine)
    for index, b in enumerate(B_VALUES):
        volume = volume_of(b)
        for k, i, j in np.ndindex(volume.shape):
            place = (FIRST + (RIGHT * j + DOWN * i) * SPACING + normal * GAP * k) * (-1, -1, 1)
            x, y, z = np.rint(to_voxel[:3, :3] @ place + to_voxel[:3, 3]).astype(int)
            assert data[x, y, z, index] == volume[k, i, j]


@pytest.mark.parametrize("normal_sign", [1, -1])
def test_slices_of_a_mosaic_are_in_their_places(site, normal_sign):
    write_mosaics(site.dicom / "a", normal_sign=normal_sign)
    row = only(site.take_in(suffixes=["dwi"]))
    assert (row.disposition, row.suffix) == ("used", "dwi"), row.reason
    assert_in_place(nib.load(site.bids / row.files), normal_sign)


def test_a_mosaic_of_several_series_and_a_re_sent_one(site):
    """One series a b-value, one of them twice: one set, and the copy a row."""
    paths = write_mosaics(site.dicom / "a")
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = uid("split", number)
        dataset.AcquisitionTime = f"1015{number:02d}"
        dataset.save_as(path)
    (site.dicom / "again").write_bytes(paths[1].read_bytes())
    table = site.take_in(suffixes=["dwi"])
    assert table.disposition.tolist().count("used") == 3, table.reason.tolist()
    assert table.reason.str.contains("Duplicate upload").sum() == 1
    (name,) = set(table[table.disposition == "used"].files)
    assert_in_place(nib.load(site.bids / name), 1)


BAD = {
    "no_csa": ({"csa": False}, r"CSA header \(0029,1010\) is missing"),
    "other_number": ({"n_told": 5}, r"5 slices, and \(0019,100A\) 7"),
    "no_number": ({"n_told": 0}, "NumberOfImagesInMosaic"),
    "absurd_number": ({"n_told": 2**31}, "NumberOfImagesInMosaic"),
    "no_gap": ({"SpacingBetweenSlices": None}, r"\(0018,0088\)"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_mosaic_whose_slices_cannot_be_told_is_quarantined(site, name):
    options, reason = BAD[name]
    write_mosaics(site.dicom / "a", **options)
    table = site.take_in(suffixes=["dwi"])
    row = table[table.suffix == "dwi"].iloc[0]
    assert row.disposition == "quarantined"
    assert re.search(reason, row.reason), row.reason
    assert "private elements" in " ".join(site.exclusions().action)
    assert not list(site.bids.glob("sub-*"))


def test_damaged_csa_headers_are_refused_and_nothing_else_is_raised():
    good = make_csa({"NumberOfImagesInMosaic": ("US", ["7"]), "SliceNormalVector": ("FD", ["0", "0", "1"])})
    rng = np.random.default_rng(0)
    base = header("mosaic", Rows=30, Columns=24, ImagePositionPatient=[0, 0, 0], PixelSpacing=[2, 2])
    base.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    block = base.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", good)
    assert len(read_mosaic(base).positions) == 7
    refused = 0
    for _ in range(300):
        content = bytearray(good)
        for at in rng.integers(0, len(good), rng.integers(1, 30)):
            content[at] = rng.integers(0, 256)
        base[0x0029, 0x1010].value = bytes(content[: rng.integers(0, len(good) + 1)])
        try:
            assert len(read_mosaic(base).positions) <= 9
        except MosaicError:
            refused += 1
    assert refused > 200
