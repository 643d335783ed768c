"""`isocenter plan` answers what no plan can be made of in one line, with the option's name; exit 2."""

import re
import sys

import pytest

from isocenter import cli

WRONG = {
    "a negative SD": (("--residual", "-1"), r"This is no SD.*where: --residual.*found: -1"),
    "no SD": (("--residual", "nan"), r"This is no SD.*found: nan"),
    "an endless SD": (("--residual", "1", "--site", "inf"), r"This is no SD.*where: --site.*found: inf"),
    "an SD without a square": (("--residual", "1e200"), r"This is no SD.*found: 1e\+200"),
    "no scatter": (("--residual", "0"), r"Repeats that never differ need no plan.*what to do: give the SD"),
    "a change of nothing": (("--residual", "1", "--delta", "0"), r"where: --delta.*from 1e-30.*found: 0"),
    "a negative change": (("--residual", "1", "--delta", "-3"), r"where: --delta.*found: -3"),
    "no change": (("--residual", "1", "--delta", "nan"), r"where: --delta.*found: nan"),
    "more lost than all": (("--residual", "1", "--missing", "1.2"), r"where: --missing.*0 to 0.9; found: 1.2"),
    "fewer than no trials": (("--residual", "1", "--simulate", "-5"), r"where: --simulate.*found: -5"),
    "a seed below zero": (("--residual", "1", "--seed", "-1"), r"where: --seed.*found: -1"),
    "unknown coefficient": (
        ("--residual", "1", "--coefficient", "rdc"),
        r"where: --coefficient.*reproducib.*found: rdc",
    ),
    "no sites": (("--residual", "1", "--sites", "0"), r"These are no numbers of sites; where: --sites.*found: 0"),
    "nothing": (("--residual", "1", "--repeats", ""), r"These are no numbers of repeats"),
    "half a participant": (("--residual", "1", "--participants", "2.5"), r"numbers of participants.*found: 2.5"),
    "a range backwards": (("--residual", "1", "--sites", "6-3"), r"numbers of sites.*found: 6-3"),
    "a digit that is none": (("--residual", "1", "--sites", "\u00b2"), r"numbers of sites"),
    "a world of sites": (("--residual", "1", "--sites", "3,99999999999"), r"numbers of sites.*1 to 10000"),
    "a world of designs": (("--residual", "1", "--participants", "2-9000"), r"more designs than anyone chooses from"),
    "too large to simulate": (
        ("--residual", "1", "--sites", "500", "--participants", "5000"),
        r"too large to simulate.*what to do: plan by formula alone with --simulate 0",
    ),
    "two sites": (("--residual", "1", "--sites", "2"), r"No design of this grid.*three sites.*found: sites 2"),
}


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


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.replace(" ", "_"))
def test_what_no_plan_can_be_made_of_is_told_in_one_line(tmp_path, say, case):
    words, expected = WRONG[case]
    code, printed = say("plan", "--out", str(tmp_path / "out"), *words)
    assert code == 2, printed
    assert re.search(expected, printed), printed
    assert "Traceback" not in printed
    assert printed.strip().count("\n") == 0  # one line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("--residual", "abc"), ("--residual", "1", "--confidence", "1.5"), ()])
def test_what_is_no_option_is_told_by_its_name(tmp_path, say, words):
    code, printed = say("plan", "--out", str(tmp_path / "out"), *words)
    assert (code, "Traceback" in printed) == (2, False)
    assert "--confidence" in printed if "--confidence" in words else "--residual" in printed


def test_a_file_in_the_way_is_told(tmp_path, say):
    (tmp_path / "out").write_text("not a folder")
    code, printed = say("plan", "--out", str(tmp_path / "out"), "--residual", "1", "--simulate", "0")
    assert code == 2, printed
    assert "Traceback" not in printed


def test_extreme_designs_have_an_answer(tmp_path, say):
    code, printed = say(
        "plan", "--out", str(tmp_path / "out"), "--residual", "1e-9", "--site", "1e9", "--delta", "1e12",
        "--sites", "10000", "--participants", "2,10000", "--simulate", "0",
    )  # fmt: skip
    assert code == 0, printed
    assert (tmp_path / "out" / "plan.tsv").exists()


def test_the_answer_says_which_of_two_chances_it_means(tmp_path, say):
    """The table beside it shows the share of simulated trials, which is another number."""
    words = ("--residual", "0.01", "--site", "0.02", "--participants", "5", "--simulate", "0")
    _, found = say("plan", "--out", str(tmp_path / "a"), *words, "--delta", "0.08", "--sites", "4")
    assert re.search(r"has a chance of 80 %; the best, 4 sites.* has \d+ % by formula\.", found), found
    _, found = say("plan", "--out", str(tmp_path / "b"), *words, "--delta", "1", "--sites", "12")
    assert re.search(r"a chance of 80 % or more to show .*chance by formula \d+ %\)", found), found
