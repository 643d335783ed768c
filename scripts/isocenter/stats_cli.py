"""The commands of the statistics: `stats` and `plan`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from isocenter.terminal import VERDICT_MARK, console, run_progress


def add_commands(app: typer.Typer) -> None:
    """Give the command line `stats` and `plan`."""
    app.command()(stats)
    app.command()(plan)


def stats(
    table: Annotated[
        Path, typer.Argument(help="Any tidy table (CSV, TSV, Parquet) with participant_id and value, a row a value.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write the tables into.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", "-m", metavar="OURS=THEIRS", help="The table's own name of a column; may be repeated."
        ),
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the values, where the table has no column unit.")] = "",
    scale: Annotated[str, typer.Option(help="absolute; or log, for errors that grow with the value.")] = "absolute",
    claims: Annotated[Path | None, typer.Option(help="A claims file: without it there is no verdict.")] = None,
    planned: Annotated[Path | None, typer.Option(help="A table site, n_planned: the runs that should come.")] = None,
    pool_fields: Annotated[
        bool, typer.Option("--pool-fields", help="One stratum of all field strengths: for ADC and PDFF, not T1 or T2.")
    ] = False,
    patients: Annotated[
        bool, typer.Option("--patients", help="Judge single changes of participants without a kind, too.")
    ] = False,
    combat: Annotated[bool, typer.Option("--combat", help="ComBat beside the values, one participant out.")] = False,
    cores: Annotated[int, typer.Option("--cores", "-c", min=1, help="How many cores to use.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of the simulated intervals.")] = 0,
) -> None:
    """All statistics from any tidy table: TSV, JSON, SAS transport, and an R script that reproduces them."""
    from isocenter.stats_command import analyze_file, read_mapping

    mapping = read_mapping(column or [])
    with run_progress() as progress:
        task = progress.add_task("reading", total=None)
        outcome = analyze_file(
            table, out, columns=mapping, unit=unit, scale=scale, claims=claims, planned=planned,
            pool_fields=pool_fields, patients=patients, combat=combat, seed=seed, workers=cores,
            on_progress=lambda done, total: progress.update(
                task, completed=done, total=total, description="biomarkers and regions"
            ),
        )  # fmt: skip
    for name, rows in outcome.rows.items():
        console.print(f"{rows:6d} rows  {out / (name + '.tsv')}", soft_wrap=True)
    if outcome.verdicts:
        shown = Table(title="Verdicts", title_justify="left")
        for heading in ("biomarker", "region", "verdict", "estimate", "upper 95 % bound", "delta"):
            shown.add_column(heading)
        for row in outcome.verdicts:
            mark = VERDICT_MARK.get(row["verdict"], "")
            numbers = ["" if row[k] is None else f"{row[k]:.4g}" for k in ("estimate", "upper95", "delta")]
            shown.add_row(row["biomarker"], row["roi"], f"{mark} {row['verdict']}", *numbers)
        console.print(shown)
    console.print(f"SAS transport files in {out / 'xpt'}; R script {out / 'reproduce.R'}", soft_wrap=True)


def plan(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write the table and the plot into.")],
    residual: Annotated[float, typer.Option(help="SD of repeats in one session, in the values' unit.")],
    delta: Annotated[
        float | None, typer.Option(help="The change that matters: the bound that is wanted, in the same unit.")
    ] = None,
    session: Annotated[float, typer.Option(help="SD between sessions at one site.")] = 0.0,
    interaction: Annotated[float, typer.Option(help="SD of participant × site.")] = 0.0,
    site: Annotated[float, typer.Option(help="SD between sites.")] = 0.0,
    coefficient: Annotated[
        str, typer.Option(help="reproducibility, intermediate_precision or repeatability.")
    ] = "reproducibility",
    sites: Annotated[str, typer.Option(help="Numbers of sites to look at.")] = "3,4,5,6,8,10,12",
    participants: Annotated[str, typer.Option(help="Numbers of traveling participants.")] = "5,10,20",
    sessions: Annotated[str, typer.Option(help="Numbers of sessions.")] = "1,2",
    repeats: Annotated[str, typer.Option(help="Numbers of repeats in a session.")] = "1,2",
    simulate: Annotated[int, typer.Option(help="Simulated trials a design beside the formula; 0: none.")] = 200,
    missing: Annotated[float, typer.Option(help="Share of runs that get lost, in simulation.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
) -> None:
    """How many participants, sites, sessions and repeats a wanted bound needs: by formula, and by simulated trials."""
    from isocenter.design_command import plan_designs, read_counts, read_sd

    variances = {
        "residual": read_sd(residual, "residual"), "session": read_sd(session, "session"),
        "subject:site": read_sd(interaction, "interaction"), "site": read_sd(site, "site"),
    }  # fmt: skip
    grid = {
        "n_sites": read_counts(sites, "sites"), "n_subjects": read_counts(participants, "participants"),
        "n_sessions": read_counts(sessions, "sessions"), "n_repeats": read_counts(repeats, "repeats"),
    }  # fmt: skip
    with run_progress() as progress:
        task = progress.add_task("designs", total=None, visible=False)
        outcome = plan_designs(
            out, variances=variances, coefficient=coefficient, delta=delta, grid=grid,
            simulate=simulate, missing=missing, seed=seed,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total, visible=True),
        )  # fmt: skip
    shown = Table(title=outcome.title, title_justify="left")
    for heading in ("design", "scans", "bound / true value", "upper 95 % bound", "chance to qualify"):
        shown.add_column(heading, justify="right" if heading != "design" else "left")
    for row in outcome.best:
        chance = row["chance_simulated"] if row["chance_simulated"] == row["chance_simulated"] else row["chance"]
        shown.add_row(
            row["design"], str(row["n_scans"]), f"{row['bound_over_true']:.2f}", f"{row['bound']:.4g}",
            "" if chance != chance else f"{100 * chance:.0f} %",
        )  # fmt: skip
    console.print(shown)
    console.print(f"{outcome.answer}\nWrote {outcome.table} and {outcome.figure}", soft_wrap=True)
