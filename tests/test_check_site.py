"""The step: from a site's files to ``verdict.json``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import check_site
from isocenter.io.nifti import write_image, write_json
from isocenter.io.outcome import EXCLUSION_COLUMNS
from isocenter.io.tables import write_table
from isocenter.phantom.control import CONTROL_COLUMNS

REPOSITORY = Path(__file__).resolve().parents[1]
SCHEDULE = {"traveler": {"sessions": {"01": {"runs": 1}}}, "phantom": {"sessions": {"01": {"runs": 1}}}}
TIMES = {"IRT1": [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0], "MESE": [0.01 * k for k in range(1, 17)]}
KEYS = {"IRT1": "InversionTime", "MESE": "EchoTime"}


class Site:
    """A conforming site on disk; a test spoils what it looks at, then asks for the verdict."""

    def __init__(self, root: Path):
        self.root = root
        self.consoles = [REPOSITORY / "config" / "consoles.yaml"]
        self.when = "2026-03-01T10:00:00+00:00"
        self.scans: list[dict] = []
        self.exclusions: list[dict] = []
        self.vials = [
            {"session": "01", "phantom": "nist_system", "serial": "130-0093", "vial": i, "biomarker": "T1"}
            | {
                "reference": 0.1 * i,
                "measured": 0.105 * i,
                "flag": "ok",
                "used": True,
                "inversion_efficiency": 0.95,
                "snr": 200.0,
            }
            for i in range(1, 9)
        ]
        self.control: list[dict] = []
        self.calibration = {"biomarker": "T1", "form": "gain", "coefficients": [0.0, 1 / 1.05]}
        self.calibration |= {"refused": False, "reason": ""}
        shutil.copytree(REPOSITORY / "sites" / "_template", root / "site")
        for participant, kind in (("T01", "traveler"), ("phantom1", "phantom")):
            for suffix in TIMES:
                self.add(participant, kind, suffix)

    def add(self, participant: str, kind: str, suffix: str, **sidecar) -> None:
        entity = "inv" if suffix == "IRT1" else "echo"
        folder = f"sub-{participant}/ses-01/anat"
        names = [
            f"{folder}/sub-{participant}_ses-01_run-1_{entity}-{k + 1}_{suffix}" for k in range(len(TIMES[suffix]))
        ]
        for name, time in zip(names, TIMES[suffix], strict=True):
            write_image(self.root / "bids" / f"{name}.nii.gz", np.zeros((2, 2, 2), np.int16), np.diag([2.0, 2, 5, 1]))
            content = {KEYS[suffix]: time, "RepetitionTime": 5.0, "MagneticFieldStrength": 3.0}
            content |= {"FlipAngle": 90.0, "PixelBandwidth": 230.0, "NumberOfAverages": 1.0, "Scanner": "scanner1"}
            content |= {"Manufacturer": "Siemens", "DeviceSerialNumber": "12345", "SoftwareVersions": "E11"}
            write_json(self.root / "bids" / f"{name}.json", content | sidecar)
        files = "|".join(f"{name}.nii.gz" for name in names)
        self.scans.append(
            {"series_uid": f"1.2.{len(self.scans)}", "participant_id": participant, "kind": kind, "session": "01"}
            | {"run": "1", "suffix": suffix, "disposition": "used", "reason": "", "action": "", "files": files}
        )

    def judge(self) -> dict:
        write_table(self.root / "scans.tsv", pd.DataFrame(self.scans))
        write_table(self.root / "exclusions.tsv", pd.DataFrame(self.exclusions, columns=list(EXCLUSION_COLUMNS)))
        write_table(self.root / "vials.tsv", pd.DataFrame(self.vials))
        write_table(self.root / "control.tsv", pd.DataFrame(self.control, columns=list(CONTROL_COLUMNS)))
        write_json(self.root / "T1.json", self.calibration)
        check_site.check_site(
            self.root / "site" / "site.yaml",
            self.root / "site" / "participants.tsv",
            self.root / "scans.tsv",
            self.root / "exclusions.tsv",
            self.root / "vials.tsv",
            [self.root / "T1.json"],
            REPOSITORY / "config" / "protocols" / "brain_relaxometry.yaml",
            self.root / "control.tsv",
            consoles=self.consoles,
            verdict=self.root / "verdict.json",
            certificate=self.root / "index.html",
            history=self.root / "history.jsonl",
            schedule=SCHEDULE,
            bids=str(self.root / "bids"),
            trial="A trial",
            when=self.when,
        )
        return json.loads((self.root / "verdict.json").read_text(encoding="utf-8"))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def broken(answer: dict) -> set[tuple[str, str, str]]:
    return {(c["id"], c["scope"], c["verdict"]) for c in answer["checks"] if c["verdict"] != "pass"}


def test_a_conforming_site_passes(site):
    answer = site.judge()
    assert broken(answer) == set()
    assert answer["verdict"] == "pass"
    assert answer["changes"] == []
    assert answer["counts"] == {"pass": len(answer["checks"]), "warn": 0, "fail": 0}
    groups = {check["group"] for check in answer["checks"]}
    assert groups == {"intake", "completeness", "sequences", "protocol", "geometry", "headers", "phantom"}


def test_every_check_has_what_the_certificate_shows(site):
    for check in site.judge()["checks"]:
        for key in ("id", "scope", "severity", "expected", "found", "verdict", "remedy", "parameter"):
            assert check[key], (key, check)
        assert "tolerance" in check


def test_a_short_tr_warns_and_says_how_to_mend_it(site):
    site.scans = [row for row in site.scans if not (row["participant_id"] == "T01" and row["suffix"] == "IRT1")]
    site.add("T01", "traveler", "IRT1", RepetitionTime=2.5)
    answer = site.judge()
    assert answer["verdict"] == "warn"
    assert broken(answer) == {("repetition_time", "sub-T01 ses-01 run-1 IRT1", "warn")}
    change = answer["changes"][0]
    assert (change["parameter"], change["expected"], change["found"]) == ("TR", "at least 4 s", "2.5 s")
    assert (change["console_expected"], change["console_found"]) == ("at least 4000 ms", "2500 ms")
    assert change["remedy"] == 'Raise "TR" (Routine) to 4000 ms or more'


def test_another_field_strength_fails(site):
    site.scans = [row for row in site.scans if row["suffix"] != "MESE" or row["kind"] == "phantom"]
    site.add("T01", "traveler", "MESE", MagneticFieldStrength=1.5)
    answer = site.judge()
    assert answer["verdict"] == "fail"
    assert {"field_strength", "known_field_strength"} <= {name for name, _, _ in broken(answer)}


def test_a_visit_that_never_happened_warns(site):
    site.scans = [row for row in site.scans if row["kind"] == "phantom"]
    answer = site.judge()
    assert broken(answer) == {("planned_session", "sub-T01 ses-01", "warn")}


def test_a_run_without_a_series_warns_and_a_site_without_it_fails(site):
    site.scans = [row for row in site.scans if not (row["kind"] == "traveler" and row["suffix"] == "MESE")]
    assert broken(site.judge()) == {("required_series", "sub-T01 ses-01 run-1", "warn")}
    site.scans = [row for row in site.scans if row["suffix"] != "MESE"]
    assert ("series_received", "all runs", "fail") in broken(site.judge())


def test_an_unreadable_file_warns_with_its_reason(site):
    site.exclusions = [{"site": "a", "series": "dicom/notes.txt", "stage": "intake", "reason": "The file is no DICOM"}]
    answer = site.judge()
    assert broken(answer) == {("unusable_series", "dicom/notes.txt", "warn")}
    assert answer["changes"][0]["found"] == "The file is no DICOM"


def test_a_biased_phantom_is_told(site):
    for row in site.vials:
        row["measured"] = 1.2 * row["reference"]
    answer = site.judge()
    assert {name for name, _, _ in broken(answer)} == {"bias", "calibrated_bias"}
    assert answer["verdict"] == "fail"


def test_a_site_without_phantom_fails_with_the_calibrations_reason(site):
    site.vials = []
    site.vials = pd.DataFrame(columns=["session", "phantom", "serial", "vial", "biomarker", "measured", "reference"])
    site.calibration |= {"form": "none", "refused": True, "reason": "No phantom session was received"}
    answer = site.judge()
    assert ("calibration", "T1", "fail") in broken(answer)


def test_lost_and_odd_sidecars_do_not_stop_it(site):
    sidecars = sorted((site.root / "bids").rglob("*.json"))
    sidecars[0].unlink()
    sidecars[1].write_text("not json")
    sidecars[2].write_text('{"InversionTime": {"a": 1}, "RepetitionTime": "soon", "MagneticFieldStrength": [null]}')
    assert site.judge()["verdict"] == "fail"


def test_nothing_arrived(site):
    site.scans = [dict.fromkeys(site.scans[0], "") | {"disposition": "ignored", "reason": "no series of the protocol"}]
    answer = site.judge()
    assert answer["verdict"] == "fail"
    assert ("usable_series", "all series", "fail") in broken(answer)


def test_the_same_site_gives_the_same_bytes(site):
    site.judge()
    first = (site.root / "verdict.json").read_bytes()
    site.judge()
    assert (site.root / "verdict.json").read_bytes() == first


def test_the_remedy_speaks_the_language_of_the_console(site):
    site.scans = [row for row in site.scans if not (row["participant_id"] == "T01" and row["suffix"] == "IRT1")]
    philips = {"Manufacturer": "Philips", "PixelBandwidth": 110.0, "NumberOfAverages": 2.0, "ImagingFrequency": 127.77}
    site.add("T01", "traveler", "IRT1", **philips)
    changes = {change["id"]: change for change in site.judge()["changes"]}
    assert changes["averages"]["parameter"] == "NSA"
    assert changes["averages"]["remedy"] == 'Set "NSA" (Motion) to 1'
    # 3.4 ppm of 127.77 MHz are 434.4 Hz.
    bandwidth = changes["receiver_bandwidth"]
    assert bandwidth["parameter"] == "Water-fat shift (pixels)"
    assert (bandwidth["console_found"], bandwidth["found"]) == ("3.95 pixels", "110 Hz/px")
    assert bandwidth["remedy"] == 'Lower "Water-fat shift (pixels)" (Contrast) to 1.89 pixels or less'


def test_slices_that_moved_between_two_series_are_told(site):
    image = sorted((site.root / "bids").rglob("sub-T01*echo-1_MESE.nii.gz"))[0]
    affine = np.diag([2.0, 2, 5, 1])
    affine[2, 3] = 12.5
    write_image(image, np.zeros((2, 2, 2), np.int16), affine)
    answer = site.judge()
    assert broken(answer) == {("same_slices", "sub-T01 ses-01 run-1 IRT1 and MESE", "warn")}
    assert answer["changes"][0]["found"] == "centers 12.5 mm apart"
    assert "Copy Parameters" in answer["changes"][0]["remedy"]


def test_a_series_that_nobody_asked_for_is_told_once_a_kind(site):
    for number in range(2):
        row = dict(site.scans[0]) | {"suffix": "MEGRE", "disposition": "ignored", "reason": "not needed", "files": ""}
        site.scans.append(row | {"series_uid": f"1.9.{number}"})
    answer = site.judge()
    assert {name for name, _, _ in broken(answer)} == {"extra_series"}
    assert answer["changes"][0]["found"] == "MEGRE in 1 session besides"


def test_a_run_beyond_the_plan_is_told(site):
    site.scans.append(dict(site.scans[0]) | {"run": "2", "series_uid": "1.2.99"})
    site.scans.append(dict(site.scans[1]) | {"run": "2", "series_uid": "1.2.98"})
    assert ("unplanned_run", "sub-T01 ses-01", "warn") in broken(site.judge())


def test_the_history_grows_by_verdicts_that_differ(site):
    site.judge()
    site.when = "2026-03-02T10:00:00+00:00"
    site.judge()
    site.scans = [row for row in site.scans if row["kind"] == "phantom"]
    site.when = "2026-03-03T10:00:00+00:00"
    site.judge()
    lines = [json.loads(line) for line in (site.root / "history.jsonl").read_text().splitlines()]
    assert [(e["number"], e["date"][:10], e["verdict"]) for e in lines] == [
        (1, "2026-03-01", "pass"),
        (2, "2026-03-03", "warn"),
    ]
    assert lines[1]["changes"] == ["planned_session (warn)"]
    page = (site.root / "index.html").read_text()
    assert "2026-03-01" in page
    assert "pass with warnings" in page


def test_a_damaged_history_is_kept_and_told(site):
    site.judge()
    path = site.root / "history.jsonl"
    path.write_bytes(b"\xff not json\n" + path.read_bytes().rstrip(b"\n"))
    before = path.read_bytes()
    site.scans = [row for row in site.scans if row["kind"] == "phantom"]
    site.judge()
    assert path.read_bytes().startswith(before + b"\n")
    assert "unreadable" in (site.root / "index.html").read_text()


def test_a_trial_without_consoles_speaks_in_sidecar_keys(site):
    site.consoles = []
    site.scans = [row for row in site.scans if not (row["participant_id"] == "T01" and row["suffix"] == "IRT1")]
    site.add("T01", "traveler", "IRT1", RepetitionTime=2.5)
    change = site.judge()["changes"][0]
    assert (change["parameter"], change["remedy"]) == ("RepetitionTime", 'Raise "RepetitionTime" to 4 s or more')
