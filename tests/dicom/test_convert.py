"""Converted values are those of the DICOM, in every dialect; sidecars carry the acquisition."""

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom import small
from dicom.small import header, philips_scale, write_classic, write_enhanced
from dicom.test_recognize import ECHOES, INVERSIONS, only

from isocenter.io.nifti import read_series

DIALECTS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems")


def volumes_of(site, row):
    return [nib.load(site.bids / name) for name in row.files.split("|")]


def on_display(image):
    """(rows, columns, slices): rows top to bottom as in the DICOM; dcm2niix stores them bottom to top."""
    return np.flip(np.asarray(image.dataobj), axis=1).transpose(1, 0, 2)


def expected_classic(paths, n_slices, *, is_philips):
    values = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array.astype(float)
        slope = float(dataset.get("RescaleSlope", 1))
        scale = dataset[0x2005, 0x100E].value if is_philips else None
        # Chenevert 2014, doi 10.1593/tlo.13811: floating point value = display value / (slope * scale slope)
        values.append(stored * slope / (slope * scale) if is_philips else stored * slope)
    return np.array(values).reshape(-1, n_slices, small.N_ROWS, small.N_COLUMNS)


@pytest.mark.parametrize("manufacturer", DIALECTS)
@pytest.mark.parametrize("kind", ["IR", "SE"])
@pytest.mark.parametrize("n_slices", [1, 3])
def test_classic_values_agree_with_pydicom(site, manufacturer, kind, n_slices):
    is_philips = "Philips" in manufacturer
    base = header(manufacturer=manufacturer, ScanningSequence=["SE", "IR"] if kind == "IR" else "SE")
    paths = write_classic(
        site.dicom / "a",
        base,
        INVERSIONS if kind == "IR" else ECHOES,
        n_slices=n_slices,
        scale=philips_scale if is_philips else None,
    )
    row = only(site.take_in())
    assert row.disposition == "used", row.reason
    expected = expected_classic(paths, n_slices, is_philips=is_philips)
    for image, volume in zip(volumes_of(site, row), expected, strict=True):
        np.testing.assert_allclose(on_display(image), np.moveaxis(volume, 0, 2), rtol=1e-6)


@pytest.mark.parametrize("kind", ["IR", "SE"])
@pytest.mark.parametrize("n_slices", [1, 3])
def test_enhanced_values_agree_with_pydicom(site, kind, n_slices):
    times = [50.0, 200.0, 800.0, 2500.0] if kind == "IR" else [10.0, 20.0, 30.0, 40.0]
    base = header(manufacturer="Philips Medical Systems")
    path = write_enhanced(site.dicom / "one.dcm", base, times, kind=kind, n_slices=n_slices)
    row = only(site.take_in())
    assert row.disposition == "used", row.reason
    stored = pydicom.dcmread(path).pixel_array.astype(float)
    stored = stored.reshape(n_slices, len(times), small.N_ROWS, small.N_COLUMNS)
    for index, image in enumerate(volumes_of(site, row)):
        expected = stored[:, index] / float(np.float32(0.01 * (1 + index % 3)))
        np.testing.assert_allclose(on_display(image), np.moveaxis(expected, 0, 2), rtol=1e-6)
    series = read_series([site.bids / name for name in row.files.split("|")])
    key = "InversionTime" if kind == "IR" else "EchoTime"
    np.testing.assert_allclose(series.acquisition[key], np.array(times) / 1000)


def test_place_of_a_volume(site):
    write_classic(site.dicom / "a", header(), INVERSIONS, n_slices=3)
    image = volumes_of(site, only(site.take_in()))[0]
    assert image.shape == (small.N_COLUMNS, small.N_ROWS, 3)
    center = image.affine @ [3.5, 4.5, 1, 1]
    # DICOM: x -8 + 7 mm, y -10 + 9 mm, z -3 + 5 mm; NIfTI turns the sign of x and y
    np.testing.assert_allclose(center[:3], [1.0, 1.0, 2.0], atol=1e-5)


def test_sidecar_in_bids_units(site):
    write_classic(
        site.dicom / "a",
        header(PixelBandwidth="280", TransmitCoilName="Body", ReceiveCoilName="Head", EchoTrainLength="6"),
        INVERSIONS,
    )
    row = only(site.take_in())
    names = row.files.split("|")
    sidecar = json.loads((site.bids / names[1]).with_suffix("").with_suffix(".json").read_text())
    assert sidecar["InversionTime"] == 0.2
    assert (sidecar["RepetitionTime"], sidecar["EchoTime"], sidecar["FlipAngle"]) == (4.5, 0.007, 90)
    assert (sidecar["MagneticFieldStrength"], sidecar["Manufacturer"]) == (3, "Siemens")
    assert (sidecar["PixelBandwidth"], sidecar["ReceiveCoilName"]) == (280, "Head")
    assert sidecar["NonlinearGradientCorrection"] is False
    assert sidecar["SaturationValue"] == 4095
    assert sidecar["SourceSeriesInstanceUID"] == row.series_uid
    assert len(sidecar["SourceSHA256"]) == 64
    assert sidecar["ConversionVerified"] is True


def test_saturation_only_where_the_ceiling_means_something(site):
    philips = header(manufacturer="Philips", ScanningSequence="SE")
    write_classic(site.dicom / "a", philips, ECHOES, scale=philips_scale)
    row = only(site.take_in())
    series = read_series([site.bids / name for name in row.files.split("|")])
    assert np.isinf(series.saturation).all()


def test_clipped_philips_voxels_are_marked_in_scaled_units(site):
    philips = header(manufacturer="Philips", ScanningSequence="SE")
    paths = write_classic(site.dicom / "a", philips, ECHOES, scale=philips_scale)
    dataset = pydicom.dcmread(paths[0])
    stored = dataset.pixel_array.copy()
    stored[:2] = 4095
    dataset.PixelData = stored.tobytes()
    dataset.save_as(paths[0])
    row = only(site.take_in())
    series = read_series([site.bids / name for name in row.files.split("|")])
    assert np.count_nonzero(series.clipped()) == 2 * small.N_COLUMNS


def test_philips_prepulse_delay_stands_in_for_the_inversion_time(site):
    base = header(manufacturer="Philips", ScanningSequence="IR")
    values = [{"TriggerTime": str(t)} for t in (50, 200, 800, 2500)]
    write_classic(site.dicom / "a", base, values, scale=philips_scale)
    row = only(site.take_in())
    assert row.disposition == "used", row.reason
    series = read_series([site.bids / name for name in row.files.split("|")])
    assert series.acquisition["InversionTime"].tolist() == [0.05, 0.2, 0.8, 2.5]
    assert series.acquisition["InversionTimeSource"] == "TriggerTime (0018,1060)"


def test_one_trigger_time_is_no_inversion_time(site):
    base = header(manufacturer="Philips", ScanningSequence="IR", TriggerTime="350")
    write_classic(site.dicom / "a", base, [{}], scale=philips_scale)
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert "(0018,0082)" in row.reason
