"""The front page: is the trial healthy, what needs me, the verdicts, where everything stands."""

from collections import Counter
from typing import Any

import pandas as pd

from isocenter.figures.palette import state_of
from isocenter.report.cards import verdict_cards, verdict_table
from isocenter.report.flow_figure import accounting_table, flow_figure
from isocenter.report.gather import Trial
from isocenter.report.plausibility import list_doubts
from isocenter.report.tabulate import Cell, Table, row_link, verdict_cell
from isocenter.report.wording import (
    VERDICT_WORDS,
    is_missing,
    plural,
    say_reason,
    shorten,
)

#: the columns of the sites × stages matrix: (heading, entity and stage of flow.tsv, the count that is shown)
MATRIX = (
    ("Received [series]", "series", "intake", "n_in"),
    ("Intake [series used]", "series", "intake", "n_out"),
    ("Phantom [scans measured]", "phantom", "measure", "n_out"),
    ("Registered", "acquisition", "align", "n_out"),
    ("Fitted", "acquisition", "fit", "n_out"),
    ("Regions", "acquisition", "regions", "n_out"),
    ("Calibrated", "acquisition", "calibrate", "n_out"),
    ("Analyzed", "acquisition", "analyze", "n_out"),
)


def overview_context(trial: Trial) -> dict[str, Any]:
    """What ``index.html`` shows."""
    needs = list_needs(trial)
    cards = verdict_cards(trial)
    return {
        "health": describe_health(trial, needs, cards),
        "matrix": site_matrix(trial),
        "needs": needs,
        "set_aside": list_needs(trial, is_open=False),
        "verdicts": verdict_table(cards),
        "flow": flow_figure(trial),
        "accounting": accounting_table(trial),
        "doubts": [shorten(doubt, 400) for doubt in list_doubts(trial)],
    }


def describe_health(trial: Trial, needs: Table, cards: list[dict[str, Any]]) -> dict[str, str]:
    """One line with a state: how many sites pass, how much is analyzed, what waits for a person."""
    states = Counter(state_of(trial.verdicts.get(site, {}).get("verdict", "")) for site in trial.sites)
    n_fail, n_warn, n_none = (states[name] for name in ("fail", "warn", "none"))
    analyzed = trial.rows("flow", entity="acquisition", stage="analyze")
    first = trial.rows("flow", entity="acquisition", stage="align")
    n_in = int(first["n_in"].sum()) if len(first) else 0
    n_out = int(analyzed["n_out"].sum()) if len(analyzed) else 0
    n_doubts = len(list_doubts(trial))
    is_open = n_warn or n_none or needs.n_total or n_doubts or trial.problems
    state = "fail" if n_fail or n_out == 0 else "warn" if is_open else "pass"
    opening = {"pass": "Healthy", "warn": "Running, with things to look at", "fail": "Needs attention"}[state]
    sites = f"{states['pass'] + n_warn} of {plural(len(trial.sites), 'site')} pass onboarding"
    notes = [f"{n} {words}" for n, words in ((n_warn, "with warnings"), (n_none, "without a verdict")) if n]
    sites += f" ({', '.join(notes)})" if notes else ""
    counted = Counter(card["verdict"] for card in cards)
    words = ", ".join(
        f"{counted[v]} {VERDICT_WORDS[v]}" for v in ("qualified", "indeterminate", "not_qualified") if counted[v]
    )
    parts = [
        sites,
        f"{n_out} of {plural(n_in, 'acquisition')} that entered processing are analyzed",
        f"{plural(needs.n_total, 'thing')} left out that {'asks' if needs.n_total == 1 else 'ask'} for you",
        f"verdicts: {words}" if words else "no verdict yet",
    ]
    if n_doubts:
        parts.append(f"{plural(n_doubts, 'pair')} of values out of the order that tissues must have")
    return {"state": state, "opening": opening, "line": "; ".join(parts) + "."}


def site_matrix(trial: Trial) -> Table:
    """Sites × stages with counts, color and symbol; every count links to its row of flow.tsv."""
    columns = ["Site", "Onboarding", "Visits [runs of planned]", *(heading for heading, *_ in MATRIX)]
    rows: list[list[Cell]] = []
    for site in trial.sites:
        verdict = trial.verdicts.get(site, {}).get("verdict")
        page = f"sites/{site}.html"
        row = [Cell(site, href=page), verdict_cell(verdict, href=page) if verdict else Cell("none yet", state="none")]
        row.append(_planned_cell(trial, site))
        row += [_stage_cell(trial, site, entity, stage, count) for _, entity, stage, count in MATRIX]
        rows.append(row)
    return Table(
        "matrix",
        columns,
        rows,
        source="flow.tsv",
        empty="No site has sent anything yet.",
        n_total=len(rows),
        is_simple=True,
    )


