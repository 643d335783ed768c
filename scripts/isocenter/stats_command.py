"""``isocenter stats``: all statistics from any tidy table, without a trial."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isocenter.errors import TableError, explain

#: Columns that a table may have under other names.
COLUMNS = (
    "participant_id", "value", "site", "scanner", "session", "run", "biomarker", "roi", "unit", "field_strength",
    "reference", "vial", "kind", "stderr", "raw_value", "raw_stderr",
    "raw_stderr_noise",
)  # fmt: skip

_NUMBERS = ("value", "raw_value", "stderr", "raw_stderr", "raw_stderr_noise", "reference", "field_strength")

#: The script's name beside the tables.
R_SCRIPT = "reproduce.R"

#: A longer table is not written again beside its statistics, nor is the R script that would read it.
MOST_ROWS_TO_KEEP = 500_000


@dataclass
class StatsOutcome:
    """What was written: rows by table, and every file."""

    rows: dict[str, int] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)


def read_mapping(pairs: list[str]) -> dict[str, str]:
    """``OURS=THEIRS`` options as a mapping; TableError for another form or a name that is none of ours."""
    mapping = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not equals or not theirs or ours not in COLUMNS:
            raise TableError(
                explain(
                    "A column cannot be mapped",
                    expected=f"OURS=THEIRS, where OURS is one of {', '.join(COLUMNS)}",
                    found=pair,
                )
            )
        mapping[ours] = theirs
    return mapping


def analyze_file(
    table: Path,
    out: Path,
    *,
    columns: dict[str, str] | None = None,
    unit: str = "",
    scale: str = "absolute",
    claims: Path | None = None,
    planned: Path | None = None,
    pool_fields: bool = False,
    patients: bool = False,
    combat: bool = False,
    seed: int = 0,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> StatsOutcome:
    """Analyze a CSV, TSV or Parquet table; write the tables (TSV, JSON, XPT), the measurements and an R script.

    Parameters
    ----------
    table, out : Path
        The table, and the folder to write into.
    columns : dict, optional
        Our name of a column → the table's.
    unit, scale : str
        Of all values, where the table has no column ``unit``; ``absolute`` or ``log``.
    claims : Path, optional
        A claims file; without it there is no verdict. A table without biomarkers or regions is what the claim is about.
    planned : Path, optional
        A table ``site``, ``n_planned``: runs that should have come.
    pool_fields : bool
        Whether field strengths are one stratum (ADC, PDFF); by default each is judged by itself.
    patients : bool
        Whether participants without a ``kind`` are patients, whose single changes are judged.
    combat, seed, workers, on_progress
        As in :func:`isocenter.statistics.analyze.analyze`.

    Raises
    ------
    TableError
        When the table cannot be read, lacks a column, or holds two values for one measurement.
    """
    import pandas as pd

    from isocenter.documents import read_document
    from isocenter.io.any_table import has_decimal_commas, read_any_table
    from isocenter.io.nifti import write_json
    from isocenter.io.r_script import write_r_script
    from isocenter.io.tables import to_records, write_table
    from isocenter.io.transport import write_transport
    from isocenter.statistics.analyze import analyze_table

    if scale not in ("absolute", "log"):
        raise TableError(explain("Unknown scale", expected="absolute or log", found=scale))
    labels = tuple((columns or {}).get(name, name) for name in COLUMNS if name not in _NUMBERS)
    rows = read_any_table(table, text=labels)
    if not len(rows):
        raise TableError(explain("The table holds no values", where=str(table), expected="a row a value", found="none"))
    absent = [theirs for theirs in (columns or {}).values() if theirs not in rows.columns]
    if absent:
        raise TableError(
            explain(
                "The table lacks mapped columns",
                where=str(table),
                expected=", ".join(absent),
                found=", ".join(rows.columns),
            )
        )
    # A column that is mapped away from our name makes room for the one that is mapped to it.
    taken = {theirs: ours for ours, theirs in (columns or {}).items()}
    rows = rows.rename(columns={n: f"original_{n}" for n in taken.values() if n in rows.columns and n not in taken})
    rows = rows.rename(columns=taken)
    for name in _NUMBERS:
        if name in rows.columns and rows[name].dtype == object and has_decimal_commas(rows[name]):
            rows[name] = rows[name].str.replace(",", ".", regex=False)
    if patients:
        rows["kind"] = rows["kind"].astype(object).fillna("patient") if "kind" in rows.columns else "patient"
    declared = read_document(claims, "claims")["claims"] if claims else []
    if "roi" not in rows.columns:
        declared = [claim | {"roi": ""} for claim in declared]
    about = {claim["biomarker"] for claim in declared}
    if "biomarker" not in rows.columns and len(about) == 1:
        rows["biomarker"] = about.pop()
    counts = None
    if planned:
        plan = read_any_table(planned)
        if not {"site", "n_planned"} <= set(plan.columns):
            raise TableError(explain("The plan lacks columns", where=str(planned), expected="site, n_planned"))
        counts = dict(zip(plan["site"].astype(str), pd.to_numeric(plan["n_planned"]).astype(int), strict=True))
    options = {"unit": unit, "scale": scale, "planned": counts, "pool_fields": pool_fields}
    tables = analyze_table(
        rows, options, claims=declared, seed=seed, combat=combat, workers=workers, on_progress=on_progress
    )
    outcome = StatsOutcome({name: len(content) for name, content in tables.items()})
    everything = dict(tables)
    if len(rows) <= MOST_ROWS_TO_KEEP:
        everything = {"measurements": keep_measurements(rows, unit), **tables}
    for name, content in everything.items():
        outcome.files.append(out / f"{name}.tsv")
        write_table(outcome.files[-1], content)
    outcome.files.append(out / "statistics.json")
    write_json(outcome.files[-1], {name: to_records(content) for name, content in tables.items()})
    outcome.files += write_transport(out / "xpt", everything)
    if "measurements" in everything:
        outcome.files.append(write_r_script(out / R_SCRIPT))
    outcome.verdicts = to_records(tables["qualification"])
    return outcome


def keep_measurements(rows, unit: str):
    """The table under our names, as the R script reads it: labels as they were completed, phantoms left in."""
    import pandas as pd

    from isocenter.statistics.analyze import complete_labels

    completed = complete_labels(rows.reset_index(drop=True), unit)
    is_person = completed["reference"].isna() if "reference" in completed.columns else slice(None)
    names = [name for name in COLUMNS if name in completed.columns and name not in ("reference", "vial")]
    kept = completed.loc[is_person, names].copy()
    for name in _NUMBERS:
        if name in kept.columns:
            kept[name] = pd.to_numeric(kept[name], errors="coerce")
    return kept
