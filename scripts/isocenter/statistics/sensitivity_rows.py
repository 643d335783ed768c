"""Rows of the sensitivity table: the decision under other analyses than the declared one.

What is left out or read otherwise is named in each row; none of these analyses replaces the primary one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from isocenter.statistics.bounds import Coefficient, bound_coefficient
from isocenter.statistics.components import Components, estimate_components
from isocenter.statistics.decision_rows import Decision, find_decisive
from isocenter.statistics.design import Design
from isocenter.statistics.metric import Metric
from isocenter.statistics.precision_rows import Row, label_on_scale
from isocenter.statistics.reml import find_neighbor
from isocenter.statistics.tables import join_flags
from isocenter.statistics.verdict import Precondition, judge

#: A participant or scan is left out as the most influential when its share of the squares is at least this.
LEAST_PEOPLE = 3

#: R² of logarithms on values from which the fit of one starts that of the other.
NEARLY_A_LINE = 0.98


@dataclass(frozen=True)
class Analysis:
    """One way to analyze a metric: its scale, its design where values can be had, its components where known."""

    name: str
    whole: Metric
    scale: str
    design: Design | None
    components: Components | None = None
    chosen: np.ndarray | None = None

    @classmethod
    def of(cls, name: str, metric: Metric, scale: str | None = None) -> "Analysis":
        """The analysis of some rows on a scale, the declared one by default; without values it has no design."""
        scale = scale or metric.scale
        return cls(name, metric, scale, None if scale == "log" and not metric.is_positive else metric.design(scale))

    @property
    def metric(self) -> Metric:
        """The rows that are analyzed."""
        return self.whole if self.chosen is None else self.whole.keep(self.chosen)


def list_analyses(metric: Metric, stages: list[tuple[Metric, Components]], name: str) -> list[Analysis]:
    """Every analysis, the primary one first."""
    other = "absolute" if metric.scale == "log" else "log"
    analyses = [
        Analysis("primary", metric, metric.scale, stages[-1][1].design, stages[-1][1]),
        Analysis.of(f"{other} scale", metric, other),
    ]
    analyses += [Analysis(f"stage {m.stage}", m, m.scale, c.design, c) for m, c in stages[:-1]]
    flagged = metric.column("calibrated_flag") != ""
    if flagged.any() and not flagged.all():
        analyses.append(Analysis.of("without flagged values", metric.keep(~flagged)))
    patients = metric.column("kind") == "patient"
    if patients.any() and not patients.all():
        analyses.append(Analysis.of("without patients", metric.keep(~patients)))
    complete = _find_complete(metric)
    if complete.any() and not complete.all():
        analyses.append(Analysis.of("complete participants only", metric.keep(complete)))
    people = metric.names("participant_id")
    if len(people) > LEAST_PEOPLE and np.isfinite(metric.scaled()).all():
        loudest = _find_loudest(metric, name)
        chosen = metric.codes("participant_id") != loudest
        analyses.append(Analysis.of(f"without participant {people[loudest]} (the most scattered)", metric.keep(chosen)))
    sites = metric.names("site")
    if len(sites) > 1:
        analyses += [_leave_out_site(metric, stages[-1][1].design, k) for k in range(len(sites))]
    return analyses


def _leave_out_site(metric: Metric, design: Design, site: int) -> Analysis:
    name, chosen = f"without site {metric.names('site')[site]}", metric.codes("site") != site
    if design.n < len(metric.values):
        # The primary analysis has no logarithms; without this site there may be.
        return Analysis.of(name, metric.keep(chosen))
    return Analysis(name, metric, metric.scale, design.leave_out_site(site), chosen=chosen)


def _is_scale_alike(metric: Metric) -> bool:
    """Whether logarithms are so nearly a line of the values that ratios of variances are nearly the same."""
    if not metric.is_positive:
        return False
    y, logs = (v - v.mean() for v in (metric.values, np.log(metric.values)))
    return bool((y @ logs) ** 2 > NEARLY_A_LINE * (y @ y) * (logs @ logs))


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
    primary = stages[-1][1]
    near = find_neighbor(primary.design, primary.fit) if primary.fit else None
    is_alike = near is not None and _is_scale_alike(metric)
    rows = []
    for analysis in list_analyses(metric, stages, name):
        scale, components = analysis.scale, analysis.components
        if analysis.design is None:
            found = Coefficient(name, flags=["non_positive"])
        else:
            is_near = scale == metric.scale or is_alike
            components = components or estimate_components(analysis.design, near if is_near else None)
            found = bound_coefficient(components, name)
        verdict = ""
        if claim:
            chosen = analysis.metric
            decision = Decision.of(chosen, claim, scale)
            if components is not None:
                found = find_decisive(chosen, components, name, decision)
            verdict = judge(decision.show_all(found), decision.read(claim, metric.unit), preconditions).verdict
        rows.append(
            label_on_scale(analysis.whole, scale)
            | {
                "analysis": analysis.name,
                "coefficient": name,
                "estimate": found.estimate,
                "upper95": found.upper95,
                "verdict": verdict,
                "flags": join_flags(metric.flags, found.flags, [] if claim else ["no_claim"]),
            }
        )
    return rows
