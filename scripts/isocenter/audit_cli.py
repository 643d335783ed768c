"""The commands of the audit trail: `verify` and `trace`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from isocenter import layout
from isocenter.errors import IsocenterError, explain
from isocenter.terminal import console, errors

Directory = Annotated[
    Path, typer.Option("--directory", "-d", help="The trial's folder (config/, sites/, results/).", show_default="here")
]


def add_commands(app: typer.Typer) -> None:
    """Give the command line `verify` and `trace`."""
    app.command()(verify)


def verify(
    directory: Directory = Path("."),
    head: Annotated[str, typer.Option(help="A head that was noted earlier: it must still be in the log.")] = "",
    accept: Annotated[
        str, typer.Option(metavar="REASON", help="Take the results as they are now; the reason goes into the log.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who accepts, if not the user of the operating system.")] = "",
) -> None:
    """Hold every result against the audit trail: exit 1 when one was changed, is missing or extra."""
    from isocenter import verify_command
    from isocenter.recorded_run import accept_results

    if not (directory / layout.RESULTS).is_dir():
        raise IsocenterError(
            explain(
                "There are no results to verify",
                where=str(directory / layout.RESULTS),
                remedy="go to the trial's folder, or name it with --directory; isocenter run makes its results",
            )
        )
    if accept:
        entry = accept_results(directory, accept, by)
        console.print(f"{entry.who} {entry.what}; entry {entry.number} of the log", soft_wrap=True, highlight=False)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("hashing results", total=None)
        found = verify_command.verify(
            directory, head=head, on_progress=lambda done, total: progress.update(task, completed=done, total=total)
        )
    for finding in found.findings:
        errors.print(
            explain(
                f"{finding.path}: {finding.what}",
                expected=finding.expected, found=finding.found, remedy=finding.remedy,
            ),
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    if found.is_open:
        errors.print("A run goes on, or one was killed: isocenter run records what it wrote", soft_wrap=True)
    verdict = "✗" if found.findings else "✓"
    counts = f"{found.n_files} results, {found.n_entries} entries of the log, {len(found.findings)} findings"
    console.print(f"{verdict} {counts}; head {found.head}", soft_wrap=True, highlight=False)
    raise typer.Exit(1 if found.findings else 0)