def _planned_cell(trial: Trial, site: str) -> Cell:
    planned = trial.settings.get("planned", {}).get(site)
    if not isinstance(planned, int):
        return Cell("–", state="none", title="no schedule")
    missing = len(trial.rows("exclusions", site=site, stage="schedule"))
    state = "pass" if not missing else "fail" if missing >= planned else "warn"
    title = f"{planned - missing} of {planned} planned runs arrived"
    return Cell(
        f"{planned - missing} of {planned}", str(planned - missing), "#needs" if missing else "", state, title, True
    )


def _stage_cell(trial: Trial, site: str, entity: str, stage: str, count: str) -> Cell:
    found = trial.rows("flow", site=site, entity=entity, stage=stage)
    if not len(found):
        return Cell("–", state="none", title="nothing counted at this stage")
    row, href = found.iloc[0], row_link("flow", found.index[0])
    n_in, n_out, n_lost = int(row["n_in"]), int(row["n_out"]), int(row["n_excluded"])
    if count == "n_in":
        return Cell(str(n_in), str(n_in), href, "pass" if n_in else "fail", is_number=True)
    state = "none" if n_in == 0 else "fail" if n_out == 0 else "warn" if n_lost else "pass"
    text = f"{n_out}" if not n_lost else f"{n_out} (−{n_lost})"
    ignored = int(row.get("n_ignored", 0))
    title = f"{n_in} in, {ignored} ignored, {n_lost} excluded, {n_out} out"
    return Cell(text, str(n_out), href, state, title, is_number=True)


def newest_first(trial: Trial) -> pd.DataFrame:
    """The rows of ``exclusions.tsv`` by the day of their scan where intake knows it, and by their session."""
    table = trial.tables["exclusions"]
    scans = trial.tables.get("scans", pd.DataFrame())
    if not len(table):
        return table
    days = {}
    if len(scans) and "date" in scans:
        for key in (["site", "participant_id", "session"], ["site", "series_uid"]):
            days |= {tuple(k): d for *k, d in scans[[*key, "date"]].itertuples(index=False, name=None) if d}
    known = [
        days.get((e["site"], e["series"])) or days.get((e["site"], e["participant_id"], e["session"])) or ""
        for _, e in table.iterrows()
    ]
    order = table.assign(day=known).sort_values(["day", "session"], ascending=False, kind="stable")
    return order.drop(columns="day")


def need_cells(trial: Trial, index: Any, e: Any) -> list[Cell]:
    """Site, scan, stage, reason and action of a row of ``exclusions.tsv``."""
    who = " ".join(
        part
        for part in (
            "" if is_missing(e["participant_id"]) or e["participant_id"] == "n/a" else f"sub-{e['participant_id']}",
            "" if is_missing(e["session"]) else f"ses-{e['session']}",
            "" if is_missing(e["run"]) else f"run-{e['run']}",
        )
        if part
    )
    scan = " ".join(part for part in (who, "" if is_missing(e["biomarker"]) else str(e["biomarker"])) if part)
    site = str(e["site"])
    known = site in trial.sites
    return [
        Cell(shorten(site), href=f"sites/{site}.html" if known else ""),
        Cell(shorten(scan or e["series"], 44), title=str(e["series"])),
        Cell(shorten(e["stage"], 30), href=row_link("exclusions", index)),
        Cell(say_reason(e["reason"], 400), title=str(e["reason"])),
        Cell(shorten(e["action"], 240), title=str(e["action"])),
    ]


def list_needs(trial: Trial, *, is_open: bool = True) -> Table:
    """Exclusions with reason and next action, the newest session first; those of no session last.

    is_open : those that ask something of a person; otherwise those set aside with nothing to do
    """
    rows = []
    anchors = []
    for index, e in newest_first(trial).iterrows():
        if is_open == str(e["action"]).startswith("Nothing:"):
            continue
        rows.append(need_cells(trial, index, e))
        anchors.append(f"need-{index}")
    return Table(
        "needs",
        ["Site", "Scan", "Stage", "Why it is left out", "What to do"],
        rows,
        anchors,
        "exclusions.tsv",
        "Nothing: whatever was received is used, or needs no one." if is_open else "Nothing was set aside.",
        len(rows),
    )
