"""Archives are unpacked once and within bounds; what must not come out of one is a row."""

import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from dicom.test_recognize import only
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocenter.dicom import archives, bids
from isocenter.dicom.index import list_digests, read_images
from isocenter.dicom.walk import Found

REAL = Path(__file__).resolve().parents[3] / "shared/data/nist_system_phantom/session_a_dicom.tar.gz"


def pack(images: Path, path: Path) -> None:
    """An archive of a folder, of the kind that its ending says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for image in sorted(images.iterdir()):
                archive.write(image, f"a/{image.name}")
        return
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        archive.add(images, "./a")


def unpacked(site) -> list[Path]:
    return [path for path in (site.folder / ".unpacked").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["visit.zip", "visit.tar", "visit.tar.gz", "VISIT.TGZ"])
def test_images_of_an_archive_are_those_of_a_folder(site, images, name, tmp_path):
    shutil.copytree(images, site.dicom / "a")
    expected = only(site.take_in())
    written = {p: (site.bids / p).read_bytes() for p in expected.files.split("|")}
    shutil.rmtree(site.dicom / "a")
    shutil.rmtree(site.folder / "results")
    pack(images, site.dicom / name)
    row = only(site.take_in())
    pd.testing.assert_series_equal(row, expected)
    assert {p: (site.bids / p).read_bytes() for p in row.files.split("|")} == written
    assert len(site.exclusions()) == 0


def test_digests_of_images_in_an_archive_are_listed_by_series(site, images):
    expected = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in images.iterdir())
    pack(images, site.dicom / "visit.zip")
    (site.dicom / "note.txt").write_text("no image")
    row = site.take_in().iloc[0]
    index = site.folder / "results" / "intake" / "index.json"
    assert list_digests(index)[row.series_uid] == expected
    index.write_text(index.read_text().replace('"fields"', '"other"'))
    assert list_digests(index) == {}
    assert list_digests(site.folder / "nowhere.json") == {}


def test_an_unchanged_archive_is_not_unpacked_again(site, images, monkeypatch):
    pack(images, site.dicom / "visit.tar.gz")
    site.take_in()
    before = site.files()
    for module, name in ((archives, "_unpack"), (archives, "_digest_file"), (bids, "convert_set")):
        monkeypatch.setattr(module, name, None)
    monkeypatch.setattr("isocenter.dicom.index.read_image", None)
    site.take_in()
    assert site.files() == before


def test_a_touched_archive_is_known_by_its_content(site, images, monkeypatch):
    pack(images, site.dicom / "visit.zip")
    site.take_in()
    os.utime(site.dicom / "visit.zip", (1, 1))
    monkeypatch.setattr(archives, "_unpack", None)
    monkeypatch.setattr("isocenter.dicom.index.read_image", None)
    assert only(site.take_in()).disposition == "used"


def test_a_lost_folder_is_unpacked_again_and_an_old_one_removed(site, images):
    pack(images, site.dicom / "visit.zip")
    site.take_in()
    assert len(unpacked(site)) == 9
    shutil.rmtree(site.folder / ".unpacked")
    site.take_in()
    assert len(unpacked(site)) == 9
    (site.dicom / "visit.zip").unlink()
    site.take_in()
    assert not (site.folder / ".unpacked").exists()


def test_a_damaged_file_is_named_within_its_archive(site, images):
    (images / "image003").write_bytes((images / "image003").read_bytes()[:-50])
    pack(images, site.dicom / "visit.zip")
    assert only(site.take_in()).disposition == "quarantined"
    assert "visit.zip/a/image003" in set(site.exclusions().series)


def test_what_is_unpacked_is_for_its_owner_alone(site, images):
    pack(images, site.dicom / "visit.zip")
    site.take_in()
    folder = site.folder / ".unpacked"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.name.isdigit() or path.name == "contents.json" for path in unpacked(site))


# Hostile entries: each is a row, and the good images beside them are used ------------------------------
def add_zip(path, name, content=b"x", mode=0o644):
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)


def add_tar(path, name, kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        member.size = 1 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"x"))


ENTRIES = {
    "zip_up": (lambda p: add_zip(p, "../../escaped"), "leads out"),
    "zip_absolute": (lambda p: add_zip(p, "/tmp/isocenter-escaped"), "leads out"),
    "zip_drive": (lambda p: add_zip(p, "C:\\escaped"), "leads out"),
    "zip_backslashes": (lambda p: add_zip(p, "a\\..\\..\\escaped"), "leads out"),
    "zip_link": (lambda p: add_zip(p, "link", b"/etc/passwd", 0o120777), "link"),
    "zip_nested": (lambda p: add_zip(p, "inner.zip"), "archive within an archive"),
    "zip_nameless": (lambda p: add_zip(p, ""), "has no name"),
    "zip_formula": (lambda p: add_zip(p, "=1+1"), "no DICOM"),
    "tar_up": (lambda p: add_tar(p, "../../escaped"), "leads out"),
    "tar_absolute": (lambda p: add_tar(p, "/tmp/isocenter-escaped"), "leads out"),
    "tar_link": (lambda p: add_tar(p, "link", tarfile.SYMTYPE, "/etc/passwd"), "link"),
    "tar_hard_link": (lambda p: add_tar(p, "link", tarfile.LNKTYPE, "../../../site.yaml"), "link"),
    "tar_device": (lambda p: add_tar(p, "device", tarfile.CHRTYPE), "no plain file"),
    "tar_pipe": (lambda p: add_tar(p, "pipe", tarfile.FIFOTYPE), "no plain file"),
    "tar_nested": (lambda p: add_tar(p, "inner.tar.gz"), "archive within an archive"),
}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_hostile_entry_is_a_row(site, images, name):
    spoil, reason = ENTRIES[name]
    path = site.dicom / f"visit.{name.split('_')[0]}"
    pack(images, path)
    spoil(path)
    assert only(site.take_in()).disposition == "used"
    row = only(site.exclusions())
    assert reason in row.reason
    assert row.path.startswith(f"{path.name}/")
    assert row.action
    names = {p.name for p in site.folder.iterdir()}
    assert names - {".arrived.txt"} == {"site.yaml", "participants.tsv", "dicom", "images", "results", ".unpacked"}
    assert not Path("/tmp/isocenter-escaped").exists()


# Archives that are refused whole: one row, and nothing is left of them ----------------------------------
def bomb_zip(path, images):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(200 * 2**20))


def bomb_tar(path, images):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 300 * 2**20
        archive.addfile(member, io.BytesIO(bytes(member.size)))


def lock_zip(path, images):
    pack(images, path)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + at] |= 1
            start = content.find(mark, start + 4)
    path.write_bytes(content)


def cut_off(path, images):
    pack(images, path)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])


def flip_bits(path, images):
    pack(images, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x55
    path.write_bytes(content)


def flip_header(path, images):
    pack(images, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"./a/image002") + 3] ^= 0x55
    path.write_bytes(content)


def cut_between_entries(path, images):
    pack(images, path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"./a/image005")])


def chain_headers(path, images):
    """A thousand long names, each of the next: the reader asks for one within the other."""
    member = tarfile.TarInfo("a")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 3
    path.write_bytes((member.tobuf(tarfile.GNU_FORMAT) + b"abc".ljust(512, b"\0")) * 3000 + bytes(10240))


def spoil_sparse(path, images):
    """A pax header whose map of a sparse file holds no numbers."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"GNU.sparse.map": "x,y"}
        archive.addfile(member)


