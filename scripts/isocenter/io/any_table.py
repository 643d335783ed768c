"""Tables as people keep them: CSV and TSV in the dialects of spreadsheets, Parquet."""

import csv
from pathlib import Path

import pandas as pd

from isocenter.errors import TableError, explain

#: Words that stand for an absent value.
MISSING = ("n/a", "N/A", "NA", "na", "NaN", "nan", "null", "NULL", "None", ".", "")

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}


def read_any_table(path: Path, *, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet table; columns named in `text` stay text ("01" is not 1).

    The separator of a text table is what its header says (tab, semicolon or comma); where it is a semicolon, numbers
    may have decimal commas.

    Raises
    ------
    TableError
        When there is no such file, or it cannot be read as a table with at least one named column.
    """
    if not path.is_file():
        raise TableError(explain("There is no such table", where=str(path)))
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            table = pd.read_parquet(path)
            table = table.reset_index() if table.index.name else table
        else:
            table = _read_text(path, text)
    except TableError:
        raise
    except Exception as error:  # pandas, the parser and Arrow each have their own
        raise TableError(explain("The table cannot be read", where=str(path), found=error)) from None
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _read_text(path: Path, text: tuple[str, ...]) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
        header = file.readline()
    if "\0" in header or not header.strip():
        raise TableError(explain("The table cannot be read", where=str(path), expected="a header line of text"))
    separator = max("\t;,", key=header.count) if any(header.count(s) for s in "\t;,") else ","
    if separator == "," and path.suffix.lower() in _SEPARATORS:
        separator = "," if header.count(",") else _SEPARATORS[path.suffix.lower()]
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:  # pandas would rename the second
        raise TableError(explain("Two columns have one name", where=str(path), found=", ".join(twice)))
    return pd.read_csv(
        path,
        sep=separator,
        # Categories of text: a million rows name few participants.
        dtype=dict.fromkeys(text, "category"),
        keep_default_na=False,
        na_values=list(MISSING),
        encoding="utf-8-sig",
        skipinitialspace=True,
        low_memory=False,
    ).dropna(how="all")


def has_decimal_commas(column: pd.Series) -> bool:
    """Whether a text column's numbers are written with decimal commas."""
    given = column.dropna().astype(str)
    return (
        bool(len(given))
        and bool(given.str.fullmatch(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*").any())
        and not bool(given.str.contains(".", regex=False).any())
    )
