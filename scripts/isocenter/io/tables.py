"""TSV tables, the same to the byte for the same numbers."""

import io
import os
from pathlib import Path

import pandas as pd

from isocenter.errors import TableError, explain
from isocenter.io.nifti import write_bytes

#: How numbers are printed: nine significant digits, more than any scanner gives, fewer than the last bits that
#: differ between machines.
FLOAT_FORMAT = "%.9g"


def write_table(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Write a TSV whole or not at all; an absent value is ``n/a``, as in BIDS."""
    buffer = io.StringIO()
    table.to_csv(buffer, sep="\t", index=False, na_rep="n/a", float_format=FLOAT_FORMAT, lineterminator="\n")
    write_bytes(path, buffer.getvalue().encode("utf-8"))


def read_table(path: str | os.PathLike, *, required: tuple[str, ...] = (), text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a TSV. Columns in `text` stay strings ("01" is not 1) and are "" when absent.

    Raises TableError when the file is no table or lacks a `required` column.
    """
    try:
        table = pd.read_csv(
            path,
            sep="\t",
            dtype=dict.fromkeys(text, str),
            na_values=["n/a"],
            keep_default_na=False,
            encoding="utf-8",
        )
    except FileNotFoundError:
        raise TableError(explain("A table is missing", where=str(path))) from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(explain("A table cannot be read as TSV", where=str(path), found=error)) from None
    again = _list_repeated(table.columns, Path(path))
    if again:
        raise TableError(
            explain(
                f"A table has the column(s) {', '.join(again)} more than once",
                where=str(path),
                expected="each column once",
                remedy=f"take out of {Path(path).name} what is there too often",
            )
        )
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise TableError(
            explain(
                f"A table lacks the column(s) {', '.join(missing)}",
                where=str(path),
                found=", ".join(map(str, table.columns)),
                remedy=f"add the column(s) to {Path(path).name}",
            )
        )
    for column in text:
        if column in table.columns:
            table[column] = table[column].fillna("")
    return table


def _list_repeated(columns: pd.Index, path: Path) -> list[str]:
    """Names that stand more than once in a table's first line: pandas numbers them (kind, kind.1) and goes on."""
    stems = {str(column).rpartition(".")[0] for column in columns if str(column).rpartition(".")[2].isdigit()}
    if not stems & set(map(str, columns)):
        return []
    with path.open(encoding="utf-8-sig") as file:
        written = file.readline().rstrip("\r\n").split("\t")
    return sorted({name for name in written if written.count(name) > 1})


def to_records(table: pd.DataFrame) -> list[dict]:
    """Rows as plain values; an absent number is null."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
