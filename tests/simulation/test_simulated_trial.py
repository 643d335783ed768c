"""A whole small trial on disk: the same bytes for the same seed, the truth beside it, every bad thing in place."""

import json
import shutil
from collections import Counter

import pandas as pd
import pydicom
import pytest
from pydicom.errors import InvalidDicomError
from small_trials import PHANTOM, ROOT, SMALL, hash_files

from isocenter.errors import ConfigError


def read(folder, name):
    return pd.read_csv(folder / "demo-truth" / name, sep="\t", dtype={"session": str, "run": str}, na_values=["n/a"])


def simulate(folder, **arguments):
    from simulate_trial import simulate_trial

    simulate_trial(PHANTOM, directory=folder, **arguments)
    return hash_files(folder)


def test_bytes_do_not_depend_on_workers_or_on_later_sessions(tmp_path):
    few = {"sites": 1, "participants": 1, "options": SMALL}
    one = simulate(tmp_path / "one", **few)
    two = simulate(tmp_path / "two", **few, workers=2)
    assert one == two
    more = simulate(tmp_path / "more", **few, sessions=3)
    images = {path: digest for path, digest in one.items() if "/dicom/" in path}
    assert images.items() < {path: d for path, d in more.items() if "/dicom/" in path}.items()


def test_another_seed_gives_another_trial(tmp_path):
    few = {"sites": 1, "options": {**SMALL, "phantoms_only": True}}
    one, two = (
        {d for path, d in simulate(tmp_path / str(seed), **few, seed=seed).items() if "/dicom/" in path}
        for seed in (1, 2)
    )
    assert one
    assert not one & two


@pytest.mark.parametrize(("name", "is_described"), [("siteA", True), ("siteA", False), ("hospital", True)])
def test_images_that_somebody_brought_are_never_replaced(tmp_path, name, is_described):
    image = tmp_path / "sites" / name / "dicom" / "scan.dcm"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"a patient")
    if is_described:
        (image.parents[1] / "site.yaml").write_text(f"site: {name}\n")
    with pytest.raises(ConfigError, match="no simulation wrote") as told:
        simulate(tmp_path, sites=1, participants=1, options=SMALL)
    assert "another folder" in str(told.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "site.yaml"] == [image]


def test_progress_ends_at_the_whole(small_trial):
    _, steps = small_trial
    done, total, _ = steps[-1]
    assert done == total > 0
    assert [s[0] for s in steps] == sorted(s[0] for s in steps)


def test_a_finished_trial_is_recognized(small_trial, tmp_path):
    from simulate_trial import is_simulated

    folder, _ = small_trial
    assert is_simulated(folder, seed=20260101, participants=1, options=SMALL)
    assert not is_simulated(folder, seed=7, participants=1, options=SMALL)
    assert not is_simulated(folder, seed=20260101)
    assert not is_simulated(tmp_path, seed=20260101)


def test_a_trial_whose_site_was_deleted_is_simulated_again(small_trial, tmp_path):
    from simulate_trial import is_simulated

    copy = tmp_path / "trial"
    shutil.copytree(small_trial[0], copy)
    assert is_simulated(copy, seed=20260101, participants=1, options=SMALL)
    shutil.rmtree(copy / "sites" / "siteB")
    assert not is_simulated(copy, seed=20260101, participants=1, options=SMALL)


def test_tissues_stand_in_their_order(small_trial):
    truth = read(small_trial[0], "roi_truth.tsv")
    assert set(truth["unit"]) == {"s"}
    keys = ["site", "participant_id", "session", "run"]
    for _, rows in truth.groupby([*keys, "biomarker"]):
        value = rows.set_index("roi")["truth"]
        assert value["white_matter"] < value["gray_matter"]
        assert "csf" not in value or value["gray_matter"] < value["csf"]
    wide = truth.pivot(index=[*keys, "roi"], columns="biomarker", values="truth").dropna()
    assert (wide["T2"] < wide["T1"]).all()
    # Four sites, one traveler, three runs, less the run of the visit that never happened.
    assert len(truth[(truth.roi == "white_matter") & (truth.biomarker == "T1")]) == 4 * 3 - 1


