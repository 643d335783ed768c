"""What the pages of all sessions share, gathered once: a trial may have thousands of them."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from isocenter.report.gather import Trial
from isocenter.report.metrics import list_metrics, metric_page
from isocenter.report.pictures import color_limits
from isocenter.report.places import visit_page
from isocenter.report.tabulate import row_link
from isocenter.report.wording import is_missing, shown_unit

#: site, participant, session
Visit = tuple[str, str, str]
_KEYS = ["site", "participant_id", "session"]
_TABLES = ("measurements", "plausibility", "scans", "exclusions")


@dataclass
class VisitIndex:
    """Every session, and what belongs to it.

    rows : table → session → its rows · runs : session → map name → its runs · motions : session → (run, series) →
    a row a volume · metrics : (biomarker, region) → page · limits : biomarker → range of colors in shown units ·
    pages : (site, participant, session, run) of a phantom → page · series : (site, series UID) → its row of scans.tsv
    """

    visits: list[Visit]
    rows: dict[str, dict[Visit, pd.DataFrame]]
    metrics: dict[tuple[str, str], str]
    limits: dict[str, tuple[float, float]]
    runs: dict[Visit, dict[str, set[str]]] = field(default_factory=dict)
    motions: dict[Visit, dict[Any, pd.DataFrame]] = field(default_factory=lambda: defaultdict(dict))
    pages: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    series: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, name: str, visit: Visit) -> pd.DataFrame:
        """The rows of a table that belong to a session."""
        return self.rows.get(name, {}).get(visit, pd.DataFrame())

    def near(self, visit: Visit) -> list[tuple[str, Visit]]:
        """The sessions before and after, in the list of the site."""
        at = self.visits.index(visit)
        pair = [("←", at - 1)] if at else []
        pair += [("→", at + 1)] if at + 1 < len(self.visits) else []
        return [(arrow, self.visits[k]) for arrow, k in pair if self.visits[k][0] == visit[0]]

    def counts(self) -> list[tuple[str, int, str]]:
        """Each site with how many sessions it has, and the page of its first."""
        own: dict[str, list[Visit]] = defaultdict(list)
        for visit in self.visits:
            own[visit[0]].append(visit)
        return [(site, len(visits), visit_page(*visits[0])) for site, visits in own.items()]


def index_visits(trial: Trial) -> VisitIndex:
    """Go through a trial once: sessions are those that anything was measured or fitted of, phantoms apart."""
    rows = {name: _group(trial.tables.get(name, pd.DataFrame())) for name in _TABLES}
    measured = trial.tables["measurements"]
    people = measured[measured["kind"] != "phantom"] if "kind" in measured else measured
    found = {(key.site, key.participant, key.session) for key, _ in trial.maps}
    found |= set(people[_KEYS].itertuples(index=False, name=None)) if len(people) else set()
    visits = sorted(visit for visit in found if not any(is_missing(part) for part in visit))
    metrics = {(metric.biomarker, metric.roi): metric_page(metric) for metric in list_metrics(trial)}
    limits = {n: color_limits(trial, n, shown_unit(b.get("unit"))[1]) for n, b in trial.biomarkers.items()}
    index = VisitIndex(visits, rows, metrics, limits)
    for key, map_name in trial.maps:
        of_visit = index.runs.setdefault((key.site, key.participant, key.session), {})
        of_visit.setdefault(map_name, set()).add(key.run)
    for (key, suffix), table in trial.motions.items():
        index.motions[key.site, key.participant, key.session][key, suffix] = table
    for key in trial.pages:
        index.pages[key.site, key.participant, key.session, key.run] = f"phantoms/{key.site}_{key.prefix}.html"
    scans = trial.tables.get("scans", pd.DataFrame())
    if {"site", "series_uid"} <= set(scans.columns):
        for number, site, uid in zip(scans.index, scans["site"], scans["series_uid"], strict=True):
            index.series[str(site), str(uid)] = row_link("scans", number)
    return index


def _group(table: pd.DataFrame) -> dict[Visit, pd.DataFrame]:
    if not len(table) or not set(_KEYS) <= set(table.columns):
        return {}
    return {tuple(map(str, key)): rows for key, rows in table.groupby(_KEYS, sort=False, dropna=False)}
