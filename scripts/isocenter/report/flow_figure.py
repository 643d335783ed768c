"""From received to analyzed, and runs planned against runs used: how the data came together."""

import re

from isocenter.figures.flow import draw_flow
from isocenter.report.figure import Figure
from isocenter.report.gather import Trial
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of
from isocenter.report.wording import format_number, is_missing, name_roi, plural, say_reason, shorten

#: a count in a reason; tags, versions and names keep their digits
_NUMBER = re.compile(r"(?<![\w.,(/-])\d{1,15}(?![\w.,/-])|(?<=\()\d{1,15}(?= )")
#: what a stage of flow.tsv is called on the page
STAGE_WORDS = {
    ("file", "read"): "Files received",
    ("series", "intake"): "Series",
    ("acquisition", "decide"): "Decisions",
    ("acquisition", "align"): "Registration",
    ("acquisition", "fit"): "Fit",
    ("acquisition", "regions"): "Regions",
    ("acquisition", "calibrate"): "Calibration",
    ("acquisition", "analyze"): "Statistics",
    ("phantom", "measure"): "Phantom",
}


def flow_figure(trial: Trial) -> Figure:
    """From received to analyzed over all sites, with what left at each stage and why."""
    flow = trial.tables["flow"]
    stages = []
    for (entity, stage), label in STAGE_WORDS.items():
        rows = trial.rows("flow", entity=entity, stage=stage)
        if not len(rows) or entity == "phantom":
            continue
        ignored = int(rows["n_ignored"].sum())
        lost = int(rows["n_excluded"].sum()) + ignored
        reasons = _reasons(trial, stage)
        unit = "files" if entity == "file" else "series" if entity == "series" else "acquisitions"
        stages.append(
            {
                "label": label,
                "n": int(rows["n_in"].sum()),
                "unit": unit,
                "lost": lost,
                "reasons": reasons,
                "entity": entity,
                "beside": "" if lost or not reasons else _beside(trial, stage),
            }
        )
    phantoms = trial.rows("flow", entity="phantom", stage="measure")
    people = trial.rows("flow", entity="acquisition", stage="decide")
    people = people if len(people) else trial.rows("flow", entity="acquisition", stage="align")
    for stage in stages:
        if stage["entity"] == "series" and len(people):
            n_phantom = int(phantoms["n_in"].sum()) if len(phantoms) else 0
            stage["notes"] = [
                f"make {plural(int(people['n_in'].sum()), 'acquisition')}",
                f"and {plural(n_phantom, 'phantom scan')}",
            ]
    out = trial.rows("flow", entity="acquisition", stage="analyze")
    if stages:
        stages.append(
            {
                "label": "Analyzed",
                "n": int(out["n_out"].sum()) if len(out) else 0,
                "unit": "acquisitions",
                "lost": None,
                "reasons": [],
                "entity": "acquisition",
            }
        )
    alt = "; ".join(
        f"{s['label']}: {s['n']} {s['unit']} in" + (f", {s['lost']} left out" if s["lost"] else "") for s in stages
    )
    return Figure(
        "From received to analyzed",
        alt,
        "How many files, series and acquisitions enter each stage, all sites together, and what leaves there.",
        "Counts of flow.tsv. Files become series at intake, and series become acquisitions: one biomarker of one run "
        "of one person. Phantom scans are counted apart, in the matrix of sites and stages. Ignored series "
        "(duplicates, vendor maps, localizers) are among those left out at intake.",
        "Every number that leaves has a reason, and what enters a stage equals what left the stage before.",
        "Whether a visit that was planned and never took place matters; such visits stand in the list of exclusions.",
        svg=draw_flow(stages, alt) if stages else "",
        sources=[("flow.tsv", "tables/flow.html"), ("exclusions.tsv", "tables/exclusions.html")],
        empty="" if len(flow) else "No counts yet: flow.tsv is empty.",
        is_wide=True,
    )


def _beside(trial: Trial, stage: str) -> str:
    n = int((trial.tables["exclusions"]["stage"] == stage).sum())
    return f"{plural(n, 'region')} without a value, of acquisitions that go on"


def _reasons(trial: Trial, stage: str) -> list[str]:
    """The most frequent reasons of a stage, with counts."""
    rows = trial.tables["exclusions"]
    if not len(rows):
        return []
    # Intake names a series by its UID, and a file that belongs to none by its path.
    is_series = rows["series"].astype(str).str.fullmatch(r"[0-9.]+")
    at_intake = rows["stage"] == "intake"
    chosen = {"read": at_intake & ~is_series, "intake": at_intake & is_series}.get(stage, rows["stage"] == stage)
    found: dict[str, list[str]] = {}
    for reason in rows.loc[chosen, "reason"].astype(str):
        found.setdefault(_NUMBER.sub("\0", reason), []).append(reason)
    most = sorted(found.values(), key=len, reverse=True)[:4]
    return [f"{len(reasons)} × {say_reason(_merge(reasons), 400)}" for reasons in most]


def _merge(reasons: list[str]) -> str:
    """Reasons that differ in their numbers alone as one, with the range of each number."""
    numbers = zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True)
    ends = ((min(own, key=int), max(own, key=int)) for own in numbers)
    ranges = iter([low if low == high else f"{low}–{high}" for low, high in ends])
    return _NUMBER.sub(lambda _: next(ranges), reasons[0])


def accounting_table(trial: Trial) -> Table:
    """Planned, received, usable and used runs a site and metric."""
    rows = []
    for index, r in trial.tables.get("accounting", {}).iterrows() if len(trial.tables.get("accounting", [])) else []:
        href = row_link("accounting", index)
        rows.append(
            [
                Cell(f"{r['biomarker']} {name_roi(r['roi'])}"),
                Cell(str(r["site"])),
                *(
                    number_cell(format_number(r.get(c), 0), r.get(c), href)
                    for c in ("n_planned", "n_received", "n_usable", "n_used", "n_excluded")
                ),
                Cell(shorten("" if is_missing(r.get("reason")) else r["reason"], 120)),
            ]
        )
    return table_of(
        "accounting",
        ["Metric", "Site", "Planned", "Received", "Usable", "Used", "Excluded", "Reason"],
        rows,
        source="accounting.tsv",
        empty="No accounting: the statistics have not run.",
    )
