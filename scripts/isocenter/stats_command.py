"""``isocenter stats``: all statistics from any tidy table, without a trial."""

from pathlib import Path

from isocenter.errors import TableError, explain
from isocenter.io.tables import write_table


def analyze_file(table: Path, out: Path, *, claims: Path | None = None, seed: int = 0) -> dict[str, int]:
    """Analyze a TSV or CSV table and write every table of the statistics into `out`.

    Returns how many rows each table got. Raises TableError when the table cannot be read or lacks a column.
    """
    import pandas as pd

    from isocenter.documents import read_document
    from isocenter.statistics.analyze import analyze_table

    separator = "," if table.suffix.lower() == ".csv" else "\t"
    text = dict.fromkeys(("participant_id", "site", "scanner", "session", "run", "biomarker", "roi"), str)
    try:
        rows = pd.read_csv(table, sep=separator, dtype=text, na_values=["n/a"], encoding="utf-8")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(explain("The table cannot be read", where=str(table), found=error)) from None
    declared = read_document(claims, "claims")["claims"] if claims else []
    tables = analyze_table(rows, claims=declared, seed=seed)
    for name, content in tables.items():
        write_table(out / f"{name}.tsv", content)
    return {name: len(content) for name, content in tables.items()}
