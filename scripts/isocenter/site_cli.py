"""The commands of a site: `add-site` drafts its files, `check-site` gives its verdict."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from isocenter import layout
from isocenter.completion_cli import complete_site
from isocenter.errors import IsocenterError, explain
from isocenter.failure_view import explain_failure
from isocenter.origins import check_run_here
from isocenter.terminal import VERDICT_MARK, console, run_progress, show_rows

Directory = Annotated[
    Path, typer.Option("--directory", "-d", help="The trial's folder (config/, sites/, results/).", show_default="here")
]


def add_commands(app: typer.Typer) -> None:
    """Give the command line `add-site` and `check-site`."""
    app.command("add-site")(add_site)
    app.command("check-site")(check_site)


def add_site(
    name: Annotated[str, typer.Argument(help="The site's name: letters and digits. It becomes a folder under sites/.")],
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DICOM_DIR...", help="Folders that hold the site's DICOM.")
    ] = None,
    dicom: Annotated[list[Path] | None, typer.Option("--dicom", help="The same, as an option.")] = None,
    directory: Directory = Path("."),
) -> None:
    """Draft a site's files from its DICOM headers, and list where its scans differ from the protocol."""
    from isocenter.site_draft import draft_site

    check_trial(directory)
    sources = [*(folders or []), *(dicom or [])]
    if not sources:
        raise IsocenterError(explain("No folder of DICOM is named", expected=f"isocenter add-site {name} DICOM_DIR"))
    with run_progress() as progress:
        task = progress.add_task("reading DICOM", total=None)
        draft = draft_site(
            directory, name, sources, on_progress=lambda text: progress.update(task, description=text[:70])
        )
    show_rows("Scanners", ("id", "what", "field", "serial"), draft.scanners)
    show_rows("Participants", ("label", "kind", "scanned in", "kind proposed"), draft.people)
    show_rows("Series", ("of a", "series", "scans", "scanner", "which is"), draft.series)
    show_rows(
        "Differences from the protocol",
        ("series", "parameter", "found", "expected", "in", "how to fix"),
        [
            (d["series"], d["parameter"], d["found"], d["expected"], f"{d['n']} of {d['of']}", d["remedy"])
            for d in draft.differences
        ],
    )
    if not draft.differences:
        console.print("Differences from the protocol: none")
    for path in draft.files:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    console.print("Fill in:")
    for text in draft.todo:
        console.print(f"  – {text}", soft_wrap=True, highlight=False)
    console.print(f"Then: isocenter check-site {name}", highlight=False)


def check_site(
    site: Annotated[str, typer.Argument(help="The site's folder name under sites/.", autocompletion=complete_site)],
    cores: Annotated[
        int, typer.Option("--cores", "-c", min=1, help="How many cores to use.", show_default="all")
    ] = os.cpu_count() or 1,
    directory: Directory = Path("."),
) -> None:
    """Give the onboarding verdict of one site: exit 0 when it passes, 1 when it fails."""
    from isocenter.plan import Plan
    from isocenter.recorded_run import run_recorded
    from isocenter.settings import load_settings

    os.chdir(check_trial(directory))
    plan = Plan(load_settings(Path.cwd()))
    if site not in plan.sites:
        raise IsocenterError(f"Unknown site {site!r}; known: {', '.join(plan.sites) or 'none'}; see sites/")
    check_run_here(Path.cwd(), [site])
    target = layout.fill(layout.VERDICT, site=site)
    with run_progress() as progress:
        task = progress.add_task("planning", total=None)
        outcome = run_recorded(
            Path.cwd(), cores=cores, options=[str(target)],
            on_progress=lambda now: progress.update(
                task, completed=now.done, total=now.total or None, description=now.text[:70]
            ),
        )  # fmt: skip
    if outcome.returncode:
        explain_failure(outcome)
        raise typer.Exit(2)
    verdict = json.loads(target.read_text(encoding="utf-8"))
    _show_changes(verdict)
    page = layout.fill(layout.CERTIFICATE, site=site).resolve()
    console.print(f"Certificate: {page}", soft_wrap=True, highlight=False)
    raise typer.Exit(1 if verdict["verdict"] == "fail" else 0)


def check_trial(directory: Path) -> Path:
    """The trial's folder; IsocenterError when it is none."""
    if not (directory / layout.CONFIG).is_file():
        raise IsocenterError(
            f"This is no trial folder: {directory / layout.CONFIG} is missing; "
            "what to do: go to the trial's folder, or name it with --directory"
        )
    return directory


def _show_changes(verdict: dict) -> None:
    mark = VERDICT_MARK.get(verdict["verdict"], "")
    title = f"Onboarding of {verdict['site']}: {mark} {verdict['verdict']}"
    rows = []
    for change in verdict["changes"]:
        where = ", ".join(change["scopes"][:2]) + (f" and {change['n'] - 2} more" if change["n"] > 2 else "")
        found, expected = (change[f"console_{key}"] or change[key] for key in ("found", "expected"))
        sign = f"{VERDICT_MARK.get(change['verdict'], '')} {change['verdict']}"
        rows.append((sign, change["parameter"], found, expected, change["remedy"], where))
    if rows:
        show_rows(title, ("verdict", "parameter", "found", "expected", "how to fix", "where"), rows)
    else:
        console.print(f"{title}: nothing to change", highlight=False)
