"""What runs again, and what does not."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from end_to_end.conftest import REPOSITORY, SMALL
from end_to_end.running import call

from isocenter import layout
from isocenter.recorded_run import record_run

FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)$", flags=re.MULTILINE)
COUNT = re.compile(r"^(\w+) +(\d+)$", flags=re.MULTILINE)


def count_jobs(trial) -> dict[str, int]:
    """The jobs that the last run did, by rule, from its log."""
    rules = FINISHED.findall((trial.directory / layout.LOGS / "run.log").read_text())
    return {rule: rules.count(rule) for rule in sorted(set(rules)) if rule != "all"}


def test_a_second_run_does_nothing_and_says_so(small):
    command = [str(Path(sys.executable).with_name("isocenter")), "run", "--cores", "2", "-d", str(small.directory)]
    start = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert ended.returncode == 0, ended.stderr
    assert "Nothing to do" in ended.stdout
    assert seconds <= 15


def test_a_new_session_runs_its_own_jobs_and_the_pooled_ones(copy_of_small):
    raw = {p: p.stat().st_mtime_ns for p in copy_of_small.directory.glob("results/sites/*/bids/**/*.nii.gz")}
    n_before = len(copy_of_small.table(layout.MEASUREMENTS))
    add_third_session_of_one_volunteer(copy_of_small)
    copy_of_small.run()
    ran = count_jobs(copy_of_small)
    assert {rule: ran.get(rule) for rule in ("align_series", "fit_map", "calibrate_map")} == {
        "align_series": 1,
        "fit_map": 2,
        "calibrate_map": 2,
    }
    assert {rule: ran.get(rule) for rule in ("index_site", "transfer_labels", "extract_rois")} == {
        "index_site": 1,
        "transfer_labels": 1,
        "extract_rois": 1,
    }
    assert {ran.get(rule) for rule in ("pool_measurements", "compute_statistics", "make_report", "check_site")} == {1}
    assert not {"measure_vials", "fit_calibration", "pool_vials", "make_template"} & set(ran)
    assert len(copy_of_small.table(layout.MEASUREMENTS)) == n_before + 6
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in raw.items())


def add_third_session_of_one_volunteer(trial) -> None:
    """Put one volunteer's session 03 at the first site, from the same trial simulated with one session more."""
    longer = type(trial)(trial.directory.parent / "longer")
    longer.simulate(**dict(SMALL, sessions=3))
    source = longer.directory / "sites" / "siteA" / "dicom"
    folder = sorted(path for path in source.iterdir() if path.is_dir() and "T01" in path.name)[-1]
    shutil.copytree(folder, trial.directory / "sites" / "siteA" / "dicom" / folder.name)


@pytest.fixture
def own_code(tmp_path) -> Path:
    """A copy of the workflow and its code that a test may edit."""
    code = tmp_path / "code"
    for name in ("workflow", "scripts"):
        shutil.copytree(REPOSITORY / name, code / name)
    shutil.copy2(REPOSITORY / "environment.yml", code)
    return code


def dry_run(code: Path, directory: Path) -> dict[str, int]:
    """The jobs, by rule, that plain Snakemake would run on a trial with a copy of the code, which is not installed."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(code / "workflow" / "Snakefile")]
    command += ["--directory", str(directory), "--dry-run", "--cores", "2"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 0, printed
    return {rule: int(n) for rule, n in COUNT.findall(printed) if rule not in ("total", "all")}


def test_unchanged_code_reruns_nothing(small, own_code):
    assert dry_run(own_code, small.directory) == {}


def test_editing_a_model_reruns_its_fits(small, own_code):
    model = own_code / "scripts" / "isocenter" / "models" / "t1_inversion_recovery.py"
    model.write_text(model.read_text() + "\n# a changed model\n")
    jobs = dry_run(own_code, small.directory)
    maps = small.directory.glob("results/sites/*/derivatives/isocenter/sub-*/ses-*/anat/*_run-?_T1map.nii.gz")
    assert jobs["fit_map"] == len(list(maps))
    assert "index_site" not in jobs


@pytest.mark.slow
def test_a_dry_run_says_what_would_run_and_touches_nothing(copy_of_small):
    directory = copy_of_small.directory
    record_run(directory, {}, "the whole trial")  # the manifest knows the sizes
    maps = directory.glob("results/sites/siteA/derivatives/isocenter/sub-T0?/ses-01/anat/*_run-1_T1map.nii.gz")
    first, second = sorted(maps)[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    told = call(directory, "run", "--", "--dry-run")
    assert told.returncode == 0, told.stderr
    counts = dict(re.findall(r"^│ (\w+) +│ (\d+)", told.stdout, re.MULTILINE))
    assert counts["fit_map"] == "2", told.stdout
    assert "index_site" not in counts
    assert f"{sum(map(int, counts.values()))} jobs would run; {layout.PLAN_LOG} names each" in told.stdout
    after = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert {path.relative_to(directory).parts[0] for path in changed} <= {".snakemake", "results"}
    assert {path for path in changed if "results" in path.parts} == {directory / layout.PLAN_LOG}
