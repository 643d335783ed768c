"""``isocenter add-site``: what headers tell is drafted, what they cannot tell is asked, nobody's name is written."""

import shutil

import pytest
import yaml
from dicom.small import NAMES, header, write_classic
from onboarding.vendor_site import CONFIG, VendorSite

from isocenter import layout
from isocenter.documents import read_document, read_rows
from isocenter.errors import ConfigError, DicomError
from isocenter.settings import load_settings
from isocenter.site_draft import draft_site

REAL = CONFIG.parent.parent / "shared" / "data" / "nist_system_phantom" / "session_a_dicom.tar.gz"
TIMES = [{"InversionTime": str(ti)} for ti in (50, 100, 200, 400, 800, 1500, 3000)]
ECHOES = [{"EchoTime": str(10 * k)} for k in range(1, 17)]
SPIN_ECHO = {"ScanningSequence": "SE", "RepetitionTime": "4000"}
GOOD = {"NumberOfAverages": "1", "PixelBandwidth": "230"}


@pytest.fixture
def trial(tmp_path):
    """A trial without sites, and a folder of DICOM of one patient and one phantom on one scanner."""
    shutil.copytree(CONFIG, tmp_path / "config")
    (tmp_path / "sites").mkdir()
    dicom = tmp_path / "upload"
    for patient, date in (("PAT-0042", "20250310"), ("QA-Phantom 7", "20250311")):
        who = {"patient": patient, "date": date, **GOOD}
        write_classic(dicom / patient / "ir", header("ir", **who, InstitutionName=None), TIMES, n_slices=1)
        write_classic(dicom / patient / "me", header("me", time="103000", **who, **SPIN_ECHO), ECHOES, n_slices=1)
    return tmp_path


def texts(trial, name="siteE"):
    return {path.name: path.read_text() for path in sorted((trial / "sites" / name).iterdir()) if path.is_file()}


def test_the_draft_holds_what_the_headers_tell(trial):
    draft = draft_site(trial, "siteE", [trial / "upload"])
    site = read_document(trial / "sites" / "siteE" / "site.yaml", "site")
    assert site["scanners"] == [
        {"id": "siemens1", "serial": "777", "manufacturer": "Siemens", "model": "Model", "field_strength": 3.0}
    ]
    assert site["protocol"] == "brain_relaxometry"
    assert site["source"] == (trial / "upload").as_posix()
    rows = read_rows(trial / "sites" / "siteE" / "participants.tsv", "participants")
    assert [(row["participant_id"], row["kind"], row["source_id"]) for row in rows] == [
        ("P01", "patient", "PAT-0042"),
        ("phantom1", "phantom", "QA-Phantom 7"),
    ]
    fits = {(kind, suffix): what for kind, suffix, _, _, what in draft.series if suffix}
    assert fits["patient", "IRT1"] == "Inversion recovery of the protocol"
    assert fits["phantom", "MESE"] == "Multi-echo spin echo of the protocol"
    assert draft.differences == []
    assert set(texts(trial)) == {"site.yaml", "participants.tsv"}


@pytest.mark.skipif(not REAL.is_file(), reason="no real session beside the repository (../shared/data)")
def test_a_real_session_of_the_system_phantom(trial):
    """Siemens Skyra: ten inversion times in series of their own, 32 echoes, flip angles that nobody asked for."""
    (trial / "real").mkdir()
    shutil.copyfile(REAL, trial / "real" / REAL.name)
    draft = draft_site(trial, "real1", [trial / "real"])
    assert draft.scanners == [("siemens1", "Siemens Skyra", "3 T", "46069")]
    assert [row[:2] for row in draft.people] == [("phantom1", "phantom")]
    fits = {suffix: what for _, suffix, _, _, what in draft.series if suffix}
    assert fits == {
        "IRT1": "Inversion recovery of the protocol",
        "MESE": "Multi-echo spin echo of the protocol",
        "VFA": "not in the protocol",
    }
    assert draft.differences == []


def test_no_temperature_and_no_serial_number_is_made_up(trial):
    """The phantom is left to the person who knows it; until then no run starts, and the error says what is missing."""
    draft = draft_site(trial, "siteE", [trial / "upload"])
    text = texts(trial)["site.yaml"]
    assert '"2025-03-11": FILL-IN' in text
    assert any("temperatures of phantom1" in todo for todo in draft.todo)
    with pytest.raises(ConfigError, match="The phantom phantom1 is not described"):
        load_settings(trial)
    filled = text.replace("phantoms: [] #", "phantoms: #").replace("\n#  ", "\n  ")
    filled = filled.replace(": FILL-IN\n", ": 20.5\n").replace('"FILL-IN"', '"130-0093"')
    (trial / "sites" / "siteE" / "site.yaml").write_text(filled)
    settings = load_settings(trial)
    assert settings.site("siteE")["phantoms"][0]["temperatures"] == {"2025-03-11": 20.5}


def test_nobody_s_name_is_in_the_drafted_files(trial):
    """The table of participants must hold the Patient IDs, for it tells whose scan is whose; nothing else may."""
    draft = draft_site(trial, "siteE", [trial / "upload"])
    everything = "\n".join(texts(trial).values())
    printed = str([draft.scanners, draft.people, draft.series, draft.differences, draft.todo])
    for value in NAMES.values():
        for piece in (value, *value.replace("^", " ").split()):
            if len(piece) > 3 and piece not in ("head", "knows"):
                assert piece not in everything
                assert piece not in printed
    assert "PAT-0042" not in texts(trial)["site.yaml"]
    assert "PAT-0042" not in printed


