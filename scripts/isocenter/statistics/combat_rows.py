"""Rows of the harmonization table for ComBat: the regions of a biomarker together, each participant left out once."""

from dataclasses import replace

import numpy as np

from isocenter.statistics.combat import harmonize_left_out
from isocenter.statistics.components import estimate_components
from isocenter.statistics.decision_rows import tabulate_harmonization
from isocenter.statistics.metric import Metric, Stratum
from isocenter.statistics.precision_rows import Row

VALIDATION = "leave one participant out: each is corrected by site effects estimated without them"

_KEY = ("participant_id", "site", "session", "run")


def tabulate_combat(strata: list[Stratum], seed: int) -> list[Row]:
    """ComBat on the values as measured, region by region of each biomarker and field strength."""
    groups: dict[tuple, list[Metric]] = {}
    for stratum in strata:
        metric = stratum.stages[0]
        groups.setdefault((metric.biomarker, metric.scale, str(metric.field_strength)), []).append(metric)
    rows = []
    for metrics in groups.values():
        metrics = [m for m in metrics if len(m.values) and np.isfinite(m.scaled()).all()]
        if metrics:
            rows += _harmonize(metrics, seed)
    return rows


def _harmonize(metrics: list[Metric], seed: int) -> list[Row]:
    keys = [list(zip(*(metric.column(name).tolist() for name in _KEY), strict=True)) for metric in metrics]
    place = {key: i for i, key in enumerate(sorted({key for each in keys for key in each}))}
    values = np.full((len(metrics), len(place)), np.nan)
    for f, (metric, each) in enumerate(zip(metrics, keys, strict=True)):
        values[f, [place[key] for key in each]] = metric.scaled()
    subject = np.unique([key[0] for key in place], return_inverse=True)[1]
    site = np.unique([key[1] for key in place], return_inverse=True)[1]
    travels = len(set(zip(subject.tolist(), site.tolist(), strict=True))) > int(subject.max()) + 1
    if int(site.max()) == 0 or not travels:
        return []
    harmonized = harmonize_left_out(values, subject, site)
    rows = []
    for f, (metric, each) in enumerate(zip(metrics, keys, strict=True)):
        y = harmonized[f, [place[key] for key in each]]
        kept = np.isfinite(y)
        if not kept.any():
            continue
        before = metric.keep(kept)
        after = np.exp(y[kept]) if metric.scale == "log" else y[kept]
        stages = [before, replace(before, stage="harmonized", values=after)]
        fitted = [(m, estimate_components(m.design())) for m in stages]
        flags = [] if kept.all() else ["participants_left_out"]
        found = tabulate_harmonization(fitted, seed, "combat_roi", VALIDATION)
        rows += [row | {"flags": ";".join([*filter(None, [row["flags"]]), *flags])} for row in found]
    return rows
