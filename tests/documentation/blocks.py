"""The fenced blocks of the documents, and what the mark before each says is to be done with it."""

import re
from dataclasses import dataclass
from pathlib import Path

from house.source import REPOSITORY, tracked_files

#: Languages whose blocks are commands.
SHELL = {"sh", "bash", "shell", "console", ""}
#: In the order in which a reader meets them; the pages that are not named here hold no commands that are run.
ORDER = (
    "README.md", "docs/install.md", "docs/tutorial.md", "docs/how-to/claim.md", "docs/how-to/biomarker.md",
    "docs/how-to/phantom.md", "docs/how-to/model.md", "docs/how-to/report.md", "docs/how-to/one-series.md",
    "docs/exports.md", "docs/reference/python.md", "docs/onboarding.md",
)  # fmt: skip
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})([^`\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (run|not run|write|append)(?:: (.*?))? -->\n+\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and line, language, text, and its mark (`run`, `not run`, `write`, `append` or none)."""

    page: str
    line: int
    language: str
    text: str
    action: str
    told: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def exit_code(self) -> int:
        """What the commands are to end with: 0, or N of ``run: exit N``."""
        return int(self.told.removeprefix("exit ")) if self.told else 0


def read_blocks(page: str, text: str) -> list[Block]:
    """All fenced blocks of a page."""
    found = []
    for fence in _FENCE.finditer(text):
        mark = _MARK.search(text[: fence.start()])
        indent, _, language, body = fence.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        found.append(
            Block(
                page, text.count("\n", 0, fence.start()) + 1, language.strip(), "".join(lines),
                mark[1] if mark else "", (mark[2] or "") if mark else "",
            )
        )  # fmt: skip
    return found


def all_blocks() -> list[Block]:
    """The blocks of every Markdown document of the project, but for decisions, which are of their day."""
    decisions = REPOSITORY / "docs" / "decisions"
    pages = [path for path in tracked_files() if path.suffix == ".md" and not path.is_relative_to(decisions)]
    return [
        block
        for path in sorted(pages)
        for block in read_blocks(_name(path), path.read_text(encoding="utf-8"))
        if not block.language.startswith("{")  # a directive of the site
    ]


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()
