"""One function, two lives: a step run by a rule and from the command line does the same."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from isocenter import layout, step
from isocenter.errors import TableError
from isocenter.mend import sweep_partials
from isocenter.step import In, Ins, Out, OutDir


def join_words(first: In, others: Ins, *, joined: Out, separator: str, times: int = 1) -> None:
    """Join the words of files."""
    words = [path.read_text() for path in [first, *others]]
    joined.write_text(separator.join(words) * times)


class Named(dict):
    """Snakemake's named lists, as far as steps use them."""


@pytest.fixture
def files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    return tmp_path


def run_as_rule(folder: Path) -> str:
    job = SimpleNamespace(
        input=Named(first=str(folder / "a"), others=[str(folder / "b"), str(folder / "c")]),
        output=Named(joined=str(folder / "out")),
        params=Named(separator="-", times=2, code="digest"),
        log=[],
        threads=1,
        resources=Named(mem_mb=4000),
    )
    step.run_step(join_words, {"snakemake": job})
    return (folder / "out").read_text()


def run_as_command(folder: Path, monkeypatch, *extra: str) -> str:
    arguments = ["--first", "a", "--others", "b", "c", "--joined", "out", "--separator", "-", "--times", "2", *extra]
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["join_words", *arguments])
    with pytest.raises(SystemExit) as end:
        step.run_step(join_words, {})
    assert end.value.code == 0
    return (folder / "out").read_text()


def test_rule_and_command_line_agree(files, monkeypatch):
    assert run_as_rule(files) == run_as_command(files, monkeypatch) == "a-b-ca-b-c"


def test_one_file_for_a_list_is_a_list(files):
    job = SimpleNamespace(
        input=Named(first=str(files / "a"), others=str(files / "b")),
        output=Named(joined=str(files / "out")),
        params=Named(separator="+"),
        log=[],
        threads=1,
        resources=Named(mem_mb=4000),
    )
    step.run_step(join_words, {"snakemake": job})
    assert (files / "out").read_text() == "a+b"


def test_an_error_of_ours_is_one_line_and_exit_2(files, monkeypatch, capsys):
    def fail(first: In) -> None:
        raise TableError("the table is empty")

    monkeypatch.setattr("sys.argv", ["fail", "--first", str(files / "a")])
    with pytest.raises(SystemExit) as end:
        step.run_step(fail, {})
    assert end.value.code == 2
    assert capsys.readouterr().err.strip() == "TableError: the table is empty"


def test_debug_shows_where(files, monkeypatch):
    def fail(first: In) -> None:
        raise TableError("the table is empty")

    monkeypatch.setattr("sys.argv", ["fail", "--first", str(files / "a"), "--debug"])
    with pytest.raises(TableError):
        step.run_step(fail, {})


def test_names_are_held_against_the_signature():
    good = {"input": {"first", "others"}, "output": {"joined"}, "params": {"separator", "code"}}
    assert step.check_names(join_words, good) == []
    bad = {"input": {"first", "second"}, "output": {"joined"}, "params": set()}
    complaints = step.check_names(join_words, bad)
    assert any("'second' is not an argument" in c for c in complaints)
    assert any("'others' of join_words is not given" in c for c in complaints)
    assert any("'separator' of join_words is not given" in c for c in complaints)
    assert len(complaints) == 3


def fill_folder(first: In, *, made: OutDir, fails: bool) -> None:
    """Write two files into a folder, or stop after one."""
    made.mkdir(parents=True, exist_ok=True)
    (made / "one").write_text(first.read_text())
    if fails:
        raise KeyboardInterrupt  # as near to a kill as a test comes in its own process
    (made / "two").write_text("whole")


@pytest.mark.parametrize("fails", [False, True])
def test_a_folder_whose_step_was_stopped_is_not_taken_for_whole(files, fails):
    made = files / layout.RESULTS / "made"
    job = SimpleNamespace(
        input=Named(first=str(files / "a")),
        output=Named(made=str(made)),
        params=Named(fails=fails),
        log=[],
        threads=1,
        resources=Named(mem_mb=4000),
    )
    if fails:
        with pytest.raises(KeyboardInterrupt):
            step.run_step(fill_folder, {"snakemake": job})
        assert made.is_dir()
    else:
        step.run_step(fill_folder, {"snakemake": job})
    sweep_partials(files)
    assert made.is_dir() is not fails
    assert not [path for path in (files / layout.RESULTS).iterdir() if path.name.startswith(".")]
