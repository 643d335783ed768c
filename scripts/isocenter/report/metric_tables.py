"""The tables of a metric's page: the statistics in the units that a reader thinks in, each cell with its row."""

from typing import Any

import pandas as pd

from isocenter.figures.components import COMPONENTS
from isocenter.figures.phantom import shown_bias
from isocenter.report.gather import Trial
from isocenter.report.metrics import ROOT, Metric, declared, root_of, sd_unit, show_coefficient, times
from isocenter.report.tabulate import Cell, Table, number_cell, row_link, table_of, verdict_cell
from isocenter.report.wording import (
    REMARKS,
    explain_flags,
    format_interval,
    format_number,
    is_missing,
    list_flags,
    shorten,
    shown_unit,
)

_COEFFICIENTS = {
    "repeatability": "repeatability (same scanner, same session)",
    "intermediate_precision": "intermediate precision (same scanner, another session)",
    "reproducibility": "reproducibility, RDC (another site)",
}


def metric_tables(trial: Trial, metric: Metric) -> dict[str, Table]:
    """Every table of the metric by name."""
    return {
        "descriptives": descriptives(trial, metric),
        "repeatability": repeatability(trial, metric),
        "bland_altman": bland_altman(trial, metric),
        "components": components(trial, metric),
        "reproducibility": reproducibility(trial, metric),
        "agreement": agreement(trial, metric),
        "linearity": linearity(trial, metric.biomarker, metric.field_strength),
        "harmonization": harmonization(trial, metric),
        "sensitivity": sensitivity(trial, metric),
        "power": power(trial, metric),
    }


def _interval(row: Any, name: str, factor: float, href: str) -> Cell:
    value, low, high = (times(row.get(c), factor) for c in (name, f"{name}_low", f"{name}_high"))
    return number_cell(format_interval(value, low, high), value, href)


def _number(row: Any, name: str, factor: float, href: str, decimals: int | None = None) -> Cell:
    value = times(row.get(name), factor)
    return number_cell(format_number(value, decimals), value, href)


def _flags(row: Any) -> Cell:
    names = list_flags(row.get("flags"))
    if not names:
        return Cell("")
    return Cell(
        ", ".join(shorten(name, 40).replace("_", " ") for name in names),
        state="" if set(names) <= REMARKS else "warn",
        title="; ".join(explain_flags(row.get("flags"), with_remarks=True)),
    )


def _coefficient(row: Any, name: str, href: str) -> Cell:
    value = show_coefficient(row, name)
    return number_cell(format_number(value), value, href)


def _stage(row: Any) -> str:
    stage = row.get("stage")
    return "" if is_missing(stage) else str(stage)


def descriptives(trial: Trial, metric: Metric) -> Table:
    """Values by site and session."""
    rows = []
    unit = ""
    for index, r in metric.rows(trial, "descriptives").iterrows():
        unit, factor = shown_unit(r.get("unit"))
        href = row_link("descriptives", index, ROOT)
        rows.append(
            [r["site"], "" if is_missing(r["session"]) else r["session"], _stage(r), _number(r, "n", 1, href, 0)]
            + [_number(r, c, factor, href) for c in ("mean", "sd", "median", "min", "max")]
        )
    columns = ["Site", "Session", "Stage", "n", *(f"{c} [{unit}]" for c in ("Mean", "SD", "Median", "Min", "Max"))]
    return table_of("descriptives", columns, rows, source="descriptives.tsv")


def repeatability(trial: Trial, metric: Metric) -> Table:
    """Within-subject precision by site and pooled."""
    rows = []
    unit = ""
    for index, r in metric.rows(trial, "repeatability").iterrows():
        unit, factor = shown_unit(r.get("unit"))
        href = row_link("repeatability", index, ROOT)
        rows.append(
            [
                r["site"],
                _stage(r),
                _number(r, "n_subjects", 1, href, 0),
                _number(r, "df", 1, href, 0),
                _number(r, "mean", factor, href),
                _interval(r, "wsd", factor, href),
                _interval(r, "rc", factor, href),
                _number(r, "rc_upper95", factor, href),
                _interval(r, "wcv", 100, href),
                _number(r, "percent_rc", 1, href),
                _flags(r),
            ]
        )
    columns = [
        "Site",
        "Stage",
        "Subjects",
        "df",
        f"Mean [{unit}]",
        f"wSD [{unit}], 95 % CI",
        f"RC [{unit}], 95 % CI",
        f"RC, one-sided upper 95 % [{unit}]",
        "wCV [%], 95 % CI",
        "RC [%]",
        "Flags",
    ]
    return table_of("repeatability", columns, rows, source="repeatability.tsv", empty="No repeats to compare.")


