"""The step on real DICOM: everything is recognized from its tags, and nothing is in the way of anything else."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from dicom.small_site import make_site

from isocenter.errors import ConfigError
from isocenter.io.nifti import read_series

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SYSTEM_PHANTOM = DATA / "nist_system_phantom" / "session_a_dicom.tar.gz"
OTHERS = (
    DATA / "nist_system_phantom" / "session_a_geometry_dicom.tar.gz",
    DATA / "diffusion_phantom" / "repeats_1_2_dicom.tar.gz",
    DATA / "field_map" / "siemens_gre_field_dicom.tar.gz",
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """All real DICOM in one site, as it comes."""
    for path in (SYSTEM_PHANTOM, *OTHERS):
        if not path.exists():
            pytest.skip(f"{path.name} is not here")
    site = make_site(tmp_path_factory.mktemp("real"))
    for path in (SYSTEM_PHANTOM, *OTHERS):
        with tarfile.open(path) as archive:
            archive.extractall(site.dicom / path.name.split(".")[0], filter="data")
    (site.folder / "participants.tsv").write_text(
        "participant_id\tkind\tsource_id\nphantom1\tphantom\tH20QMDSYS\n"
        "phantom2\tphantom\t10102024$$$10021230\nvolunteer1\tvolunteer\tcrlab\n"
    )
    return site, site.take_in()


def test_system_phantom_is_recognized_without_hints(real):
    _, table = real
    ours = table[(table.participant_id == "phantom1") & (table.disposition == "used")]
    assert ours.groupby("suffix").size().to_dict() == {"IRT1": 10, "MESE": 1, "geometry": 1}
    assert set(ours.session) == {"01"}
    assert set(ours[ours.suffix != "geometry"].run) == {"1"}
    assert set(ours.date) == {"2019-09-14"}
    assert (table[table.suffix == "VFA"].disposition == "ignored").all()
    assert (table.suffix == "VFA").sum() == 7


def test_inversion_and_echo_times_of_the_system_phantom(real):
    site, table = real
    used = table[table.disposition == "used"]
    names = sorted(
        "|".join(used[used.suffix == "IRT1"].files).split("|"), key=lambda n: int(n.split("inv-")[1].split("_")[0])
    )
    series = read_series([site.bids / name for name in names])
    # the acquisition as published: mrbias e455051, test set A
    times = [0.035, 0.075, 0.1, 0.125, 0.15, 0.25, 1.0, 1.5, 2.0, 3.0]
    np.testing.assert_allclose(series.acquisition["InversionTime"], times)
    assert series.acquisition["RepetitionTime"] == 4.5
    assert series.acquisition["RefocusingFlipAngle"] == 180  # what the header calls the flip angle
    assert series.clipped().any()  # some samples stand at 4095
    echoes = read_series([site.bids / name for name in used[used.suffix == "MESE"].files.iloc[0].split("|")])
    np.testing.assert_allclose(echoes.acquisition["EchoTime"], np.arange(1, 33) / 100)
    assert echoes.data.shape == (256, 256, 1, 32)


def test_other_real_series_are_ignored_with_reasons(real):
    _, table = real
    others = table[table.disposition != "used"]
    assert set(others.disposition) == {"ignored"}
    assert others.reason.str.len().min() > 10
    diffusion = table[table.participant_id == "phantom2"]
    assert len(diffusion) == 12
    assert diffusion.reason.str.contains("DERIVED").all()
    field_map = table[table.participant_id == "volunteer1"]
    assert sorted(field_map.suffix) == ["", "B0GRE"]


def test_missing_source_is_a_row_and_stops_no_other_site(tmp_path):
    site = make_site(tmp_path)
    site.dicom.rmdir()
    assert len(site.take_in()) == 0
    assert site.exclusions()["action"].iloc[0].startswith("Put the DICOM there")


def test_unknown_way_with_dates(tmp_path):
    with pytest.raises(ConfigError, match="offset or keep"):
        make_site(tmp_path).take_in(dates="shift")


def test_flip_angles_of_the_system_phantom(tmp_path):
    """Seven series of one angle each are one T1 series; the rest of the session is as it is without them."""
    if not SYSTEM_PHANTOM.exists():
        pytest.skip(f"{SYSTEM_PHANTOM.name} is not here")
    site = make_site(tmp_path)
    with tarfile.open(SYSTEM_PHANTOM) as archive:
        archive.extractall(site.dicom, filter="data")
    (site.folder / "participants.tsv").write_text("participant_id\tkind\tsource_id\nphantom1\tphantom\tH20QMDSYS\n")
    table = site.take_in(suffixes=["IRT1", "MESE", "VFA"])
    used = table[table.disposition == "used"]
    assert used.groupby("suffix").size().to_dict() == {"IRT1": 10, "MESE": 1, "VFA": 7}
    assert set(used.run) == {"1"}
    names = sorted("|".join(used[used.suffix == "VFA"].files).split("|"))
    series = read_series([site.bids / name for name in names])
    # as published: mrbias e455051, test set A
    np.testing.assert_allclose(series.acquisition["FlipAngle"], [2, 5, 10, 15, 20, 25, 30])
    assert series.acquisition["RepetitionTimeExcitation"] == pytest.approx(0.0073)


def test_all_real_series_are_named_right_without_a_hint(real):
    """Every kind of series at once: what each is, and the vendor's maps told from originals."""
    site, _ = real
    table = site.take_in(suffixes=[])
    used = table[table.disposition == "used"]
    found = used.groupby(["participant_id", "suffix", "run"]).size().to_dict()
    assert found == {
        ("phantom1", "geometry", ""): 1,
        ("phantom1", "IRT1", "1"): 10,
        ("phantom1", "MESE", "1"): 1,
        ("phantom1", "VFA", "1"): 7,
        ("phantom2", "dwi", "1"): 5,
        ("phantom2", "dwi", "2"): 5,
        ("volunteer1", "B0GRE", "1"): 2,
    }
    others = table[table.disposition != "used"]
    assert others.reason.str.contains("DIFFUSION ADC").sum() == 2  # the vendor's maps, one a repeat
    assert others.reason.str.contains("1 echo time").sum() == 2
    assert len(others) == 4
    for name in set(used[used.suffix == "dwi"].files):
        # five series of one b-value each, 0 to 2000, in the vendor's element alone
        series = read_series([site.bids / name])
        np.testing.assert_allclose(series.acquisition["DiffusionBValue"], [0, 500, 1000, 1500, 2000])
        assert "(0019,100C)" in str(series.acquisition["DiffusionBValueSource"])


def test_dates_in_uids_of_people_are_not_told_and_those_of_phantoms_are(real):
    site, _ = real
    table = site.take_in(suffixes=[])
    person = table[table.participant_id == "volunteer1"].series_uid
    assert person.str.startswith("2.25.").all()
    assert not table[table.participant_id == "phantom1"].series_uid.str.startswith("2.25.").any()
