"""Rows of the sensitivity table: the decision under other analyses than the declared one.

What is left out or read otherwise is named in each row; none of these analyses replaces the primary one.
"""

from typing import Any

import numpy as np

from isocenter.statistics.bounds import Coefficient, bound_coefficient
from isocenter.statistics.components import Components, estimate_components
from isocenter.statistics.decision_rows import Decision, find_decisive
from isocenter.statistics.metric import Metric
from isocenter.statistics.precision_rows import Row, label_on_scale
from isocenter.statistics.tables import join_flags
from isocenter.statistics.verdict import Precondition, judge

#: A participant or scan is left out as the most influential when its share of the squares is at least this.
LEAST_PEOPLE = 3


def list_analyses(
    metric: Metric, stages: list[tuple[Metric, Components]], name: str
) -> list[tuple[str, Metric, str, Components | None]]:
    """(name, metric, scale, components where they are known) of every analysis, the primary one first."""
    other = "absolute" if metric.scale == "log" else "log"
    analyses: list[tuple[str, Metric, str, Components | None]] = [
        ("primary", metric, metric.scale, stages[-1][1]),
        (f"{other} scale", metric, other, None),
    ]
    analyses += [(f"stage {m.stage}", m, m.scale, components) for m, components in stages[:-1]]
    flagged = metric.column("calibrated_flag") != ""
    if flagged.any() and not flagged.all():
        analyses.append(("without flagged values", metric.keep(~flagged), metric.scale, None))
    patients = metric.column("kind") == "patient"
    if patients.any() and not patients.all():
        analyses.append(("without patients", metric.keep(~patients), metric.scale, None))
    complete = _find_complete(metric)
    if complete.any() and not complete.all():
        analyses.append(("complete participants only", metric.keep(complete), metric.scale, None))
    people = metric.names("participant_id")
    if len(people) > LEAST_PEOPLE and np.isfinite(metric.scaled()).all():
        loudest = _find_loudest(metric, name)
        chosen = metric.codes("participant_id") != loudest
        analyses.append(
            (f"without participant {people[loudest]} (the most scattered)", metric.keep(chosen), metric.scale, None)
        )
    sites = metric.names("site")
    if len(sites) > 1:
        code = metric.codes("site")
        analyses += [
            (f"without site {site}", metric.keep(code != k), metric.scale, None) for k, site in enumerate(sites)
        ]
    return analyses


def _find_complete(metric: Metric) -> np.ndarray:
    """Rows of participants who have as many values as whoever has most."""
    count = np.bincount(metric.codes("participant_id"))
    return (count == count.max())[metric.codes("participant_id")] if len(count) else np.zeros(0, bool)


def _find_loudest(metric: Metric, name: str) -> int:
    """The participant whose values scatter most around their own level (and their sites', where sites count)."""
    y, person, site = metric.scaled(), metric.codes("participant_id"), metric.codes("site")
    residual = y - y.mean()
    for _ in range(3):
        for code in (person, site) if name == "reproducibility" or len(metric.names("site")) > 1 else (person,):
            residual = residual - (np.bincount(code, residual) / np.bincount(code))[code]
    count = np.bincount(person)
    return int(np.argmax(np.bincount(person, residual**2) / np.maximum(count - 1, 1)))


def tabulate_sensitivity(
    metric: Metric,
    stages: list[tuple[Metric, Components]],
    claim: dict[str, Any] | None,
    preconditions: list[Precondition],
) -> list[Row]:
    """The decision under other analyses, the preconditions being those of the primary one."""
    name = claim["coefficient"] if claim else "reproducibility"
    primary = stages[-1][1].variances
    analyses = list_analyses(metric, stages, name)
    rows = []
    for analysis, chosen, scale, components in analyses:
        if scale == "log" and not chosen.is_positive:
            components = None
            found = Coefficient(name, flags=["non_positive"])
        else:
            near = primary if scale == metric.scale else None
            components = components or estimate_components(chosen.design(scale), near)
            found = bound_coefficient(components, name)
        verdict = ""
        if claim:
            decision = Decision.of(chosen, claim, scale)
            if components is not None:
                found = find_decisive(chosen, components, name, decision)
            verdict = judge(decision.show_all(found), decision.read(claim, metric.unit), preconditions).verdict
        rows.append(
            label_on_scale(chosen, scale)
            | {
                "analysis": analysis,
                "coefficient": name,
                "estimate": found.estimate,
                "upper95": found.upper95,
                "verdict": verdict,
                "flags": join_flags(metric.flags, found.flags, [] if claim else ["no_claim"]),
            }
        )
    return rows