def rename_in_bytes(path, images):
    """A name that its flag calls UTF-8, and is none."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é", b"x")
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))


def spoil_bzip(path, images):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"x" * 900)
    path.write_bytes(path.read_bytes().replace(b"BZh9", b"BZh0", 1))


REFUSED = {
    "chain.tar": (chain_headers, "damaged or cut off"),
    "sparse.tar": (spoil_sparse, "damaged or cut off"),
    "letters.zip": (rename_in_bytes, "damaged or cut off"),
    "bzip.zip": (spoil_bzip, "damaged or cut off"),
    "header.tar": (flip_header, "damaged or cut off"),
    "short.tar": (cut_between_entries, "damaged or cut off"),
    "cut.tar": (cut_off, "damaged or cut off"),
    "bomb.zip": (bomb_zip, "unpacks to more than"),
    "bomb.tar.gz": (bomb_tar, "unpacks to more than"),
    "locked.zip": (lock_zip, "locked by a password"),
    "cut.zip": (cut_off, "damaged or cut off"),
    "cut.tar.gz": (cut_off, "damaged or cut off"),
    "flipped.zip": (flip_bits, "damaged or cut off"),
    "flipped.tgz": (flip_bits, "damaged or cut off"),
    "text.zip": (lambda path, images: path.write_text("no archive"), "damaged or cut off"),
    "text.tar": (lambda path, images: path.write_text("no archive"), "damaged or cut off"),
    "empty.tgz": (lambda path, images: path.write_bytes(b""), "damaged or cut off"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_archive_is_one_row(site, images, name):
    make, reason = REFUSED[name]
    shutil.copytree(images, site.dicom / "good")
    make(site.dicom / name, images)
    assert only(site.take_in()).disposition == "used"
    row = only(site.exclusions())
    assert (row.path, reason in row.reason) == (name, True), row.reason
    assert [path.name for path in unpacked(site)] == ["contents.json"]
    before = site.files()
    site.take_in()
    assert site.files() == before


def test_a_mistake_of_ours_is_not_taken_for_a_damaged_archive(site, images, monkeypatch):
    pack(images, site.dicom / "visit.zip")
    monkeypatch.setattr(archives, "_judge_name", lambda name: int(name))
    path = site.dicom / "visit.zip"
    with pytest.raises(ValueError, match="invalid literal"):
        archives.expand(Found(path, path.name, path.stat().st_size, 0), None, site.folder / ".unpacked")


FUZZED = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
@FUZZED
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.floats(0, 1),
)
def test_whatever_the_bytes_of_an_archive_they_end_in_files_or_a_reason(ending, changes, kept, tmp_path):
    (tmp_path / "images").mkdir(exist_ok=True)
    for name in "ab":
        (tmp_path / "images" / name).write_bytes(name.encode() * 700)
    path = tmp_path / f"visit.{ending}"
    pack(tmp_path / "images", path)
    content = bytearray(path.read_bytes())
    for place, byte in changes:  # half of the changes where a zip has its table of contents
        content[int(place * len(content)) if byte % 2 else -1 - int(place * min(len(content), 200))] = byte
    path.write_bytes(content[: int(len(content) * kept)] if kept < 0.2 else content)
    files, entry = archives.expand(Found(path, path.name, len(content), 0), None, tmp_path / "unpacked")
    assert entry[2]
    assert all(found.path.is_relative_to(tmp_path) for found in files)
    assert all(bool(found.problem) == bool(found.action) for found in files)


def test_too_many_entries(site, images, monkeypatch):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 5)
    pack(images, site.dicom / "visit.zip")
    assert len(site.take_in()) == 0
    assert "more than 5 entries" in only(site.exclusions()).reason


def test_a_real_session_is_read_from_its_archive(tmp_path):
    if not REAL.is_file():
        pytest.skip("the session of the NIST system phantom is not here")
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / REAL.name).symlink_to(REAL)
    (tmp_path / "copy").mkdir()
    shutil.copy(REAL, tmp_path / "copy" / REAL.name)
    linked, _ = read_images(tmp_path / "dicom", {"files": {}, "volumes": {}}, tmp_path / "unpacked")
    assert [image.problem != "" for image in linked] == [True]
    images, entries = read_images(tmp_path / "copy", {"files": {}, "volumes": {}}, tmp_path / "unpacked")
    with tarfile.open(REAL) as archive:
        names = {f"{REAL.name}/{m.name}" for m in archive if m.isfile() and "/._" not in m.name}
    assert {image.relative for image in images} <= names
    assert len(images) > 100
    assert {image.problem for image in images if image.series_uid} == {""}
    again, _ = read_images(tmp_path / "copy", {"files": entries, "volumes": {}}, tmp_path / "unpacked")
    assert again == images
