"""Compressed images are converted to the values of the uncompressed ones, and held against them."""

import io
import json
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom import small
from dicom.small import header, write_classic
from dicom.test_recognize import INVERSIONS, only
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless


def as_rle(dataset):
    dataset.compress(RLELossless)


def as_jpeg2000(dataset):
    buffer = io.BytesIO()
    Image.fromarray(dataset.pixel_array).save(buffer, "JPEG2000", irreversible=False, no_jp2=True, num_resolutions=2)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless


@pytest.mark.parametrize("compress", [as_rle, as_jpeg2000])
def test_compressed_images_are_the_uncompressed_ones(site, compress):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS)
    expected = [pydicom.dcmread(path).pixel_array for path in paths]
    for path in paths:
        dataset = pydicom.dcmread(path)
        compress(dataset)
        dataset.save_as(path)
        np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, expected[paths.index(path)])
    row = only(site.take_in())
    assert row.disposition == "used", row.reason
    for number, name in enumerate(row.files.split("|")):
        image = np.asarray(nib.load(site.bids / name).dataobj)
        for plane in range(2):
            np.testing.assert_array_equal(np.flip(image[..., plane], axis=1).T, expected[2 * number + plane])
        sidecar = json.loads((site.bids / name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["ConversionVerified"] is True


def test_jpeg_2000_of_12_bits_is_decoded_and_held_against(site, monkeypatch):
    for name in ("N_ROWS", "N_COLUMNS"):  # the encoder wants room for its resolutions
        monkeypatch.setattr(small, name, 64)
    paths = write_classic(site.dicom / "a", header(), INVERSIONS[:3], n_slices=1)
    expected = [pydicom.dcmread(path).pixel_array for path in paths]
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless)
        assert dataset.BitsStored == 12
        dataset.save_as(path)
    row = only(site.take_in())
    assert (row.disposition, row.reason) == ("used", "")
    for number, name in enumerate(row.files.split("|")):
        image = np.asarray(nib.load(site.bids / name).dataobj)
        np.testing.assert_array_equal(np.flip(image[..., 0], axis=1).T, expected[number])
        assert json.loads((site.bids / name.replace(".nii.gz", ".json")).read_text())["ConversionVerified"] is True


#: What dcmtk writes: another implementation than any decoder here.
LOSSLESS = {"jpeg_sv1": ("dcmcjpeg", "+e1"), "jpeg": ("dcmcjpeg", "+el"), "jpeg_ls": ("dcmcjpls",), "rle": ("dcmcrle",)}
LOSSY = {"jpeg": ("dcmcjpeg", "+eb"), "jpeg_12_bits": ("dcmcjpeg", "+ee"), "jpeg_ls_near": ("dcmcjpls", "+en")}


def compress_by(paths, tool, *options):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} of dcmtk is not installed")
    for path in paths:
        made = path.with_name("made")
        subprocess.run([tool, *options, str(path), str(made)], check=True, capture_output=True)
        made.replace(path)


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_lossless_images_of_another_encoder_are_the_uncompressed_ones(site, name):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS[:3])
    expected = [pydicom.dcmread(path).pixel_array for path in paths]
    compress_by(paths, *LOSSLESS[name])
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID.is_encapsulated
    row = only(site.take_in())
    assert (row.disposition, row.reason) == ("used", "")
    for number, file in enumerate(row.files.split("|")):
        image = np.asarray(nib.load(site.bids / file).dataobj)
        for plane in range(2):
            np.testing.assert_array_equal(np.flip(image[..., plane], axis=1).T, expected[2 * number + plane])
        assert json.loads((site.bids / file.replace(".nii.gz", ".json")).read_text())["ConversionVerified"] is True


@pytest.mark.parametrize("name", sorted(LOSSY))
def test_images_whose_values_compression_changed_are_quarantined(site, name):
    paths = write_classic(site.dicom / "a", header(), INVERSIONS[:3])
    compress_by(paths, *LOSSY[name])
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert "Lossy compression" in row.reason
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID in row.reason


def test_lossy_compression_on_an_earlier_way_is_told_by_its_mark(site):
    write_classic(site.dicom / "a", header(LossyImageCompression="01"), INVERSIONS[:3])
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert "(0028,2110)" in row.reason
