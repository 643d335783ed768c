"""Files that people write are read whole or refused with a place, whatever their bytes."""

import pytest

from isocenter.documents import read_document, read_rows
from isocenter.errors import ConfigError


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"trial: \xe9",
        b"- a list",
        b"text",
        b"a: " + b"[" * 60 + b"]" * 60,
        b"{a: b",
        b"%",
        b"\x00",
    ],
    ids=["empty", "binary", "latin", "list", "scalar", "deep", "broken", "directive", "nul"],
)
def test_odd_bytes_are_an_error_with_a_place(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"where: config\.yaml"):
        read_document(path, "config", name="config.yaml")


def test_a_table_may_have_a_byte_order_mark_and_windows_lines(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_bytes("\ufeffparticipant_id\tkind\tsource_id\r\nT01\ttraveler\tA B\r\n\r\n".encode())
    rows = read_rows(path, "participants")
    assert rows == [{"participant_id": "T01", "kind": "traveler", "source_id": "A B", "comment": ""}]


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"# " + b"x" * 3_000_000)
    with pytest.raises(ConfigError, match="too large"):
        read_document(path, "config")


def test_a_label_with_a_line_break_is_refused(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text('site: "siteA\\n"\nsource: dicom\nscanners: [{id: a, field_strength: 3}]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="key site"):
        read_document(path, "site")
