"""Transfers that look whole and are not, and sessions that end after midnight."""

import pydicom
import pytest
from dicom.small import header, write_classic, write_enhanced
from dicom.test_recognize import ECHOES, INVERSIONS, TIMES, only
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from isocenter import models, quality
from isocenter.dicom.one_study import check_one_study_date
from isocenter.errors import DicomError
from isocenter.io.nifti import read_series


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
    assert (check.id, check.verdict, check.scope) == ("images_missing", "warn", "sub-P01 ses-01 run-1 IRT1")


@pytest.mark.parametrize(("n_slices", "missing"), [(4, range(1, 5)), (1, [1]), (3, range(1, 4))])
def test_a_head_that_is_missing_is_told_by_numbers_that_begin_later(site, missing, n_slices):
    """The first volume: what is left begins later and has no gap."""
    paths = write_classic(site.dicom, header(), INVERSIONS, n_slices=n_slices)
    remove(paths, missing)
    row = only(site.take_in())
    assert (row.disposition, row.warnings) == ("used", "gaps")
    told = "1 image seems" if len(missing) == 1 else f"{len(missing)} images seem"
    assert row.reason.startswith(f"Used, but {told} to be missing")


def test_an_empty_image_is_told(site):
    """Where the others of its place show air; not where all of a series are: then there is no signal, and no series."""
    paths = write_classic(site.dicom, header(), INVERSIONS)
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        if number % 2:
            dataset.PixelData = (dataset.pixel_array % 20).astype("<u2").tobytes()
        if number == 3:
            dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(path)
    row = only(site.take_in())
    assert (row.disposition, row.warnings) == ("used", "flat")
    assert row.reason.startswith("Used, but 1 of its images holds one value in all pixels")
    (_, check) = quality.check_intake([row.to_dict()], [], {"severity": "warn", "remedy": ""})
    assert (check.id, check.verdict) == ("images_empty", "warn")
    assert check.found == "images of one value in all of their pixels in 1 series"


def set_all(paths, **elements):
    for path in paths:
        dataset = pydicom.dcmread(path)
        for key, value in elements.items():
            setattr(dataset, key, value)
        dataset.save_as(path)


@pytest.mark.parametrize(
    ("element", "usual", "other", "told", "name"),
    [("PixelBandwidth", "260", "130", "Pixel Bandwidth (0018,0095) is 130 and 260 Hz in images", "one_bandwidth"),
     ("NumberOfAverages", "1", "2", "Number of Averages (0018,0083) is 1 and 2 in images", "one_number_of_averages")],
)  # fmt: skip
def test_what_noise_alone_depends_on_is_told(site, element, usual, other, told, name):
    paths = write_classic(site.dicom, header(**{element: usual}), INVERSIONS)
    assert only(site.take_in()).warnings == ""
    set_all(paths[2:4], **{element: other})
    table = site.take_in()
    row = only(table[table.disposition != "ignored"])  # what was sent first is superseded
    assert row.disposition == "used"
    assert row.reason == f"Used, but {told} of one set"
    (_, check) = quality.check_intake([row.to_dict()], [], {"severity": "warn", "remedy": ""})
    assert (check.id, check.verdict, check.scope) == (name, "warn", "sub-P01 ses-01 run-1 IRT1")


@pytest.mark.parametrize(
    ("element", "told", "name"),
    [("StudyInstanceUID", "Study Instance UID (0020,000D) has 2 values in series of one set", "one_study"),
     ("FrameOfReferenceUID", "Frame of Reference UID (0020,0052) has 2 values in series", "one_frame_of_reference")],
)  # fmt: skip
def test_series_of_one_set_that_are_of_two_visits_are_told(site, element, told, name):
    """A new positioning on the same day: each series is whole."""
    paths = [write_classic(site.dicom / f"{k}", header(f"ir {k}"), [time]) for k, time in enumerate(INVERSIONS)]
    assert set(site.take_in().warnings) == {""}
    set_all(paths[2], **{element: "1.2.3.4"})
    table = site.take_in()
    table = table[table.disposition != "ignored"]  # what was sent first is superseded
    assert set(table.disposition) == {"used"}
    assert table.reason.str.startswith(f"Used, but {told}").all()
    (_, check) = quality.check_intake(table.to_dict("records"), [], {"severity": "warn", "remedy": ""})
    assert (check.id, check.verdict) == (name, "warn")
    assert check.found.endswith("in 4 series")


