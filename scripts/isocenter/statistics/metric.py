"""One metric: a biomarker in a region at one field strength and stage, as its measurements.

Field strength is a stratum for biomarkers that depend on it (T1, T2, T2*): no table ever pools them.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from isocenter.errors import TableError, explain
from isocenter.statistics.design import Design, build_design

#: What makes a row of the measurements unique.
KEY = ["biomarker", "roi", "site", "participant_id", "session", "run"]

#: Kinds whose repeats tell precision; phantoms go to linearity.
PEOPLE = ("traveler", "volunteer", "patient")

#: Stages and the column that each judges.
STAGES = {"raw": "raw_value", "calibrated": "value"}


@dataclass(frozen=True)
class Metric:
    """Measurements of one biomarker × roi × field strength × stage, sorted by site, participant, session, run.

    `rows` holds one row a measurement with a finite ``y`` in `unit`; `scale` is the declared one.
    """

    biomarker: str
    roi: str
    unit: str
    scale: str
    field_strength: float
    stage: str
    rows: pd.DataFrame
    flags: tuple[str, ...] = field(default=())

    @property
    def label(self) -> dict[str, Any]:
        """The leading cells of a row about this metric."""
        return {
            "biomarker": self.biomarker,
            "roi": self.roi,
            "unit": self.unit,
            "scale": self.scale,
            "field_strength": self.field_strength,
            "stage": self.stage,
        }

    @property
    def values(self) -> np.ndarray:
        """(n,) values [unit]."""
        return self.rows["y"].to_numpy(float)

    @property
    def mean(self) -> float:
        """Mean of all values [unit]."""
        return float(self.values.mean()) if len(self.rows) else np.nan

    @property
    def is_positive(self) -> bool:
        """Whether logarithms exist."""
        return bool((self.values > 0).all())

    def scaled(self, scale: str | None = None) -> np.ndarray:
        """(n,) values on a scale: as they are, or natural logarithms [1]; NaN when a value is not positive."""
        if (scale or self.scale) == "absolute":
            return self.values
        return np.log(self.values) if self.is_positive else np.full(len(self.rows), np.nan)

    def design(self, scale: str | None = None) -> Design:
        """The crossed design of the values on a scale."""
        return build_design(
            self.scaled(scale), self.column("participant_id"), self.column("site"), self.column("session")
        )

    def column(self, name: str) -> np.ndarray:
        """(n,) labels."""
        return self.rows[name].to_numpy(str)

    def keep(self, chosen: np.ndarray) -> "Metric":
        """The metric on some of its rows."""
        return replace(self, rows=self.rows[chosen])


def check_measurements(table: pd.DataFrame) -> pd.DataFrame:
    """The measurements with the columns that statistics need; entity columns are text.

    Raises
    ------
    TableError
        When a column is missing, or one subject × site × session × run has two values.
    """
    needed = [*KEY, "value", "unit"]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise TableError(
            explain(
                f"The measurements lack the column(s) {', '.join(missing)}", found=", ".join(map(str, table.columns))
            )
        )
    table = table.copy().reset_index(drop=True)
    for column in (*KEY, "kind", "scanner", "unit", "calibrated_flag"):
        table[column] = table[column].fillna("").astype(str) if column in table.columns else ""
    for column in ("value", "raw_value", "field_strength"):
        table[column] = pd.to_numeric(table[column], errors="coerce") if column in table.columns else np.nan
    check_duplicates(table)
    return table


def check_duplicates(table: pd.DataFrame) -> None:
    """Raise TableError naming the rows when one subject × site × session × run has two values."""
    twice = table[table.duplicated(KEY, keep=False)]
    if not len(twice):
        return
    named = []
    for key, rows in twice.groupby(KEY, sort=False):
        what = ", ".join(f"{name} {value}" for name, value in zip(KEY, key, strict=True) if value)
        # Row 1 is the header, as a spreadsheet counts.
        named.append(f"{what} in rows {', '.join(str(i + 2) for i in rows.index)}")
        if len(named) == 5:
            break
    raise TableError(
        explain(
            "Two values for one subject × site × session × run",
            where="; ".join(named),
            expected="one value each",
            found=f"{len(twice)} rows",
            remedy="remove the copy, or number the repeats in the column run",
        )
    )


def list_metrics(table: pd.DataFrame, biomarkers: dict[str, dict]) -> list[list[Metric]]:
    """Every metric as the list of its stages, in the order of the table's biomarkers and regions.

    A table without ``raw_value`` has one stage with an empty name.
    """
    has_raw = bool(table["raw_value"].notna().any())
    stages = STAGES if has_raw else {"": "value"}
    people = table[table["kind"].isin(PEOPLE) | (table["kind"] == "")]
    found = []
    order = [name for name in biomarkers if name in set(people["biomarker"])]
    order += sorted(set(people["biomarker"]) - set(order))
    for biomarker in order:
        block = biomarkers.get(biomarker, {})
        of_biomarker = people[people["biomarker"] == biomarker]
        for roi in dict.fromkeys([*block.get("rois", ()), *sorted(set(of_biomarker["roi"]))]):
            of_roi = of_biomarker[of_biomarker["roi"] == roi]
            for strength, rows, flags in _split_field(of_roi, bool(block.get("field_dependent", False))):
                found.append(
                    [
                        _make_metric(biomarker, roi, block, strength, stage, rows, column, flags)
                        for stage, column in stages.items()
                    ]
                )
    return found


def _split_field(rows: pd.DataFrame, is_dependent: bool):
    """(field strength [T], rows, flags) by stratum; one stratum when the biomarker may be pooled."""
    if not len(rows):
        return
    # Scanners report 2.89 or 2.9 T for a "3 T" magnet: the nominal half tesla is the stratum.
    nominal = (rows["field_strength"] * 2).round() / 2
    strengths = sorted(nominal.dropna().unique())
    if not is_dependent or not strengths:
        pooled = ("pooled_over_field_strength",) if len(strengths) > 1 else ()
        yield (float(strengths[0]) if len(strengths) == 1 else np.nan), rows, pooled
        return
    flags = ("stratified_by_field_strength",) if len(strengths) > 1 else ()
    for strength in strengths:
        yield float(strength), rows[nominal == strength], flags
    if nominal.isna().any():
        yield np.nan, rows[nominal.isna()], (*flags, "unknown_field_strength")


def _make_metric(biomarker, roi, block, strength, stage, rows, column, flags) -> Metric:
    chosen = rows[np.isfinite(rows[column])].assign(y=lambda r: r[column].astype(float))
    chosen = chosen.sort_values(["site", "participant_id", "session", "run"], kind="stable")
    units = sorted(set(rows["unit"]) - {""})
    if len(units) > 1:
        raise TableError(
            explain(
                "One metric has two units",
                where=f"{biomarker} in {roi or 'all'}",
                expected="one unit",
                found=", ".join(units),
                remedy="convert the values to one unit",
            )
        )
    unit = units[0] if units else block.get("unit", "")
    if (chosen["calibrated_flag"] == "beyond_calibration").any() and stage == "calibrated":
        flags = (*flags, "beyond_calibration")
    return Metric(biomarker, roi, unit, block.get("scale", "absolute"), strength, stage, chosen, flags)
