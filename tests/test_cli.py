"""The command line answers in one line and with the right exit code."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isocenter import __version__, cli
from isocenter.status_view import _show_exclusions, _tell_what
from isocenter.terminal import console

ISOCENTER = Path(sys.executable).with_name("isocenter")


def call(*arguments, cwd=None):
    return subprocess.run([str(ISOCENTER), *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def test_version():
    ended = call("--version")
    assert (ended.returncode, ended.stdout.strip()) == (0, f"isocenter {__version__}")


def test_help_names_every_command():
    text = call("--help").stdout
    for command in ("run", "demo", "simulate", "status", "add-site", "check-site", "stats", "verify", "trace"):
        assert command in text


def test_an_unknown_command_is_exit_2():
    assert call("bogus").returncode == 2


@pytest.mark.parametrize("command", [("run",), ("status",), ("check-site", "siteA"), ("add-site", "siteA", ".")])
def test_outside_a_trial_the_error_says_what_to_do(tmp_path, command):
    ended = call(*command, cwd=tmp_path)
    assert ended.returncode == 2
    assert "config/config.yaml is missing" in ended.stderr
    assert "what to do" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_run_without_any_site_says_what_to_do(tmp_path):
    shutil.copytree(Path(__file__).resolve().parents[1] / "config", tmp_path / "config")
    ended = call("run", "--cores", "1", cwd=tmp_path)
    assert ended.returncode == 2
    assert "The trial has no site yet" in ended.stderr
    assert "isocenter add-site" in ended.stderr
    assert not (tmp_path / "results").exists()


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in call("run", "--debug", cwd=tmp_path).stderr


def test_stats_of_any_tidy_table(tmp_path):
    rows = [f"P{p}\t{run}\t{10 + p + 0.1 * run}" for p in range(12) for run in (1, 2)]
    (tmp_path / "table.tsv").write_text("\n".join(["participant_id\trun\tvalue", *rows]) + "\n")
    ended = call("stats", tmp_path / "table.tsv", "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "repeatability.tsv").read_text().count("\n") >= 2


def test_stats_without_a_value_column_says_which(tmp_path):
    (tmp_path / "table.csv").write_text("participant_id,amount\nP1,2\n")
    ended = call("stats", tmp_path / "table.csv", "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert "value" in ended.stderr


def test_a_path_that_cannot_be_is_one_line_and_exit_2(tmp_path):
    """Exit 1 would be an answer: a crash is none."""
    (tmp_path / "file").write_text("")
    ended = call("simulate", tmp_path / "file")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "check the path" in ended.stderr


def test_a_fault_of_the_program_is_exit_2_and_says_how_to_report_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["isocenter", "status"])
    monkeypatch.setattr(cli, "check_trial", lambda directory: {}["no such key"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "--debug" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["isocenter", "status", "--debug"])
    with pytest.raises(KeyError):
        cli.main()


def test_status_says_which_file_is_meant_and_where_its_name_stands():
    columns = ("site", "participant_id", "session", "run", "biomarker", "series", "stage", "action", "reason")
    row = dict.fromkeys(columns, "") | {"site": "siteB", "participant_id": "P01", "session": "02", "stage": "intake"}
    rows = [row | {"series": "[withheld]/image3 (file 3f9a1c2e)", "reason": "cut off"}, row | {"series": "1.2.3.4"}]
    with console.capture() as shown:
        _show_exclusions(rows, None)
    assert [_tell_what(row) for row in rows] == ["P01 02 [withheld]/image3 (file 3f9a1c2e)", "P01 02"]
    assert "(such as 3f9a1c2e), says sites/siteB/.arrived.txt" in " ".join(shown.get().split())


def test_brackets_in_a_reason_stay():
    """A reason quotes what was withheld and what stood in a header; no part of it is markup."""
    text = "series from upload/[withheld]/[red] on"
    columns = ("site", "participant_id", "session", "run", "biomarker", "series", "stage", "action")
    with console.capture() as shown:
        _show_exclusions([{**dict.fromkeys(columns, ""), "reason": text}], None)
    assert "".join(text.split()) in "".join(shown.get().replace("│", "").split())
