"""The command line: a thin, friendly face. Every step is also a rule and a script.

Exit codes: 0 done; 1 done, and the answer is *fail*; 2 the request itself is wrong.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from isocenter import (
    __version__,
    audit_cli,
    completion_cli,
    decision_cli,
    export_cli,
    layout,
    pool_cli,
    site_cli,
    stats_cli,
)
from isocenter.errors import ConfigError, IsocenterError, explain
from isocenter.failure_view import explain_failure
from isocenter.site_cli import check_trial
from isocenter.terminal import (
    console,
    errors,
    run_progress,
    show_alignment,
    show_fit,
    show_models,
    show_phantom,
    show_planned,
)
from isocenter.trouble import find_trouble

app = typer.Typer(
    name="isocenter",
    help="Multicenter quantitative MRI: from each site's DICOM to a qualification verdict.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ALL_CORES = os.cpu_count() or 1
REPOSITORY = Path(__file__).resolve().parents[2]

Directory = Annotated[
    Path, typer.Option("--directory", "-d", help="The trial's folder (config/, sites/, results/).", show_default="here")
]
Cores = Annotated[int, typer.Option("--cores", "-c", min=1, help="How many cores to use.", show_default="all")]
Full = Annotated[
    bool, typer.Option("--full", help="With diffusion, heart and thigh, in a folder demo-full unless -d names one.")
]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    cores: Annotated[
        int | None,
        typer.Option("--cores", "-c", min=1, help="How many cores to use.", show_default="all, or the profile's"),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(min=0.1, help="How much memory jobs share, in GB.", show_default="nine tenths of the machine's"),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Where jobs run: slurm, a folder of profiles/ of the trial, or a path.", show_default="here"),
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Run only what belongs to this site; may be repeated. isocenter pool then makes the trial's tables.",
            show_default=False,
        ),
    ] = None,
    directory: Directory = Path("."),
) -> None:
    """Run the whole trial, or what is new in it. What follows `--` goes to Snakemake."""
    from isocenter.profiles import machine_options

    os.chdir(check_trial(directory))
    sites = list(dict.fromkeys(site or []))
    raise typer.Exit(_run(cores, [*machine_options(memory, profile, Path.cwd()), *context.args], sites))


@app.command()
def demo(
    cores: Cores = ALL_CORES,
    directory: Directory = Path("."),
    seed: Annotated[int, typer.Option(help="The same seed gives the same trial, to the byte.")] = 20260101,
    full: Full = False,
) -> None:
    """Simulate a multicenter trial as DICOM, run the chain on it, and show the verdicts."""
    if full and directory == Path("."):
        directory = Path("demo-full")  # a trial of its own, beside the plain one
    _simulate(directory, seed=seed, workers=cores, full=full)
    os.chdir(check_trial(directory))
    raise typer.Exit(_run(cores, []))


@app.command()
def simulate(
    directory: Annotated[Path, typer.Argument(help="The folder to write the trial into.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same trial, to the byte.")] = 20260101,
    workers: Annotated[int, typer.Option(min=1, help="Processes to use.", show_default="all")] = ALL_CORES,
    full: Full = False,
) -> None:
    """Write a multicenter trial as DICOM with known truth."""
    _simulate(directory, seed=seed, workers=workers, full=full)
    console.print(f"Wrote the trial to {directory}; its truth stands in {directory / 'demo-truth'}", soft_wrap=True)


@app.command()
def status(
    site: Annotated[str, typer.Option("--site", "-s", help="Each visit of one site, and where its scans stand.")] = "",
    directory: Directory = Path("."),
) -> None:
    """Say where every site stands, what failed and why, and what to do next; it only reads."""
    os.chdir(check_trial(directory))
    from isocenter.status_view import show_site, show_status

    plan = _plan()
    if site:
        plan.settings.site(site)  # an unknown one is told with the known ones
        show_site(plan, site)
    else:
        show_status(plan, limit=None)


@app.command()
def phantom(
    dicom: Annotated[Path, typer.Argument(metavar="DICOM_DIR", help="The DICOM of one session, in any folders.")],
    phantom: Annotated[str, typer.Option(help="system, diffusion, eurospin, pdff, or the path of a YAML definition.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into.")],
    temperature: Annotated[float, typer.Option(help="Of the phantom during the scan, in degC.")],
    serial: Annotated[str, typer.Option(help="The phantom's serial number, which tells its batch.")] = "",
    temperature_stderr: Annotated[
        float | None, typer.Option(min=0, help="Standard uncertainty of the temperature, in degC [default: 0.5].")
    ] = None,
    field_strength: Annotated[float | None, typer.Option(help="Instead of what the headers say, in tesla.")] = None,
    rois: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE or T1=FILE",
            help="A hand-made file of the vials' places: nothing is searched. Where "
            "the phantom has several arrays, with the quantity it is for; may be repeated.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to use.", show_default="all")] = ALL_CORES,
) -> None:
    """Measure one phantom session: vials, calibrations and a page; exit 1 when the answer is fail."""
    from isocenter.phantom_command import measure_folder

    with run_progress() as progress:
        task = progress.add_task("reading DICOM", total=None)
        outcome = measure_folder(
            dicom, out, phantom=phantom, serial=serial, temperature=temperature, temperature_stderr=temperature_stderr,
            field_strength=field_strength, rois=rois or (), threads=threads,
            on_progress=lambda text: progress.update(task, description=text),
        )  # fmt: skip
    show_phantom(outcome)
    console.print(f"Wrote {len(outcome.files)} files to {out}; the page: {outcome.files[-1]}", soft_wrap=True)
    raise typer.Exit(1 if outcome.verdict == "fail" else 0)


@app.command()
def fit(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The signal model; --list names them.", show_default=False)
    ] = "",
    niftis: Annotated[
        list[Path] | None,
        typer.Argument(metavar="NIFTI...", help="A 4D file, or one file per value, each with its JSON sidecar."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder to write the maps into.")] = None,
    robust: Annotated[str | None, typer.Option(help="Weigh down samples that stand off: tukey or huber.")] = None,
    noise: Annotated[str, typer.Option(help="The noise of the images: gaussian or rician.")] = "gaussian",
    sigma: Annotated[float | None, typer.Option(help="Known noise of one channel, in the unit of the images.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Fit where this image is above 0, or: all. Without it the foreground.")
    ] = None,
    b1: Annotated[Path | None, typer.Option(help="A map of B1 (fraction), for models that use one.")] = None,
    t1: Annotated[Path | None, typer.Option(help="A map of T1 in seconds, for models that use one.")] = None,
    aif: Annotated[
        Path | None,
        typer.Option(help="The arterial input of DCE: a TSV of time and concentration, or an image of an artery."),
    ] = None,
    t2: Annotated[
        Path | None, typer.Option(help="A T2 map as isocenter fit writes it: R2* then also gives R2'.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the model.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to use.", show_default="all")] = ALL_CORES,
    list_models: Annotated[bool, typer.Option("--list", help="List the models and stop.")] = False,
) -> None:
    """Fit a signal model to one BIDS series: maps with standard errors and flags, sidecars, a picture."""
    from isocenter.fit_command import fit_files, known_models, read_options

    if list_models or not model:
        show_models(known_models())
        raise typer.Exit(0 if list_models else 2)
    if out is None:
        raise IsocenterError("There is no folder to write to; what to do: name one with --out DIR")
    with run_progress() as progress:
        task = progress.add_task(f"reading {len(niftis or [])} file(s)", total=None)
        outcome = fit_files(
            model, niftis or [], out, robust=robust, noise=noise, sigma=sigma, mask=mask, b1=b1, t1=t1,
            aif=aif, t2=t2, options=read_options(option or []), threads=threads,
            on_progress=lambda done, total: progress.update(
                task, completed=done, total=total, description=f"{model}, slices"
            ),
        )  # fmt: skip
    show_fit(outcome)
    console.print(f"Wrote {len(outcome.files)} files to {out}; a first look: {outcome.files[-1]}", soft_wrap=True)


@app.command()
def align(
    niftis: Annotated[
        list[Path], typer.Argument(metavar="NIFTI...", help="A 4D file, or one file per value, each with its sidecar.")
    ],
    model: Annotated[str, typer.Option(help="The signal model of the series; isocenter fit --list names them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write into.")],
    method: Annotated[
        str,
        typer.Option(
            help="model: rigid, by the signal model and the consensus of the volumes; rigid: by the consensus alone; "
            "deformable: breathing, each volume warped to the model's prediction; reference or mean: each volume to "
            "one, or to the mean of all."
        ),
    ] = "model",
    limit: Annotated[float, typer.Option(help="A volume that moved more than this is left out, in mm.")] = 15.0,
    mask: Annotated[
        Path | None, typer.Option(help="An image above 0 in the organ whose motion counts; else all that is no air.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the model.")] = None,
    seed: Annotated[int, typer.Option(help="Of the registration's sampling.")] = 1,
) -> None:
    """Align the volumes of one series: the aligned series, motion.tsv, and a picture of the fit's residuals."""
    from isocenter.align_command import align_files
    from isocenter.fit_command import read_options

    with run_progress() as progress:
        progress.add_task(f"aligning by the method {method}", total=None)
        outcome = align_files(
            niftis, out, model=model, method=method, options=read_options(option or []), limit=limit, mask=mask,
            seed=seed,
        )  # fmt: skip
    show_alignment(outcome)
    console.print(f"Wrote {len(outcome.files)} files to {out}; a picture: {outcome.files[-1]}", soft_wrap=True)


