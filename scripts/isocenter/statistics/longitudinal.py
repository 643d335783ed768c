"""Changes of single participants: which are larger than measurement variation.

Every later session of a patient is held against the first. The variance of the difference of two session means is
that of the components that changed between them: sessions and repeats always, site and participant × site where the
participant changed site. A change is *real* when it exceeds the limit made of the one-sided 95 % upper bound of that
variance, *possible* when it exceeds the limit of the estimate alone, otherwise *within variation*. With many
participants one in twenty without any change exceeds the estimate's limit: the p-values say by how much.

Reference: Obuchowski & Bullen 2018, doi 10.1177/0962280217752622.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from isocenter.statistics.bounds import bound_sum, list_parts, rebuild_mean_squares
from isocenter.statistics.components import Components
from isocenter.statistics.metric import Metric
from isocenter.statistics.quantiles import Z975

REAL, POSSIBLE, WITHIN, UNJUDGED = "real", "possible", "within_variation", "not_judged"


@dataclass(frozen=True)
class Change:
    """One participant's change between two sessions; values and limits in the unit, percent where the scale is log."""

    participant_id: str
    site_from: str
    session_from: str
    site_to: str
    session_to: str
    value_from: float
    value_to: float
    change: float
    change_percent: float
    limit: float
    limit_upper95: float
    p: float
    call: str
    coefficient: str


def judge_changes(metric: Metric, precision: Components, kinds: tuple[str, ...] = ("patient",)) -> list[Change]:
    """Changes of participants of some kinds against the precision that others (or all) showed.

    Sessions form one line per participant when no session label occurs at two sites, otherwise one per site.
    """
    kind = np.isin(metric.column("kind"), kinds)
    if not kind.any():
        return []
    chosen = metric.keep(kind)
    is_log = metric.scale == "log"
    x = chosen.scaled()
    if not np.isfinite(x).all():
        return []
    judge = _Judge(precision, is_log)
    found = []
    for person, name in enumerate(chosen.names("participant_id")):
        mine = np.flatnonzero(chosen.codes("participant_id") == person)
        site, session = chosen.codes("site")[mine], chosen.codes("session")[mine]
        pairs = {(v, t) for v, t in zip(session.tolist(), site.tolist(), strict=True)}
        is_one_line = len({v for v, _ in pairs}) == len(pairs)
        for group in (
            [sorted(pairs)] if is_one_line else [sorted(p for p in pairs if p[1] == t) for t in sorted(set(site))]
        ):
            means = {p: mine[(session == p[0]) & (site == p[1])] for p in group}
            first = group[0]
            for later in group[1:]:
                found.append(_compare(chosen, x, name, first, later, means, judge))
    return found


def _compare(metric: Metric, x, person: str, first, later, rows, judge: "_Judge") -> Change:
    a, b = (float(x[rows[p]].mean()) for p in (first, later))
    moved = first[1] != later[1]
    variance, upper, name = judge.variance(len(rows[first]), len(rows[later]), moved)
    limit, limit_upper = Z975 * np.sqrt(variance), Z975 * np.sqrt(upper)
    difference = b - a
    call = UNJUDGED
    if np.isfinite(limit_upper):
        size = abs(difference)
        call = REAL if size > limit_upper else POSSIBLE if size > limit else WITHIN
    sites, sessions = metric.names("site"), metric.names("session")
    start, end = (np.exp(a), np.exp(b)) if judge.is_log else (a, b)
    percent = 100 * np.expm1(difference) if judge.is_log else 100 * difference / a if a > 0 else np.nan
    show = (lambda v: 100 * float(np.expm1(v))) if judge.is_log else float
    p = float(2 * special.ndtr(-abs(difference) / np.sqrt(variance))) if variance > 0 else np.nan
    return Change(
        person, sites[first[1]], sessions[first[0]], sites[later[1]], sessions[later[0]], float(start), float(end),
        float(end - start), float(percent), show(limit), show(limit_upper), p, call, name,
    )  # fmt: skip


class _Judge:
    """Variances of differences of session means, from components and their MLS bounds."""

    def __init__(self, precision: Components, is_log: bool):
        self.precision, self.is_log = precision, is_log
        self.strata = None if precision.fit is None else rebuild_mean_squares(precision.design, precision.variances)
        self.known: dict = {}

    def variance(self, n_first: int, n_later: int, moved: bool) -> tuple[float, float, str]:
        """Variance of the difference, its one-sided 95 % upper bound, and the coefficient that it belongs to."""
        name = "reproducibility" if moved else "intermediate_precision"
        key = (n_first, n_later, moved)
        if key not in self.known:
            parts, reason = list_parts(self.precision.design, name)
            if reason or self.strata is None:
                self.known[key] = (np.nan, np.nan)
            else:
                # Averaging repeats divides the residual alone; the other parts enter both sessions whole.
                weights = 2 * self.strata.weigh(tuple(part for part in parts if part != "residual"))
                weights = weights + (1 / n_first + 1 / n_later) * self.strata.weigh(("residual",))
                values, df = self.strata.values, self.strata.df
                self.known[key] = (
                    max(float(weights @ values), 0.0), max(bound_sum(weights, values, df, 0.95, "upper"), 0.0)
                )  # fmt: skip
        return (*self.known[key], name)
