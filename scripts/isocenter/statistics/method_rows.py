"""Rows of the tables beside the main ones: method comparison, total deviation, precision profile, changes, errors."""

import numpy as np

from isocenter.errors import TableError
from isocenter.statistics.comparison import find_concordance, fit_deming, fit_passing_bablok
from isocenter.statistics.components import Components, estimate_components
from isocenter.statistics.contrasts import Contrast
from isocenter.statistics.longitudinal import judge_changes
from isocenter.statistics.measurement_error import explain_components
from isocenter.statistics.metric import Metric
from isocenter.statistics.precision_profile import find_profile
from isocenter.statistics.precision_rows import Row, label_on_scale, label_repeats
from isocenter.statistics.repeatability import pool_groups
from isocenter.statistics.tables import cells_of, join_flags
from isocenter.statistics.total_deviation import find_total_deviation
from isocenter.statistics.verdict import MINIMUM_DF

#: Fewer pairs than this give no line worth printing.
LEAST_PAIRS = 5

#: Passing-Bablok takes the slope of every pair of points: beyond this the memory is not worth it.
MOST_FOR_RANKS = 2000


def tabulate_method_comparison(metric: Metric, contrasts: list[Contrast]) -> list[Row]:
    """Deming, Passing–Bablok and concordance of each contrast, second on first, on the absolute scale."""
    label = metric.label | {"scale": "absolute"}
    rows = []
    for contrast in contrasts:
        x, y = contrast.first, contrast.second
        if len(x) < LEAST_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
            continue
        ratio, flags = _find_error_ratio(contrast)
        base = label | {"contrast": contrast.name, "n": len(x)}
        concordance = find_concordance(x, y)
        ccc = {"ccc": concordance.estimate, "ccc_low": concordance.low, "ccc_high": concordance.high}
        rows.append(base | ccc | {"method": "concordance (Lin)", "flags": join_flags(metric.flags)})
        deming = cells_of("method_comparison", fit_deming(x, y, variance_ratio=ratio))
        flags += [] if np.isfinite(deming["slope"]) else ["not_estimable"]
        rows.append(base | deming | {"method": "Deming", "flags": join_flags(metric.flags, flags)})
        if len(x) <= MOST_FOR_RANKS:
            try:
                ranks, flags = cells_of("method_comparison", fit_passing_bablok(x, y)), []
            except TableError:
                ranks, flags = {}, ["not_estimable"]
            flags += ["related_negatively"] if concordance.pearson <= 0 else []
            rows.append(base | ranks | {"method": "Passing-Bablok", "flags": join_flags(metric.flags, flags)})
    return rows


def _find_error_ratio(contrast: Contrast) -> tuple[float, list[str]]:
    """Error variance of the second side's means over the first's, from repeats; 1 where there are none."""
    if contrast.repeats:
        errors = []
        for side in contrast.repeats:
            within = side.within
            errors.append(within.variance * (1.0 - within.share) if within.df >= MINIMUM_DF else np.nan)
        if all(np.isfinite(e) and e > 0 for e in errors):
            return errors[1] / errors[0], ["error_ratio_from_repeats"]
    return 1.0, ["equal_errors_assumed"]


def tabulate_total_deviation(metric: Metric, contrasts: list[Contrast]) -> list[Row]:
    """The distance that 90 % of the differences of each contrast stay within, with its upper bound [unit]."""
    label = metric.label | {"scale": "absolute"}
    rows = []
    for contrast in contrasts:
        found = find_total_deviation(contrast.agreement)
        if np.isfinite(found.tdi):
            cells = cells_of("total_deviation", found) | {"contrast": contrast.name, "method": "generalized"}
            rows.append(label | cells | {"flags": join_flags(metric.flags, contrast.agreement.flags)})
    return rows


def tabulate_profile(metric: Metric) -> list[Row]:
    """Within-subject SD along the measurand, in bins and as a curve [unit]."""
    if not len(metric.values):
        return []
    groups, kind = label_repeats(metric)
    bins, constant, proportional = find_profile(*pool_groups(metric.values, groups))
    shape = "constant" if proportional == 0 else "proportional" if constant == 0 else "both"
    label = metric.label | {"scale": "absolute"}
    return [
        label
        | cells_of("precision_profile", found)
        | {
            "method": f"SD^2 = {constant:.4g}^2 + ({proportional:.4g} mean)^2",
            "flags": join_flags(metric.flags, [kind, shape]),
        }
        for found in bins
    ]


def tabulate_errors(metric: Metric, components: Components) -> list[Row]:
    """The share of the components that the measurements' own standard errors explain."""
    errors = (metric.stderr, metric.fit_stderr, metric.noise_stderr)
    rows = []
    for found in explain_components(components, metric.values, *errors, is_log=metric.scale == "log"):
        flags = [found.flag, "more_than_observed" if found.share > 1 else ""]
        if found.component in (components.fit.boundary if components.fit else ()):
            flags.append("boundary")
        rows.append(
            label_on_scale(metric, metric.scale)
            | cells_of("measurement_error", found)
            | {"flags": join_flags(metric.flags, flags)}
        )
    return rows


def tabulate_changes(metric: Metric, components: Components) -> list[Row]:
    """Each patient's changes against measurement variation; values in the unit, limits in percent on the log scale.

    Precision comes from the people that are no patients where they suffice: real changes of patients would widen it.
    """
    kinds = metric.column("kind")
    is_patient = kinds == "patient"
    if not is_patient.any():
        return []
    precision, flags = components, ["precision_from_patients"]
    if not is_patient.all():
        others = estimate_components(metric.keep(~is_patient).design())
        design = others.design
        if others.fit is not None and design.n - design.n_cells >= MINIMUM_DF:
            precision, flags = others, []
    unit = "percent" if metric.scale == "log" else metric.unit
    return [
        metric.label | cells_of("longitudinal", change) | {"limit_unit": unit, "flags": join_flags(metric.flags, flags)}
        for change in judge_changes(metric, precision)
    ]
