"""Gradient echoes told apart by what varies between them: flip angles, repetition times, time itself."""

import json

import pytest
from dicom.small import header, write_classic

from isocenter.io.nifti import read_series

ANGLES = (2, 10, 25)  # deg
VFA = {"suffixes": ["IRT1", "MESE", "VFA"]}


def spoiled(series, **elements):
    values = {"ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "3D", "RepetitionTime": "7.3"}
    return header(series, **{**values, "EchoTime": "3.2", **elements})


def write_spread(site, angles=ANGLES, run=0, **elements):
    for number, angle in enumerate(angles):
        base = spoiled(f"fa{run}{number}", time=f"1{run}{number:02d}00", FlipAngle=angle and str(angle), **elements)
        write_classic(site.dicom / f"s{run}{number}", base, [{}])


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def sidecar_of(site, name):
    return json.loads((site.bids / name.replace(".nii.gz", ".json")).read_text())


def test_flip_angles_spread_over_series(site):
    write_spread(site, reversed(ANGLES))
    table = site.take_in(**VFA)
    assert set(table.suffix) == {"VFA"}
    assert set(table.disposition) == {"used"}
    assert set(table.run) == {"1"}
    # by angle, not by the order of scanning: the last series holds the smallest angle
    name = table.sort_values("time").files.iloc[-1]
    assert name == "sub-P01/ses-01/anat/sub-P01_ses-01_run-1_flip-1_VFA.nii.gz"
    sidecar = sidecar_of(site, name)
    assert (sidecar["FlipAngle"], sidecar["RepetitionTimeExcitation"]) == (2.0, 0.0073)
    series = read_series([site.bids / name for name in sorted(table.files)])
    assert series.acquisition["FlipAngle"].tolist() == list(ANGLES)


def test_flip_angles_of_one_series(site):
    write_classic(site.dicom / "a", spoiled("fa"), [{"FlipAngle": str(angle)} for angle in ANGLES])
    row = only(site.take_in(**VFA))
    assert (row.disposition, row.suffix) == ("used", "VFA")
    assert [name.split("run-1_")[1] for name in row.files.split("|")] == [f"flip-{k}_VFA.nii.gz" for k in (1, 2, 3)]


def test_two_runs_of_spread_flip_angles(site):
    write_spread(site, run=0)
    write_spread(site, run=1)
    table = site.take_in(**VFA).sort_values("time")
    assert table.run.tolist() == ["1"] * 3 + ["2"] * 3


def test_flip_angles_that_no_biomarker_needs_are_named(site):
    write_spread(site)
    table = site.take_in()
    assert set(table.suffix) == {"VFA"}
    assert set(table.disposition) == {"ignored"}
    assert table.reason.str.contains("3 flip angles").all()


@pytest.mark.parametrize(
    "elements",
    [
        {},  # one angle: a picture of the anatomy
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ScanningSequence": ["GR", "EP"]},
    ],
)
def test_one_flip_angle_is_no_t1_series(site, elements):
    write_classic(site.dicom / "a", spoiled("a", **elements), [{}])
    row = only(site.take_in(**VFA))
    assert (row.disposition, row.files) == ("ignored", "")


@pytest.mark.parametrize("other", [{"RepetitionTime": "9.0"}, {"EchoTime": "4.0"}, {"Rows": 12}])
def test_angles_of_other_scans_are_no_family(site, other):
    """A localizer and an anatomical scan differ in more than the angle."""
    elements = {key: value for key, value in other.items() if key != "Rows"}
    write_classic(site.dicom / "a", spoiled("a", FlipAngle="5"), [{}])
    base = spoiled("b", FlipAngle="20", **elements)
    write_classic(site.dicom / "b", base, [{}], n_slices=3 if "Rows" in other else 2)
    assert set(site.take_in(**VFA).disposition) == {"ignored"}


def test_slices_of_unlike_angle_are_no_t1_series(site):
    write_spread(site, MRAcquisitionType="2D")
    assert set(site.take_in(**VFA).disposition) == {"ignored"}


def test_an_angle_without_its_tag_is_quarantined_and_the_others_are_used(site):
    write_spread(site, (2, None, 10, 25))
    table = site.take_in(**VFA).sort_values("time")
    assert table.disposition.tolist() == ["used", "quarantined", "used", "used"]
    assert "Flip Angle (0018,1314) is missing" in table.reason.iloc[1]
    assert set(table.run) == {"1"}


def test_a_missing_repetition_time_is_quarantined_by_its_tag(site):
    write_spread(site)
    write_classic(site.dicom / "x", spoiled("x", FlipAngle="15", RepetitionTime=None, time="102000"), [{}])
    table = site.take_in(**VFA).sort_values("time")
    assert table.disposition.tolist() == ["used"] * 3 + ["quarantined"]
    assert "Repetition Time (0018,0080) is missing" in table.reason.iloc[3]
    assert set(table.run) == {"1"}


def test_a_whole_series_of_flip_angles_without_repetition_time(site):
    write_spread(site, RepetitionTime=None)
    table = site.take_in(**VFA)
    assert set(table.disposition) == {"quarantined"}
    assert table.reason.str.contains("(0018,0080)", regex=False).all()
