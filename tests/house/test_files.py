"""What must not stand in any file of the project."""

import re

import pytest

from house.source import REPOSITORY, tracked_files

TEXT = {
    "", ".cff", ".cfg", ".css", ".csv", ".html", ".ini", ".j2", ".js", ".json", ".lock", ".md", ".py", ".rst", ".smk",
    ".toml", ".tsv", ".txt", ".yaml", ".yml",
}  # fmt: skip

#: Written with a class of one letter, so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:[h]ome/\w|[r]oot/|[U]sers/\w|[w]ork/)|\b[A-Z]:\\+[U]sers")
INDEX_HOSTS = re.compile(
    r"--(?:extra-)?[i]ndex-url[ =]+http|https?://[^\s\"')]*/[s]imple\b|[f]iles\.pythonhosted"
    r"|https?://(?:localhost|\d+\.\d+\.\d+\.\d+)"
)


def text_files():
    return [path for path in tracked_files() if path.suffix in TEXT and path.stat().st_size < 5_000_000]


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, INDEX_HOSTS], ids=["machine paths", "index hosts"])
def test_no_file_names_this_machine(pattern):
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_the_patterns_find_what_they_look_for():
    for text in ("/ho" + "me/someone/data", "open('/wo" + "rk/x')", "/Us" + "ers/someone"):
        assert MACHINE_PATHS.search(text)
    assert not MACHINE_PATHS.search("scripts/wo" + "rk/x")
    assert INDEX_HOSTS.search("pip install --index" + "-url http://mirror/")


def test_there_is_no_attic():
    assert not [path for path in tracked_files() if path.stem in ("utils", "util", "helpers", "misc", "common")]


def test_files_are_one_idea():
    """No source file of the package or the steps grows past what can be read at once."""
    long = {
        str(path.relative_to(REPOSITORY)): count
        for path in tracked_files()
        if path.suffix == ".py" and "scripts" in path.relative_to(REPOSITORY).parts
        and (count := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }  # fmt: skip
    assert not long


def test_all_tests_can_be_collected_at_once():
    """Where a folder is no package, pytest tells its files apart by their names alone."""
    alone = [
        path.name
        for path in tracked_files()
        if path.name.startswith("test_") and path.suffix == ".py" and not (path.parent / "__init__.py").exists()
    ]
    assert len(alone) > 100
    assert sorted(alone) == sorted(set(alone))


def test_warnings_are_not_silenced_for_everyone():
    silencer = re.compile(r"warnings\.(?:filterwarnings|simplefilter)\(")
    for path in tracked_files():
        if path.suffix == ".py" and "scripts" in path.relative_to(REPOSITORY).parts:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if silencer.search(line):
                    assert line.startswith("    "), f"{path}:{number} filters warnings for the whole program"


def test_every_decision_is_in_the_index():
    folder = REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == {p.name for p in folder.glob("*.md")} - {"README.md"}


def test_links_between_documents_lead_somewhere():
    for path in tracked_files():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
                assert (path.parent / target).exists(), f"{path.relative_to(REPOSITORY)} links to {target}"
