"""The statistics tables: their columns, and rows that carry what they are about.

One row an estimate. An absent number is NaN (``n/a`` in files), never 0.
"""

from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from typing import Any

import pandas as pd

from isocenter.errors import TableError, explain

#: What every row starts with; `harmonization` has ``stage`` among its own columns.
LEADING = ("biomarker", "roi", "unit", "scale", "field_strength", "stage")

_BETWEEN = {
    "accounting": "site n_planned n_received n_usable n_used n_excluded reason",
    "descriptives": "site session n mean sd median min max",
    "repeatability": "site n_subjects df mean wsd wsd_low wsd_high rc rc_low rc_high rc_upper95 wcv wcv_low wcv_high"
    " wcv_log percent_rc percent_rc_down percent_rc_up",
    "bland_altman": "contrast n bias bias_low bias_high sd loa_lower loa_lower_low loa_lower_high loa_upper"
    " loa_upper_low loa_upper_high slope slope_p spread_rho spread_p method",
    "variance_components": "component n_levels variance sd percent_total variance_low variance_high moment_variance"
    " method",
    "reproducibility": "coefficient estimate lower95 upper95 low high df percent n_subjects n_sites method",
    "agreement": "form estimate low high n k n_dropped source wording",
    "linearity": "site n_vials n_scans slope slope_low slope_high intercept intercept_low intercept_high r2"
    " quadratic_effect quadratic_p weighted_slope percent_bias percent_bias_low percent_bias_high max_percent_bias",
    "harmonization": "method stage component variance rdc icc subject_variance_ratio validation",
    "power": "design coefficient true_ratio df bound_over_estimate probability_qualified n_per_arm",
    "qualification": "coefficient delta delta_source context_of_use estimate lower95 upper95 bound_over_delta verdict"
    " reasons settle sentence",
    "sensitivity": "analysis coefficient estimate upper95 verdict",
    "method_comparison": "contrast method n slope slope_low slope_high intercept intercept_low intercept_high ccc"
    " ccc_low ccc_high",
    "total_deviation": "contrast n probability tdi tdi_upper95 method",
    "precision_profile": "bin n_groups df mean wsd wsd_low wsd_high wcv fitted_wsd method",
    "measurement_error": "component variance error_variance share share_low share_high source",
    "longitudinal": "participant_id site_from session_from site_to session_to value_from value_to change"
    " change_percent limit limit_upper95 limit_unit p call coefficient",
}

#: Columns of each table in order.
COLUMNS = {
    name: (
        *(column for column in LEADING if not (name == "harmonization" and column == "stage")),
        *between.split(),
        "flags",
    )
    for name, between in _BETWEEN.items()
}

#: Tables in the order in which they are written.
TABLES = tuple(COLUMNS)


_CELLS = {name: tuple(between.split()) for name, between in _BETWEEN.items()}


def cells_of(table: str, source: Any) -> dict[str, Any]:
    """All cells of a table that an estimate, a dataclass, has as fields."""
    return {name: getattr(source, name) for name in _name_cells(table, type(source))}


@lru_cache(maxsize=256)
def _name_cells(table: str, kind: type) -> tuple[str, ...]:
    known = {field.name for field in fields(kind)}
    return tuple(name for name in _CELLS[table] if name in known)


def join_flags(*groups: Iterable[str]) -> str:
    """Flags of a row, each once, in the order given."""
    return ";".join(dict.fromkeys(flag for group in groups for flag in group if flag))


def make_table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table with exactly its columns; a cell of an unknown column raises TableError."""
    unknown = sorted(set().union(*map(dict.keys, rows)) - set(COLUMNS[name]))
    if unknown:
        raise TableError(explain("A row has unknown cells", where=name, found=", ".join(unknown)))
    return pd.DataFrame(rows, columns=list(COLUMNS[name]))
