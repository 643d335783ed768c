"""Disks that fail under the intake: what could not be read is read again, and a full disk quarantines no series."""

import os
import subprocess

import pytest
from dicom.small import header, write_classic
from dicom.test_archives import pack
from dicom.test_recognize import INVERSIONS, only

from isocenter.errors import DiskError
from isocenter.io.outcome import take_unsettled


@pytest.fixture
def mount():
    """Mounts, and takes away what is mounted when the test ends."""
    places = []

    def do(*arguments):
        made = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"this machine lets no test mount: {made.stderr.strip()}")
        places.append(arguments[-1])

    yield do
    for place in places:
        subprocess.run(["umount", str(place)], capture_output=True)


def test_a_file_that_a_disk_could_not_give_is_read_again(site, mount):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    take_unsettled()
    broken = sorted((site.dicom / "a").iterdir())[0]
    mount("--bind", f"/proc/{os.getpid()}/mem", broken)  # every reading of it is an error of input and output
    site.take_in()
    reasons = set(site.exclusions()["reason"])
    assert any("The file cannot be read: Input/output error" in reason for reason in reasons), reasons
    assert "The file cannot be read: Input/output error" in take_unsettled()
    subprocess.run(["umount", str(broken)], check=True)  # nothing of its name, size or time differs from before
    assert only(site.take_in()).disposition == "used"
    assert len(site.exclusions()) == 0
    assert take_unsettled() == []


def test_an_archive_that_a_disk_could_not_give_is_read_again(site, images, mount):
    pack(images, site.dicom / "visit.zip")
    write_classic(site.dicom / "beside", header("beside", time="120000"), INVERSIONS)
    take_unsettled()
    mount("--bind", f"/proc/{os.getpid()}/mem", site.dicom / "visit.zip")
    assert only(site.take_in()).disposition == "used"
    row = only(site.exclusions())
    assert (row.path, row.reason) == ("visit.zip", "The archive cannot be read: Input/output error")
    assert take_unsettled() == [row.reason]
    subprocess.run(["umount", str(site.dicom / "visit.zip")], check=True)
    assert site.take_in().disposition.tolist() == ["used", "used"]
    assert len(site.exclusions()) == 0
    assert take_unsettled() == []


def test_a_disk_that_is_full_is_not_the_fault_of_an_archive(site, images, mount):
    pack(images, site.dicom / "visit.zip")
    unpacked = site.folder / ".unpacked"
    unpacked.mkdir()
    mount("-t", "tmpfs", "-o", "size=8k", "tmpfs", unpacked)
    with pytest.raises(DiskError, match="The disk is full"):
        site.take_in()
    assert not (site.folder / "results" / "intake" / "scans.tsv").exists()
    subprocess.run(["mount", "-o", "remount,size=8m", str(unpacked)], check=True)
    assert only(site.take_in()).disposition == "used"


def test_a_folder_that_is_not_there_leaves_the_images_of_before(site):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    site.take_in()
    take_unsettled()
    before = {name: stamp for name, stamp in site.files().items() if name.startswith("bids/")}
    site.dicom.rename(site.folder / "unplugged")
    assert len(site.take_in()) == 0
    assert "The folder of the site's DICOM is missing" in only(site.exclusions()).reason
    assert len(take_unsettled()) == 1
    assert {name: stamp for name, stamp in site.files().items() if name.startswith("bids/")} == before
    (site.folder / "unplugged").rename(site.dicom)
    assert only(site.take_in()).disposition == "used"
    assert {name: stamp for name, stamp in site.files().items() if name.startswith("bids/")} == before


def test_a_full_disk_stops_the_intake_and_quarantines_nothing(site, mount):
    write_classic(site.dicom / "a", header(), INVERSIONS)
    results = site.folder / "results"
    results.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", results)
    with pytest.raises(OSError, match="No space left"):
        (results / "filler").write_bytes(bytes(10**6))
    with pytest.raises(DiskError, match="The disk is full"):
        site.take_in()
    assert not (results / "intake" / "scans.tsv").exists()
    (results / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(results)], check=True)
    assert only(site.take_in()).disposition == "used"
