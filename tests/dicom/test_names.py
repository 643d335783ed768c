"""Zero identifying strings in what the intake writes, wherever names were seeded."""

import base64
import gzip
import re
import shutil
import zipfile

import pydicom
import pytest
from dicom.bad_inputs import claim_syntax
from dicom.seeded import BIRTH, DATE, EPOCH, Seeds, find_words
from dicom.small import header, write_classic, write_enhanced
from dicom.test_recognize import ECHOES, INVERSIONS, TIMES
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from isocenter.dicom.deidentify import BLOT, PathTeller, Redactor, tell_uid, uid_of_digest
from isocenter.dicom.privacy import UidRule
from isocenter.io.tables import read_table

DATES = {"study date": DATE, "study date, ISO": "2031-04-17", "birth date": BIRTH, "epoch": EPOCH[:6]}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Everything that may arrive, with names in it, taken in: the site and the seeds."""
    from dicom.small_site import make_site

    site, seeds = make_site(tmp_path_factory.mktemp("seeded")), Seeds()
    patient = seeds.word("PatientID")
    (site.folder / "participants.tsv").write_text(
        f"participant_id\tkind\tsource_id\nP01\tpatient\t{patient}\nphantom1\tphantom\tPHANTOM-9\n"
    )
    folder = site.dicom / seeds.word("folder") / f"{seeds.word('PatientName')}_{DATE}"
    write_classic(folder / "ir", header(), INVERSIONS)
    write_classic(folder / "dwi", header("dwi", manufacturer="SIEMENS", ScanningSequence=["SE", "EP"]),
                  [{"DiffusionBValue": float(b)} for b in (0, 500, 1000)])  # fmt: skip
    write_enhanced(
        folder / f"{seeds.word('file')}.dcm",
        header("enhanced", manufacturer="Philips Medical Systems", time="110000"),
        TIMES,
    )
    broken = write_classic(folder / "mese", header("mese", time="120000", ScanningSequence="SE"), ECHOES)
    write_classic(site.dicom / "lost", header("lost", time="130000"), INVERSIONS)
    for path in sorted(site.dicom.rglob("*")):
        if path.is_file():
            seeds.seed_file(path)
    for path in (site.dicom / "lost").iterdir():  # a patient whom no row names
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.PatientName = seeds.word("stranger"), seeds.word("stranger's name")
        dataset.SeriesInstanceUID += ".7"
        dataset.SOPInstanceUID += ".7"
        dataset.save_as(path)
    broken[0].write_bytes(broken[0].read_bytes()[:-9])
    (folder / f"{seeds.word('report')}.pdf").write_bytes(b"%PDF " + seeds.word("text of the report").encode())
    (folder / f"letter to Dr {seeds.word('letter')} {DATE}.txt").write_text(seeds.word("text of the letter"))
    (folder / seeds.word("link")).symlink_to("/nowhere")
    shutil.copytree(folder / "ir", site.dicom / seeds.word("copied folder"))
    with zipfile.ZipFile(site.dicom / f"{seeds.word('archive')}.zip", "w") as archive:
        archive.writestr(f"{seeds.word('folder in archive')}/{seeds.word('member')}.dcm", b"no DICOM")
        archive.writestr(f"../{seeds.word('hostile member')}", b"x")
        archive.comment = seeds.word("archive comment").encode()
    table = site.take_in(suffixes=["IRT1", "MESE", "dwi"])
    return site, seeds, table


def test_names_are_seeded_widely(seeded):
    _, seeds, _ = seeded
    assert len(seeds.words) >= 30
    assert len(set(seeds.words.values())) == len(seeds.words)


def test_everything_seeded_was_judged(seeded):
    """The search below would prove nothing if the files had been thrown out unread."""
    _, _, table = seeded
    used = table[table.disposition == "used"]
    assert sorted(used.suffix) == ["IRT1", "IRT1", "dwi"], table[["suffix", "disposition", "reason"]].to_dict("records")
    assert (table.disposition == "quarantined").sum() == 2  # a broken file, a stranger
    assert table.reason.str.contains("Duplicate upload").sum() == 1


def test_no_name_is_in_any_output(seeded):
    site, seeds, _ = seeded
    words = seeds.words | DATES
    assert find_words(site.folder / "results", words) == []


def test_the_search_finds_names_in_every_writing(tmp_path):
    """The search itself: a word that is there is found, compressed and in other encodings."""
    words = {"a": "Qwzabvyx"}
    for name, content in {
        "plain": b"..qwZABvyx..", "gz": gzip.compress(b"Qwzabvyx"), "wide": "Qwzabvyx".encode("utf-16-le"),
        "b64": base64.b64encode(b"prefix Qwzabvyx and more"), "b64b": base64.b64encode(b"xQwzabvyx!!"),
        "hex": b"Qwzabvyx".hex().encode(), "Qwzabvyx": b"",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", "Qwzabvyx" * 9)
    assert len({line.split(":")[0] for line in find_words(tmp_path, words)}) == 8


def test_technical_texts_stay_but_for_the_name(seeded):
    site, _, table = seeded
    row = table[(table.suffix == "dwi") & (table.disposition == "used")].iloc[0]
    text = (site.bids / row.files.replace(".nii.gz", ".json")).read_text()
    assert '"ManufacturersModelName": "Model[withheld]"' in text
    assert '"DeviceSerialNumber": "777"' in text


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("Wang^XiaoDong=王^小東", "王小東", "[]"),
        ("王^小東", "線圈 王", "線圈 []"),
        ("김^철수", "철수 head", "[] head"),
        ("Иванов^Пётр", "катушка ИВАНОВ", "катушка []"),
        ("Müller^Jörg", "coil of MUELLER", "coil of []"),
        ("Müller^Jörg", "Muller8", "[]8"),
        ("Müller^Jörg", "Mu\u0308ller", "[]"),
        ("Van der Berg^Anna", "vanderberganna", "[]"),
        ("O'Brien^Sean", "OBriensean", "[]"),
        ("Quill-Feather^Zeb", "QUILL_FEATHER", "[]_[]"),
    ],
)
def test_a_name_in_any_script_or_spelling_is_blotted_out(name, text, told):
    assert Redactor([name]).redact(text).replace(BLOT, "[]") == told


@pytest.mark.parametrize("is_implicit", [False, True], ids=["explicit", "implicit"])
def test_a_name_that_stands_in_a_sequence_alone_is_blotted_out_of_texts_too(site, is_implicit):
    person, outer = Dataset(), Dataset()
    person.PersonName = "Quillfeather^Zebulon"
    outer.RequestAttributesSequence = Sequence([person])
    base = header(PatientName="PAT-0042", StudyDescription="", ReceiveCoilName="coil of Quillfeather",
                  ReferencedPerformedProcedureStepSequence=Sequence([outer]))  # fmt: skip
    for path in write_classic(site.dicom, base, INVERSIONS):
        dataset = pydicom.dcmread(path)
        if is_implicit:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
    site.take_in()
    assert find_words(site.folder / "results", {"name": "Quillfeather"}) == []
    assert "coil of [withheld]" in next(site.bids.rglob("*_IRT1.json")).read_text()


def test_technical_words_are_not_taken_for_names():
    words = "Head_32 HEA;HEP IR_OB *se2d1 E11C Ingenia Elition X"
    assert Redactor(["Li^An", "Ö", "", "^", "X^Y"]).redact(words) == words


def test_a_name_in_a_code_is_not_told(site):
    """Codes of the header that a reason repeats: the words of Image Type, the modality, a transfer syntax."""
    for number, elements in enumerate(
        ({"ImageType": ["DERIVED", "QUILLFEATHER", "M"]}, {"Modality": "QUILLFEATHER"}, {"ImageType": ["ORIGINAL"]})
    ):
        for path in write_classic(site.dicom / str(number), header(f"s{number}", **elements), INVERSIONS):
            if number == 2:
                claim_syntax(path, "1.2.Quillfeather")
    site.take_in()
    assert find_words(site.folder / "results", {"name": "Quillfeather"}) == []


def test_names_left_at_arrival_are_counted(seeded):
    _, _, table = seeded
    row = table[(table.suffix == "IRT1") & (table.disposition == "used")].iloc[0]
    assert int(row.n_named) == row.n_files
    assert {"PatientName", "OperatorsName", "PatientBirthDate", "PatientComments"} <= set(row.named.split())
    assert (table.n_named == table.n_files).all()  # the copies and the damaged ones too


def test_a_person_with_the_dicom_finds_the_file_behind_a_code(seeded):
    site, seeds, _ = seeded
    rows = site.exclusions()
    codes = {code for text in [*rows.series, *rows.reason] for code in re.findall(r"\(file ([0-9a-f]{8})\)", text)}
    table = read_table(site.folder / ".arrived.txt", text=("file", "path"))
    assert codes == set(table.file)
    assert any(seeds.words["report"] in path for path in table.path)
    assert (site.folder / ".arrived.txt").stat().st_mode & 0o077 == 0


def test_uids_that_tell_nothing_stay():
    assert tell_uid("1.2.840.113619.2.55", {"20310417", "Lee"}) == "1.2.840.113619.2.55"
    told = tell_uid("1.3.12.2.1107.5.2.43.66099.20310417101530123", {"20310417"})
    assert told == uid_of_digest("1.3.12.2.1107.5.2.43.66099.20310417101530123")
    assert told.startswith("2.25.")
    assert len(told) <= 64


@pytest.mark.parametrize("path", ["a/image004", "visit.zip/a/image003", "IM-0001-0002.dcm", "dicom/ser 12/00034.ima"])
def test_plain_paths_are_told_as_they_are(path):
    teller = PathTeller()
    assert teller.tell(path) == path
    assert teller.paths == {}


@pytest.mark.parametrize("path", ["=1+1", "-2", "@x", "+3"])
def test_a_told_path_is_no_formula(path):
    assert PathTeller().tell(path)[0] not in "=+-@"


@pytest.mark.parametrize(
    ("tail", "is_told"),
    [("20250309235959123", False), ("4.20250311", False), ("20259999", True), ("120250309", True), ("2025030", True),
     ("18991231", True), ("2.20250417101500", False)],
)  # fmt: skip
def test_a_uid_that_begins_a_part_with_any_date_is_told_by_its_digest(tail, is_told):
    """The days before and after count too: a study is registered before it is scanned, and archived afterwards."""
    uid = f"1.3.12.2.1107.5.2.43.{tail}"
    told = UidRule().tell(uid, {"StudyDate": "", "AcquisitionDateTime": "20250310101500.000"})
    assert told == (uid if is_told else uid_of_digest(uid))
    assert UidRule(keep_dates=True).tell(uid, {}) == uid


def test_a_date_that_only_a_date_and_time_tells_is_sought_anywhere_in_a_uid():
    uid = "1.2.840.99.7720250310"
    assert UidRule().tell(uid, {"AcquisitionDateTime": "20250310101500.000"}) == uid_of_digest(uid)


def test_uids_and_dates_of_phantoms_stay_and_those_of_people_with_their_dates_where_config_keeps_them(site):
    uids = {}
    for name, patient in (("a", "PAT-0042"), ("b", "PHANTOM-9")):
        uids[patient] = f"1.2.840.99.20250310.{len(uids) + 1}"
        write_classic(site.dicom / name, header(patient=patient, SeriesInstanceUID=uids[patient]), INVERSIONS)
    table = site.take_in().set_index("participant_id")
    assert table.series_uid.to_dict() == {"P01": uid_of_digest(uids["PAT-0042"]), "phantom1": uids["PHANTOM-9"]}
    assert table.day.to_dict() == {"P01": 0, "phantom1": 0}
    kept = site.take_in(dates="keep").set_index("participant_id")
    assert kept.series_uid.to_dict() == {"P01": uids["PAT-0042"], "phantom1": uids["PHANTOM-9"]}


def test_annotations_in_the_pixels_are_quarantined_and_faces_warned_of(site):
    write_classic(site.dicom / "a", header("a", BurnedInAnnotation="YES"), INVERSIONS)
    write_classic(site.dicom / "b", header("b", time="110000", RecognizableVisualFeatures="YES"), INVERSIONS)
    table = site.take_in().sort_values("time")
    assert table.disposition.tolist() == ["quarantined", "used"]
    assert "(0028,0301)" in table.reason.iloc[0]
    assert table.warnings.tolist() == ["burned_in", "face"]


@pytest.mark.parametrize("name", ["PAT-0042", "Anonymous", "anon^12", "PHANTOM", "^^^"])
def test_pseudonyms_are_no_names(site, name):
    nobody = {key: None for key in ("PatientBirthDate", "PatientAddress", "ReferringPhysicianName", "OperatorsName",
                                    "PatientComments")}  # fmt: skip
    write_classic(site.dicom / "a", header(PatientName=name, **nobody), INVERSIONS)
    assert site.take_in().n_named.tolist() == [0]
