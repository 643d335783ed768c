"""Transfers that look whole and are not, and sessions that end after midnight."""

import pydicom
import pytest
from dicom.small import header, write_classic, write_enhanced
from dicom.test_recognize import ECHOES, INVERSIONS, TIMES, only

from isocenter import quality


def remove(paths, numbers):
    for number in numbers:
        paths[number - 1].unlink()


@pytest.mark.parametrize(("n_slices", "missing"), [(4, (4, 8, 12, 16)), (3, (7, 8, 9)), (2, (3, 4))])
def test_gaps_in_the_numbers_of_images_are_told(site, missing, n_slices):
    """A slice of every volume, or a whole volume: what is left looks complete."""
    paths = write_classic(site.dicom, header(), INVERSIONS, n_slices=n_slices)
    assert only(site.take_in()).warnings == ""
    remove(paths, missing)
    row = only(site.take_in())
    gaps = len([number for number in missing if number < 4 * n_slices])
    assert (row.disposition, row.warnings) == ("used", "gaps")
    assert row.reason.startswith(f"Used, but {gaps} images seem to be missing")
    (_, check) = quality.check_intake([row.to_dict()], [], {"severity": "warn", "remedy": ""})
    assert (check.id, check.verdict, check.scope) == ("images_missing", "warn", "sub-P01 ses-01 run-1")


def test_a_tail_that_is_missing_is_told_by_the_number_of_images_that_the_header_announces(site):
    base = header(ImagesInAcquisition=str(len(INVERSIONS) * 2))
    paths = write_classic(site.dicom, base, INVERSIONS)
    assert only(site.take_in()).warnings == ""
    remove(paths, (7, 8))
    assert only(site.take_in()).reason.startswith("Used, but 2 images seem to be missing")


COUNTS = {
    "odd": lambda n: 2 * n + 1,
    "one for all": lambda n: 7,
    "none": lambda n: 0,
    "of a thousand an echo": lambda n: 1000 * (n // 3) + n,
}


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_numbers_that_count_otherwise_are_no_gaps(site, count):
    for number, path in enumerate(write_classic(site.dicom, header(), INVERSIONS)):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = str(count(number))
        dataset.save_as(path)
    assert only(site.take_in()).warnings == ""


def test_a_multi_frame_image_has_no_gaps(site):
    write_enhanced(site.dicom / "one", header(manufacturer="Philips", InstanceNumber="7"), TIMES)
    assert only(site.take_in()).warnings == ""


def test_runs_of_a_session_past_midnight_stay_in_order(site):
    write_classic(site.dicom / "late", header("a", time="235500"), INVERSIONS)
    write_classic(site.dicom / "later", header("b", time="000500", AcquisitionDate="20250311"), INVERSIONS)
    table = site.take_in().set_index("run")
    assert table.time.to_dict() == {"1": "23:55:00", "2": "00:05:00"}
    assert set(table.session) == {"01"}


@pytest.mark.parametrize("start", [-3.025, 0.0, 7.475, 12.5])
def test_the_last_digit_of_a_position_makes_no_other_plane(site, start):
    """One volume's positions are written with other digits than the next one's, as by another program."""
    for number, path in enumerate(write_classic(site.dicom, header(), INVERSIONS, n_slices=3)):
        dataset = pydicom.dcmread(path)
        off = 1e-5 if number // 3 % 2 else -1e-5
        dataset.ImagePositionPatient = [f"{-8.025 + off:.6f}", "-10.075", f"{start + 5 * (number % 3) + off:.6f}"]
        dataset.save_as(path)
    assert only(site.take_in()).disposition == "used"


def test_an_inversion_time_of_0_without_an_inversion_is_none(site):
    """As one vendor writes it into every header."""
    base = header("mese", manufacturer="GE MEDICAL SYSTEMS", ScanningSequence="SE", InversionTime="0")
    write_classic(site.dicom, base, ECHOES)
    row = only(site.take_in())
    assert (row.suffix, row.disposition) == ("MESE", "used")


def test_scaling_of_one_series_that_is_the_same_everywhere_needs_no_private_element(site):
    base = header(manufacturer="Philips Medical Systems", RescaleSlope="2.5", RescaleIntercept="0")
    write_classic(site.dicom, base, INVERSIONS)
    assert only(site.take_in()).disposition == "used"
