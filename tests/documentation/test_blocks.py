"""Every command in the documents is run by a test, or says why not."""

import re

import pytest

from documentation.blocks import ORDER, SHELL, all_blocks, read_blocks

#: Blocks of shell that no test runs, each with its reason in the page. A change here is a decision.
NOT_RUN = 20

BLOCKS = all_blocks()


def test_every_block_of_commands_is_marked():
    unmarked = [str(b) for b in BLOCKS if b.language in SHELL and b.action not in ("run", "not run")]
    assert not unmarked, (
        f"{', '.join(unmarked)}: name the language (text, yaml, ...) where it holds no commands; else write "
        "<!-- run --> or <!-- not run: REASON --> on the line before it"
    )


def test_what_is_not_run_has_a_reason_and_is_counted():
    left_out = [b for b in BLOCKS if b.action == "not run"]
    assert not [str(b) for b in left_out if len(b.told.split()) < 3], "a reason is a sentence"
    assert len(left_out) == NOT_RUN, "\n".join(f"{b}: {b.told}" for b in left_out)


def test_pages_that_are_run_are_in_the_order():
    assert {b.page for b in BLOCKS if b.action in ("run", "write", "append")} <= set(ORDER)


def test_files_to_write_are_named():
    assert not [str(b) for b in BLOCKS if b.action in ("write", "append") and not re.fullmatch(r"[\w./-]+", b.told)]


def test_no_command_hides_from_the_checker():
    """Markdown's other form of a block, four spaces, has no place for a language or a mark."""
    from house.source import REPOSITORY

    command = re.compile(r"^    (?:isocenter|make|python|pip|docker|apptainer|snakemake|sbatch) ", re.MULTILINE)
    for page in {b.page for b in BLOCKS} | set(ORDER):
        text = re.sub(r"```.*?```", "", (REPOSITORY / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not command.search(text), page


def test_blocks_are_read_with_marks_and_lines():
    text = "# A\n\n<!-- run: exit 2 -->\n```sh\nfalse\n```\n\n- x\n\n  ```yaml\n  a: 1\n  ```\n\n```\nls\n```\n"
    first, second, third = read_blocks("a.md", text)
    assert (first.line, first.language, first.text, first.action, first.exit_code) == (4, "sh", "false\n", "run", 2)
    assert (second.language, second.text, second.action) == ("yaml", "a: 1\n", "")
    assert third.language in SHELL
    assert third.action == ""


@pytest.mark.parametrize("page", ORDER)
def test_pages_of_the_order_hold_commands(page):
    assert [b for b in BLOCKS if b.page == page and b.language in SHELL]
