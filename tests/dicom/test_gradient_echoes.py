"""Gradient echoes told apart by what varies between them: flip angles, repetition times, time itself."""

import json
from types import SimpleNamespace

import pydicom
import pytest
from dicom.small import header, item, write_classic, write_enhanced

from isocenter.dicom.sets import frame_starts
from isocenter.dicom.vendors import find_vendor
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


B1 = {"suffixes": ["VFA", "TB1DAM", "TB1AFI"]}
DYNAMIC = {"suffixes": ["VFA", "DCE"]}


def add_rule(site, name, suffix):
    path = site.folder / "site.yaml"
    path.write_text(path.read_text() + f'series:\n  - {{name: "{name}", suffix: {suffix}}}\n')


@pytest.mark.parametrize("elements", [{"RepetitionTime": "5000"}, {"RepetitionTime": "30"}])
def test_an_angle_and_its_double_are_a_map_of_b1(site, elements):
    """Either there is time to recover, or (with a pulse that resets) the angle is beyond any T1 series."""
    angles = (60, 120)
    write_spread(site, angles, MRAcquisitionType="2D", **elements)
    table = site.take_in(**B1)
    assert set(table.suffix) == {"TB1DAM"}
    assert set(table.disposition) == {"used"}
    assert sorted(table.files)[0] == "sub-P01/ses-01/fmap/sub-P01_ses-01_run-1_flip-1_TB1DAM.nii.gz"
    assert sidecar_of(site, sorted(table.files)[1])["FlipAngle"] == 120.0


def test_two_small_angles_without_time_to_recover_are_a_t1_series(site):
    write_spread(site, (5, 10))
    assert set(site.take_in(**B1).suffix) == {"VFA"}


def test_two_repetition_times_in_one_series_are_a_map_of_b1(site):
    times = [{"RepetitionTime": "20"}, {"RepetitionTime": "100"}]
    write_classic(site.dicom / "a", spoiled("afi", FlipAngle="60"), times)
    row = only(site.take_in(**B1))
    assert (row.disposition, row.suffix) == ("used", "TB1AFI")
    names = row.files.split("|")
    assert names[1] == "sub-P01/ses-01/fmap/sub-P01_ses-01_acq-tr2_run-1_TB1AFI.nii.gz"
    series = read_series([site.bids / name for name in names])
    assert series.acquisition["RepetitionTimeExcitation"].tolist() == [0.02, 0.1]
    assert series.acquisition["FlipAngle"] == 60.0


def test_a_rule_of_the_site_names_what_tags_cannot_tell(site):
    """Two series that differ in TR alone may be anything."""
    for number, time in enumerate(("20", "100")):
        base = spoiled(f"afi{number}", FlipAngle="60", RepetitionTime=time, SeriesDescription=f"B1 AFI part {number}")
        write_classic(site.dicom / f"s{number}", base, [{}])
    assert set(site.take_in(**B1).disposition) == {"ignored"}
    add_rule(site, "*afi*", "TB1AFI")
    table = site.take_in(**B1)
    assert set(table.suffix) == {"TB1AFI"}
    assert set(table.disposition) == {"used"}
    assert set(table.run) == {"1"}


def test_a_rule_names_a_kind_and_never_a_value(site):
    add_rule(site, "*afi*", "TB1AFI")
    base = spoiled("afi", RepetitionTime=None, ProtocolName="AFI_60", FlipAngle="60")
    write_classic(site.dicom / "a", base, [{}, {}])
    row = only(site.take_in(**B1))
    assert (row.disposition, row.suffix) == ("quarantined", "TB1AFI")
    assert "Repetition Time (0018,0080) is missing" in row.reason


def test_a_rule_leaves_a_series_out(site):
    add_rule(site, "*scout*", "none")
    write_spread(site, SeriesDescription="scout for angles")
    table = site.take_in(**VFA)
    assert set(table.disposition) == {"ignored"}
    assert table.reason.str.contains("rule of site.yaml").all()


def test_the_names_that_people_gave_are_not_written(site):
    write_spread(site, SeriesDescription="Quillfeather flip")
    site.take_in(**VFA)
    for path in (site.folder / "results").rglob("*"):
        assert not path.is_file() or path.suffix == ".gz" or "Quillfeather" not in path.read_text()


def write_dynamic(site, n=6, slices_apart=0.0, elements=None, **base):
    def stamp(dataset, index):
        plane = (int(dataset.InstanceNumber) - 1) % 2
        seconds = 36 * 3600 // 2 + 7.5 * index + slices_apart * plane
        whole = int(seconds)
        dataset.AcquisitionTime = (
            f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round((seconds - whole) * 1e6):06d}"
        )
        for key, value in (elements(index) if elements else {}).items():
            setattr(dataset, key, value)

    write_classic(site.dicom / "dce", spoiled("dce", FlipAngle="15", **base), [{}] * n, scale=stamp)


