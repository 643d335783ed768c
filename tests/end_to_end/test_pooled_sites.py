"""Sites that are run by themselves and pooled end in the same tables, to the byte, as one run of all of them."""

import shutil
import subprocess
import sys

import pytest
from end_to_end.conftest import Trial
from typer.testing import CliRunner

from isocenter import audit, layout
from isocenter.cli import app
from isocenter.verify_command import verify

ISOCENTER = [sys.executable, "-c", "from isocenter.cli import main; main()"]
SITES = ("siteA", "siteB")


def call(directory, *arguments):
    ended = subprocess.run([*ISOCENTER, *map(str, arguments)], cwd=directory, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def part(trial, directory, site, *, with_results):
    """A folder of its own for one site, as another machine would have it."""
    kept = ["config", layout.fill(layout.SITE_FOLDER, site=site)]
    if with_results:
        kept += [layout.fill(layout.SITE, site=site), layout.TEMPLATE]
    for path in kept:
        shutil.copytree(trial.directory / path, directory / path)  # times are kept
    return directory


def pool(trial, directory, folders):
    shutil.copytree(trial.directory / "config", directory / "config")
    call(directory, "pool", "--cores", 2, *folders)
    return Trial(directory)


def numbers(trial):
    """Everything under ``results/trial``, by name."""
    folder = trial.directory / layout.TRIAL
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def pages(trial):
    folder = (trial.directory / layout.REPORT).parent
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def assert_as_one_run(pooled, whole):
    assert numbers(pooled) == numbers(whole)
    assert pages(pooled) == pages(whole)
    assert verify(pooled.directory).findings == []


def test_pooled_sites_are_as_one_run_and_know_where_they_come_from(small, tmp_path):
    folders = []
    for site in SITES:
        folder = part(small, tmp_path / site, site, with_results=True)
        told = call(folder, "run", "--site", site, "--cores", 2)
        assert site in told
        assert (folder / layout.fill(layout.SITE_RECORD, site=site)).is_file()
        assert not (folder / layout.TRIAL).exists(), "a site by itself has no table of the trial"
        assert verify(folder).findings == []
        folders.append(folder)
    pooled = pool(small, tmp_path / "pool", folders)
    directory = pooled.directory
    assert_as_one_run(pooled, small)
    assert "Run elsewhere and taken in: siteA, siteB" in call(directory, "status")
    assert not list(directory.glob("sites/*/dicom"))

    row = pooled.table(layout.MEASUREMENTS).dropna(subset="value").iloc[-1]
    where = (row["site"], row["participant_id"], row["session"], row["run"])
    tree = call(directory, "trace", *where, "-b", row["biomarker"], "-r", row["roi"])
    assert "series_uid" in tree
    assert "(as then)" in tree

    entries = audit.read_log(directory)
    assert [entry.kind for entry in entries] == ["pool", "pool", "run"]
    assert "of the pool" in entries[-1].what
    assert "Nothing to do" in call(directory, "pool", *folders)
    assert len(audit.read_log(directory)) == len(entries)

    refused = CliRunner().invoke(app, ["run", "-d", str(directory)])
    assert "run elsewhere and taken in" in str(refused.exception)

    call(directory, "exclude", "siteB", "T02", "-m", "moved")
    call(directory, "pool", "--cores", 2)
    left = pooled.table(layout.MEASUREMENTS)
    assert set(left.query("site == 'siteB'")["participant_id"]) == {"T01"}
    assert set(left.query("site == 'siteA'")["participant_id"]) == {"T01", "T02"}
    assert verify(directory).findings == []


@pytest.mark.slow
def test_one_folder_may_be_run_site_by_site_and_then_pooled(copy_of_small):
    directory = copy_of_small.directory
    expected = numbers(copy_of_small)
    shutil.rmtree(directory / layout.TRIAL)
    shutil.rmtree((directory / layout.REPORT).parent)
    call(directory, "run", "--site", "siteB", "--cores", 2)
    refused = CliRunner().invoke(app, ["pool", "-d", str(directory)])
    assert "siteA was not run to its end" in str(refused.exception)
    call(directory, "run", "--site", "siteA", "--site", "siteB", "--cores", 2)
    assert not (directory / layout.TRIAL).exists()
    call(directory, "pool", "--cores", 2)
    assert numbers(copy_of_small) == expected
    assert "Nothing to do" in call(directory, "run", "--cores", 2)  # for one run of all, too, everything is there
    assert verify(directory).findings == []


@pytest.mark.slow
def test_sites_that_are_run_from_their_dicom_apart_pool_to_the_tables_of_one_run(small, tmp_path):
    folders = [part(small, tmp_path / site, site, with_results=False) for site in SITES]
    for site, folder in zip(SITES, folders, strict=True):
        call(folder, "run", "--site", site, "--cores", 2)
    assert_as_one_run(pool(small, tmp_path / "pool", folders), small)