@pytest.mark.parametrize(("element", "word"), [("StudyInstanceUID", "studies"), ("FrameOfReferenceUID", "frames")])
def test_a_series_whose_every_file_was_renamed_is_used_and_told(site, element, word):
    """Two values are of two scans that were mixed; as many as files are of a tool that makes up one for each."""
    paths = write_classic(site.dicom, header(), INVERSIONS)
    for number, path in enumerate(paths):
        set_all([path], **{element: f"1.2.3.{number + 1}"})
    row = only(site.take_in())
    assert (row.disposition, row.warnings) == ("used", word)
    assert f"has {len(paths)} values in {len(paths)} images: a tool may have renamed each" in row.reason
    set_all(paths[:1], **{element: "1.2.3.2"})
    table = site.take_in()
    row = only(table[table.disposition != "ignored"])  # what was sent first is superseded
    assert row.disposition == "quarantined"
    assert f"has {len(paths) - 1} values in images of one series" in row.reason


def test_coils_that_change_along_the_body_are_of_one_scan(site):
    """And a name in other letters is the same."""
    paths = write_classic(site.dicom, header(), INVERSIONS)
    for number, path in enumerate(paths):
        set_all([path], ReceiveCoilName="Spine_1" if number % 2 else "Body" if number < 4 else "BODY ")
    assert only(site.take_in()).reason == ""


def test_large_b_values_are_averaged_more_often_and_echoes_read_out_in_their_own_time(site):
    weightings = [{"DiffusionBValue": b, "NumberOfAverages": str(1 + b // 400)} for b in (0, 400, 800)]
    base = header("dwi", ScanningSequence="EP", EchoTime="60", PixelBandwidth="1500")
    write_classic(site.dicom / "dwi", base, weightings)
    echoes = [{"EchoTime": str(5 * k), "PixelBandwidth": str(600 - 100 * k)} for k in (1, 2, 3, 4)]
    write_classic(site.dicom / "gre", header("gre", time="120000", ScanningSequence="GR", FlipAngle="20"), echoes)
    table = site.take_in(suffixes=["dwi", "MEGRE"])
    assert set(zip(table.suffix, table.disposition, strict=True)) == {("dwi", "used"), ("MEGRE", "used")}
    assert set(table.warnings) == {""}


def test_an_echo_train_tells_the_numbers_of_its_echoes(site):
    """Of the echoes that arrived: where every second is missing their times alone would be those of another train."""
    echoes = [{"EchoTime": str(10 * k), "EchoNumbers": str(k)} for k in range(1, 9)]
    paths = write_classic(site.dicom, header(ScanningSequence="SE"), echoes)
    remove(paths, (1, 2, 5, 6, 9, 10, 13, 14))
    row = only(site.take_in(suffixes=["MESE"]))
    series = read_series([site.bids / name for name in row.files.split("|")])
    assert series.acquisition["EchoNumber"].tolist() == [2, 4, 6, 8]
    bound = models.get("t2_extended_phase_graph").bind(series.acquisition)
    assert bound.options["echo_spacing"] == pytest.approx(0.01)


def test_a_scanner_that_counts_on_over_series_lost_nothing(site):
    for number, time in enumerate(INVERSIONS):
        paths = write_classic(site.dicom / str(number), header(f"ir {number}"), [time], n_slices=3)
        for place, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            dataset.InstanceNumber = str(1 + place + 3 * number)
            dataset.save_as(path)
    table = site.take_in()
    assert len(table) == len(INVERSIONS)
    assert set(table.disposition) == {"used"}
    assert set(table.warnings) == {""}


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


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_study_dates_are_read_in_every_plain_syntax(tmp_path, syntax):
    dataset = header()
    dataset.file_meta = FileMetaDataset()
    paths = [tmp_path / name for name in "abc"]
    for path, day in zip(paths, ("20250310", "20250310", "20250420"), strict=True):
        dataset.StudyDate = day
        dataset.SOPInstanceUID = "1.2.3"
        pydicom.dcmwrite(
            path, dataset, little_endian=syntax.is_little_endian, implicit_vr=syntax.is_implicit_VR, force_encoding=True
        )
    check_one_study_date(paths[:2])
    with pytest.raises(DicomError, match="2 dates: 2 images of the first, 1 from 41 days later") as told:
        check_one_study_date(paths)
    assert "2025" not in str(told.value)


def test_files_without_a_study_date_tell_nothing(tmp_path):
    write_classic(tmp_path, header(StudyDate=None), INVERSIONS)
    check_one_study_date(path for path in tmp_path.rglob("*") if path.is_file())
