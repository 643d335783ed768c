"""Rows of the tables that describe one metric: descriptives, repeatability, contrasts, components, agreement."""

from typing import Any

import numpy as np

from isocenter.statistics.agreement import find_iccs, word_interval
from isocenter.statistics.bland_altman import Agreement, compare_clustered, compare_replicated, correlate_ranks
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
from isocenter.statistics.design import COMPONENTS
from isocenter.statistics.metric import Metric
from isocenter.statistics.repeatability import estimate_repeatability, pool_groups
from isocenter.statistics.tables import cells_of, join_flags

Row = dict[str, Any]

#: With more sites each is compared with the mean of the others instead of with every other one.
MOST_PAIRED_SITES = 5

#: A trend of the spread is only looked for in so many groups, and called one below this p-value.
_GROUPS_FOR_TREND, _P = 8, 0.05


def describe(metric: Metric) -> list[Row]:
    """Mean, SD and range per site and session [unit]."""
    rows = []
    for (site, session), group in metric.rows.groupby(["site", "session"], sort=True):
        y = group["y"].to_numpy(float)
        rows.append(
            metric.label
            | {
                "site": site,
                "session": session,
                "n": len(y),
                "mean": y.mean(),
                "sd": y.std(ddof=1) if len(y) > 1 else np.nan,
                "median": float(np.median(y)),
                "min": y.min(),
                "max": y.max(),
                "flags": join_flags(metric.flags),
            }
        )
    return rows


def label_repeats(metric: Metric) -> tuple[np.ndarray, str]:
    """The group of repeats of each row, and what separates them.

    Repeats are runs of one session where any session has two; otherwise sessions of one participant at one site.
    """
    cell = np.char.add(np.char.add(metric.column("site"), "\t"), metric.column("participant_id"))
    session = np.char.add(np.char.add(cell, "\t"), metric.column("session"))
    is_within = len(np.unique(session)) < len(session)
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
    groups, kind = label_repeats(metric) if len(metric.rows) else (np.zeros(0, str), "")
    sites, people = metric.column("site"), metric.column("participant_id")
    scale_flags = check_scale(metric) if len(metric.rows) else []
    names = ["pooled", *sorted(set(sites))] if len(set(sites)) > 1 else ["pooled"]
    rows = []
    for name in names:
        chosen = np.ones(len(sites), bool) if name == "pooled" else sites == name
        found = estimate_repeatability(metric.values[chosen], groups[chosen], people[chosen])
        small = ["small_sample"] if 0 < found.df < SMALL_SAMPLE_DF else []
        flags = join_flags(metric.flags, [kind], found.flags, small, scale_flags if name == "pooled" else [])
        rows.append(metric.label | cells_of("repeatability", found) | {"site": name, "flags": flags})
    return rows


def tabulate_contrasts(metric: Metric) -> list[Row]:
    """Bland–Altman of runs, of sessions and of sites; differences in the unit, the later minus the earlier."""
    absolute = metric.label | {"scale": "absolute"}
    contrasts = [
        *_contrast_repeats(metric, ["site", "participant_id", "session"], "run"),
        *_contrast_repeats(metric, ["site", "participant_id"], "session"),
        *_contrast_sites(metric),
    ]
    rows = []
    for name, found in contrasts:
        flags = list(found.flags)
        if found.slope_p < _P:
            flags.append("proportional_bias")
        if found.spread_p < _P:
            flags.append("heteroscedastic")
        rows.append(
            absolute | cells_of("bland_altman", found) | {"contrast": name, "flags": join_flags(metric.flags, flags)}
        )
    return rows


def _contrast_repeats(metric: Metric, within: list[str], by: str) -> list[tuple[str, Agreement]]:
    """The second level of `by` minus the first, inside groups of `within`; the participant is the unit."""
    levels = sorted(set(metric.column(by)))
    if len(levels) < 2:
        return []
    first, second = levels[:2]
    means = metric.rows.groupby([*within, by], sort=True)["y"].mean().unstack(by)
    pairs = means.reindex(columns=[first, second]).dropna()
    if not len(pairs):
        return []
    people = pairs.index.get_level_values("participant_id").to_numpy(str)
    d, m = (pairs[second] - pairs[first]).to_numpy(), pairs.mean(axis=1).to_numpy()
    each = [people == person for person in np.unique(people)]
    return [(f"{by} {second} - {by} {first}", compare_clustered([d[i] for i in each], [m[i] for i in each]))]


