"""What `isocenter status` and the end of a run print: where each site stands, what was left out, the verdicts."""

import re
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table

from isocenter import layout
from isocenter.data_lock import read_lock
from isocenter.holder import find_holder
from isocenter.overview import STAGES, list_left_out, read_optional_rows, read_status
from isocenter.plan import Plan
from isocenter.runner import read_progress
from isocenter.terminal import VERDICT_MARK, console

#: What stands for a file whose name is withheld, and for a series.
CODE, SERIES = re.compile(r"\(file ([0-9a-f]{8})\)"), re.compile(r"[0-9A-Za-z._-]*|n/a")
STAGE = "intake"


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
        table.add_row(row["site"], _tell_what(row), row["stage"], row["reason"], row["action"])
    console.print(table)
    withheld = [row for row in rows[:limit] if "(file " in row["series"] + row["reason"]]
    if withheld:
        code = CODE.search(withheld[0]["series"] + withheld[0]["reason"])
        places = [f"{layout.SITES}/{site}/{layout.ARRIVED}" for site in dict.fromkeys(row["site"] for row in withheld)]
        console.print(
            "Names of files are withheld here, for they may name a person. Which file a code stands for"
            f"{f' (such as {code[1]})' if code else ''}, says {', '.join(places)}",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    if limit and len(rows) > limit:
        console.print(f"… and {len(rows) - limit} more in {layout.EXCLUSIONS}")


def _tell_what(row: dict[str, str]) -> str:
    """Whose scan a row is about, and which file where it is about one."""
    who = " ".join(row[c] for c in ("participant_id", "session", "run", "biomarker") if row[c] not in ("", "n/a"))
    is_file = row["stage"] == STAGE and not SERIES.fullmatch(row["series"])
    return " ".join(filter(None, (who, row["series"] if is_file or not who else "")))


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
