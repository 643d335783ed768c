"""One page a primary quantity: a biomarker in a region at a field strength, never pooled over strata."""

import math
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from isocenter.report.gather import Trial
from isocenter.report.wording import is_missing, name_roi, shown_unit

#: pages in metrics/ reach the report's root through this
ROOT = "../"


@dataclass(frozen=True, order=True)
class Metric:
    """A biomarker in a region; `field_strength` [T] is None where all field strengths may be pooled."""

    biomarker: str
    roi: str
    field_strength: float | None = None

    @classmethod
    def of_row(cls, row: Any) -> "Metric":
        """The metric that a row of a statistics table is about."""
        field = row.get("field_strength")
        try:
            field = None if is_missing(field) else float(field)
        except ValueError:
            field = None
        return cls(str(row["biomarker"]), str(row["roi"]), None if field != field else field)

    @property
    def title(self) -> str:
        """``T1, white matter, 3 T``."""
        strength = "" if self.field_strength is None else f", {self.field_strength:g} T"
        return f"{self.biomarker}, {name_roi(self.roi)}{strength}"

    def rows(self, trial: Trial, name: str, **equal: Any) -> pd.DataFrame:
        """The rows of a table about this metric; columns that are absent there do not narrow."""
        table = trial.rows(name, biomarker=self.biomarker, roi=self.roi)
        if self.field_strength is not None and "field_strength" in table:
            strength = pd.to_numeric(table["field_strength"], errors="coerce")
            table = table[(strength - self.field_strength).abs() < 0.05]
        for column, value in equal.items():
            if column in table and not is_missing(value):
                table = table[table[column] == value]
        return table


def list_metrics(trial: Trial) -> list[Metric]:
    """Every metric of the statistics, the ones with a verdict first; without statistics those measured."""
    found: dict[Metric, None] = {}
    for name in ("qualification", "reproducibility", "repeatability", "descriptives", "measurements"):
        table = trial.tables.get(name, pd.DataFrame())
        if len(table) and {"biomarker", "roi"} <= set(table.columns):
            if name == "measurements" and found:
                break
            columns = [c for c in ("biomarker", "roi", "field_strength") if c in table]
            for _, row in table[columns].drop_duplicates().iterrows():
                if not is_missing(row["roi"]):
                    found[Metric.of_row(row)] = None
    # A row without a stratum is no page of its own where strata exist.
    strata = {(m.biomarker, m.roi) for m in found if m.field_strength is not None}
    return [m for m in found if m.field_strength is not None or (m.biomarker, m.roi) not in strata]


def metric_page(metric: Metric) -> str:
    """The page of a metric, relative to the report."""
    strength = "" if metric.field_strength is None else f"_{metric.field_strength:g}T"
    return "metrics/" + re.sub(r"[^A-Za-z0-9._-]", "_", f"{metric.biomarker}_{metric.roi}{strength}") + ".html"


def sd_unit(row: Any) -> tuple[str, float]:
    """The unit and factor that a row's SDs are shown with; on the log scale they read as percent of the mean."""
    return ("%", 100.0) if is_log(row) else shown_unit(row.get("unit"))


def is_log(row: Any) -> bool:
    """Whether a row's numbers are logarithms, which have no unit."""
    return str(row.get("scale")) == "log" and str(row.get("unit")) in ("1", "", "nan")


def show_coefficient(row: Any, name: str) -> float:
    """A coefficient of a row in its shown unit; one of logarithms as the percent that its ratio differs from 1."""
    value = times(row.get(name), 1.0)
    return 100 * math.expm1(value) if is_log(row) else value * shown_unit(row.get("unit"))[1]


def declared(trial: Trial, metric: Metric, name: str) -> pd.DataFrame:
    """The rows of a table on the scale that the config declares, which a page shows; the file holds both."""
    rows = metric.rows(trial, name)
    scale = trial.biomarkers.get(metric.biomarker, {}).get("scale")
    chosen = rows[rows["scale"] == scale] if scale and "scale" in rows else rows
    return chosen if len(chosen) else rows


def times(value: Any, factor: float) -> float:
    """A cell times a factor; NaN when it is absent."""
    return float("nan") if is_missing(value) else float(value) * factor


def root_of(value: Any) -> float:
    """The SD of a variance; NaN when it is absent or negative."""
    return float("nan") if is_missing(value) or float(value) < 0 else float(value) ** 0.5
