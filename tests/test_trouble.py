"""The machine's trouble is told apart from the data's: nothing half is kept, and nothing is blamed on a scan."""

import errno
import os
import resource
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from isocenter.errors import DiskError, IsocenterError, OutOfMemoryError, SidecarError
from isocenter.io.nifti import read_volume, refuse_images, write_bytes, write_image
from isocenter.io.outcome import Exclusion, take_unsettled
from isocenter.trouble import find_trouble, raise_trouble


@pytest.fixture(autouse=True)
def nothing_unsettled():
    """What tests before this one left in the same process is none of its reasons."""
    take_unsettled()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("this machine lets no test mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_map_that_the_disk_cannot_hold_leaves_the_old_one_whole(small_disk):
    path = small_disk / "sub-1_T1map.nii.gz"
    write_image(path, np.zeros((4, 4, 4), np.float32), np.eye(4))
    before = path.read_bytes()
    noise = np.random.default_rng(1).normal(size=(64, 64, 64)).astype(np.float32)
    with pytest.raises(DiskError, match=r"The disk is full; where: .*T1map.*MiB are left.*make room on the disk"):
        write_image(path, noise, np.eye(4))
    assert [entry.name for entry in small_disk.iterdir()] == [path.name]
    assert path.read_bytes() == before
    (small_disk / "note.txt").write_bytes(bytes(200))  # what was begun is gone, so there is room again
    assert read_volume(path).data.shape == (4, 4, 4)


def test_a_full_disk_is_no_reason_to_leave_a_scan_out(small_disk):
    with pytest.raises(OSError, match="No space left") as caught:
        (small_disk / "large").write_bytes(bytes(10**6))
    with pytest.raises(DiskError, match="The disk is full"):
        Exclusion.from_error("fit", caught.value)
    with pytest.raises(DiskError):
        raise_trouble(caught.value)
    assert take_unsettled() == []


def test_what_another_program_could_not_write_is_the_disks_fault_where_it_is_full(small_disk, monkeypatch):
    """The converter says only that it failed."""
    error = SidecarError("dcm2niix made no image")
    assert find_trouble(error) is None
    monkeypatch.chdir(small_disk)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(10**6))
    assert isinstance(find_trouble(error), DiskError)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "The disk is read-only"), (errno.EDQUOT, "quota"), (errno.EFBIG, "larger than the system lets")],
)
def test_other_refusals_of_a_disk_have_their_words(number, words):
    assert words in str(find_trouble(OSError(number, os.strerror(number), "results/x.nii.gz")))


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(DiskError, match=r"A file cannot be written; where: .*results/a\.tsv"):
        write_bytes(tmp_path / "results" / "a.tsv", b"x")


def test_ordinary_mistakes_are_still_the_datas(tmp_path):
    for error in (SidecarError("no EchoTime"), ValueError("x"), FileNotFoundError(errno.ENOENT, "gone", "a.dcm")):
        assert find_trouble(error) is None
        assert Exclusion.from_error("fit", error).reason


def test_what_to_do_stands_in_its_own_column():
    row = Exclusion.from_error(
        "fit", SidecarError("A sidecar has no EchoTime; where: a.json; what to do: send it again")
    )
    assert row == Exclusion("fit", "A sidecar has no EchoTime; where: a.json", "Send it again")
    row = Exclusion.from_error("fit", SidecarError("one; what to do: mend it\ntwo; what to do: mend that"))
    assert row.reason == "one; what to do: mend it\ntwo; what to do: mend that"  # each has its own


def test_want_of_memory_is_a_row_at_a_scan_and_an_error_elsewhere():
    error = MemoryError("Unable to allocate 9.00 GiB")
    row = Exclusion.from_error("fit", error)
    assert "more memory than there is" in row.reason
    assert "9.00 GiB" in row.reason
    assert row.action.startswith("Run with fewer cores (isocenter run --cores 1)")
    assert len(take_unsettled()) == 1  # the next run tries again
    with pytest.raises(OutOfMemoryError):  # numbers must not change because a phantom's session found no memory
        Exclusion.from_error("phantom", error)


def test_a_step_that_gives_up_reads_no_image(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_image(path, np.zeros((2, 2, 2), np.float32), np.eye(4))
    with refuse_images(OutOfMemoryError("no memory")), pytest.raises(IsocenterError, match="no memory"):
        read_volume(path)
    assert read_volume(path).data.shape == (2, 2, 2)


FIT = """
import resource, sys
from pathlib import Path
import fit_map
from isocenter.fitting import compile_kernels
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
folder = Path(sys.argv[1])
names = {name: folder / f"{name}.nii.gz" for name in ("map", "stderr", "flag", "fit")}
fit_map.fit_map(
    [folder / "huge.nii.gz"], **names, model="t2star_multi_echo", parameter="T2star", unit="s", options={},
    plausible_range=[0, 1],
)
"""


def test_a_fit_that_wants_more_memory_than_it_gets_says_so(tmp_path):
    """The limit is real: the kernel refuses the allocation."""
    import gzip

    import nibabel as nib

    from isocenter.io.nifti import read_sidecar, write_json

    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 400, 4))  # 1.6 GiB as float32
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    zeros = gzip.compress(bytes(2**20), compresslevel=1)
    content = gzip.compress(header.binaryblock + bytes(4)) + zeros * 400  # members of gzip may follow one another
    (tmp_path / "huge.nii.gz").write_bytes(content)
    write_json(tmp_path / "huge.json", {"EchoTime": [0.005, 0.01, 0.015, 0.02], "MagneticFieldStrength": 3})
    ended = subprocess.run([sys.executable, "-c", FIT, str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    outcome = read_sidecar(tmp_path / "map.nii.gz")["Outcome"]
    assert (outcome["stage"], "more memory than there is" in outcome["reason"]) == ("fit", True), outcome
    assert "--cores 1" in outcome["action"]


WRITE = """
import resource, sys
import numpy as np
from isocenter.io.nifti import write_image
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_image(sys.argv[1], np.random.default_rng(1).normal(size=(64, 64, 64)).astype(np.float32), np.eye(4))
"""


def test_a_file_beyond_the_users_limit_is_never_half(tmp_path):
    path = tmp_path / "a.nii.gz"
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(WRITE), str(path)], capture_output=True, text=True)
    assert "DiskError: A file would be larger than the system lets it be" in ended.stderr
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000
