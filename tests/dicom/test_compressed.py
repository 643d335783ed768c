"""Compressed images are converted to the values of the uncompressed ones, and held against them."""

import io
import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
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