def bland_altman(trial: Trial, metric: Metric) -> Table:
    """Bias and limits of agreement a contrast."""
    rows = []
    unit = ""
    for index, r in metric.rows(trial, "bland_altman").iterrows():
        unit, factor = shown_unit(r.get("unit"))
        href = row_link("bland_altman", index, ROOT)
        rows.append(
            [
                str(r["contrast"]).replace(" - ", " − "),
                _stage(r),
                _number(r, "n", 1, href, 0),
                *(_interval(r, c, factor, href) for c in ("bias", "loa_lower", "loa_upper")),
                _number(r, "slope_p", 1, href, 3),
                _number(r, "spread_p", 1, href, 3),
                shorten("" if is_missing(r.get("method")) else r["method"]),
                _flags(r),
            ]
        )
    columns = [
        "Contrast",
        "Stage",
        "n",
        f"Bias [{unit}], 95 % CI",
        f"Lower limit [{unit}], 95 % CI",
        f"Upper limit [{unit}], 95 % CI",
        "p, proportional bias",
        "p, spread grows",
        "Limits by",
        "Flags",
    ]
    return table_of("bland_altman", columns, rows, source="bland_altman.tsv", empty="No pairs of repeats.")


def components(trial: Trial, metric: Metric) -> Table:
    """Variance components a stage, as SDs."""
    rows = []
    unit = ""
    for index, r in declared(trial, metric, "variance_components").iterrows():
        unit, factor = sd_unit(r)
        href = row_link("variance_components", index, ROOT)
        low, high = (root_of(r.get(c)) * factor for c in ("variance_low", "variance_high"))
        sd = times(r.get("sd"), factor)
        rows.append(
            [
                COMPONENTS.get(str(r["component"]), str(r["component"])),
                _stage(r),
                _number(r, "n_levels", 1, href, 0),
                number_cell(format_interval(sd, low, high), sd, href),
                _number(r, "percent_total", 1, href, 1),
                shorten("" if is_missing(r.get("method")) else r["method"]),
                _flags(r),
            ]
        )
    columns = ["Component", "Stage", "Levels", f"SD [{unit}], 95 % CI", "Share of variance [%]", "Method", "Flags"]
    return table_of("variance_components", columns, rows, source="variance_components.tsv")


def reproducibility(trial: Trial, metric: Metric) -> Table:
    """Repeatability, intermediate precision and reproducibility coefficients with bounds."""
    rows = []
    unit = ""
    for index, r in declared(trial, metric, "reproducibility").iterrows():
        unit = sd_unit(r)[0]
        href = row_link("reproducibility", index, ROOT)
        value, low, high = (show_coefficient(r, c) for c in ("estimate", "low", "high"))
        rows.append(
            [
                _COEFFICIENTS.get(str(r["coefficient"]), str(r["coefficient"]).replace("_", " ")),
                _stage(r),
                number_cell(format_interval(value, low, high), value, href),
                _coefficient(r, "lower95", href),
                _coefficient(r, "upper95", href),
                _number(r, "percent", 1, href),
                _number(r, "df", 1, href, 0),
                _number(r, "n_subjects", 1, href, 0),
                _number(r, "n_sites", 1, href, 0),
                shorten("" if is_missing(r.get("method")) else r["method"]),
                _flags(r),
            ]
        )
    columns = [
        "Coefficient",
        "Stage",
        f"Estimate [{unit}], 95 % CI",
        f"One-sided lower 95 % [{unit}]",
        f"One-sided upper 95 % [{unit}]",
        "Percent of the mean",
        "df",
        "Subjects",
        "Sites",
        "Bound by",
        "Flags",
    ]
    return table_of("reproducibility", columns, rows, source="reproducibility.tsv")


def agreement(trial: Trial, metric: Metric) -> Table:
    """ICC in its forms and CCC, each with its interval and wording."""
    rows = []
    for index, r in metric.rows(trial, "agreement").iterrows():
        href = row_link("agreement", index, ROOT)
        rows.append(
            [
                str(r["form"]).replace("_", " "),
                _stage(r),
                _interval_named(r, "estimate", "low", "high", href),
                _number(r, "n", 1, href, 0),
                _number(r, "k", 1, href, 0),
                _number(r, "n_dropped", 1, href, 0),
                shorten("" if is_missing(r.get("source")) else r["source"]),
                shorten("" if is_missing(r.get("wording")) else r["wording"], 80),
                _flags(r),
            ]
        )
    columns = ["Form", "Stage", "Estimate, 95 % CI", "n", "k", "Dropped", "From", "The interval reads", "Flags"]
    return table_of("agreement", columns, rows, source="agreement.tsv", empty="No agreement was computed.")


