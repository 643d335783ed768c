"""What `isocenter status` and the end of a run print: where each site stands, what was left out, the verdicts."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.filesize import decimal
from rich.table import Table

from isocenter import layout
from isocenter.data_lock import read_lock
from isocenter.failure_view import name_some, show_failures, show_reason
from isocenter.holder import find_holder
from isocenter.overview import STAGES, SiteStatus, list_left_out, read_optional_rows, read_status
from isocenter.plan import Plan
from isocenter.runner import read_progress
from isocenter.scan_status import list_visits
from isocenter.terminal import VERDICT_MARK, console
from isocenter.unsettled import read_unsettled

#: How actions begin that ask nothing of anybody.
NOTHING = "Nothing:"
#: Stages in a word that leaves room for ten columns in 80: series received, and used; phantom curves; onboarding.
HEADINGS = {"received": "series", "intake": "used", "calibrated": "curves", "onboarding": "verdict"}


def show_status(plan: Plan, limit: int | None) -> None:
    """Who works on the trial, sites × stages, what failed or was left out (at most `limit` reasons), the verdicts."""
    _show_work(Path.cwd())
    sites = read_status(plan)
    console.print(site_table(sites))
    console.print(
        f"On disk: {decimal(sum(site.n_bytes for site in sites))} of sites' results; "
        f"{decimal(shutil.disk_usage(Path.cwd()).free)} free",
        highlight=False,
    )
    _show_exclusions(list_left_out(plan), limit)
    _show_verdicts(read_optional_rows(layout.QUALIFICATION))
    if Path(layout.REPORT).is_file():
        console.print(f"Report: {Path(layout.REPORT).resolve()}", soft_wrap=True, highlight=False)


def site_table(sites: Iterable[SiteStatus], *, with_size: bool = True) -> Table:
    """Sites × stages: done of known, or the number alone once all is done."""
    table = _table("Sites × stages (done/known; ✓ all done; · not known before intake)")
    table.add_column("site", overflow="fold", min_width=8)
    for column in (*(HEADINGS.get(stage, stage) for stage in STAGES), *(["disk"] if with_size else [])):
        table.add_column(column, justify="right", overflow="fold")
    for site in sites:
        cells = [_cell(site.stages[stage]) for stage in STAGES]
        if site.verdict:
            cells[-1] = f"{VERDICT_MARK.get(site.verdict, '')} {site.verdict}"
        table.add_row(site.site, *cells, *([decimal(site.n_bytes)] if with_size else []))
    return table


def show_site(plan: Plan, site: str) -> None:
    """Every visit of one site against the schedule, and where each of its scans stands."""
    table = _table(f"Visits of {site}")
    for column in ("participant", "kind", "session", "run", *plan.biomarkers):
        table.add_column(column, overflow="fold")
    visits = list_visits(plan, site)
    for visit in visits:
        table.add_row(visit.participant, visit.kind, visit.session, visit.run, *visit.biomarkers.values())
    console.print(table)
    _show_exclusions([row for row in list_left_out(plan) if row["site"] == site], None)


def _show_work(directory: Path) -> None:
    """Who works on the trial now and how far that is; what the last run could not do; whether the data are locked."""
    holder = find_holder(directory)
    done, total, failures = read_progress(directory)
    if holder is not None:
        console.print(f"Working now: {holder}; {done} of {total or '?'} jobs done", soft_wrap=True, highlight=False)
    if failures:
        console.print(f"Failed in the {'present' if holder else 'last'} run: {len(failures)} jobs", highlight=False)
        show_failures(failures, directory)
    waiting = read_unsettled(directory)
    if waiting and holder is None:
        console.print(
            f"Memory or a folder was missing for {len(waiting)} jobs: the next isocenter run tries them again",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
    lock = read_lock(directory)
    if lock is not None:
        text = f"Locked as version {lock.version} by {lock.who} on {lock.time}: {lock.why}"
        console.print(text, soft_wrap=True, highlight=False)


def _show_exclusions(rows: list[dict[str, str]], limit: int | None) -> None:
    """What was left out, those of one reason together; what asks something of a person first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        words = [row["site"], *(row[c] for c in ("participant_id", "session", "run", "biomarker"))]
        who = [word for word in words if word not in ("", "n/a")]
        name = " ".join(who if len(who) > 1 else [*who, row["series"]])
        groups.setdefault((f"{row['stage']}: {row['reason']}", row["action"]), []).append(name)
    waiting = {key: names for key, names in groups.items() if not key[1].startswith(NOTHING)}
    aside = {key: names for key, names in groups.items() if key not in waiting}
    for title, chosen in (("Left out, for somebody to act on", waiting), ("Set aside, nothing to do", aside)):
        if chosen:
            console.print(f"{title}: {sum(map(len, chosen.values()))}", highlight=False)
        for (reason, action), names in list(chosen.items())[:limit]:
            show_reason(name_some(names), reason, action)
        if limit and len(chosen) > limit:
            console.print(f"… and {len(chosen) - limit} more reasons in {layout.EXCLUSIONS}", highlight=False)
    if any("(file " in row["series"] + row["reason"] for row in rows):
        places = f"{layout.SITES}/<site>/{layout.ARRIVED}"
        console.print(f"Names of files are withheld; each stands by its code in {places}", soft_wrap=True)


def _show_verdicts(rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    table = _table("Verdicts")
    for column in ("biomarker", "region", "verdict", "estimate", "upper 95 %", "delta"):
        table.add_column(column, justify="right" if column in ("estimate", "upper 95 %", "delta") else "left")
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


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD, padding=0, pad_edge=False)


def _cell(counts: tuple[int, int] | None) -> str:
    if counts is None:
        return "·"
    return f"{counts[1]} ✓" if counts[0] == counts[1] else f"{counts[0]}/{counts[1]}"


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return "–"
