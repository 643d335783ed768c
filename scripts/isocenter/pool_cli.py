"""The command `pool`: sites that were run by themselves become the trial's tables, statistics and report."""

import os
from pathlib import Path
from typing import Annotated

import typer

from isocenter.failure_view import explain_failure
from isocenter.site_cli import check_trial
from isocenter.terminal import console, run_progress

Directory = Annotated[
    Path, typer.Option("--directory", "-d", help="The trial's folder (config/, sites/, results/).", show_default="here")
]


def add_commands(app: typer.Typer) -> None:
    """Give the command line `pool`."""
    app.command()(pool)


def pool(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...",
            help="Folders in which isocenter run --site was called, here or on other machines. Each must have been run "
            "with the same config, code and packages as this trial.",
            show_default=False,
        ),
    ] = None,
    cores: Annotated[int, typer.Option("--cores", "-c", min=1, help="How many cores to use.")] = os.cpu_count() or 1,
    directory: Directory = Path("."),
) -> None:
    """Pool sites that were run by themselves: take in those of FOLDERs, then make tables, statistics and report."""
    from isocenter import pooling
    from isocenter.recorded_run import run_pool
    from isocenter.status_view import show_status

    sources = [folder.resolve() for folder in folders or []]
    os.chdir(check_trial(directory))
    here = Path.cwd()
    with run_progress() as progress:
        task = progress.add_task("checking sites", total=None)

        def tell(text: str) -> None:
            progress.update(task, description=text[:70])

        origins = pooling.find_origins(here, sources, tell)

        def prepare() -> int:
            number = pooling.take_in(here, origins, tell)
            pooling.check_complete(here)
            return number

        taken, outcome = run_pool(
            here, prepare, cores=cores,
            on_progress=lambda now: progress.update(
                task, completed=now.done, total=now.total or None, description=now.text[:70]
            ),
        )  # fmt: skip
    if sources:
        same = len(origins) - taken
        console.print(f"Took in {taken} site(s)" + (f"; {same} as before" if same else ""), highlight=False)
    if outcome.returncode:
        explain_failure(outcome)
        raise typer.Exit(2 if outcome.is_locked else 1)
    if outcome.nothing_to_do:
        console.print(f"Nothing to do: every table is up to date ({outcome.seconds:.0f} s)")
    else:
        console.print(f"{outcome.n_jobs} jobs in {outcome.seconds:.0f} s")
    show_status(pooling.check_complete(here), limit=12)
