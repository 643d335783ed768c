"""Every file that a person writes is validated, and every complaint can be acted on."""

import time
from pathlib import Path

import pytest
from written_trial import REPOSITORY, add_site, complaint, make_trial, replace

from isocenter import layout
from isocenter.errors import ConfigError
from isocenter.settings import load_settings


@pytest.fixture
def trial(tmp_path):
    return make_trial(tmp_path)


def test_the_repositorys_own_files_are_valid(trial):
    settings = load_settings(trial)
    assert settings.sites == ["siteA"]
    assert list(settings.biomarkers) == settings.config["biomarkers"]
    assert settings.site("siteA")["scanners"][0]["field_strength"] == 3.0
    assert settings.participants("siteA")[1]["kind"] == "phantom"
    assert settings.sessions("siteA") == []
    assert set(settings.phantoms) == {"nist_system"}
    assert {claim["biomarker"] for claim in settings.claims} <= set(settings.biomarkers)
    assert settings.protocol["protocol"] == "brain_relaxometry"


def test_a_repository_without_sites_is_valid():
    assert "_template" not in load_settings(REPOSITORY).sites


def test_it_is_quick(trial):
    """The budget of a start, in processor time: other work on the machine does not count."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        load_settings(trial)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.5


def test_regions_of_the_brain_have_defaults_that_the_step_shares(trial):
    brain = load_settings(trial).config["regions"]["brain"]
    assert (brain["segmentation"], brain["structural"], brain["atlas"]) == ("template", "none", None)
    assert brain["least_probability"] == dict.fromkeys(("white_matter", "gray_matter", "csf"))


def test_an_atlas_must_be_there_and_readable(trial):
    atlas = "regions:\n  brain:\n    atlas: { labels: config/atlas.nii.gz, names: config/atlas.tsv }\n"
    replace(trial / layout.CONFIG, "schedule:\n", f"{atlas}schedule:\n")
    assert "label image of the atlas is missing" in complaint(trial)
    (trial / "config/atlas.nii.gz").write_bytes(b"")
    assert "config/atlas.tsv" in complaint(trial)
    (trial / "config/atlas.tsv").write_text("index\tname\tpart\n1\tthalamus\tdeep\n")
    assert "deep_gray" in complaint(trial)
    (trial / "config/atlas.tsv").write_text("index\tname\tpart\n1\tthalamus\tdeep_gray\n")
    assert load_settings(trial).config["regions"]["brain"]["atlas"]["labels"] == "config/atlas.nii.gz"


def test_defaults_are_filled_in(trial):
    replace(trial / layout.CONFIG, "seed: 20260101\n", "")
    replace(trial / "config/biomarkers.yaml", "  roi_statistic: median\n", "")
    settings = load_settings(trial)
    assert settings.config["seed"] == 20260101
    assert settings.config["schedule"]["traveler"]["sessions"]["02"]["runs"] == 1
    assert settings.biomarkers["T1"]["roi_statistic"] == "median"
    assert settings.biomarkers["T1"]["calibration_forms"] == ["none", "gain", "linear"]
    assert settings.site("siteA")["phantoms"][0]["temperature_stderr"] == 0.5


def test_biomarkers_are_selected_in_the_configs_order(trial):
    replace(trial / layout.CONFIG, "biomarkers: [T1, T2]", "biomarkers: [T2, T1]")
    assert list(load_settings(trial).biomarkers) == ["T2", "T1"]
    replace(trial / layout.CONFIG, "biomarkers: [T2, T1]", "biomarkers: [T2]")
    settings = load_settings(trial)
    assert list(settings.biomarkers) == ["T2"]
    assert {claim["biomarker"] for claim in settings.claims} == {"T2"}


def test_sites_are_found_or_chosen(trial):
    add_site(trial, "siteB")
    add_site(trial, "_draft")
    (trial / "sites" / "empty").mkdir()
    assert load_settings(trial).sites == ["siteA", "siteB"]
    replace(trial / layout.CONFIG, "sites: null", "sites: [siteB]")
    settings = load_settings(trial)
    assert settings.sites == ["siteB"]
    with pytest.raises(ConfigError, match=r"Unknown site.*siteB.*siteA"):
        settings.site("siteA")


WRONG = {
    "an unknown key": (layout.CONFIG, "seed: ", "sed: ", ["Unknown key 'sed'", "did you mean seed?"]),
    "a wrong type": (layout.CONFIG, "seed: 20260101", 'seed: "soon"', ["key seed", "an integer", "'soon'"]),
    "a missing key": (layout.CONFIG, "trial: Isocenter demonstration trial", "", ["The key 'trial' is missing"]),
    "a key that stands twice": (
        layout.CONFIG,
        "dates: offset",
        "dates: offset\ndates: keep",
        ["stands twice", "key dates", "line"],
    ),
    "a session label without quotes": (layout.CONFIG, '"01": { runs: 2 }', "01: { runs: 2 }", ["in quotes", "01"]),
    "runs that are none": (layout.CONFIG, "{ runs: 2 }", "{ runs: 0 }", ["sessions.01.runs", "at least 1", "found: 0"]),
    "a word that is no choice": (layout.CONFIG, "dates: offset", "dates: maybe", ["offset, keep", "'maybe'"]),
    "an unknown kind": (layout.CONFIG, "  traveler:", "  travelers:", ["'travelers'", "did you mean traveler?"]),
    "an alias": (
        layout.CONFIG,
        "biomarkers: [T1, T2]",
        "biomarkers: &b [T1, T2]\nmore: *b",
        ["alias", "config.yaml"],
    ),
    "an object": (layout.CONFIG, "seed: 20260101", "seed: !!python/object/apply:os.getpid []", ["no YAML"]),
    "a broken line": (layout.CONFIG, "seed: 20260101", "seed: [1", ["no YAML", "line"]),
    "an infinite number": (
        "config/biomarkers.yaml",
        "[0.01, 6.0]",
        "[0.01, .inf]",
        ["not finite", "T1.plausible_range[1]"],
    ),
    "an unknown biomarker": (layout.CONFIG, "[T1, T2]", "[T1, T3]", ["unknown biomarker", "T1, T2", "found: T3"]),
    "a range upside down": ("config/biomarkers.yaml", "[0.01, 6.0]", "[6.0, 0.01]", ["T1.plausible_range", "swap"]),
    "a map twice": ("config/biomarkers.yaml", "map: T2map", "map: T1map", ["map stands 2 times", "T1map"]),
    "a series without protocol": (
        "config/biomarkers.yaml",
        "suffix: MESE",
        "suffix: MEGRE",
        ["protocol does not name", "MEGRE"],
    ),
    "a check without a bound": (
        "config/protocols/brain_relaxometry.yaml",
        "        minimum_count: 6\n",
        "",
        ["series.IRT1.checks[0]", "at least one of target, minimum"],
    ),
    "a number without its unit": (
        "config/protocols/brain_relaxometry.yaml",
        "        minimum: 4.0\n        unit: s\n",
        "        minimum: 4.0\n",
        ["series.IRT1.checks[3]", "needs another", "unit"],
    ),
    "another site's name": ("sites/siteA/site.yaml", "site: siteA", "site: siteB", ["not its folder's", "siteA"]),
    "another protocol": (
        "sites/siteA/site.yaml",
        "protocol: brain_relaxometry",
        "protocol: knee",
        ["another protocol", "knee"],
    ),
    "a label that BIDS forbids": (
        "sites/siteA/participants.tsv",
        "T01",
        "sub-T01",
        ["column participant_id", "line 2"],
    ),
    "an unknown kind of participant": (
        "sites/siteA/participants.tsv",
        "traveler",
        "visitor",
        ["'visitor'", "traveler"],
    ),
    "a phantom of no kind": (
        "sites/siteA/participants.tsv",
        "phantom1\tphantom",
        "phantom1\tpatient",
        ["no participant of kind phantom", "kind patient"],
    ),
    "a thermometer that errs by more than its readings": (
        "sites/siteA/site.yaml",
        "thermometer_stderr: 0.3",
        "thermometer_stderr: 0.8",
        ["cannot be larger", "at most 0.5 degC", "0.8 degC"],
    ),
    "a phantom that nobody describes": (
        "sites/siteA/participants.tsv",
        "PATIENT-ID-OF-PHANTOM",
        "X\nphantom2\tphantom\tY",
        ["phantom2 is not described"],
    ),
    "a source_id twice": (
        "sites/siteA/participants.tsv",
        "PATIENT-ID-OF-PHANTOM",
        "PATIENT-ID-IN-DICOM",
        ["source_id stands 2 times"],
    ),
    "a row that is too short": ("sites/siteA/participants.tsv", "T01\ttraveler\t", "T01\t", ["line 2", "3 cells"]),
    "a column that is missing": (
        "sites/siteA/participants.tsv",
        "source_id",
        "source",
        ["column source_id is missing"],
    ),
    "a phantom type without a file": ("sites/siteA/site.yaml", "nist_system", "gel", ["config/phantoms/gel.yaml"]),
    "a serial that is a number": ("sites/siteA/site.yaml", '"12345"', "12345", ["scanners[0].serial", "text (quoted)"]),
    "a phantom without temperature": (
        "sites/siteA/site.yaml",
        "    temperature: 20.0 # degC, when no dated value is given\n",
        "",
        None,
    ),
    "a temperature in fahrenheit": (
        "sites/siteA/site.yaml",
        "20.0 #",
        "68.0 #",
        ["phantoms[0].temperature", "at most"],
    ),
    "a date that is none": ("sites/siteA/site.yaml", "2026-01-15", "15.1.2026", ["15.1.2026", "not allowed"]),
}


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.replace(" ", "_"))
def test_what_is_wrong_is_said(trial, case):
    name, old, new, expected = WRONG[case]
    replace(trial / name, old, new)
    if expected is None:  # a dated log alone is enough
        load_settings(trial)
        return
    text = complaint(trial)
    for part in expected:
        assert part in text, text
    assert str(trial) not in text, "files are named from the trial's folder"


def test_a_date_without_quotes_stays_text(trial):
    replace(trial / "sites/siteA/site.yaml", '"2026-01-15"', "2026-01-15")
    assert load_settings(trial).site("siteA")["phantoms"][0]["temperatures"] == {"2026-01-15": 20.4}


def test_everything_wrong_is_said_at_once(trial):
    replace(trial / "sites/siteA/participants.tsv", "traveler", "visitor")
    replace(trial / "config/biomarkers.yaml", "align: rigid", "align: elastic")
    replace(trial / "config/claims.yaml", "delta: 8.0", 'delta: "8"')
    text = complaint(trial)
    assert "participants.tsv" in text
    assert "biomarkers.yaml" in text
    assert "claims.yaml" in text


def test_a_claim_names_a_known_biomarker_and_region(trial):
    replace(trial / "config/claims.yaml", "biomarker: T2", "biomarker: T9")
    assert "unknown biomarker" in complaint(trial)
    replace(trial / "config/claims.yaml", "biomarker: T9", "biomarker: T2")
    replace(trial / "config/claims.yaml", "roi: gray_matter", "roi: gray")
    assert "claims[1].roi" in complaint(trial)


def put_people(root: Path, **sites: str) -> None:
    """Each site's participants.tsv: one person, and the phantom that the template describes."""
    for site, row in sites.items():
        folder = root / "sites" / site
        if not folder.exists():
            add_site(root, site)
        label, kind = row.split()
        table = f"participant_id\tkind\tsource_id\n{label}\t{kind}\tID-{site}\nphantom1\tphantom\tQA\n"
        (folder / "participants.tsv").write_text(table)


