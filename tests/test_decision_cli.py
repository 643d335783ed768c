"""What a person decides is answered in one line: done, or why not and what to do; exit 0 or 2."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from isocenter import audit, cli, layout
from isocenter.recorded_run import record_run

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """A trial of one site whose results a run has recorded."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    shutil.copytree(REPOSITORY / "sites" / "_template", tmp_path / "sites" / "siteA")
    site = tmp_path / "sites" / "siteA" / "site.yaml"
    site.write_text(site.read_text().replace("site: template", "site: siteA"))
    for path in (layout.REPORT, layout.MEASUREMENTS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("site\tvalue\n")
    record_run(tmp_path, {}, "1 job")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def say(monkeypatch, capfd):
    """Calls the command line as the shell does; gives the exit code and what was printed."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["isocenter", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capfd.readouterr()
        return end.value.code or 0, printed.out + printed.err

    return call


WRONG = {
    "no reason": (("exclude", "siteA", "T01", "-m", "  "), "A decision has no reason; what to do: say why"),
    "unknown person": (("exclude", "siteA", "T09", "-m", "moved"), "No such participant.*T01.*found: T09"),
    "unknown site": (("exclude", "siteX", "T01", "-m", "moved"), "Unknown site.*siteA.*siteX"),
    "unknown biomarker": (("exclude", "siteA", "T01", "-b", "T9", "-m", "moved"), "Unknown biomarker.*T1.*found: T9"),
    "half a withdrawal": (("exclude", "siteA", "T01", "01", "--withdrawn", "-m", "x"), "A participant withdraws whole"),
    "never left out": (("include", "siteA", "T01", "-m", "a slip"), "Nothing was left out by this name"),
    "not locked": (("unlock", "-m", "late data"), "The data are not locked"),
    "a lock without a reason": (("lock", "1.0", "-m", ""), "A decision has no reason"),
    "no version": (("lock", "../1", "-m", "interim"), "This is no version"),
}


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.replace(" ", "_"))
def test_what_cannot_be_is_told_and_leaves_no_trace(trial, say, case):
    words, expected = WRONG[case]
    n_before = len(audit.read_log(trial))
    code, printed = say(*words)
    assert code == 2
    assert re.search(expected, printed), printed
    assert "Traceback" not in printed
    assert printed.count("\n") == 1  # one line
    assert len(audit.read_log(trial)) == n_before
    assert not (trial / layout.fill(layout.LEFT_OUT, site="siteA")).exists()


def test_left_out_twice_is_once_and_comes_back(trial, say):
    decision = ("exclude", "siteA", "T01", "-m", "moved", "--by", "the data manager")
    assert say(*decision) == (0, "Left out at siteA; isocenter run brings the results up to date\n")
    assert say(*decision) == (0, "That is left out already, for this reason\n")
    assert say("include", "siteA", "T01", "-m", "it was another run")[0] == 0
    kinds = [(entry.kind, entry.who, entry.why) for entry in audit.read_log(trial)[1:]]
    assert kinds[0] == ("exclusion", "the data manager", "moved")
    assert [kind for kind, *_ in kinds] == ["exclusion", "override"]


def test_locked_data_let_no_command_change_them(trial, say):
    assert say("lock", "1.0", "-m", "interim analysis")[0] == 0
    before = {path: path.read_bytes() for path in sorted(trial.rglob("*")) if path.is_file()}
    for words in (
        ("run", "--cores", "1"),
        ("exclude", "siteA", "T01", "-m", "moved"),
        ("include", "siteA", "T01", "-m", "moved"),
        ("check-site", "siteA"),
        ("lock", "1.1", "-m", "again"),
    ):
        code, printed = say(*words)
        assert code == 2, printed
        assert "The data are locked as version 1.0" in printed
        assert "isocenter unlock with a reason begins the next version" in printed
    after = {path: path.read_bytes() for path in sorted(trial.rglob("*")) if path.is_file()}
    assert {path.name for path in set(before) ^ set(after)} <= {"holder.json"}
    assert all(after[path] == content for path, content in before.items() if path.name != "holder.json")
    code, printed = say("unlock", "-m", "late data arrived")
    assert (code, "its copy stays in results/locked/1.0" in printed) == (0, True)
    assert say("lock", "1.0", "-m", "again")[0] == 2  # no name is used twice
    assert say("lock", "1.1", "-m", "final")[0] == 0
