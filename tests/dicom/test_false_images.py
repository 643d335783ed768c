"""Images cut short or standing for another: told from what looks alike and is as the scanner made it."""

import numpy as np
import pydicom
import pytest
from dicom.small import N_COLUMNS, N_ROWS, header, write_classic, write_enhanced
from dicom.test_recognize import INVERSIONS, TIMES, only

from isocenter.dicom.false_images import check_copies, check_cuts, print_slices
from isocenter.dicom.suffixes import SUFFIXES
from isocenter.errors import DicomError

IR, DCE = SUFFIXES["IRT1"], SUFFIXES["DCE"]


def set_pixels(path, change):
    """Replace the stored pixels of a file by `change` of them."""
    dataset = pydicom.dcmread(path)
    dataset.PixelData = np.ascontiguousarray(change(dataset.pixel_array), dtype="<u2").tobytes()
    dataset.save_as(path)


def cut(rows):
    """A function of an image that empties these rows."""

    def change(image):
        image = image.copy()
        image[rows] = 0
        return image

    return change


@pytest.mark.parametrize("rows", [slice(5, None), slice(0, 5), slice(0, None)], ids=["lower", "upper", "all"])
def test_an_image_that_was_not_written_whole_is_refused(site, rows):
    set_pixels(write_classic(site.dicom, header(), INVERSIONS)[3], cut(rows))
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    number = len(range(*rows.indices(N_ROWS)))
    assert f"{number} of 10 rows in slice 2 of inversion time {TIMES[1] / 1000:g} s" in row.reason
    assert row.action == "Send the series again whole from the scanner or the picture archive"


def test_a_multi_frame_image_whose_end_was_filled_up_is_refused(site):
    path = write_enhanced(site.dicom / "one", header(manufacturer="Philips Medical Systems"), TIMES)
    dataset = pydicom.dcmread(path)
    empty = 2 * N_ROWS * N_COLUMNS * 3 // 2  # the last frame and half of the one before
    dataset.PixelData = dataset.PixelData[:-empty] + bytes(empty)
    dataset.save_as(path)
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    assert "5 of 10 rows in slice 2" in row.reason
    assert "10 of 10 rows in slice 2" in row.reason


def test_rows_that_a_scanner_masks_in_most_images_are_as_they_are(site):
    for number, path in enumerate(write_classic(site.dicom, header(), INVERSIONS)):
        set_pixels(path, cut(slice(6 if number < 4 else 5, None)))
    assert only(site.take_in()).disposition == "used"


def test_air_that_is_masked_in_one_image_alone_is_as_it_is(site):
    def fade(image):
        image = image.copy()
        image[6:] = image[6:] % 20
        return image

    paths = write_classic(site.dicom, header(), INVERSIONS)
    for path in paths:
        set_pixels(path, fade)
    set_pixels(paths[2], cut(slice(6, None)))
    row = only(site.take_in())
    assert (row.disposition, row.warnings) == ("used", "")


def test_a_single_empty_row_is_no_cut(site):
    """As one scanner leaves it at the edge of each of its images."""
    set_pixels(write_classic(site.dicom, header(), INVERSIONS)[2], cut(slice(9, None)))
    assert only(site.take_in()).disposition == "used"


def test_bright_rows_are_no_cut():
    rng = np.random.default_rng(2)
    volumes = {time: rng.integers(1, 3000, (8, 10, 2)) for time in (0.1, 0.4, 1.1)}
    volumes[1.1][:, 5:] = 4095
    check_cuts(IR, volumes)
    volumes[1.1][:, 5:] = 0
    with pytest.raises(DicomError, match=r"5 of 10 rows in slice 1 of inversion time 1\.1 s; 5 of 10 rows in slice 2"):
        check_cuts(IR, volumes)


@pytest.mark.parametrize(("source", "target"), [(2, 3), (2, 4), (2, 7)], ids=["slice", "value", "both"])
def test_the_pixels_of_another_image_are_refused(site, source, target):
    paths = write_classic(site.dicom, header(), INVERSIONS)
    pixels = pydicom.dcmread(paths[source]).pixel_array
    set_pixels(paths[target], lambda image: pixels)
    row = only(site.take_in())
    assert row.disposition == "quarantined"
    name = f"slice {target % 2 + 1} of inversion time {TIMES[target // 2] / 1000:g} s and slice 1 of inversion time"
    assert row.reason.startswith("Images of the series hold the same pixels")
    assert name in row.reason


def test_the_pixels_of_another_volume_are_found_under_another_scaling(site):
    """Each Philips volume has a scale of its own: the stored integers are compared."""

    def scale(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{1.25 + 0.1 * index:.2f}", "0"
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 0.01 * (1 + index % 3))

    base = header(manufacturer="Philips Medical Systems")
    paths = write_classic(site.dicom, base, INVERSIONS, scale=scale)
    assert only(site.take_in()).disposition == "used"
    pixels = pydicom.dcmread(paths[0]).pixel_array
    set_pixels(paths[2], lambda image: pixels)
    table = site.take_in()
    assert "the same pixels" in only(table[table.disposition != "ignored"]).reason  # what was sent first is superseded


def test_empty_slices_at_the_edge_are_no_copies():
    volume = np.zeros((8, 10, 4), np.int16)
    volume[2:6, 3:8, 1:3] = np.random.default_rng(1).integers(1, 900, (4, 5, 2))
    prints = print_slices(volume)
    assert [bool(one) for one in prints] == [False, True, True, False]
    check_copies(IR, {0.1: prints, 0.4: print_slices(2 * volume)})


def test_a_frame_that_a_dynamic_series_repeats_is_no_copy_but_a_slice_is():
    rng = np.random.default_rng(1)
    prints = print_slices(rng.integers(0, 900, (8, 10, 2)))
    check_copies(DCE, {0.0: prints, 1.0: prints})
    with pytest.raises(DicomError, match="slice 2 of frame at 1 s and slice 1 of frame at 1 s"):
        check_copies(DCE, {0.0: prints, 1.0: (prints[0], prints[0])})


def test_slices_of_an_object_without_noise_are_as_they_are():
    """Drawn through the whole stack, in every volume; a volume that repeats another one is still none of its own."""
    rng = np.random.default_rng(1)
    volumes = {time: np.repeat(rng.integers(0, 900, (8, 10, 1)), 3, axis=2) for time in (0.1, 0.4, 1.1)}
    check_copies(IR, {time: print_slices(volume) for time, volume in volumes.items()})
    volumes[0.4] = volumes[0.1]
    with pytest.raises(DicomError, match=r"slice 1 of inversion time 0\.4 s and slice 1 of inversion time 0\.1 s"):
        check_copies(IR, {time: print_slices(volume) for time, volume in volumes.items()})


def test_slices_that_are_alike_in_some_volumes_are_refused():
    rng = np.random.default_rng(1)
    volumes = {time: rng.integers(0, 900, (8, 10, 3)) for time in (0.1, 0.4, 1.1)}
    for time in (0.1, 0.4):
        volumes[time][..., 2] = volumes[time][..., 0]
    with pytest.raises(DicomError, match=r"slice 3 of inversion time 0\.1 s and slice 1 of inversion time 0\.1 s"):
        check_copies(IR, {time: print_slices(volume) for time, volume in volumes.items()})