def test_a_label_at_two_sites_is_one_traveler_or_a_mistake(trial):
    """All tables take a label for a person: two patients called P01 would be one who was scanned twice."""
    put_people(trial, siteA="P01 patient", siteB="P01 patient")
    text = complaint(trial)
    assert "The participant P01 stands at several sites, and would count as one person" in text
    assert "sites/siteA/participants.tsv, sites/siteB/participants.tsv" in text
    assert "patient at siteA, patient at siteB" in text
    assert "give two people two labels" in text
    assert "phantom1" not in text  # each site has its own
    put_people(trial, siteB="P01 traveler")
    assert "patient at siteA, traveler at siteB" in complaint(trial)
    put_people(trial, siteA="P01 traveler")
    assert load_settings(trial).sites == ["siteA", "siteB"]
    put_people(trial, siteA="P01 patient", siteB="P02 patient")
    assert load_settings(trial).sites == ["siteA", "siteB"]


def test_a_session_names_a_known_participant(trial):
    path = trial / "sites/siteA/sessions.tsv"
    path.write_text("participant_id\tdate\tsession\nT01\t2026-01-15\t02\n", encoding="utf-8")
    assert load_settings(trial).sessions("siteA")[0]["session"] == "02"
    path.write_text("participant_id\tdate\tsession\nT07\t2026-01-15\t02\n", encoding="utf-8")
    assert "unknown participant" in complaint(trial)