def _contrast_sites(metric: Metric) -> list[tuple[str, Agreement]]:
    sites, people, y = metric.column("site"), metric.column("participant_id"), metric.values
    names = sorted(set(sites))
    persons = sorted(set(people))
    if len(names) < 2:
        return []
    values = {(s, p): y[(sites == s) & (people == p)] for s in names for p in persons}
    if len(names) <= MOST_PAIRED_SITES:
        pairs = [(f"site {b} - site {a}", a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        found = [
            (name, compare_replicated([values[a, p] for p in persons], [values[b, p] for p in persons]))
            for name, a, b in pairs
        ]
    else:
        found = []
        for site in names:
            others = [
                np.array([values[s, p].mean() for s in names if s != site and len(values[s, p])]) for p in persons
            ]
            found.append((f"site {site} - other sites", compare_replicated(others, [values[site, p] for p in persons])))
    return [(name, agreement) for name, agreement in found if agreement.n]


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
    per_session, per_cell = np.bincount(design.session), np.bincount(design.session_cell)
    full = design.n_cells == design.n_subjects * design.n_sites
    return bool(full and np.ptp(per_session) == 0 and np.ptp(per_cell) == 0)


def label_on_scale(metric: Metric, scale: str) -> Row:
    """The leading cells of a row whose numbers are on `scale`; logarithms have the unit 1."""
    return metric.label | {"scale": scale, "unit": "1" if scale == "log" else metric.unit}


def tabulate_reproducibility(metric: Metric, components: Components, scale: str, extra=()) -> list[Row]:
    """Repeatability, intermediate precision and RDC on a scale, and the estimate in percent."""
    design = components.design
    rows = []
    for name in COEFFICIENTS:
        found = bound_coefficient(components, name)
        percent = 100 * np.expm1(found.estimate) if scale == "log" else 100 * found.estimate / metric.mean
        rows.append(
            label_on_scale(metric, scale)
            | cells_of("reproducibility", found)
            | {
                "coefficient": name,
                "percent": percent if metric.mean > 0 else np.nan,
                "n_subjects": design.n_subjects,
                "n_sites": design.n_sites,
                "flags": join_flags(metric.flags, found.flags, extra),
            }
        )
    return rows


def choose_one_per_cell(metric: Metric) -> tuple[np.ndarray, str]:
    """Rows with one value per participant and rater, and which column is the rater.

    Raters are sites, or sessions at one site, or runs. The first run of the first session stands for a cell:
    chosen beforehand, because an average of repeats would make the ICC look better than a single scan is.
    """
    for rater in ("site", "session", "run"):
        if len(set(metric.column(rater))) > 1:
            first = ~metric.rows.duplicated(["participant_id", rater], keep="first").to_numpy()
            return first, rater
    return np.ones(len(metric.rows), bool), "site"


def tabulate_agreement(metric: Metric, components: Components, seed: int) -> list[Row]:
    """ICCs on complete cases and from components, on the declared scale; concordance where there are two raters."""
    rows = []
    chosen, rater = choose_one_per_cell(metric)
    values = metric.scaled()
    label = label_on_scale(metric, metric.scale)
    for icc in find_iccs(metric.column("participant_id")[chosen], metric.column(rater)[chosen], values[chosen]):
        flags = [f"raters_are_{rater}s", *icc.flags]
        if icc.n_dropped:
            flags.append("complete_cases")
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
    table = metric.rows[chosen].assign(x=metric.scaled()[chosen])
    wide = table.pivot(index="participant_id", columns=rater, values="x")
    if wide.shape[1] != 2 or len(wide.dropna()) < 3:
        return []
    found = find_concordance(wide.iloc[:, 0], wide.iloc[:, 1])
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
