"""What a series is, told from tags alone."""

import pytest
from dicom.small import header, write_classic

TIMES = [50, 200, 800, 2500]  # ms
INVERSIONS = [{"InversionTime": str(time)} for time in TIMES]
ECHOES = [{"EchoTime": str(10 * (k + 1))} for k in range(4)]


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def test_inversion_recovery_in_one_series(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    row = only(site.take_in())
    assert (row.disposition, row.suffix, row.session, row.run) == ("used", "IRT1", "01", "1")
    assert row.files.split("|")[0] == "sub-P01/ses-01/anat/sub-P01_ses-01_run-1_inv-1_IRT1.nii.gz"
    assert len(row.files.split("|")) == 4
    assert (row.scanner, row.field_strength, row.n_files, row.day) == ("scanner1", 3.0, 8, 0)


def test_names_and_folders_do_not_matter(site):
    write_classic(site.dicom / "T2 map MESE", header(SeriesDescription="MESE", ProtocolName="T2"), INVERSIONS)
    assert only(site.take_in()).suffix == "IRT1"


def test_inversion_recovery_spread_over_series(site):
    for number, inversion in enumerate(reversed(INVERSIONS)):
        base = header(f"ir{number}", time=f"10{number:02d}00", FlipAngle="180")
        write_classic(site.dicom / f"s{number}", base, [inversion])
    table = site.take_in()
    assert set(table.suffix) == {"IRT1"}
    assert set(table.run) == {"1"}
    # by inversion time, not by the order of scanning: the last series holds the shortest time
    assert table.sort_values("time").files.iloc[-1].endswith("inv-1_IRT1.nii.gz")


def test_two_runs_of_spread_series(site):
    for run in range(2):
        for number, inversion in enumerate(INVERSIONS):
            base = header(f"ir{run}{number}", time=f"1{run}{number:02d}00")
            write_classic(site.dicom / f"s{run}{number}", base, [inversion])
    table = site.take_in()
    assert table.groupby("run").size().to_dict() == {"1": 4, "2": 4}
    assert table.sort_values("time").run.tolist() == ["1"] * 4 + ["2"] * 4


def test_repeated_inversion_time_replaces_the_first_try(site):
    for number, inversion in enumerate([*INVERSIONS, INVERSIONS[1]]):
        base = header(f"ir{number}", time=f"10{number:02d}00")
        write_classic(site.dicom / f"s{number}", base, [inversion])
    table = site.take_in().sort_values("time")
    assert table.disposition.tolist() == ["used", "ignored", "used", "used", "used"]
    assert "scanned again" in table.reason.iloc[1]


def test_multi_echo_spin_echo(site):
    write_classic(site.dicom / "a", header(ScanningSequence="SE"), ECHOES)
    row = only(site.take_in())
    assert (row.disposition, row.suffix) == ("used", "MESE")
    assert row.files.split("|")[3].endswith("run-1_echo-4_MESE.nii.gz")


def test_multi_echo_told_by_sequence_name_when_the_technique_is_absent(site):
    base = header(ScanningSequence=None, SequenceName="*se2d16")
    write_classic(site.dicom / "a", base, ECHOES)
    assert only(site.take_in()).suffix == "MESE"


@pytest.mark.parametrize("value", [{"InversionTime": None}, {"InversionTime": ""}, {"InversionTime": "-5"}])
def test_missing_inversion_time_is_quarantined_with_its_tag(site, value):
    write_classic(site.dicom / "a", header(), [*INVERSIONS[:3], value])
    row = only(site.take_in())
    assert (row.disposition, row.suffix) == ("quarantined", "IRT1")
    assert "(0018,0082)" in row.reason
    assert row.files == ""
    assert "(0018,0082)" in only(site.exclusions()).reason


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), (1, 2), (0, 2)], ids=str)
def test_a_spread_run_without_any_value_keeps_its_number(site, lost):
    """Its series spoil no other run, whose images are not called by its number."""
    for run in range(3):
        for index, value in enumerate(INVERSIONS):
            base = header(f"{run}-{index}", time=f"10{run}{index}00")
            write_classic(site.dicom / f"{run}-{index}", base, [{} if run in lost else value], n_slices=1)
    table = site.take_in().sort_values("time")
    n = len(INVERSIONS)
    assert table.run.tolist() == ["1"] * n + ["2"] * n + ["3"] * n
    is_lost = table.run.isin([str(run + 1) for run in lost])
    assert (table.disposition[is_lost] == "quarantined").all()
    assert (table.disposition[~is_lost] == "used").all()
    assert not table.reason[~is_lost].str.contains("could not be used").any()


def test_inversion_without_any_time_is_known_by_its_technique(site):
    write_classic(site.dicom / "a", header(ScanningSequence="SE", ScanOptions="IR"), [{}])
    assert "(0018,0082)" in only(site.take_in()).reason


def test_quarantined_run_keeps_its_number(site):
    write_classic(site.dicom / "a", header("1", time="100000"), [{}, {}, {}, {}], n_slices=1)
    write_classic(site.dicom / "b", header("2", time="110000"), INVERSIONS)
    write_classic(site.dicom / "c", header("3", time="101000", ScanningSequence="SE"), ECHOES)
    write_classic(site.dicom / "d", header("4", time="111000", ScanningSequence="SE"), ECHOES)
    table = site.take_in().sort_values("time")
    assert table.run.tolist() == ["1", "1", "2", "2"]
    assert table.disposition.tolist() == ["quarantined", "used", "used", "used"]


@pytest.mark.parametrize(
    ("elements", "values", "word", "suffix"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "T1 MAP", "ND"]}, [{}], "DERIVED", ""),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ScanningSequence": "GR"}, [{}], "localizer", ""),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, INVERSIONS, "Phase", ""),
        ({"ScanningSequence": "SE"}, [{}], "1 echo time", ""),
        ({"ScanningSequence": "GR"}, ECHOES, "4 echo times", "MEGRE"),
        ({"ScanningSequence": ["SE", "EP"]}, [{}], "Echo-planar", "dwi"),
        ({"ScanningSequence": "GR", "MRAcquisitionType": "3D"}, [{}], "one flip angle", ""),
        ({"ScanningSequence": ["GR", "IR"]}, [{"InversionTime": "900"}], "1 inversion time", "IRT1"),
        ({"Modality": "OT"}, [{}], "modality OT", ""),
    ],
)
def test_what_is_not_needed_is_ignored_with_a_reason(site, elements, values, word, suffix):
    write_classic(site.dicom / "a", header(**elements), values)
    row = only(site.take_in())
    assert (row.disposition, row.suffix) == ("ignored", suffix)
    assert word in row.reason
    assert row.action
    assert list(site.bids.glob("sub-*")) == []


def test_magnitude_is_used_where_phase_stands_in_the_same_series(site):
    phase = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}
    write_classic(site.dicom / "a", header(), [*INVERSIONS, *({**i, **phase} for i in INVERSIONS)])
    row = only(site.take_in())
    assert row.disposition == "used"
    assert len(row.files.split("|")) == 4
