"""The disk fills up, a site's folder goes away, clocks jump: others go on, the reason stands, the next run mends it."""

import os
import shutil
import subprocess
import time

import pytest
from end_to_end.running import (
    assert_same_and_recorded,
    call,
    finish,
    jobs_done,
    remake_regions,
    tables,
    wait_for,
)

from isocenter import audit, layout
from isocenter.io.tables import read_table
from isocenter.unsettled import read_unsettled

YEAR = 365 * 86400


@pytest.fixture
def on_small_disk(small, tmp_path):
    """A copy of the small trial on a disk of its own, with 48 MiB to spare."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = sum(path.stat().st_blocks * 512 for path in small.directory.rglob("*")) + 48 * 2**20
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this machine lets no test mount a disk")
    shutil.copytree(small.directory, folder / "trial", symlinks=True)
    yield folder / "trial"
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    """Somebody else's data takes what room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**20))
        except OSError:
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                return


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_a_reason_and_the_next_one_goes_on(on_small_disk, start, tmp_path):
    directory = on_small_disk
    expected = tables(directory)
    whole = {p: p.read_bytes() for p in directory.glob("results/sites/*/derivatives/**/*_T1map.nii.gz")}
    remake_regions(directory)
    with (tmp_path / "said.txt").open("w") as output:
        front = start(directory, output)
        wait_for(lambda: jobs_done(directory) >= 1)
        filler = directory.parent / "filler"
        fill(filler)
        assert front.wait(timeout=900) == 1
    said = (tmp_path / "said.txt").read_text()
    assert "is full; what to do: make room on the disk" in said, said
    assert "Traceback" not in said
    made = [path for path in whole if path.is_file()]
    assert len(made) < len(whole)
    for path in made:  # none is half, and none is an empty map that blames the scan
        assert path.read_bytes() == whole[path], path
    refused = call(directory, "run", "--cores", "2")
    assert refused.returncode == 2
    assert "DiskError: The disk is full" in refused.stderr
    assert "make room on the disk" in refused.stderr
    assert "Traceback" not in refused.stderr
    filler.unlink()
    finish(directory)
    assert_same_and_recorded(directory, expected)


@pytest.mark.slow
def test_a_site_that_goes_away_in_the_middle_stops_no_other(copy_of_small, start):
    directory = copy_of_small.directory
    expected = tables(directory)
    bids = directory / layout.fill(layout.BIDS, site="siteB")
    shutil.rmtree(bids)
    for path in (layout.SCANS, layout.INTAKE_EXCLUSIONS, layout.INTAKE_INDEX):
        (directory / layout.fill(path, site="siteB")).unlink()
    source, away = directory / "sites/siteB/dicom", directory.parent / "unplugged"
    front = start(directory)
    wait_for(lambda: any(bids.glob("sub-*/**/*.nii.gz")))  # it is being read
    source.rename(away)
    assert front.wait(timeout=1200) == 0
    measured = read_table(directory / layout.MEASUREMENTS, text=("site",))
    assert set(measured["site"]) == {"siteA"}
    reasons = read_table(directory / layout.EXCLUSIONS, text=("site", "reason", "action")).query("site == 'siteB'")
    assert reasons["reason"].str.contains("went away while it was read|folder of the site's DICOM is missing").any()
    assert list(read_unsettled(directory))
    assert "tries them again" in call(directory, "status").stdout
    away.rename(source)  # with all its times as they were
    assert "Tried again" in finish(directory)
    assert_same_and_recorded(directory, expected)
    assert read_unsettled(directory) == {}


@pytest.mark.slow
def test_times_of_another_year_neither_loop_nor_hide_a_change(copy_of_small):
    """Inputs of next year and of 1970, results of a clock that was ahead; then a change under an old date."""
    directory = copy_of_small.directory
    expected = tables(directory)
    future = time.time() + YEAR
    for number, path in enumerate(sorted(directory.glob("sites/siteB/dicom/**/*"))):
        if path.is_file():
            os.utime(path, (0, 0) if number % 2 else (future, future))
    for name in (layout.SITE_YAML, layout.PARTICIPANTS):
        path = directory / layout.fill(name, site="siteB")
        os.utime(path, (future, future))
    said = finish(directory)
    assert "Dated now" in said
    assert_same_and_recorded(directory, expected)
    assert "Nothing to do" in finish(directory)
    for path in directory.glob("results/**/*"):
        if path.is_file() and layout.AUDIT not in str(path):
            stamp = path.stat().st_mtime_ns + YEAR * 10**9
            os.utime(path, ns=(stamp, stamp))
    assert "Nothing to do" in finish(directory)
    table = directory / layout.fill(layout.PARTICIPANTS, site="siteB")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("T02\t")))
    os.utime(table, (0, 0))
    finish(directory)
    measured = read_table(directory / layout.MEASUREMENTS, text=("site", "participant_id"))
    assert set(measured.query("site == 'siteB'")["participant_id"]) == {"T01"}
    assert audit.check_chain(directory) is None
