"""What `isocenter status` and the end of a run print: where each site stands, what was left out, the verdicts."""

from pathlib import Path

from rich.filesize import decimal
from rich.table import Table

from isocenter import layout
from isocenter.data_lock import read_lock
from isocenter.holder import find_holder
from isocenter.origins import list_origins
from isocenter.overview import STAGES, list_left_out, read_optional_rows, read_status
from isocenter.plan import Plan
from isocenter.runner import read_progress
from isocenter.terminal import VERDICT_MARK, console


def show_status(plan: Plan, limit: int | None) -> None:
    """Who works on the trial, sites × stages, what was left out (at most `limit` rows), and the verdicts."""
    _show_work(Path.cwd())
    table = Table(title="Sites × stages (done/known)", title_justify="left")
    table.add_column("site")
    for column in (*STAGES, "results"):
        table.add_column(column, justify="right")
    for site in read_status(plan):
        cells = []
        for stage in STAGES:
            counts = site.stages[stage]
            cells.append("·" if counts is None else f"{counts[0]}/{counts[1]} {'✓' if counts[0] == counts[1] else '…'}")
        if site.verdict:
            cells[-1] = f"{VERDICT_MARK.get(site.verdict, '')} {site.verdict}"
        table.add_row(site.site, *cells, decimal(site.n_bytes))
    console.print(table)
    elsewhere = [site for site in list_origins(Path.cwd()) if site in plan.sites]
    if elsewhere:
        console.print(f"Run elsewhere and taken in: {', '.join(elsewhere)}", soft_wrap=True, highlight=False)
    _show_exclusions(list_left_out(plan), limit)
    _show_verdicts(read_optional_rows(layout.QUALIFICATION))
    if Path(layout.REPORT).is_file():
        console.print(f"Report: {Path(layout.REPORT).resolve()}", soft_wrap=True, highlight=False)


def _show_work(directory: Path) -> None:
    """Who works on the trial now and how far that is; what the last run could not do; whether the data are locked."""
    holder = find_holder(directory)
    done, total, failed = read_progress(directory)
    if holder is not None:
        console.print(f"Working now: {holder}; {done} of {total or '?'} jobs done", soft_wrap=True, highlight=False)
    if failed:
        console.print(
            f"Failed in the {'present' if holder else 'last'} run: {', '.join(failed)}; what to do: read "
            f"{layout.LOGS}/run.log, which names each job's own log, then isocenter run",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    lock = read_lock(directory)
    if lock is not None:
        text = f"Locked as version {lock.version} by {lock.who} on {lock.time}: {lock.why}"
        console.print(text, soft_wrap=True, highlight=False)


def _show_exclusions(rows: list[dict[str, str]], limit: int | None) -> None:
    if not rows:
        return
    table = Table(title=f"Left out ({len(rows)})", title_justify="left")
    for column in ("site", "who", "stage", "reason", "what to do"):
        table.add_column(column, overflow="fold")
    for row in rows[:limit]:
        who = " ".join(row[c] for c in ("participant_id", "session", "run", "biomarker") if row[c] not in ("", "n/a"))
        table.add_row(row["site"], who or row["series"], row["stage"], row["reason"], row["action"])
    console.print(table)
    if any("(file " in row["series"] + row["reason"] for row in rows[:limit]):
        places = f"{layout.SITES}/<site>/{layout.ARRIVED}"
        console.print(f"Names of files are withheld; each stands by its code in {places}", soft_wrap=True)
    if limit and len(rows) > limit:
        console.print(f"… and {len(rows) - limit} more in {layout.EXCLUSIONS}")


def _show_verdicts(rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    table = Table(title="Verdicts", title_justify="left")
    for column in ("biomarker", "region", "verdict", "estimate", "upper 95 % bound", "delta"):
        table.add_column(column)
    for row in rows:
        mark = VERDICT_MARK.get(row["verdict"], "")
        table.add_row(
            row["biomarker"],
            row["roi"],
            f"{mark} {row['verdict']}",
            _short(row["estimate"]),
            _short(row["upper95"]),
            _short(row["delta"]),
        )
    console.print(table)


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return "–"