def test_a_rule_of_a_site_names_a_known_kind_of_series(trial):
    path = trial / "sites/siteA/site.yaml"
    path.write_text(path.read_text() + 'series:\n  - {name: "*afi*", suffix: TB1AFI}\n  - {name: x, suffix: none}\n')
    assert load_settings(trial).site("siteA")["series"][0]["suffix"] == "TB1AFI"
    replace(path, "suffix: TB1AFI", "suffix: TB1AFJ")
    assert "A rule names an unknown kind of series" in complaint(trial)


def test_a_file_of_vial_regions_is_named_for_a_scan_of_a_phantom(trial):
    folder = trial / "sites/siteA/rois"
    folder.mkdir()
    phantom = load_settings(trial).site("siteA")["phantoms"][0]["participant_id"]
    (folder / f"sub-{phantom}_ses-01_run-1_IRT1_vials.tsv").write_text("vial\tx\ty\tz\n")
    load_settings(trial)
    for name in (f"sub-{phantom}_ses-01_run-1_T1_vials.tsv", "sub-T01_ses-01_run-1_IRT1_vials.tsv", "t1_vials.tsv"):
        (folder / name).write_text("vial\tx\ty\tz\n")
        assert f"found: {name}" in complaint(trial)
        (folder / name).unlink()