def linearity(
    trial: Trial, biomarker: str, field_strength: float | None = None, site: str | None = None, root: str = ROOT
) -> Table:
    """Slope, quadratic effect and percent bias of the phantom."""
    rows = []
    found = trial.rows("linearity", biomarker=biomarker)
    if site is not None:
        found = found[found["site"] == site]
    unit = ""
    for index, r in found.iterrows():
        strength = pd.to_numeric(pd.Series([r.get("field_strength")]), errors="coerce").iloc[0]
        if field_strength is not None and strength == strength and abs(strength - field_strength) > 0.05:
            continue
        unit, factor = shown_unit(r.get("unit"))
        href = row_link("linearity", index, root)
        rows.append(
            [
                r["site"],
                _stage(r),
                _number(r, "n_vials", 1, href, 0),
                _number(r, "n_scans", 1, href, 0),
                _interval(r, "slope", 1, href),
                _interval(r, "intercept", factor, href),
                _number(r, "r2", 1, href, 4),
                _number(r, "quadratic_effect", 1, href),
                _interval(r, "percent_bias", 1, href),
                _number(r, "max_percent_bias", 1, href),
                _flags(r),
            ]
        )
    columns = [
        "Site",
        "Stage",
        "Vials",
        "Scans",
        "Slope, 95 % CI",
        f"Intercept [{unit}], 95 % CI",
        "R²",
        "Quadratic effect",
        f"Mean bias [{shown_bias(unit)}], 95 % CI",
        f"Largest bias [{shown_bias(unit)}]",
        "Flags",
    ]
    return table_of("linearity", columns, rows, source="linearity.tsv", empty="No phantom was measured.")


def harmonization(trial: Trial, metric: Metric) -> Table:
    """What calibration did to the components, the RDC and the differences between people."""
    rows = []
    unit = ""
    for index, r in declared(trial, metric, "harmonization").iterrows():
        unit, factor = sd_unit(r)
        href = row_link("harmonization", index, ROOT)
        rows.append(
            [
                str(r["method"]).replace("_", " "),
                _stage(r),
                COMPONENTS.get(str(r["component"]), str(r["component"])),
                number_cell(format_number(root_of(r.get("variance")) * factor), r.get("variance"), href),
                _coefficient(r, "rdc", href),
                _number(r, "icc", 1, href, 3),
                _number(r, "subject_variance_ratio", 1, href, 3),
                shorten("" if is_missing(r.get("validation")) else r["validation"], 80),
                _flags(r),
            ]
        )
    columns = [
        "Method",
        "Stage",
        "Component",
        f"SD [{unit}]",
        f"RDC [{unit}]",
        "ICC",
        "Subject variance, after/before",
        "Validation",
        "Flags",
    ]
    return table_of("harmonization", columns, rows, source="harmonization.tsv", empty="No method was compared.")


def sensitivity(trial: Trial, metric: Metric) -> Table:
    """The decision under other analyses."""
    rows = []
    for index, r in metric.rows(trial, "sensitivity").iterrows():
        href = row_link("sensitivity", index, ROOT)
        rows.append(
            [
                str(r["analysis"]).replace("_", " "),
                str(r["coefficient"]).replace("_", " "),
                _coefficient(r, "estimate", href),
                _coefficient(r, "upper95", href),
                Cell(sd_unit(r)[0]),
                verdict_cell(r["verdict"]),
                _flags(r),
            ]
        )
    columns = ["Analysis", "Coefficient", "Estimate", "One-sided upper 95 %", "Unit", "Verdict", "Flags"]
    return table_of("sensitivity", columns, rows, source="sensitivity.tsv", empty="No other analysis was run.")


def power(trial: Trial, metric: Metric) -> Table:
    """What other designs would have given."""
    rows = []
    for index, r in metric.rows(trial, "power").iterrows():
        href = row_link("power", index, ROOT)
        rows.append(
            [
                str(r["design"]),
                str(r["coefficient"]).replace("_", " "),
                _number(r, "true_ratio", 1, href),
                _number(r, "df", 1, href, 0),
                _number(r, "bound_over_estimate", 1, href),
                _number(r, "probability_qualified", 100, href, 0),
                _number(r, "n_per_arm", 1, href, 0),
                _flags(r),
            ]
        )
    columns = [
        "Design",
        "Coefficient",
        "True value over delta",
        "df",
        "Bound over estimate",
        "Chance to qualify [%]",
        "Participants per arm",
        "Flags",
    ]
    return table_of("power", columns, rows, source="power.tsv", empty="No other design was computed.")


def _interval_named(row: Any, value: str, low: str, high: str, href: str) -> Cell:
    return number_cell(format_interval(row.get(value), row.get(low), row.get(high)), row.get(value), href)