def _plan(sites: list[str] | None = None):
    from isocenter.plan import Plan
    from isocenter.settings import load_settings

    return Plan(load_settings(Path.cwd(), only=sites or None))


def _simulate(directory: Path, *, seed: int, workers: int, full: bool) -> None:
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    from simulate_trial import FULL, PLAIN, is_simulated, place_config, simulate_trial

    place_config(directory, REPOSITORY / "config", full=full)
    size = FULL if full else PLAIN
    if is_simulated(directory, seed=seed, **size):
        console.print("The demonstration trial is already simulated; its DICOM is used as it is")
        return
    with run_progress() as progress:
        task = progress.add_task("simulating", total=None)
        simulate_trial(
            directory / "config" / "phantoms" / "nist_system.yaml",
            directory=directory,
            seed=seed,
            workers=workers,
            **size,
            on_progress=lambda done, total, text: progress.update(
                task, completed=done, total=total, description=f"simulate {text}"
            ),
        )


def _run(cores: int | None, options: list[str], sites: list[str] | None = None) -> int:
    from isocenter.live_view import follow_run
    from isocenter.planned_jobs import DRY_OPTIONS
    from isocenter.recorded_run import run_recorded

    is_dry = bool(DRY_OPTIONS & {*options})
    plan = _plan(sites)  # a mistake in a file that a person wrote is told before Snakemake starts
    if not plan.settings.sites:
        raise ConfigError(
            explain(
                "The trial has no site yet", where=str(Path.cwd() / layout.SITES), expected="a folder with a site.yaml",
                remedy="draft one with `isocenter add-site`, or try `isocenter demo`",
            )
        )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal or a stopped service ends a run as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    try:
        with follow_run(plan, Path.cwd()) as follow:
            outcome = run_recorded(
                Path.cwd(), cores=cores, options=options, on_progress=follow, plan=plan, sites=sites or ()
            )
    except KeyboardInterrupt:
        errors.print("Stopped; the next run goes on from here")
        return 130
    for why, files in (
        ("Made again, because they were missing or cut short", outcome.mended),
        ("Tried again, because memory or a folder was missing", outcome.retried),
        ("Dated now, because they were dated in the future, or changed under an older date", outcome.settled),
    ):
        if files:
            why = f"To be {why[:1].lower()}{why[1:]}" if is_dry else why
            more = f" and {len(files) - 5} more" if len(files) > 5 else ""
            console.print(f"{why}: {', '.join(files[:5])}{more}", soft_wrap=True, highlight=False)
    if outcome.nothing_to_do and not outcome.returncode:
        console.print(f"Nothing to do: every result is up to date ({outcome.seconds:.0f} s)")
    elif not outcome.returncode and is_dry:
        show_planned(outcome.planned)
    elif not outcome.returncode:
        console.print(f"{outcome.n_jobs} jobs in {outcome.seconds:.0f} s")
    if outcome.returncode:
        explain_failure(outcome)
        return 2 if outcome.is_locked else 1
    if not is_dry:
        from isocenter.status_view import show_status

        show_status(_plan(sites), limit=12)
    return 0


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    """Multicenter quantitative MRI: from each site's DICOM to a qualification verdict."""
    if show:
        console.print(f"isocenter {__version__}")
        raise typer.Exit


for commands in (site_cli, pool_cli, stats_cli, decision_cli, audit_cli, export_cli, completion_cli):
    commands.add_commands(app)


def main() -> None:
    """Entry point: an error is one line, without a traceback, and exit 2: exit 1 is an answer, and a crash is none."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except IsocenterError as error:
        if debug:
            raise
        errors.print(f"{type(error).__name__}: {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        trouble = find_trouble(error) if isinstance(error, OSError | MemoryError) else None
        if trouble is not None:
            text = f"{type(trouble).__name__}: {trouble}"
        else:
            where = getattr(error, "filename", None)
            remedy = (
                "check the path, its permissions and the space on its disk"
                if isinstance(error, OSError)
                else "this is a fault of the program: report it with what the same command says with --debug"
            )
            text = explain(f"{type(error).__name__}: {error}", where=str(where) if where else "", remedy=remedy)
        errors.print(text, highlight=False, soft_wrap=True)
        sys.exit(2)
