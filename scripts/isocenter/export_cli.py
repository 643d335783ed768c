"""The command `export`: what leaves a trial, in the field's formats."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from isocenter import layout
from isocenter.errors import ConfigError, IsocenterError, explain
from isocenter.terminal import console, errors


class Format(StrEnum):
    """What the files are to be."""

    BIDS = "bids"
    PARAMETRIC_MAP = "parametric-map"
    REPORT = "sr"


def add_commands(app: typer.Typer) -> None:
    """Give the command line `export`."""
    app.command()(export)


def export(
    directory: Annotated[Path, typer.Argument(metavar="TRIAL", help="The trial's folder (config/, sites/, results/).")],
    to: Annotated[
        Format,
        typer.Option(
            help="bids: raw data and derivatives, valid BIDS; parametric-map: every map as DICOM Parametric Map; "
            "sr: those, the regions as DICOM Segmentation and the measurements as DICOM SR (TID 1500)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new or empty folder to write into.")],
    site: Annotated[list[str] | None, typer.Option(help="Only this site; may be given again.")] = None,
    participant: Annotated[list[str] | None, typer.Option(help="Only this participant; may be given again.")] = None,
    biomarker: Annotated[list[str] | None, typer.Option(help="Only this biomarker; may be given again.")] = None,
    with_identifiers: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Write the patients' own names, IDs and study, read from the source DICOM. DICOM only. The reason "
            "goes into the audit log.",
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="Who wants the identifiers, if not the user of the operating system.")] = "",
) -> None:
    """Export maps, regions and measurements as BIDS or DICOM; patients stay pseudonyms unless a reason is given."""
    from isocenter.export_bids import export_bids
    from isocenter.export_dicom import export_dicom
    from isocenter.export_selection import Selection
    from isocenter.plan import Plan
    from isocenter.settings import load_settings

    if not (directory / layout.CONFIG).is_file():
        raise IsocenterError(
            explain("This is no trial folder", where=str(directory), expected=layout.CONFIG, remedy="name the trial's")
        )
    if with_identifiers is not None and to is Format.BIDS:
        raise ConfigError(
            explain("BIDS holds no patients' identifiers", expected="--to parametric-map or --to sr",
                    found="--with-identifiers with --to bids")
        )  # fmt: skip
    out = out.resolve()
    os.chdir(directory)
    plan = Plan(load_settings(Path.cwd()))
    selection = Selection(tuple(site or ()), tuple(participant or ()), tuple(biomarker or ()))
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("planning", total=None)

        def show(done: int, total: int, text: str) -> None:
            progress.update(task, completed=done, total=total, description=text)

        if to is Format.BIDS:
            outcome = export_bids(plan, out, selection, on_progress=show)
        else:
            outcome = export_dicom(
                plan, out, selection, with_report=to is Format.REPORT, reason=with_identifiers, who=by,
                on_progress=show,
            )  # fmt: skip
    for what, why in outcome.left_out:
        errors.print(f"Left out: {what}: {why}", soft_wrap=True, highlight=False)
    whose = "with the patients' identifiers" if with_identifiers is not None else "under the trial's pseudonyms"
    console.print(f"Wrote {len(outcome.files)} files to {out}, {whose}", soft_wrap=True, highlight=False)