def test_vials_and_rulers_are_told(small_trial):
    vials = read(small_trial[0], "vial_truth.tsv")
    assert len(vials) == 4 * 2 * 2 * 14
    assert vials.truth.between(0.003, 2.5).all()
    rulers = read(small_trial[0], "ruler.tsv")
    assert len(rulers) == 8
    assert rulers.ruler_error.abs().max() <= 0.08
    settings = json.loads((small_trial[0] / "demo-truth" / "settings.json").read_text())
    assert settings["seed"] == 20260101


@pytest.fixture(scope="module")
def bad(small_trial):
    return read(small_trial[0], "bad.tsv").set_index("what").fillna("")


def dicom(small_trial, row):
    return small_trial[0] / "sites" / row["site"] / "dicom" / row["path"]


def test_the_foreign_file_is_no_dicom(small_trial, bad):
    with pytest.raises(InvalidDicomError):
        pydicom.dcmread(dicom(small_trial, bad.loc["non_dicom_file"]))


def test_the_truncated_file_has_a_header_and_too_few_pixels(small_trial, bad):
    header = pydicom.dcmread(dicom(small_trial, bad.loc["truncated_dicom"]), stop_before_pixels=True)
    assert header.PatientID == "DEMO-" + bad.loc["truncated_dicom", "participant_id"]
    pixels = header.Rows * header.Columns * 2 * int(header.get("NumberOfFrames", 1))
    assert dicom(small_trial, bad.loc["truncated_dicom"]).stat().st_size < pixels


def test_the_duplicate_has_the_same_instances_under_other_names(small_trial, bad):
    row = bad.loc["duplicate_upload"]
    copies = {pydicom.dcmread(p).SOPInstanceUID: p for p in dicom(small_trial, row).iterdir()}
    site = small_trial[0] / "sites" / row["site"] / "dicom"
    originals = [p for p in site.rglob("*") if p.is_file() and "upload_2" not in p.parts]
    found = [p for p in originals if pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID in copies]
    assert len(found) == len(copies) == SMALL["echoes"] * SMALL["head_matrix"][2]
    assert not {p.name for p in found} & {p.name for p in copies.values()}


def test_one_series_lacks_its_inversion_times(small_trial, bad):
    row = bad.loc["missing_inversion_time"]
    files = list(dicom(small_trial, row).iterdir())
    assert len(files) == len(SMALL["inversion_times"]) * SMALL["head_matrix"][2]
    for path in files:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert "InversionTime" not in header
        assert "IR" in header.ScanningSequence


def test_the_missing_visit_left_no_file(small_trial, bad):
    row = bad.loc["missing_visit"]
    dates = set()
    for path in (small_trial[0] / "sites" / row["site"] / "dicom").rglob("*"):
        if path.is_file():
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if header.PatientID == "DEMO-" + row["participant_id"]:
                dates.add(header.StudyDate)
    assert len(dates) == 1


def test_the_vendors_map_says_that_it_is_derived(small_trial, bad):
    path = next(dicom(small_trial, bad.loc["derived_map"]).iterdir())
    assert pydicom.dcmread(path).ImageType[0] == "DERIVED"


def test_instances_are_unique_but_for_the_duplicate(small_trial, bad):
    seen = Counter()
    for path in (small_trial[0] / "sites").rglob("*"):
        if path.is_file() and "dicom" in path.parts and path.suffix != ".txt":
            seen[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)] += 1
    assert sum(count == 2 for count in seen.values()) == SMALL["echoes"] * SMALL["head_matrix"][2]
    assert max(seen.values()) == 2


def test_options_are_checked(tmp_path):
    from simulate_trial import simulate_trial

    with pytest.raises(ConfigError, match="ruler_error"):
        simulate_trial(PHANTOM, directory=tmp_path, options={"ruler_eror": 0.1})


@pytest.mark.parametrize("name", ["site.yaml", "participants.tsv"])
@pytest.mark.parametrize("index", range(4))
def test_the_committed_sites_are_those_of_the_default_trial(index, name):
    from isocenter.simulation.design import design_trial
    from isocenter.simulation.settings import SimulationSettings
    from isocenter.simulation.site_files import format_participants, format_site_yaml

    design = design_trial(SimulationSettings())
    site = design.sites[index]
    expected = format_site_yaml(site, design.settings) if name == "site.yaml" else format_participants(site, design)
    assert (ROOT / "sites" / site.name / name).read_text() == expected
