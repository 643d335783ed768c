"""Rows of the tables that describe one metric: descriptives, repeatability, contrasts, components, agreement."""

from typing import Any

import numpy as np

from isocenter.statistics.agreement import find_iccs, word_interval
from isocenter.statistics.bland_altman import correlate_ranks
from isocenter.statistics.bounds import (
    COEFFICIENTS,
    FEW_SITES,
    SMALL_SAMPLE_DF,
    bound_coefficient,
    bound_component,
    find_component_iccs,
)
from isocenter.statistics.comparison import find_concordance
from isocenter.statistics.components import Components
from isocenter.statistics.contrasts import Contrast
from isocenter.statistics.design import COMPONENTS
from isocenter.statistics.metric import Metric, code_groups
from isocenter.statistics.quantiles import K
from isocenter.statistics.repeatability import NEAR_ZERO_SHARE, Pool, estimate_from_pool, pool_groups
from isocenter.statistics.tables import cells_of, join_flags

Row = dict[str, Any]

#: A trend of the spread is only looked for in so many groups, and called one below this p-value.
_GROUPS_FOR_TREND, _P = 8, 0.05


def describe(metric: Metric) -> list[Row]:
    """Mean, SD and range per site and session [unit]."""
    if not len(metric.values):
        return []
    sites, sessions = metric.names("site"), metric.names("session")
    group = metric.codes("site") * len(sessions) + metric.codes("session")
    order = np.lexsort((metric.values, group))
    y, group = metric.values[order], group[order]
    first = np.flatnonzero(np.diff(group, prepend=-1))
    n = np.diff(np.append(first, len(y)))
    mean = np.add.reduceat(y, first) / n
    squares = np.add.reduceat((y - np.repeat(mean, n)) ** 2, first)
    columns = {
        "site": [sites[code // len(sessions)] for code in group[first]],
        "session": [sessions[code % len(sessions)] for code in group[first]],
        "n": n.tolist(),
        "mean": mean.tolist(),
        "sd": np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan).tolist(),
        "median": ((y[first + (n - 1) // 2] + y[first + n // 2]) / 2).tolist(),
        "min": y[first].tolist(),
        "max": y[first + n - 1].tolist(),
    }
    label, flags = metric.label, {"flags": join_flags(metric.flags)}
    return [label | dict(zip(columns, row, strict=True)) | flags for row in zip(*columns.values(), strict=True)]


def label_repeats(metric: Metric) -> tuple[np.ndarray, str]:
    """The group of repeats of each row, and what separates them.

    Repeats are runs of one session where any session has two; otherwise sessions of one participant at one site.
    """
    cell = code_groups(metric.codes("site"), metric.codes("participant_id"))
    session = code_groups(cell, metric.codes("session"))
    is_within = len(session) > (int(session.max()) + 1 if len(session) else 0)
    return (session, "within_session") if is_within else (cell, "between_sessions")


def check_scale(metric: Metric) -> list[str]:
    """``scale_disagrees`` when the spread of repeats grows (or shrinks) with their mean on the declared scale."""
    groups, _ = label_repeats(metric)
    values = metric.scaled()
    if not np.isfinite(values).all():
        return []
    size, mean, variance = pool_groups(values, groups)
    if len(size) < _GROUPS_FOR_TREND:
        return []
    _, p = correlate_ranks(variance, mean)
    return ["scale_disagrees"] if p < _P else []


def tabulate_repeatability(metric: Metric) -> list[Row]:
    """Repeatability pooled over sites and of each site. SDs in the unit; CVs are ratios, percent RC is percent."""
    groups, kind = label_repeats(metric) if len(metric.values) else (np.zeros(0, int), "")
    site, people = metric.codes("site"), metric.codes("participant_id")
    scale_flags = check_scale(metric) if len(metric.values) else []
    names = ["pooled", *(metric.names("site") if len(metric.names("site")) > 1 else ())]
    pool = Pool.of(metric.values, groups, people)
    site_of_group = np.zeros(len(pool.size), int)
    site_of_group[groups] = site
    rows = []
    for k, name in enumerate(names, start=-1):
        found = estimate_from_pool(pool if k < 0 else pool.keep(site_of_group == k))
        small = ["small_sample"] if 0 < found.df < SMALL_SAMPLE_DF else []
        flags = join_flags(metric.flags, [kind], found.flags, small, scale_flags if k < 0 else [])
        rows.append(metric.label | cells_of("repeatability", found) | {"site": name, "flags": flags})
    return rows


def tabulate_contrasts(metric: Metric, contrasts: list[Contrast]) -> list[Row]:
    """Bland–Altman of runs, of sessions and of sites; differences in the unit, the later minus the earlier."""
    absolute = metric.label | {"scale": "absolute"}
    rows = []
    for contrast in contrasts:
        found = contrast.agreement
        flags = list(found.flags)
        if found.slope_p < _P:
            flags.append("proportional_bias")
        if found.spread_p < _P:
            flags.append("heteroscedastic")
        cells = cells_of("bland_altman", found) | {"contrast": contrast.name}
        rows.append(absolute | cells | {"flags": join_flags(metric.flags, flags)})
    return rows


def tabulate_components(metric: Metric, components: Components, scale: str) -> list[Row]:
    """Variances of a fitted metric, squared units of its scale (log: 1)."""
    design = components.design
    total = components.total
    rows = []
    for name in COMPONENTS:
        variance = components.variances[name]
        low, high = bound_component(components, name)
        flags = [*metric.flags, *components.flags]
        if components.fit is not None and name in components.fit.boundary:
            flags.append("boundary")
        if components.moments[name] < 0:
            flags.append("negative_mean_square")
        if not np.isfinite(variance) and name in design.merged:
            into = design.merged[name]
            flags.append(f"merged_into_{into}" if into else ("too_few_sites" if name == "site" else "one_level"))
        if name == "site" and "site" in design.active and design.n_sites <= FEW_SITES:
            flags.append("few_sites")
        if not is_balanced(components):
            flags.append("unbalanced")
        rows.append(
            label_on_scale(metric, scale)
            | {
                "component": name,
                "n_levels": design.n_levels(name),
                "variance": variance,
                "sd": np.sqrt(variance),
                "percent_total": 100 * variance / total if total > 0 else np.nan,
                "variance_low": low,
                "variance_high": high,
                "moment_variance": components.moments[name],
                "method": "REML, interval by MLS" if components.fit is not None else "not estimable",
                "flags": join_flags(flags),
            }
        )
    return rows


def is_balanced(components: Components) -> bool:
    """Whether every cell exists and all sessions and cells have the same size."""
    design = components.design
    if design.n == 0:
        return True
    per_session, per_cell = design.values_per_session, design.sessions_per_cell
    full = design.n_cells == design.n_subjects * design.n_sites
    return bool(full and np.ptp(per_session) == 0 and np.ptp(per_cell) == 0)


def label_on_scale(metric: Metric, scale: str) -> Row:
    """The leading cells of a row whose numbers are on `scale`; logarithms have the unit 1."""
    return metric.label | {"scale": scale, "unit": "1" if scale == "log" else metric.unit}


def find_percent_obstacle(metric: Metric, coefficient: float) -> list[str]:
    """Why a coefficient has no percent of the mean: values at or below zero, or a mean that it dwarfs."""
    if not len(metric.values):
        return []
    if not metric.is_positive:
        return ["non_positive"]
    return ["mean_near_zero"] if coefficient / K > NEAR_ZERO_SHARE * metric.mean else []


def tabulate_reproducibility(metric: Metric, components: Components, scale: str, extra=()) -> list[Row]:
    """Repeatability, intermediate precision and RDC on a scale, and the estimate in percent."""
    design = components.design
    rows = []
    for name in COEFFICIENTS:
        found = bound_coefficient(components, name)
        no_percent = [] if scale == "log" else find_percent_obstacle(metric, found.estimate)
        percent = np.nan
        if not no_percent:
            percent = 100 * np.expm1(found.estimate) if scale == "log" else 100 * found.estimate / metric.mean
        rows.append(
            label_on_scale(metric, scale)
            | cells_of("reproducibility", found)
            | {
                "coefficient": name,
                "percent": percent,
                "n_subjects": design.n_subjects,
                "n_sites": design.n_sites,
                "flags": join_flags(metric.flags, found.flags, extra, no_percent),
            }
        )
    return rows


def choose_one_per_cell(metric: Metric) -> tuple[np.ndarray, str]:
    """Rows with one value per participant and rater, and which column is the rater.

    Raters are sites, or sessions at one site, or runs. The first run of the first session stands for a cell:
    chosen beforehand, because an average of repeats would make the ICC look better than a single scan is.
    """
    for rater in ("site", "session", "run"):
        if len(metric.names(rater)) > 1:
            pair = code_groups(metric.codes("participant_id"), metric.codes(rater))
            first = np.zeros(len(pair), bool)
            first[np.unique(pair, return_index=True)[1]] = True
            return first, rater
    return np.ones(len(metric.values), bool), "site"


def tabulate_agreement(metric: Metric, components: Components, seed: int) -> list[Row]:
    """ICCs on complete cases and from components, on the declared scale; concordance where there are two raters."""
    rows = []
    chosen, rater = choose_one_per_cell(metric)
    values = metric.scaled()
    label = label_on_scale(metric, metric.scale)
    for icc in find_iccs(metric.codes("participant_id")[chosen], metric.codes(rater)[chosen], values[chosen]):
        flags = [f"raters_are_{rater}s", *icc.flags]
        if icc.n_dropped:
            flags.append("complete_cases")
        if "A" in icc.form and icc.k <= FEW_SITES and np.isfinite(icc.low):
            # Where few raters differ much the interval holds some 90 %; that from components holds its level.
            flags.append("few_raters")
        if not chosen.all():
            flags.append("first_repeat_only")
        rows.append(
            label
            | cells_of("agreement", icc)
            | {
                "source": "anova",
                "wording": word_interval(icc.low, icc.high),
                "flags": join_flags(metric.flags, flags),
            }
        )
    design = components.design
    for ratio in find_component_iccs(components, seed):
        rows.append(
            label
            | {
                "form": ratio.name,
                "estimate": ratio.estimate,
                "low": ratio.low,
                "high": ratio.high,
                "n": design.n_subjects,
                "k": design.n_sites,
                "n_dropped": 0,
                "source": "components",
                "wording": word_interval(ratio.low, ratio.high),
                "flags": join_flags(metric.flags, ratio.flags),
            }
        )
    return rows + _tabulate_concordance(metric, chosen, rater, label)


def _tabulate_concordance(metric: Metric, chosen: np.ndarray, rater: str, label: Row) -> list[Row]:
    n_people = len(metric.names("participant_id"))
    if len(metric.names(rater)) != 2:
        return []
    wide = np.full((n_people, 2), np.nan)
    wide[metric.codes("participant_id")[chosen], metric.codes(rater)[chosen]] = metric.scaled()[chosen]
    if np.isfinite(wide).all(1).sum() < 3:
        return []
    found = find_concordance(wide[:, 0], wide[:, 1])
    return [
        label
        | {
            "form": "CCC",
            "estimate": found.estimate,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "k": 2,
            "n_dropped": len(wide) - found.n,
            "source": "moments",
            "wording": word_interval(found.low, found.high),
            "flags": join_flags(metric.flags, [f"raters_are_{rater}s"]),
        }
    ]
