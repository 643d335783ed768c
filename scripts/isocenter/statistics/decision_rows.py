"""Rows of the tables that decide: harmonization, power and qualification of one metric.

A change in percent is judged on the log scale, where a coefficient c means a ratio of exp(c): the coefficient is
shown as 100·(exp(c) − 1) percent, and a change of δ percent as the ratio 1 + δ/100. A fall of δ percent is the
larger ratio, so the rise is the stricter of the two. A biomarker declared on the absolute scale is judged in percent
of its mean.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isocenter.errors import ConfigError, explain
from isocenter.statistics.bounds import COEFFICIENTS, Coefficient, bound_coefficient, find_component_iccs
from isocenter.statistics.components import Components
from isocenter.statistics.design import COMPONENTS
from isocenter.statistics.metric import Metric
from isocenter.statistics.power import count_per_arm, find_bound, find_chance, find_plan, list_plans, propose
from isocenter.statistics.precision_rows import Row, find_percent_obstacle, label_on_scale
from isocenter.statistics.tables import join_flags
from isocenter.statistics.verdict import INDETERMINATE, Precondition, judge, write_sentence

#: How the calibrated stage is kept honest.
VALIDATION = "calibrated on phantoms alone; no participant's value entered"


@dataclass(frozen=True)
class Decision:
    """Converts between the scale of the components and the unit in which a claim is decided."""

    scale: str
    unit: str
    mean: float
    is_percent: bool

    @classmethod
    def of(cls, metric: Metric, claim: dict[str, Any] | None, scale: str | None = None) -> "Decision":
        """Log scale: always percent. Absolute scale: percent of the mean, or the metric's unit, as claimed."""
        scale = scale or metric.scale
        given = (claim or {}).get("delta_unit", metric.unit)
        if given not in ("percent", metric.unit):
            raise ConfigError(
                explain(
                    "A claim's change has another unit than its biomarker",
                    where=f"claims, {metric.biomarker} {metric.roi}, key delta_unit",
                    expected=f"percent or {metric.unit}",
                    found=given,
                )
            )
        is_percent = given == "percent" or scale == "log"
        return cls(scale, "percent" if is_percent else metric.unit, metric.mean, is_percent)

    def show(self, value: float) -> float:
        """A coefficient on the components' scale in the unit of the decision."""
        if self.scale == "log":
            return 100 * float(np.expm1(value))
        if self.is_percent:
            return 100 * value / self.mean if self.mean > 0 else np.nan
        return value

    def show_all(self, found: Coefficient) -> Coefficient:
        """All numbers of a coefficient in the unit of the decision."""
        numbers = {k: self.show(getattr(found, k)) for k in ("estimate", "lower95", "upper95", "low", "high")}
        return replace(found, **numbers)

    def read(self, claim: dict[str, Any], unit: str) -> float:
        """The change that matters in the unit of the decision."""
        delta = float(claim["delta"])
        if self.is_percent and claim.get("delta_unit", unit) != "percent":
            return 100 * delta / self.mean if self.mean > 0 else np.nan
        return delta

    def hide(self, delta: float) -> float:
        """A change in the unit of the decision on the components' scale."""
        if self.scale == "log":
            return float(np.log1p(delta / 100)) if delta > -100 else np.nan
        return delta * self.mean / 100 if self.is_percent else delta


def tabulate_harmonization(
    stages: list[tuple[Metric, Components]], seed: int, method: str = "phantom_calibration", after: str = VALIDATION
) -> list[Row]:
    """Components, RDC and ICC before and after a method, with the share of subject variance kept."""
    if len(stages) < 2:
        return []
    before = stages[0][1].variances["subject"]
    rows = []
    for metric, components in stages:
        rdc = bound_coefficient(components, "reproducibility")
        icc = find_component_iccs(components, seed, draws=10)[0]
        ratio = components.variances["subject"] / before if before > 0 else np.nan
        for name in COMPONENTS:
            rows.append(
                label_on_scale(metric, metric.scale)
                | {
                    "method": method,
                    "component": name,
                    "variance": components.variances[name],
                    "rdc": rdc.estimate,
                    "icc": icc.estimate,
                    "subject_variance_ratio": ratio,
                    "validation": "as measured" if metric is stages[0][0] else after,
                    "flags": join_flags(metric.flags, rdc.flags, _name_boundary(components, name)),
                }
            )
    return rows


