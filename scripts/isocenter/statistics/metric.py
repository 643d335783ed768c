"""One metric: a biomarker in a region at one field strength and stage, as its measurements.

Field strength is a stratum for biomarkers that depend on it (T1, T2, T2*): no table ever pools them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from isocenter.errors import TableError, explain
from isocenter.statistics.design import Design, build_design, encode_labels

#: What makes a row of the measurements unique.
KEY = ["biomarker", "roi", "site", "participant_id", "session", "run"]

#: The order of a metric's rows.
_ORDER = ["biomarker", "roi", "participant_id", "site", "session", "run"]

#: Kinds whose repeats tell precision; phantoms go to linearity.
PEOPLE = ("traveler", "volunteer", "patient")

#: Stages and the columns that each judges: the value and its standard error.
STAGES = {"raw": ("raw_value", "raw_stderr"), "calibrated": ("value", "stderr")}

#: Fourth powers of values, which likelihoods and intervals need, stay finite and above zero up to here.
LARGEST = 1e70

_TEXT = ("kind", "scanner", "unit", "calibrated_flag")
_NUMBERS = ("value", "raw_value", "stderr", "raw_stderr", "raw_stderr_noise", "field_strength")


@dataclass(frozen=True)
class Labels:
    """Labels of rows as (n,) integer codes into names in natural order (session 2 before session 10)."""

    codes: np.ndarray
    names: tuple[str, ...]

    def text(self) -> np.ndarray:
        """(n,) strings."""
        return np.array(self.names or [""], dtype=str)[self.codes]

    def keep(self, chosen: np.ndarray) -> "Labels":
        """The labels of some rows, levels that are gone left out."""
        codes = self.codes[chosen]
        present = np.bincount(codes, minlength=len(self.names)) > 0
        if present.all():
            return Labels(codes, self.names)
        return Labels((np.cumsum(present) - 1)[codes], tuple(self.names[i] for i in np.flatnonzero(present)))


@dataclass(frozen=True)
class Metric:
    """Measurements of one biomarker × roi × field strength × stage, sorted by participant, site, session, run.

    ``values`` [unit] are finite; ``labels`` holds `Labels` of site, participant_id, session, run, kind and
    calibrated_flag; `scale` is the declared one. Standard errors [unit of the values] are NaN where unknown: ``stderr``
    of the values, ``fit_stderr`` of them without the calibration's part, ``noise_stderr`` of the part of that which a
    repeat draws anew.
    """

    biomarker: str
    roi: str
    unit: str
    scale: str
    field_strength: float
    stage: str
    values: np.ndarray
    labels: dict[str, Labels]
    stderr: np.ndarray
    fit_stderr: np.ndarray
    noise_stderr: np.ndarray
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
    def mean(self) -> float:
        """Mean of all values [unit]."""
        return float(self.values.mean()) if len(self.values) else np.nan

    @property
    def is_positive(self) -> bool:
        """Whether logarithms exist."""
        return bool((self.values > 0).all())

    def scaled(self, scale: str | None = None) -> np.ndarray:
        """(n,) values on a scale: as they are, or natural logarithms [1]; NaN when a value is not positive."""
        if (scale or self.scale) == "absolute":
            return self.values
        return np.log(self.values) if self.is_positive else np.full(len(self.values), np.nan)

    def design(self, scale: str | None = None) -> Design:
        """The crossed design of the values on a scale."""
        return build_design(
            self.scaled(scale),
            self.codes("participant_id"),
            self.codes("site"),
            self.codes("session"),
            is_sorted=True,
        )

    def codes(self, name: str) -> np.ndarray:
        """(n,) integer codes of a label, in natural order of the labels."""
        return self.labels[name].codes

    def names(self, name: str) -> tuple[str, ...]:
        """The levels of a label in natural order."""
        return self.labels[name].names

    def column(self, name: str) -> np.ndarray:
        """(n,) labels as text."""
        return self.labels[name].text()

    def keep(self, chosen: np.ndarray) -> "Metric":
        """The metric on some of its rows."""
        return replace(
            self,
            values=self.values[chosen],
            labels={name: labels.keep(chosen) for name, labels in self.labels.items()},
            stderr=self.stderr[chosen],
            fit_stderr=self.fit_stderr[chosen],
            noise_stderr=self.noise_stderr[chosen],
        )


def code_groups(*codes: np.ndarray) -> np.ndarray:
    """(n,) codes of the combinations of several codes, in the order of their first, then second, …"""
    combined = codes[0].astype(np.int64)
    for other in codes[1:]:
        combined = combined * (int(other.max()) + 1 if len(other) else 1) + other
    return encode_labels(combined)


def order_naturally(names) -> list[str]:
    """Names with their numbers in numeric order: site2 before site10."""
    return sorted(names, key=lambda name: [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in _split(name)])


def _split(name: str) -> list[str]:
    return [part for part in re.split(r"([0-9]+)", name) if part]


def _code_labels(column: pd.Series) -> pd.Categorical:
    """Text labels, "" where absent, as a categorical whose categories stand in natural order."""
    codes, found = pd.factorize(column)
    names = ["" if pd.isna(name) else _say(name) for name in found]
    order = order_naturally({*names, ""} if (codes < 0).any() else set(names))
    place = {name: i for i, name in enumerate(order)}
    # The last entry serves −1, the code of an absent label.
    recode = np.array([*(place[name] for name in names), place.get("", 0)], np.int64)
    return pd.Categorical.from_codes(recode[codes], categories=order)


def _repeat_blank(count: int) -> pd.Categorical:
    return pd.Categorical.from_codes(np.zeros(count, np.int8), [""])


def _say(label: Any) -> str:
    # A column of whole numbers with a gap is read as floats: 1.0 is the label 1.
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label).strip()


def check_measurements(table: pd.DataFrame) -> pd.DataFrame:
    """The measurements with the columns that statistics need; entity columns are categoricals of text.

    Raises
    ------
    TableError
        When a column is missing, a value is no number, or one subject × site × session × run has two values.
    """
    needed = [*KEY, "value", "unit"]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise TableError(
            explain(
                f"The measurements lack the column(s) {', '.join(missing)}", found=", ".join(map(str, table.columns))
            )
        )
    table = table.copy(deep=False).reset_index(drop=True)
    for column in (*KEY, *_TEXT):
        is_given = column in table.columns
        table[column] = _code_labels(table[column]) if is_given else _repeat_blank(len(table))
    for column in _NUMBERS:
        table[column] = _read_numbers(table, column) if column in table.columns else np.nan
    _check_sizes(table)
    _check_names(table)
    check_duplicates(table)
    return table


def _check_sizes(table: pd.DataFrame) -> None:
    """Raise TableError naming the rows whose values have no squares in double precision."""
    for column in ("value", "raw_value"):
        size = table[column].abs().to_numpy(float)
        beyond = (size > LARGEST) | ((size > 0) & (size < 1 / LARGEST))
        if beyond.any():
            rows = np.flatnonzero(beyond)[:5]
            raise TableError(
                explain(
                    f"The column {column} holds values that cannot be computed with",
                    where="rows " + ", ".join(str(i + 2) for i in rows),
                    expected=f"zero, or sizes from {1 / LARGEST:g} to {LARGEST:g}",
                    found=", ".join(f"{table[column].iloc[i]:g}" for i in rows),
                    remedy="give the values in another unit, or leave these cells empty",
                )
            )


def _check_names(table: pd.DataFrame) -> None:
    """Raise TableError naming the rows whose value belongs to nobody."""
    nameless = (table["participant_id"] == "").to_numpy() & table["value"].notna().to_numpy()
    if nameless.any():
        rows = np.flatnonzero(nameless)[:5]
        raise TableError(
            explain(
                "A value has no participant_id",
                where="rows " + ", ".join(str(i + 2) for i in rows),
                expected="who was measured",
                found=f"{int(nameless.sum())} rows without",
                remedy="name the participant, or remove the rows",
            )
        )


def _read_numbers(table: pd.DataFrame, column: str) -> pd.Series:
    given = table[column]
    numbers = pd.to_numeric(given, errors="coerce").astype(float)
    if given.dtype == object or isinstance(given.dtype, pd.StringDtype):
        text = given.astype(str).str.strip().str.lower()
        wrong = numbers.isna() & given.notna() & ~text.isin(["", "n/a", "na", "nan", "null", "none", "."])
        if wrong.any():
            rows = np.flatnonzero(wrong.to_numpy())[:5]
            raise TableError(
                explain(
                    f"The column {column} holds what is no number",
                    where="rows " + ", ".join(str(i + 2) for i in rows),
                    expected="a number with a decimal point, or nothing (n/a)",
                    found=", ".join(repr(str(given.iloc[i])) for i in rows),
                    remedy="mend the cells, or leave them empty",
                )
            )
    return numbers.where(np.isfinite(numbers), np.nan)


def check_duplicates(table: pd.DataFrame) -> None:
    """Raise TableError naming the rows when one subject × site × session × run has two values."""
    has_value = (table["value"].notna() | table["raw_value"].notna()).to_numpy()
    key = np.zeros(int(has_value.sum()), np.int64)
    for name in KEY:
        key = key * len(table[name].cat.categories) + table[name].cat.codes.to_numpy(np.int64)[has_value]
    rows = np.flatnonzero(has_value)
    twice = pd.Series(key, index=rows)
    twice = twice[twice.duplicated(keep=False)]
    if not len(twice):
        return
    named = []
    for same in list(twice.groupby(twice, sort=False).groups.values())[:5]:
        first = table.loc[same[0], KEY]
        what = ", ".join(f"{name} {first[name]}" for name in KEY if first[name])
        # Row 1 is the header, as a spreadsheet counts.
        named.append(f"{what} in rows {', '.join(str(i + 2) for i in same)}")
    raise TableError(
        explain(
            "Two values for one subject × site × session × run",
            where="; ".join(named),
            expected="one value each",
            found=f"{len(twice)} rows",
            remedy="remove the copy, or number the repeats in the column run",
        )
    )


@dataclass(frozen=True)
class Stratum:
    """All rows of people of one biomarker × roi × field strength, values or not, with its metrics by stage."""

    rows: pd.DataFrame
    stages: list[Metric]


def list_strata(table: pd.DataFrame, biomarkers: dict[str, dict]) -> Iterator[Stratum]:
    """Every biomarker × roi × field strength, in the order of the config's biomarkers and regions.

    A table without ``raw_value`` has one stage with an empty name.
    """
    stages = STAGES if table["raw_value"].notna().any() else {"": ("value", "stderr")}
    people = table[table["kind"].isin([*PEOPLE, ""]).to_numpy()]
    if not len(people):
        return
    codes = {name: people[name].cat.codes.to_numpy(np.int64) for name in KEY}
    order = np.lexsort([codes[name] for name in reversed(_ORDER)])
    group = codes["biomarker"] * len(table["roi"].cat.categories) + codes["roi"]
    # Sorted once, each stratum is a slice.
    people, sorted_group = people.iloc[order], group[order]
    starts = np.flatnonzero(np.diff(sorted_group, prepend=-1))
    ends = np.append(starts[1:], len(order))
    names_of = {name: people[name].cat.categories for name in ("biomarker", "roi")}
    found = {}
    for start, end in zip(starts, ends, strict=True):
        biomarker, roi = divmod(int(sorted_group[start]), len(names_of["roi"]))
        found[str(names_of["biomarker"][biomarker]), str(names_of["roi"][roi])] = slice(start, end)
    names = dict.fromkeys(biomarker for biomarker, _ in found)
    for biomarker in [*(n for n in biomarkers if n in names), *sorted(n for n in names if n not in biomarkers)]:
        block = biomarkers.get(biomarker, {})
        rois = [roi for name, roi in found if name == biomarker]
        for roi in dict.fromkeys([*block.get("rois", ()), *sorted(rois)]):
            if roi not in rois:
                continue
            rows = people.iloc[found[biomarker, roi]]
            for strength, chosen, flags in _split_field(rows, bool(block.get("field_dependent", False))):
                yield Stratum(
                    chosen,
                    [
                        _make_metric(biomarker, roi, block, strength, stage, chosen, columns, flags)
                        for stage, columns in stages.items()
                    ],
                )


def list_metrics(table: pd.DataFrame, biomarkers: dict[str, dict]) -> list[list[Metric]]:
    """Every metric as the list of its stages."""
    return [stratum.stages for stratum in list_strata(table, biomarkers)]


def _split_field(rows: pd.DataFrame, is_dependent: bool):
    """(field strength [T], rows, flags) by stratum; one stratum when the biomarker may be pooled."""
    # Scanners report 2.89 or 2.9 T for a "3 T" magnet: the nominal half tesla is the stratum.
    nominal = np.round(rows["field_strength"].to_numpy(float) * 2) / 2
    is_known = np.isfinite(nominal)
    strengths = sorted(set(nominal[is_known].tolist()))
    if not is_dependent or not strengths:
        pooled = ("pooled_over_field_strength",) if len(strengths) > 1 else ()
        yield (float(strengths[0]) if len(strengths) == 1 else np.nan), rows, pooled
        return
    flags = ("stratified_by_field_strength",) if len(strengths) > 1 else ()
    for strength in strengths:
        yield float(strength), rows[nominal == strength], flags
    if not is_known.all():
        yield np.nan, rows[~is_known], (*flags, "unknown_field_strength")


def _make_metric(biomarker, roi, block, strength, stage, rows, columns, flags) -> Metric:
    value, stderr = columns
    y = rows[value].to_numpy(float)
    chosen = np.isfinite(y)
    known = rows["unit"].array
    units = sorted(str(known.categories[k]) for k in np.unique(known.codes))
    units = [unit for unit in units if unit]
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
    labels = {}
    for name in ("site", "participant_id", "session", "run", "kind", "calibrated_flag"):
        column = rows[name].array
        labels[name] = Labels(column.codes.astype(np.int64), tuple(column.categories)).keep(chosen)
    if stage == "calibrated" and "beyond_calibration" in labels["calibrated_flag"].names:
        flags = (*flags, "beyond_calibration")
    gain = np.ones(len(rows))
    if stage == "calibrated":
        # What is known before calibration scales with it.
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.abs(y / rows["raw_value"].to_numpy(float))
        gain[~np.isfinite(gain)] = np.nan
    errors = [rows[name].to_numpy(float) for name in (stderr, "raw_stderr", "raw_stderr_noise")]
    return Metric(
        biomarker, roi, unit, block.get("scale", "absolute"), strength, stage, y[chosen], labels,
        errors[0][chosen], (errors[1] * gain)[chosen], (errors[2] * gain)[chosen], flags,
    )  # fmt: skip
