"""The whole analysis: measurements, vials and exclusions in, every statistics table out.

:func:`analyze` serves the trial's chain, :func:`analyze_table` any tidy table. Both are pure: nothing is read or
written here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isocenter.errors import TableError, explain
from isocenter.processes import run_in_order
from isocenter.statistics.accounting import account_runs, reconciles
from isocenter.statistics.combat_rows import tabulate_combat
from isocenter.statistics.components import Components, estimate_components
from isocenter.statistics.contrasts import list_contrasts
from isocenter.statistics.decision_rows import qualify, tabulate_harmonization, tabulate_power
from isocenter.statistics.method_rows import (
    tabulate_changes,
    tabulate_errors,
    tabulate_method_comparison,
    tabulate_profile,
    tabulate_total_deviation,
)
from isocenter.statistics.metric import KEY, Metric, Stratum, check_measurements, list_strata
from isocenter.statistics.phantom_lines import PhantomLine, assess_phantoms, check_vials
from isocenter.statistics.precision_rows import (
    check_scale,
    describe,
    tabulate_agreement,
    tabulate_components,
    tabulate_contrasts,
    tabulate_repeatability,
    tabulate_reproducibility,
)
from isocenter.statistics.sensitivity_rows import tabulate_sensitivity
from isocenter.statistics.tables import TABLES, cells_of, join_flags, make_table
from isocenter.statistics.verdict import BIAS_TOLERANCE, Precondition, check_phantom

_EXCLUSION_TEXT = ("site", "participant_id", "session", "run", "biomarker", "stage", "reason")


def analyze(
    measurements: pd.DataFrame,
    vials: pd.DataFrame | None = None,
    exclusions: pd.DataFrame | None = None,
    claims: list[dict[str, Any]] = (),
    biomarkers: dict[str, dict[str, Any]] | None = None,
    planned: dict[str, int] | None = None,
    seed: int = 0,
    *,
    combat: bool = False,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, pd.DataFrame]:
    """Every table of the statistics from a trial's measurements.

    Parameters
    ----------
    measurements : DataFrame
        Columns of ``trial/measurements.tsv`` with ``field_strength`` [T] and ``calibrated_flag``. Stage ``raw``
        judges ``raw_value``, stage ``calibrated`` judges ``value``; without ``raw_value`` there is one stage.
    vials : DataFrame, optional
        Phantom vials of all sites, with a column ``site``.
    exclusions : DataFrame, optional
        What was left out, with stage and reason.
    claims : list of dict
        Blocks of ``claims.yaml``; a metric without one gets no verdict.
    biomarkers : dict
        Blocks of ``biomarkers.yaml``: unit, scale, field_dependent, rois.
    planned : dict, optional
        Site → runs of people that the schedule plans.
    seed : int
        Of the simulated intervals and powers.
    combat : bool
        ComBat on the values as measured, in the table ``harmonization`` beside the phantom calibration.
    workers : int
        Processes; the answer is the same to the bit for any number.
    on_progress : callable, optional
        Is told how many of how many biomarker × roi × field strength are done.

    Returns
    -------
    dict
        Table name → DataFrame with the columns of :data:`isocenter.statistics.tables.COLUMNS`.

    Raises
    ------
    TableError
        When one subject × site × session × run has two values, or a column is missing.
    """
    table = check_measurements(measurements)
    known = biomarkers or {}
    strata = list(list_strata(table, known))
    lines = _assess_lines(table, vials, known)
    job = _Job(
        strata, lines, _check_exclusions(exclusions), list(claims), planned,
        set(table.loc[(table["kind"] != "phantom").to_numpy(), "participant_id"].astype(str)), seed,
    )  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    rows["linearity"] = [_tabulate_line(line, known) for line in lines]
    for done, found in enumerate(run_in_order(job.analyze_stratum, len(strata), workers), start=1):
        for name, more in found.items():
            rows[name] += more
        if on_progress:
            on_progress(done, len(strata))
    if combat:
        rows["harmonization"] += tabulate_combat(strata, seed)
    return {name: make_table(name, rows[name]) for name in TABLES}


@dataclass(frozen=True)
class _Job:
    """All that the analysis of one stratum needs besides its number."""

    strata: list[Stratum]
    lines: list[PhantomLine]
    exclusions: pd.DataFrame
    claims: list[dict[str, Any]]
    planned: dict[str, int] | None
    people: set[str]
    seed: int

    def analyze_stratum(self, index: int) -> dict[str, list[dict[str, Any]]]:
        """All rows of one biomarker × roi × field strength, by table."""
        stratum, seed = self.strata[index], self.seed + index
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        fitted = [(metric, estimate_components(metric.design())) for metric in stratum.stages]
        final, components = fitted[-1]
        for metric, found in fitted:
            _add_precision(rows, metric, found, seed)
        rows["longitudinal"] += tabulate_changes(final, components)
        accounts = account_runs(final, stratum.rows, self.exclusions, self.planned, self.people)
        rows["accounting"] += [final.label | row | {"flags": join_flags(final.flags, row["flags"])} for row in accounts]
        rows["harmonization"] += tabulate_harmonization(fitted, seed)
        own = [c for c in self.claims if _is_about(c, final)]
        for claim in own or [None]:
            conditions = _check_conditions(final, self.lines, claim, reconciles(accounts))
            rows["power"] += tabulate_power(final, components, claim, seed)
            rows["sensitivity"] += tabulate_sensitivity(final, fitted, claim, conditions)
            if claim:
                rows["qualification"].append(qualify(final, components, claim, conditions))
        return rows


def _add_precision(rows: dict[str, list], metric: Metric, components: Components, seed: int) -> None:
    rows["descriptives"] += describe(metric)
    rows["repeatability"] += tabulate_repeatability(metric)
    contrasts = list_contrasts(metric)
    rows["bland_altman"] += tabulate_contrasts(metric, contrasts)
    rows["method_comparison"] += tabulate_method_comparison(metric, contrasts)
    rows["total_deviation"] += tabulate_total_deviation(metric, contrasts)
    rows["precision_profile"] += tabulate_profile(metric)
    rows["measurement_error"] += tabulate_errors(metric, components)
    unusable = ["non_positive"] if metric.scale == "log" and not metric.is_positive else []
    disagrees = check_scale(metric)
    rows["variance_components"] += tabulate_components(metric, components, metric.scale)
    rows["reproducibility"] += tabulate_reproducibility(metric, components, metric.scale, [*disagrees, *unusable])
    rows["agreement"] += tabulate_agreement(metric, components, seed)
    other = "absolute" if metric.scale == "log" else "log"
    if disagrees and (other == "absolute" or metric.is_positive):
        # The scale was declared beforehand and stays; the other one is printed beside it, with the warning.
        beside = estimate_components(metric.design(other))
        rows["variance_components"] += tabulate_components(metric, beside, other)
        rows["reproducibility"] += tabulate_reproducibility(metric, beside, other, disagrees)


def _check_exclusions(exclusions: pd.DataFrame | None) -> pd.DataFrame:
    table = pd.DataFrame(columns=_EXCLUSION_TEXT) if exclusions is None else exclusions.copy()
    for column in _EXCLUSION_TEXT:
        table[column] = table[column].fillna("").astype(str) if column in table.columns else ""
    return table


def _assess_lines(table: pd.DataFrame, vials: pd.DataFrame | None, biomarkers: dict) -> list[PhantomLine]:
    if vials is None or not len(vials):
        return []
    field_of_site = (
        table.dropna(subset=["field_strength"]).groupby("site", observed=True)["field_strength"].median().to_dict()
    )
    lines = assess_phantoms(check_vials(vials, field_of_site), with_calibrated=bool(table["raw_value"].notna().any()))
    order = list(biomarkers)
    return sorted(lines, key=lambda line: order.index(line.biomarker) if line.biomarker in order else len(order))


def _tabulate_line(line: PhantomLine, biomarkers: dict) -> dict[str, Any]:
    return {
        "biomarker": line.biomarker,
        "roi": "",
        "unit": line.unit,
        "scale": "absolute",
        "field_strength": line.field_strength,
        "stage": line.stage,
        **cells_of("linearity", line.linearity),
        "site": line.site,
        "flags": join_flags(line.linearity.flags),
    }


def _is_about(claim: dict[str, Any], metric: Metric) -> bool:
    return claim["biomarker"] == metric.biomarker and claim.get("roi", metric.roi) == metric.roi


def _check_conditions(metric: Metric, lines: list[PhantomLine], claim, is_reconciled: bool) -> list[Precondition]:
    sites = set(metric.names("site"))
    own = {
        line.site: line.linearity
        for line in lines
        if line.biomarker == metric.biomarker
        and line.stage == metric.stage
        and line.site in sites
        and (np.isnan(metric.field_strength) or line.field_strength == metric.field_strength)
    }
    tolerance = float((claim or {}).get("bias_tolerance", BIAS_TOLERANCE))
    conditions = check_phantom(own, bias_tolerance=tolerance)
    absent = sorted(sites - set(own))
    if own and absent:
        conditions.append(Precondition("linearity", None, f"no phantom was measured at {', '.join(absent)}"))
    reason = "the accounting reconciles" if is_reconciled else "the accounting does not reconcile"
    # Open accounts say nothing about precision, so they leave the verdict open instead of failing it.
    return [*conditions, Precondition("accounting", True if is_reconciled else None, reason)]


def analyze_table(
    table: pd.DataFrame,
    options: dict[str, Any] | None = None,
    *,
    claims: list[dict[str, Any]] = (),
    seed: int = 0,
    combat: bool = False,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, pd.DataFrame]:
    """All statistics of any tidy table.

    Parameters
    ----------
    table : DataFrame
        Columns ``participant_id`` and ``value``; optional ``site``, ``scanner``, ``session``, ``run``, ``biomarker``,
        ``roi``, ``unit``, ``field_strength``, ``raw_value``, ``kind`` and ``reference`` (rows with a reference are
        phantom values: their ``participant_id``, or ``vial``, names the vial).
    options : dict, optional
        ``columns`` (our name → the table's), ``unit``, ``scale``, ``biomarkers`` (blocks as in ``biomarkers.yaml``),
        ``planned``, ``pool_fields`` (field strengths are one stratum: right for ADC and PDFF, wrong for T1 and T2).
    claims : list of dict
        Blocks of ``claims.yaml``.
    seed, combat, workers, on_progress
        As in :func:`analyze`.

    Notes
    -----
    Absent labels are filled with one level. When neither ``session`` nor ``run`` is given, the values of a participant
    at a site are numbered as runs, in the order of the rows.
    """
    options = dict(options or {})
    known = ("columns", "unit", "scale", "biomarkers", "planned", "pool_fields")
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TableError(explain("Unknown options", expected=", ".join(known), found=", ".join(unknown)))
    table = table.rename(columns={theirs: ours for ours, theirs in options.get("columns", {}).items()})
    missing = [column for column in ("participant_id", "value") if column not in table.columns]
    if missing:
        raise TableError(
            explain(
                f"The table lacks the column(s) {', '.join(missing)}",
                found=", ".join(map(str, table.columns)),
                remedy="rename the columns, or map their names (isocenter stats --column participant_id=THEIRS)",
            )
        )
    table = complete_labels(table.reset_index(drop=True), str(options.get("unit", "")))
    is_vial = pd.to_numeric(table["reference"], errors="coerce").notna()
    vials = None
    if is_vial.any():
        vials = table[is_vial].astype(object).rename(columns={"value": "measured"})
        vials = vials if "vial" in vials.columns else vials.assign(vial=vials["participant_id"])
    people = table[~is_vial]
    blocks = options.get("biomarkers") or {
        name: {"scale": options.get("scale", "absolute"), "field_dependent": not options.get("pool_fields")}
        for name in map(str, people["biomarker"].unique())
    }
    return analyze(
        people, vials, None, list(claims), blocks, options.get("planned"), seed,
        combat=combat, workers=workers, on_progress=on_progress,
    )  # fmt: skip


def complete_labels(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The table with the labels that it lacks: one level each, repeats numbered where nothing tells them apart."""
    defaults = {"site": "1", "scanner": "", "session": "1", "biomarker": "value", "roi": "", "reference": np.nan}
    is_numbered = "run" not in table.columns and "session" not in table.columns
    table = table.copy(deep=False)
    for column, default in {**defaults, "unit": unit or "arbitrary"}.items():
        if column not in table.columns:
            table[column] = default
    if "run" not in table.columns:
        groups = [column for column in KEY if column != "run"]
        table["run"] = (
            (table.groupby(groups, dropna=False, observed=True, sort=False).cumcount() + 1).astype(str)
            if is_numbered
            else "1"
        )
    return table