def test_a_folder_that_is_called_after_a_patient_is_not_written_down(trial):
    named = trial / "Quillfeather_Zebulon"
    (trial / "upload").rename(named)
    draft = draft_site(trial, "siteE", [named])
    assert read_document(trial / "sites" / "siteE" / "site.yaml", "site")["source"] == "dicom"
    assert any("names a person" in todo for todo in draft.todo)


def test_a_model_that_holds_a_name_is_left_out(trial):
    shutil.rmtree(trial / "upload")
    one = header("ir", ManufacturerModelName="Skyra of Thistlewood", **GOOD)
    write_classic(trial / "upload", one, TIMES, n_slices=1)
    draft_site(trial, "siteE", [trial / "upload"])
    assert read_document(trial / "sites" / "siteE" / "site.yaml", "site")["scanners"][0]["model"] == ""


def test_hostile_headers_make_plain_text(trial):
    shutil.rmtree(trial / "upload")
    evil = '"]}\nsite: other # <script>alert(1)</script> !!python/object/apply:os.system'
    write_classic(trial / "upload", header("ir", ManufacturerModelName=evil[:60], **GOOD), TIMES, n_slices=1)
    formula = header("f", patient="=HYPERLINK(1)", date="20250311", time="120000", **GOOD)
    write_classic(trial / "upload" / "f", formula, TIMES, n_slices=1)
    draft = draft_site(trial, "siteE", [trial / "upload"])
    site = read_document(trial / "sites" / "siteE" / "site.yaml", "site")
    assert site["site"] == "siteE"
    assert "HYPERLINK" not in "".join(texts(trial).values())
    assert any("begins like a formula" in todo for todo in draft.todo)


def test_travelers_keep_the_label_of_the_first_site(trial):
    other = trial / "sites" / "siteA"
    other.mkdir()
    (other / "participants.tsv").write_text("participant_id\tkind\tsource_id\nT07\ttraveler\tPAT-0042\n")
    draft_site(trial, "siteE", [trial / "upload"])
    rows = read_rows(trial / "sites" / "siteE" / "participants.tsv", "participants")
    assert (rows[0]["participant_id"], rows[0]["kind"]) == ("T07", "traveler")


@pytest.mark.parametrize(
    "name", ["", "a b", "../evil", "siteA/..", "site_A", "-x", "=1", "a" * 33, "sité", "Site\n", "con.fig"]
)
def test_bad_names_are_refused_before_anything_is_read(trial, name):
    with pytest.raises(ConfigError, match="This is no name for a site"):
        draft_site(trial, name, [trial / "nowhere"])


def test_nothing_is_written_over(trial):
    draft_site(trial, "siteE", [trial / "upload"])
    before = texts(trial)
    with pytest.raises(ConfigError, match="nothing is written over"):
        draft_site(trial, "siteE", [trial / "upload"])
    with pytest.raises(ConfigError, match="the same but for capitals"):
        draft_site(trial, "SITEe", [trial / "upload"])
    assert texts(trial) == before


def test_folders_without_mr_images_leave_no_site(trial):
    empty = trial / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("hello")
    with pytest.raises(DicomError, match="holds no MR images"):
        draft_site(trial, "siteE", [empty])
    with pytest.raises(ConfigError, match="folder of DICOM is missing"):
        draft_site(trial, "siteE", [trial / "nowhere"])
    assert not (trial / "sites" / "siteE").exists()


def test_differences_are_proposed_and_count_only_when_a_person_accepts_them(tmp_path):
    """A GE site with a short TR: refused, proposed by add-site, accepted with a reason, shown on the certificate."""
    from dataclasses import replace

    shutil.copytree(CONFIG, tmp_path / "config")
    site = VendorSite(tmp_path / "sites" / "old", "GE", seed=3, participants=1)
    for session in ("01", "02"):
        site.series["T01", session, "IRT1"] = lambda series: replace(series, repetition_time=3.5)
    site.write()
    draft = draft_site(tmp_path, "siteE", [site.folder / "dicom"])
    assert [(d["series"], d["check"], d["n"], d["of"]) for d in draft.differences] == [
        ("IRT1", "repetition_time", 2, 4)
    ]
    assert draft.differences[0]["remedy"] == 'Raise "TR" (Scan Timing) to 4000 ms or more'
    path = tmp_path / layout.fill(layout.DIFFERENCES, site="siteE")
    drafted = read_document(path, "differences")["differences"][0]
    assert (drafted["accepted"], drafted["bounds"]) == (False, {"minimum": 3.5})

    site.differences = [path]
    answer = site.judge()
    assert {c["id"] for c in answer["checks"] if c["verdict"] != "pass"} == {"repetition_time"}
    content = yaml.safe_load(path.read_text())
    content["differences"][0] |= {"accepted": True}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="reason"):
        read_document(path, "differences")
    content["differences"][0] |= {"reason": "SAR limit of the coil; agreed by the trial's physicist"}
    path.write_text(yaml.safe_dump(content))
    answer = site.judge()
    assert answer["verdict"] == "pass"
    assert answer["accepted"][0]["reason"].startswith("SAR limit")
    assert "SAR limit" in (site.folder / "results" / "index.html").read_text()


def test_a_difference_from_no_check_is_a_mistake(trial):
    draft_site(trial, "siteE", [trial / "upload"])
    path = trial / layout.fill(layout.DIFFERENCES, site="siteE")
    path.write_text("differences:\n  - {series: IRT1, check: no_such_check, bounds: {minimum: 1}}\n")
    with pytest.raises(ConfigError, match="a check that the protocol does not hold"):
        load_settings(trial)
