"""A qMRI-BIDS folder instead of DICOM: recognized without a hint, checked, entered in the same tables, fitted."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from dataset.sent import AFFINE, SCANNER, SHAPE, TIMES, describe, recovery, write_image, write_recovery
from dicom.seeded import Seeds, find_words
from dicom.small import header, write_classic
from dicom.test_recognize import INVERSIONS, only

from fit_map import fit_map
from isocenter.io.nifti import read_map, read_series, read_sidecar

PEOPLE = "participant_id\tkind\tsource_id\nP01\tpatient\tsub-01\nphantom1\tphantom\tsub-ph\n"


@pytest.fixture
def sent(site):
    """A site whose table names a subject and a phantom of the dataset that it sends."""
    (site.folder / "participants.tsv").write_text(PEOPLE)
    return site


def test_an_inversion_recovery_is_taken_in_and_fitted(sent):
    write_recovery(sent.dicom)
    row = only(sent.take_in())
    assert (row.disposition, row.suffix, row.session, row.run) == ("used", "IRT1", "01", "1"), row.reason
    assert (row.participant_id, row.scanner, row.field_strength) == ("P01", "scanner1", 3.0)
    assert row.files.split("|")[0] == "sub-P01/ses-01/anat/sub-P01_ses-01_run-1_inv-1_IRT1.nii.gz"
    assert len(sent.exclusions()) == 0
    paths = [sent.bids / name for name in row.files.split("|")]
    series = read_series(paths)
    np.testing.assert_array_equal(series.data, recovery().astype(np.float32))
    np.testing.assert_allclose(series.affine, AFFINE)
    np.testing.assert_allclose(series.acquisition["InversionTime"], TIMES)
    out = {name: sent.folder / f"{name}.nii.gz" for name in ("map", "stderr", "flag", "fit")}
    fit_map(
        paths, **out, model="t1_inversion_recovery", parameter="T1", unit="s", options={"robust": "tukey"},
        plausible_range=[0.01, 6.0],
    )  # fmt: skip
    found, _ = read_map(out["map"], out["stderr"], out["flag"])
    assert np.median(found.value[3:9, 3:9]) == pytest.approx(1.1, rel=0.01)


def test_one_4d_file_with_lists_and_inherited_sidecars_is_the_same(sent):
    describe(sent.dicom)
    (sent.dicom / "IRT1.json").write_text(json.dumps({**SCANNER, "RepetitionTime": 9.0}))
    (sent.dicom / "sub-01").mkdir()
    (sent.dicom / "sub-01" / "sub-01_IRT1.json").write_text(json.dumps({"RepetitionTime": 4.5}))
    path = sent.dicom / "sub-01" / "anat" / "sub-01_IRT1.nii"
    write_image(path, recovery(), {"InversionTime": list(TIMES)})
    row = only(sent.take_in())
    assert row.disposition == "used", row.reason
    series = read_series([sent.bids / name for name in row.files.split("|")])
    np.testing.assert_array_equal(series.data, recovery().astype(np.float32))
    assert series.acquisition["RepetitionTime"] == 4.5
    assert series.acquisition["MagneticFieldStrength"] == 3.0


def test_a_dataset_is_known_by_its_names_alone_and_stands_beside_dicom(sent):
    write_recovery(sent.dicom / "from the archive")
    (sent.dicom / "from the archive" / "dataset_description.json").unlink()
    write_classic(sent.dicom / "dicom", header(patient="sub-ph"), INVERSIONS)
    table = sent.take_in()
    assert table.disposition.tolist() == ["used", "used"]
    assert table.participant_id.tolist() == ["P01", "phantom1"]
    assert len(sent.exclusions()) == 0


def test_a_second_run_writes_nothing_and_a_removed_image_leaves_nothing(sent):
    paths = write_recovery(sent.dicom)
    sent.take_in()
    before = sent.files()
    sent.take_in()
    assert sent.files() == before
    for path in paths:
        path.unlink()
    sent.take_in()
    assert not list(sent.bids.glob("sub-*"))


def test_sessions_by_date_and_runs_by_number(sent):
    for ses, date in (("late", "2025-03-24"), ("x", "2025-03-10")):
        for run in ("2", "10"):
            write_recovery(sent.dicom, ses=ses, run=run, t1=float(run) + len(ses))
        rows = [
            f"anat/sub-01_ses-{ses}_run-{run}_inv-{k + 1}_IRT1.nii.gz\t{date}T1{run[0]}:00:00"
            for run in ("2", "10") for k in range(len(TIMES))
        ]  # fmt: skip
        table = sent.dicom / "sub-01" / f"ses-{ses}" / f"sub-01_ses-{ses}_scans.tsv"
        table.write_text("filename\tacq_time\n" + "\n".join(rows) + "\n")
    table = sent.take_in()
    assert table.session.tolist() == ["01", "01", "02", "02"]
    assert table.day.tolist() == [0, 0, 14, 14]
    assert table.run.tolist() == ["1", "2", "1", "2"] or table.run.tolist() == ["2", "1", "2", "1"]
    assert table.date.tolist() == [""] * 4
    assert set(sent.take_in(dates="keep").date) == {"2025-03-10", "2025-03-24"}


@pytest.mark.parametrize(
    ("kind", "key"), [("MESE", "EchoTime"), ("VFA", "FlipAngle"), ("VFA", "RepetitionTimeExcitation"),
                      ("dwi", "DiffusionBValue"), ("IRT1", "InversionTime")],
)  # fmt: skip
def test_a_value_that_is_missing_quarantines_by_its_name(sent, kind, key):
    describe(sent.dicom)
    values = {"EchoTime": [0.01, 0.02, 0.03, 0.04], "FlipAngle": [2, 5, 10, 15], "RepetitionTimeExcitation": 0.01,
              "InversionTime": [0.1, 0.3, 1.0, 3.0], "DiffusionBValue": [0, 200, 500, 1000]}  # fmt: skip
    axis = {"MESE": "EchoTime", "VFA": "FlipAngle", "dwi": "DiffusionBValue", "IRT1": "InversionTime"}[kind]
    values = {name: value for name, value in values.items() if name in (axis, "RepetitionTimeExcitation")}
    folder = "dwi" if kind == "dwi" else "anat"
    data = recovery()[..., :4]
    path = sent.dicom / "sub-01" / folder / f"sub-01_{kind}.nii.gz"
    write_image(path, data, {**SCANNER, **values})
    assert only(sent.take_in(suffixes=[kind])).disposition == "used"
    values.pop(key)
    write_image(path, data, {**SCANNER, **values})
    row = only(sent.take_in(suffixes=[kind]))
    assert row.disposition == "quarantined"
    assert f"{key} is missing" in row.reason
    assert "never guessed" in only(sent.exclusions()).action
    assert not list(sent.bids.glob("sub-*"))


def test_b_values_come_from_the_file_beside_and_repeats_are_refused(sent):
    describe(sent.dicom)
    path = sent.dicom / "sub-01" / "dwi" / "sub-01_dwi.nii.gz"
    write_image(path, recovery()[..., :3], dict(SCANNER))
    path.with_name("sub-01_dwi.bval").write_text("0 500 1000\n")
    row = only(sent.take_in(suffixes=["dwi"]))
    assert row.disposition == "used", row.reason
    assert read_series([sent.bids / row.files]).acquisition["DiffusionBValue"].tolist() == [0, 500, 1000]
    path.with_name("sub-01_dwi.bval").write_text("0 500 500\n")
    assert "several images" in only(sent.take_in(suffixes=["dwi"])).reason


def test_a_field_map_by_its_phase_difference(sent):
    describe(sent.dicom)
    folder = sent.dicom / "sub-01" / "fmap"
    write_image(folder / "sub-01_magnitude1.nii.gz", recovery()[..., 0], dict(SCANNER))
    write_image(folder / "sub-01_magnitude2.nii.gz", recovery()[..., 1], dict(SCANNER))
    phase = (recovery()[..., 2] % 6 - 3).astype(np.float32)
    difference = {**SCANNER, "EchoTime1": 0.00492, "EchoTime2": 0.00738, "Units": "rad"}
    write_image(folder / "sub-01_phasediff.nii.gz", phase, difference)
    row = only(sent.take_in(suffixes=["B0GRE"]))
    assert row.disposition == "used", row.reason
    names = {name.rsplit("_", 1)[1] for name in row.files.split("|")}
    assert names == {"magnitude1.nii.gz", "magnitude2.nii.gz", "phasediff.nii.gz"}
    (name,) = (name for name in row.files.split("|") if "phasediff" in name)
    assert read_sidecar(sent.bids / name)["EchoTime2"] == 0.00738
    np.testing.assert_array_equal(np.asarray(nib.load(sent.bids / name).dataobj), phase)


def spoil(path, how):
    content = gzip.decompress(path.read_bytes())
    head = bytearray(content[:352])
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "cut":
        path.write_bytes(gzip.compress(content[:500]))
    elif how == "gigantic":
        head[40:56] = np.array([4, 32000, 32000, 32000, 100, 1, 1, 1], "<i2").tobytes()
        path.write_bytes(gzip.compress(bytes(head) + content[352:]))
    elif how == "no place":
        head[252:256] = b"\0\0\0\0"
        path.write_bytes(gzip.compress(bytes(head) + content[352:]))
    elif how == "color":
        head[70:74] = np.array([128, 24], "<i2").tobytes()
        path.write_bytes(gzip.compress(bytes(head) + content[352:]))
    elif how == "bomb":
        path.write_bytes(gzip.compress(bytes(head) + bytes(300 * 2**20)))
    elif how == "huge voxels":
        image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.diag([4000.0, 4, 7, 1]))
        nib.save(image, path)
    elif how == "other size":
        nib.save(nib.Nifti1Image(np.zeros((5, 5, 3), np.int16), AFFINE), path)
    elif how == "other place":
        nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE + np.eye(4)[:, [3, 0, 1, 2]] * 0.5), path)
    elif how == "text":
        path.write_text("no image")
    elif how == "series":
        nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 2), np.int16), AFFINE), path)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("truncated", "cannot be used"), ("cut", "voxels as many"), ("gigantic", "bytes can hold"), ("no place", "qform"),
     ("color", "real numbers"), ("huge voxels", "voxels of"), ("other size", "differ in size"),
     ("other place", "differ in size or place"), ("text", "NIfTI"), ("series", "2 volumes")],
)  # fmt: skip
def test_a_bad_image_quarantines_its_acquisition_and_nothing_else(sent, how, reason):
    paths = write_recovery(sent.dicom, run="1")
    write_recovery(sent.dicom, run="2")
    spoil(paths[3], how)
    table = sent.take_in()
    assert sorted(table.disposition) == ["quarantined", "used"], table.reason.tolist()
    row = table[table.disposition == "quarantined"].iloc[0]
    assert reason in row.reason
    assert "failed unexpectedly" not in row.reason


def test_an_image_that_is_longer_than_its_header_says_does_not_fill_the_memory(sent):
    import resource

    paths = write_recovery(sent.dicom)
    spoil(paths[3], "bomb")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent.take_in()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


SIDECARS = {
    "no JSON": (b"{", "JSON in UTF-8"),
    "not UTF-8": (b'{"a": "\xe9"}', "JSON in UTF-8"),
    "a list": (b"[1, 2]", "JSON object"),
    "deep": (b"[" * 100_000, "JSON in UTF-8"),
    "huge": (b'{"a": "' + b"x" * 2**21 + b'"}', "at most"),
    "milliseconds": (b'{"InversionTime": 150, "RepetitionTime": 4.5}', "BIDS wants s"),
    "negative": (b'{"InversionTime": -1}', "InversionTime is -1"),
    "no number": (b'{"InversionTime": "0.15"}', "InversionTime is missing"),
    "not finite": (b'{"InversionTime": NaN}', "InversionTime is missing"),
    "infinite": (b'{"InversionTime": 1e999}', "InversionTime is missing"),
}


@pytest.mark.parametrize("how", sorted(SIDECARS))
def test_a_bad_sidecar_quarantines(sent, how):
    content, reason = SIDECARS[how]
    path = write_recovery(sent.dicom)[3]
    path.with_name(path.name.replace(".nii.gz", ".json")).write_bytes(content)
    row = only(sent.take_in())
    assert row.disposition == "quarantined"
    assert reason in row.reason
    assert "failed unexpectedly" not in row.reason


def test_links_and_hostile_names_are_rows_and_nothing_is_read_through_them(sent):
    secret = sent.folder / "secret"
    secret.mkdir()
    (outside,) = [write_image(secret / "x.nii.gz", recovery()[..., 0], {"InversionTime": 1.0})]
    paths = write_recovery(sent.dicom)
    anat = paths[0].parent
    (anat / "sub-01_ses-a_inv-9_IRT1.nii.gz").symlink_to(outside)
    (anat / "sub-01_ses-a_inv-9_IRT1.json").symlink_to(outside.with_name("x.json"))
    (sent.dicom / "sub-02").symlink_to(secret)
    for name in (
        "=cmd|calc.nii.gz",
        "sub-01_ses-b_inv-1_IRT1.nii.gz",
        "sub-.._IRT1.nii.gz",
        "<script>.nii",
        "note.exe",
    ):
        (anat / name).write_bytes(paths[0].read_bytes())
    (sent.dicom / "sourcedata").mkdir()
    (sent.dicom / "sourcedata" / "x.dcm").write_bytes(b"x")
    row = only(sent.take_in())
    assert row.disposition == "used", row.reason
    assert len(row.files.split("|")) == len(TIMES)
    rows = sent.exclusions()
    assert len(rows) == 9
    assert rows.reason.str.contains("link").sum() == 3
    assert rows.reason.str.contains("none of BIDS").sum() == 4
    assert rows.action.ne("").all()
    assert not any(text[0] in "=+-@" for text in rows.series)
    assert {path for path in sent.bids.rglob("*") if path.is_symlink()} == set()


def test_a_subject_that_no_row_names_is_quarantined(sent):
    write_recovery(sent.dicom, sub="99")
    row = only(sent.take_in())
    assert (row.disposition, row.participant_id) == ("quarantined", "")
    assert "participants.tsv" in row.action


def test_what_dicom_brought_is_not_written_over(sent):
    (sent.folder / "participants.tsv").write_text(PEOPLE.replace("\nphantom1", "\nP01\tpatient\tPAT-0042\nphantom1"))
    write_classic(sent.dicom / "dicom", header(), INVERSIONS)
    sent.take_in()
    name = "sub-P01/ses-01/anat/sub-P01_ses-01_run-1_inv-1_IRT1.nii.gz"
    before = (sent.bids / name).read_bytes()
    write_recovery(sent.dicom / "bids")
    table = sent.take_in()
    assert sorted(table.disposition) == ["quarantined", "used"]
    assert "arrived too" in table[table.disposition == "quarantined"].reason.iloc[0]
    assert (sent.bids / name).read_bytes() == before


def test_days_for_a_calibration_count_from_the_first_phantom_of_either_kind(sent):
    write_classic(sent.dicom / "dicom", header(patient="sub-ph", date="20250110"), INVERSIONS)
    write_recovery(sent.dicom / "bids")
    rows = [f"anat/sub-01_ses-a_inv-{k + 1}_IRT1.nii.gz\t2025-03-01T10:00:00" for k in range(len(TIMES))]
    table = sent.dicom / "bids" / "sub-01" / "ses-a" / "sub-01_ses-a_scans.tsv"
    table.write_text("filename\tacq_time\n" + "\n".join(rows) + "\n")
    days = sent.take_in(by_date=True, dates="keep").set_index("participant_id").calibration_day
    assert days.to_dict() == {"P01": 50, "phantom1": 0}


def test_no_name_of_a_dataset_is_written(sent):
    seeds = Seeds()
    keys = ("PatientName", "PatientID", "PatientAddress", "OperatorsName", "ReferringPhysicianName", "InstitutionName",
            "StationName", "ProtocolName", "SeriesDescription", "ImageComments", "StudyDescription", "Unheard",
            "ProcedureStepDescription", "BodyPart", "global", "DeviceNote")  # fmt: skip
    told = {key: seeds.word(key) for key in keys}
    told |= {"ReceiveCoilName": f"Head {seeds.words['PatientName']}", "AcquisitionDateTime": "2031-04-17T10:15:00"}
    told |= {"SequenceName": [seeds.words["PatientName"], "x"], "PatientBirthDate": "1947-09-23"}
    told |= {"PulseSequenceName": {"deep": seeds.word("nested")}, "ScanOptions": seeds.word("long") * 9}
    sub, ses = seeds.word("subject"), seeds.word("session")
    (sent.folder / "participants.tsv").write_text(f"participant_id\tkind\tsource_id\nP01\tpatient\tsub-{sub}\n")
    root = sent.dicom / seeds.word("folder")
    write_recovery(root, sub=sub, ses=ses, run="1", description=seeds.word("header"), **told)
    (root / "participants.tsv").write_text(f"participant_id\tname\nsub-{sub}\t{seeds.word('table')}\n")
    (root / "README").write_text(seeds.word("readme"))
    write_recovery(root, sub=sub, ses=ses, run="2", InversionTime=None, **told)
    write_recovery(root, sub=seeds.word("stranger"))
    (root / f"sub-{sub}" / f"{seeds.word('odd')}.nii.gz").write_bytes(b"x")
    table = sent.take_in()
    assert sorted(table.disposition) == ["quarantined", "quarantined", "used"]
    words = seeds.words | {"birth date": "1947-09-23", "date": "2031-04-17"}
    assert find_words(sent.folder / "results", words) == []
    row = table[table.disposition == "used"].iloc[0]
    assert (int(row.n_named), row.n_files) == (8, 8)
    assert {"PatientName", "PatientBirthDate", "OperatorsName"} <= set(row.named.split())
    sidecar = read_sidecar(sent.bids / row.files.split("|")[0])
    assert sidecar["ReceiveCoilName"] == "Head [withheld]"
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("kind", "key", "reason"),
    [("IRT1", "RepetitionTime", "RepetitionTime is 3 and 4.5 s"), ("MESE", "FlipAngle", "FlipAngle is 60 and 90 deg"),
     ("dwi", "EchoTime", "EchoTime is 0.06 and 0.08 s"), ("VFA", "RepetitionTimeExcitation", "")],
)  # fmt: skip
def test_volumes_of_unlike_scans_are_no_set(sent, kind, key, reason):
    """But a fit of spoiled gradient echoes knows the repetition time of each image."""
    describe(sent.dicom)
    values = {"RepetitionTime": [4.5, 4.5, 4.5, 3.0], "FlipAngle": [90, 90, 90, 60],
              "EchoTime": [0.06, 0.06, 0.08, 0.06], "RepetitionTimeExcitation": [0.01, 0.01, 0.01, 0.03]}  # fmt: skip
    axes = {"IRT1": {"InversionTime": [0.1, 0.3, 1.0, 3.0]}, "MESE": {"EchoTime": [0.01, 0.02, 0.03, 0.04]},
            "dwi": {"DiffusionBValue": [0, 200, 500, 1000]}, "VFA": {"FlipAngle": [2, 5, 10, 15]}}  # fmt: skip
    folder = "dwi" if kind == "dwi" else "anat"
    write_image(
        sent.dicom / "sub-01" / folder / f"sub-01_{kind}.nii.gz",
        recovery()[..., :4],
        {**SCANNER, **axes[kind], key: values[key]},
    )
    row = only(sent.take_in(suffixes=[kind]))
    assert row.disposition == ("quarantined" if reason else "used"), row.reason
    assert reason in row.reason


@pytest.mark.parametrize(
    ("key", "other", "disposition", "told", "warning"),
    [("ReceiveCoilName", "Body", "quarantined", "ReceiveCoilName names 2 coils in volumes of one set", ""),
     ("PixelBandwidth", 130, "used", "Used, but Pixel Bandwidth (0018,0095) is 130 and 260 Hz", "bandwidth"),
     ("NumberOfAverages", 4, "used", "Used, but Number of Averages (0018,0083) is 1 and 4", "averages")],
)  # fmt: skip
def test_a_volume_of_another_coil_is_refused_and_one_of_other_noise_is_told(
    sent, key, other, disposition, told, warning
):
    paths = write_recovery(sent.dicom, PixelBandwidth=260, NumberOfAverages=1)
    sidecar = paths[3].with_name(paths[3].name.replace(".nii.gz", ".json"))
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), key: other}))
    row = only(sent.take_in())
    assert (row.disposition, row.warnings) == (disposition, warning)
    assert row.reason.startswith(told)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("cut", "6 of 12 rows in slice 2 of inversion time 0.5 s"), ("slice", "hold the same pixels"),
     ("volume", "hold the same pixels")],
)  # fmt: skip
def test_an_image_that_is_cut_or_another_is_refused(sent, how, reason):
    paths = write_recovery(sent.dicom)
    data = recovery()
    if how == "cut":
        data[:, 6:, 1, 3] = 0
    elif how == "slice":
        data[:, :, 1, 3] = data[:, :, 2, 3]
    else:
        data[..., 3] = data[..., 4]
    nib.save(nib.Nifti1Image(data[..., 3], AFFINE), paths[3])
    row = only(sent.take_in())
    assert row.disposition == "quarantined"
    assert reason in row.reason