def _name_boundary(components: Components, name: str) -> list[str]:
    return ["boundary"] if components.fit is not None and name in components.fit.boundary else []


def tabulate_power(metric: Metric, components: Components, claim: dict[str, Any] | None, seed: int) -> list[Row]:
    """What the observed and larger designs would give for the claimed coefficient, the RDC without a claim."""
    if components.fit is None:
        return []
    name = claim["coefficient"] if claim else "reproducibility"
    plan = find_plan(components.design)
    estimate, _, _ = find_bound(plan, components, name)
    if not np.isfinite(estimate):
        return []
    decision = Decision.of(metric, claim)
    delta = decision.hide(decision.read(claim, metric.unit)) if claim else np.nan
    rows = []
    for option in list_plans(plan):
        estimate, upper, df = find_bound(option, components, name)
        rows.append(
            label_on_scale(metric, metric.scale)
            | {
                "design": option.describe(),
                "coefficient": name,
                "true_ratio": estimate / delta,
                "df": df,
                "bound_over_estimate": upper / estimate,
                "probability_qualified": find_chance(option, components, name, delta, seed) if claim else np.nan,
                "n_per_arm": count_per_arm(estimate, delta) if claim else np.nan,
                "flags": join_flags(
                    metric.flags,
                    ["observed_design" if option == plan else ""],
                    ["components_as_estimated"],
                    [] if claim else ["no_claim"],
                ),
            }
        )
    return rows


def find_decisive(metric: Metric, components: Components, name: str, decision: Decision) -> Coefficient:
    """The coefficient that decides, on the components' scale; NaN where it cannot be shown in the claim's unit."""
    found = bound_coefficient(components, name)
    if decision.scale == "log" and not metric.is_positive:
        found.flags.append("non_positive")
    if decision.is_percent and decision.scale == "absolute" and (why := find_percent_obstacle(metric, found.estimate)):
        # Percent of nothing much is no number to decide by.
        return Coefficient(name, flags=[*found.flags, *why])
    return found


def qualify(metric: Metric, components: Components, claim: dict[str, Any], preconditions: list[Precondition]) -> Row:
    """The row of one claim: the coefficient against the change that matters, the verdict and its sentence."""
    name = claim["coefficient"]
    if name not in COEFFICIENTS:
        raise ConfigError(explain("Unknown coefficient in a claim", expected=", ".join(COEFFICIENTS), found=name))
    decision = Decision.of(metric, claim)
    found = find_decisive(metric, components, name, decision)
    shown = decision.show_all(found)
    delta = decision.read(claim, metric.unit)
    result = judge(shown, delta, preconditions)
    settle = ""
    if result.verdict == INDETERMINATE:
        settle = _settle(components, name, decision.hide(delta), shown, delta, preconditions)
    return metric.label | {
        "unit": decision.unit,
        "coefficient": name,
        "delta": delta,
        "delta_source": claim.get("source", ""),
        "context_of_use": claim.get("context_of_use", ""),
        "estimate": shown.estimate,
        "lower95": shown.lower95,
        "upper95": shown.upper95,
        "bound_over_delta": shown.upper95 / delta,
        "verdict": result.verdict,
        "reasons": "; ".join(result.reasons),
        "settle": settle,
        "sentence": write_sentence(
            result.verdict, claim.get("context_of_use", ""), shown.estimate, shown.upper95, delta, decision.unit
        ),
        "flags": join_flags(metric.flags, found.flags),
    }


def _settle(components, name, delta_inside, shown, delta, preconditions) -> str:
    parts = []
    if "zero_within_variance" in shown.flags:
        parts.append("Check the repeats for copied data")
    elif not shown.upper95 <= delta or "small_sample" in shown.flags:
        parts.append(propose(components, name, delta_inside))
    # The reasons stand beside this and name the sites: here is said what to do about them, once.
    still_open = [p.name for p in preconditions if p.holds is None]
    phantom = [name for name in still_open if name != "accounting"]
    if phantom:
        parts.append(f"More phantom scans, for the {' and the '.join(dict.fromkeys(phantom))}")
    if "accounting" in still_open:
        parts.append("Find the runs that the accounting misses")
    return "; ".join(parts)
