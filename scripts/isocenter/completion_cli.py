"""The command `completion`: a script by which a shell completes commands, options and names of sites."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.completion import get_completion_script


class Shell(StrEnum):
    """Shells that can complete Isocenter's commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_commands(app: typer.Typer) -> None:
    """Give the command line `completion`."""
    app.command()(completion)


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that is to complete.", show_default=False)],
) -> None:
    """Print the script that lets a shell complete commands, options and names of sites with TAB."""
    print(get_completion_script(prog_name="isocenter", complete_var="_ISOCENTER_COMPLETE", shell=shell.value))


def complete_site(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the trial's sites that begin so: the folders under ``sites/`` that hold a ``site.yaml``."""
    trial = Path(context.params.get("directory") or ".")
    names = sorted(path.parent.name for path in trial.glob("sites/*/site.yaml"))
    return [name for name in names if name.startswith(incomplete) and not name.startswith("_")]
