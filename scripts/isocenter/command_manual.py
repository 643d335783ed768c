"""The manual of the commands, made from what the command line itself knows: ``docs/reference/commands.md``."""

import re
from pathlib import Path

from typer.main import get_command

from isocenter.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md"

_HEAD = """<!-- Made from the command line by python -m isocenter.manual; a test holds it against it. -->
# Commands

Exit codes: 0 done; 1 done, and the answer is *fail* (a site's verdict, a broken hash); 2 the request itself is wrong.
An error says what, where, expected, found and what to do; `--debug` shows the traceback too. `isocenter --version` says
which version this is, `isocenter COMMAND --help` what stands here.
"""
#: What a help text ends with: whether the option is required, its default, its limits.
_FACTS = re.compile(r"\s*\[([^\[\]]*(?:default|required|>=|<=)[^\[\]]*)\]$")

_WORDS = (("(", ""), (")", ""), ("default: ", "default "), ("x>=", "≥ "), ("<=x<=", " to "), ("x<=", "≤ "))


def render_commands() -> str:
    """The page: one section a command, in the order of ``isocenter --help``."""
    return _HEAD + "".join(f"\n{section}" for section in map(_section, get_command(app).commands.items()))


def _section(named: tuple) -> str:
    name, command = named
    context = command.context_class(command, info_name=f"isocenter {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = [row for parameter in command.params if (row := _row(parameter, context))]
    table = "| | meaning | |\n|---|---|---|\n" + "".join(rows) if rows else ""
    return f"## {name}\n\n{command.help}\n\n```text\n{' '.join(usage.split())}\n```\n\n{table}"


def _row(parameter, context) -> str:
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    usage, meaning = (" ".join(text.split()) for text in record)
    facts = _FACTS.search(meaning)
    meaning = meaning[: facts.start()] if facts else meaning
    told = _tell(facts[1]) if facts else ""
    return "| " + " | ".join((f"`{usage}`".replace("|", "\\|"), _plain(meaning), _plain(told))) + " |\n"


def _tell(facts: str) -> str:
    """``default: (all); x>=1`` as a reader would say it."""
    for ours, theirs in _WORDS:
        facts = facts.replace(ours, theirs)
    return facts


def _plain(text: str) -> str:
    """Text as a cell of a table shows it: nothing in it is markup."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text)
