"""The commands of the audit trail: `verify` and `trace`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from isocenter import layout
from isocenter.errors import IsocenterError, explain
from isocenter.terminal import console, draw_trace, errors

Directory = Annotated[
    Path, typer.Option("--directory", "-d", help="The trial's folder (config/, sites/, results/).", show_default="here")
]


def add_commands(app: typer.Typer) -> None:
    """Give the command line `verify` and `trace`."""
    app.command()(verify)
    app.command()(trace)


def verify(
    directory: Directory = Path("."),
    head: Annotated[str, typer.Option(help="A head that was noted earlier: it must still be in the log.")] = "",
    accept: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Take the results as they are now; the reason goes into the log."),
    ] = None,
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
    if accept is not None:
        entry = accept_results(directory, accept, by)
        console.print(f"{entry.who}: {entry.what}; entry {entry.number} of the log", soft_wrap=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
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


def trace(
    where: Annotated[
        list[str],
        typer.Argument(metavar="SITE PARTICIPANT SESSION [RUN]", help="Of the number; or its row in measurements.tsv."),
    ],
    biomarker: Annotated[str, typer.Option("--biomarker", "-b", help="As in the column biomarker.")] = "",
    roi: Annotated[str, typer.Option("--roi", "-r", help="As in the column roi.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole tree as JSON, each DICOM file too.")] = False,
    directory: Directory = Path("."),
) -> None:
    """Lead from one number to its maps, calibration, phantom sessions, series UIDs and file hashes."""
    from isocenter import trace_command

    if len(where) == 1 and where[0].isdigit():
        number, row = trace_command.find_row(directory, number=int(where[0]))
    elif 3 <= len(where) <= 4:
        entities = dict(zip(trace_command.KEYS, where, strict=False))
        number, row = trace_command.find_row(directory, **entities, biomarker=biomarker, roi=roi)
    else:
        raise IsocenterError(
            explain(
                "This names no number",
                expected="SITE PARTICIPANT SESSION [RUN] with --biomarker and --roi, or the number of a row",
                found=" ".join(where),
            )
        )
    root = trace_command.trace(directory, number, row)
    if as_json:
        print(json.dumps(asdict(root), indent=2, ensure_ascii=False))
    else:
        console.print(draw_trace(root), soft_wrap=True, highlight=False)
    if any(node.state in ("changed since", "missing") for node in root.walk()):
        errors.print("Some files are not what they were: isocenter verify names each", soft_wrap=True)
        raise typer.Exit(1)
