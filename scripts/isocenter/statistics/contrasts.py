"""The pairs that a metric offers for comparison: runs of a session, sessions at a site, and sites.

Each contrast is a name, the paired means with the subject of each, and Bland–Altman's answer to it.
"""

from dataclasses import dataclass

import numpy as np

from isocenter.statistics.bland_altman import Agreement, Repeats, compare_clustered, compare_repeats
from isocenter.statistics.metric import Metric, code_groups

#: With more sites each is compared with the mean of the others instead of with every other one.
MOST_PAIRED_SITES = 5


@dataclass(frozen=True)
class Contrast:
    """Second minus first: (n,) paired means [unit], and the number of repeats behind each."""

    name: str
    first: np.ndarray
    second: np.ndarray
    agreement: Agreement
    repeats: tuple[Repeats, Repeats] | None = None


def list_contrasts(metric: Metric) -> list[Contrast]:
    """Contrasts of runs, of sessions and of sites, those with at least one pair."""
    found = [
        *_contrast_repeats(metric, ("site", "participant_id", "session"), "run"),
        *_contrast_repeats(metric, ("site", "participant_id"), "session"),
        *_contrast_sites(metric),
    ]
    return [contrast for contrast in found if contrast.agreement.n]


def _contrast_repeats(metric: Metric, within: tuple[str, ...], by: str) -> list[Contrast]:
    """The second level of `by` minus the first, inside groups of `within`; the participant is the unit."""
    names = metric.names(by)
    if len(names) < 2:
        return []
    group, level = code_groups(*(metric.codes(name) for name in within)), metric.codes(by)
    size = int(group.max()) + 1
    first, second = (Repeats.of(metric.values[level == k], group[level == k], size) for k in (0, 1))
    person = np.zeros(size, int)
    person[group] = metric.codes("participant_id")
    both = (first.count > 0) & (second.count > 0)
    if not both.any():
        return []
    a, b = first.mean[both], second.mean[both]
    name = f"{by} {names[1]} - {by} {names[0]}"
    return [Contrast(name, a, b, compare_clustered(b - a, (a + b) / 2, person[both]))]


def _contrast_sites(metric: Metric) -> list[Contrast]:
    names, n_people = metric.names("site"), len(metric.names("participant_id"))
    if len(names) < 2:
        return []
    site, person, y = metric.codes("site"), metric.codes("participant_id"), metric.values
    # One row a site: (sites, people) counts, means and squares.
    table = Repeats.of(y, site * n_people + person, len(names) * n_people).reshape(len(names), n_people)
    sides = [table.keep(j) for j in range(len(names))]
    if len(names) <= MOST_PAIRED_SITES:
        pairs = [
            (f"site {names[j]} - site {names[i]}", sides[i], sides[j])
            for i in range(len(names))
            for j in range(i + 1, len(names))
        ]
    else:
        others = _average_others(table)
        pairs = [(f"site {name} - other sites", others.keep(j), sides[j]) for j, name in enumerate(names)]
    found = []
    for name, first, second in pairs:
        both = (first.count > 0) & (second.count > 0)
        kept = first.keep(both), second.keep(both)
        found.append(Contrast(name, kept[0].mean, kept[1].mean, compare_repeats(*kept), kept))
    return found


def _average_others(table: Repeats) -> Repeats:
    """For each site the others as repeats of one method: each participant's mean at a site is one value."""
    has = table.count > 0
    count = has.sum(0)
    middle = np.where(has, table.mean, 0.0).sum(0) / np.maximum(count, 1)
    away = np.where(has, table.mean - middle, 0.0)
    square = (away**2).sum(0)
    left = count - has
    # Without its own value a mean moves by d/(n − 1), and the squares around it lose d²·n/(n − 1).
    mean = np.where(left > 0, middle - away / np.maximum(left, 1), 0.0)
    rest = square - away**2 * (1 + has / np.maximum(left, 1))
    return Repeats(left, mean, np.where((left > 1) & (rest > 1e-12 * square), rest, 0.0))