@pytest.mark.parametrize("apart", [0.0, 3.75], ids=["3D", "slice by slice"])
def test_a_gradient_echo_repeated_in_time_is_a_dynamic_series(site, apart):
    write_dynamic(site, slices_apart=apart)
    row = only(site.take_in(**DYNAMIC))
    assert (row.disposition, row.suffix) == ("used", "DCE"), row.reason
    assert row.files == "sub-P01/ses-01/perf/sub-P01_ses-01_run-1_DCE.nii.gz"
    sidecar = sidecar_of(site, row.files)
    assert sidecar["FrameTimesStart"] == [0.0, 7.5, 15.0, 22.5, 30.0, 37.5]
    assert (sidecar["FlipAngle"], sidecar["RepetitionTimeExcitation"]) == (15.0, 0.0073)
    assert read_series([site.bids / row.files]).data.shape == (8, 10, 2, 6)
    assert "*_DCE.*" in (site.bids / ".bidsignore").read_text()


def test_frames_across_midnight_keep_their_order():
    times = [86390.0, 86395.0, 0.0, 5.0]
    members = [SimpleNamespace(frame=SimpleNamespace(frame_time=t, position=(0.0, 0.0, 0.0))) for t in times]
    assert frame_starts(members) == [0.0, 5.0, 10.0, 15.0]


def test_ge_keeps_the_time_of_a_frame_in_the_trigger_time(site):
    def same_clock(index):
        return {"AcquisitionTime": "100000", "TriggerTime": str(6000 * index), "NumberOfTemporalPositions": "6"}

    write_dynamic(site, elements=same_clock, Manufacturer="GE MEDICAL SYSTEMS")
    row = only(site.take_in(**DYNAMIC))
    assert sidecar_of(site, row.files)["FrameTimesStart"] == [0.0, 6.0, 12.0, 18.0, 24.0, 30.0]


@pytest.mark.parametrize(
    ("elements", "base", "words"),
    [
        (lambda index: {"AcquisitionTime": "100000"}, {}, "same Acquisition Time (0008,0032)"),
        (None, {"RepetitionTime": None}, "Repetition Time (0018,0080) is missing"),
        (lambda index: {"FlipAngle": ""}, {}, "Flip Angle (0018,1314) is missing"),
    ],
)
def test_a_dynamic_series_without_its_values_is_quarantined(site, elements, base, words):
    write_dynamic(site, elements=elements, **base)
    row = only(site.take_in(**DYNAMIC))
    assert (row.disposition, row.suffix) == ("quarantined", "DCE")
    assert words in row.reason


def test_a_beating_heart_is_no_dynamic_series(site):
    write_dynamic(site, elements=lambda index: {"NominalInterval": "900"})
    assert only(site.take_in(**DYNAMIC)).disposition == "ignored"


def test_a_few_repeats_are_no_dynamic_series(site):
    write_dynamic(site, n=3)
    assert only(site.take_in(**DYNAMIC)).disposition == "ignored"


def write_enhanced_echoes(path, change):
    """An enhanced gradient echo of six images a slice; `change` edits each frame, given the number of its value."""
    base = spoiled("enhanced", manufacturer="Philips Healthcare")
    write_enhanced(path, base, [3.2] * 6, kind="SE")
    dataset = pydicom.dcmread(path)
    dataset.EchoPulseSequence = "GRADIENT"
    timing = dataset.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence[0]
    timing.RepetitionTime, timing.FlipAngle = 7.3, 15.0
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        change(frame, index % 6)
    dataset.save_as(path)


def test_flip_angles_of_an_enhanced_file(site):
    def turn(frame, index):
        frame.MRTimingAndRelatedParametersSequence = item(RepetitionTime=7.3, FlipAngle=3.0 + 4.0 * index)

    write_enhanced_echoes(site.dicom / "a.dcm", turn)
    row = only(site.take_in(**VFA))
    assert (row.disposition, row.suffix) == ("used", "VFA"), row.reason
    series = read_series([site.bids / name for name in row.files.split("|")])
    assert series.acquisition["FlipAngle"].tolist() == [3.0, 7.0, 11.0, 15.0, 19.0, 23.0]
    assert series.acquisition["RepetitionTimeExcitation"] == 0.0073


def test_frames_of_an_enhanced_file(site):
    def stamp(frame, index):
        frame.FrameContentSequence[0].FrameAcquisitionDateTime = f"20250310101{index}30.500000"

    write_enhanced_echoes(site.dicom / "a.dcm", stamp)
    row = only(site.take_in(**DYNAMIC))
    assert (row.disposition, row.suffix) == ("used", "DCE"), row.reason
    assert sidecar_of(site, row.files)["FrameTimesStart"] == [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]


def test_philips_keeps_the_time_of_a_frame_in_a_private_element():
    dataset = spoiled("a", manufacturer="Philips Medical Systems", NumberOfTemporalPositions="6")
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0xA0, "FL", 12.5)
    assert find_vendor(dataset).read_frame_time(dataset) == 12.5
    del dataset.NumberOfTemporalPositions
    assert find_vendor(dataset).read_frame_time(dataset) == 10 * 3600 + 15 * 60
