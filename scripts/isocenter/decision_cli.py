"""The commands by which people decide about a trial's data: `exclude`, `include`, `lock` and `unlock`."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from isocenter import layout
from isocenter.completion_cli import complete_site
from isocenter.errors import IsocenterError, explain
from isocenter.site_cli import check_trial
from isocenter.terminal import console

Directory = Annotated[
    Path, typer.Option("--directory", "-d", help="The trial's folder (config/, sites/, results/).", show_default="here")
]
Site = Annotated[
    str,
    typer.Argument(
        help="The site's folder name under sites/; all: every site of the participant.", autocompletion=complete_site
    ),
]
Participant = Annotated[str, typer.Argument(help="As in participants.tsv; a phantom, too.")]
Session = Annotated[str, typer.Argument(help="One session; all of them without it.", show_default=False)]
Run = Annotated[str, typer.Argument(help="One run of the session; all of them without it.", show_default=False)]
Biomarker = Annotated[str, typer.Option("--biomarker", "-b", help="One biomarker; all of them without it.")]
By = Annotated[str, typer.Option(help="Who decided, if not the user of the operating system.")]


def add_commands(app: typer.Typer) -> None:
    """Give the command line `exclude`, `include`, `lock` and `unlock`."""
    for command in (exclude, include, lock, unlock):
        app.command()(command)


def exclude(
    site: Site,
    participant: Participant,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the trial's table of exclusions.")],
    session: Session = "",
    run: Run = "",
    biomarker: Biomarker = "",
    withdrawn: Annotated[
        bool,
        typer.Option("--withdrawn", help="The participant withdrew: what the results hold of them is deleted, too."),
    ] = False,
    by: By = "",
    directory: Directory = Path("."),
) -> None:
    """Leave a participant, session, run or biomarker out of the analysis, with a reason, in the audit trail."""
    from isocenter.decisions import exclude as leave_out

    if withdrawn and (session or run or biomarker):
        raise IsocenterError(
            explain(
                "A participant withdraws whole",
                found=" ".join(word for word in (session, run, biomarker) if word),
                remedy="name the participant alone; the site may be: all",
            )
        )
    decision = {
        "participant_id": participant, "session": session, "run": run, "biomarker": biomarker,
        "is_withdrawn": "true" if withdrawn else "false", "reason": _reason(reason),
    }  # fmt: skip
    with _decide(directory, "isocenter exclude") as settings:
        changed = leave_out(settings, _sites(settings, site), decision, who=by)
    if not changed:
        console.print("That is left out already, for this reason")
        return
    console.print(f"Left out at {', '.join(changed)}; isocenter run brings the results up to date", soft_wrap=True)
    if withdrawn:
        console.print(
            f"What the results held of {participant} is deleted; the DICOM that the sites sent is theirs to delete, "
            "and locked versions of the data are as they were",
            soft_wrap=True,
        )


def include(
    site: Site,
    participant: Participant,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it stands in the audit trail.")],
    session: Session = "",
    run: Run = "",
    biomarker: Biomarker = "",
    by: By = "",
    directory: Directory = Path("."),
) -> None:
    """Take back what was left out; name it as it was named then."""
    from isocenter.decisions import include as take_back

    scope = {"participant_id": participant, "session": session, "run": run, "biomarker": biomarker}
    with _decide(directory, "isocenter include") as settings:
        changed = take_back(settings, _sites(settings, site), scope, why=_reason(reason), who=by)
    console.print(f"Taken back at {', '.join(changed)}; isocenter run brings the results up to date", soft_wrap=True)


def lock(
    version: Annotated[str, typer.Argument(help="The version's name, for instance 1.0 or interim-2026.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="What the version is for.")],
    by: By = "",
    directory: Directory = Path("."),
) -> None:
    """Freeze the data as a version: a copy that nothing changes, and no run until the lock is lifted."""
    from isocenter.data_lock import lock_data

    with _hold(directory, "isocenter lock"):
        folder = lock_data(directory, version, _reason(reason), by)
    console.print(f"Locked as version {version}: {folder}", soft_wrap=True, highlight=False)


def unlock(
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why another version is needed.")],
    by: By = "",
    directory: Directory = Path("."),
) -> None:
    """Lift the lock of the data: later runs make the next version, the locked one stays as it is."""
    from isocenter.data_lock import unlock_data

    with _hold(directory, "isocenter unlock"):
        was = unlock_data(directory, _reason(reason), by)
    kept = layout.fill(layout.LOCKED_VERSION, version=was.version)
    console.print(f"The lock of version {was.version} is lifted; its copy stays in {kept}", soft_wrap=True)


def _hold(directory: Path, what: str):
    """Hold a trial's folder, which is one, while a decision is made."""
    from isocenter.holder import hold_trial

    return hold_trial(check_trial(directory), what)


@contextlib.contextmanager
def _decide(directory: Path, what: str):
    """Hold an unlocked trial while a decision is made; gives its settings."""
    from isocenter.data_lock import check_unlocked
    from isocenter.settings import load_settings

    check_unlocked(check_trial(directory))
    with _hold(directory, what):
        yield load_settings(directory)


def _sites(settings, site: str) -> list[str]:
    if site == "all":
        return list(settings.sites)
    settings.site(site)  # an unknown one is told with the known ones
    return [site]


def _reason(text: str) -> str:
    if not text.strip():
        raise IsocenterError(explain("A decision has no reason", remedy="say why with --reason, in a sentence"))
    return " ".join(text.split())
