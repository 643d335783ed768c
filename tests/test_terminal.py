"""Tables for a terminal: as columns where there is room, else an entry a row that loses no word."""

import pytest

from isocenter import terminal

COLUMNS = ("verdict", "parameter", "found", "expected", "how to fix", "where")
ROW = (
    "! warn", "Instance Number (0020,0013)", "images seem to be missing in 1 series", "numbers from 1 without gaps",
    "Send these series again whole, or say that [the scanner] counts so", "sub-phantom1 ses-01 run-1 MESE",
)  # fmt: skip


def show(monkeypatch, capsys, width, columns=COLUMNS, rows=(ROW,)):
    monkeypatch.setattr(terminal.console, "width", width)
    terminal.show_rows("Onboarding of siteB", columns, rows)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 100])
def test_sentences_stay_readable_in_a_narrow_terminal(monkeypatch, capsys, width):
    text = show(monkeypatch, capsys, width)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= width
    assert lines[:2] == ["Onboarding of siteB", "! warn  Instance Number (0020,0013)"]
    assert "    found       images seem to be missing in 1 series" in lines
    words = " ".join(text.split())
    assert all(word in words for value in ROW for word in value.split())
    assert len(lines) <= 8


def test_a_wide_terminal_has_columns(monkeypatch, capsys):
    lines = show(monkeypatch, capsys, 160).splitlines()
    assert all(name in lines[2] for name in COLUMNS)


def test_what_fits_stays_a_table(monkeypatch, capsys):
    lines = show(monkeypatch, capsys, 80, ("id", "what", "field", "serial"), [("a", "b", "3 T", "77")]).splitlines()
    assert all(name in lines[2] for name in ("id", "what", "field", "serial"))


def test_no_rows_print_nothing(monkeypatch, capsys):
    assert show(monkeypatch, capsys, 80, rows=()) == ""
