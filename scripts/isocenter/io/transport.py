"""SAS transport files (XPT version 5): tables for those whose tools ask for them.

The format knows names of at most 8 characters, labels of at most 40 and text of at most 200 bytes of ASCII. Each
column's own name becomes its label; longer text continues in further columns; `names.tsv` beside the files says which
is which. A missing number is SAS's missing value.

Reference: SAS Institute, The record layout of a data set in SAS transport (XPORT) format, TS-140.
"""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from isocenter.errors import TableError, explain
from isocenter.io.tables import write_table

#: Our table → its name in the file.
MEMBERS = {
    "measurements": "MEASURE",
    "accounting": "ACCOUNT",
    "descriptives": "DESCRIPT",
    "repeatability": "REPEAT",
    "bland_altman": "BLANDALT",
    "variance_components": "VARCOMP",
    "reproducibility": "REPROD",
    "agreement": "AGREE",
    "linearity": "LINEAR",
    "harmonization": "HARMON",
    "power": "POWER",
    "qualification": "QUALIF",
    "sensitivity": "SENSIT",
    "method_comparison": "METHCOMP",
    "total_deviation": "TOTALDEV",
    "precision_profile": "PRECPROF",
    "measurement_error": "MEASERR",
    "longitudinal": "LONGIT",
}

_TEXT_BYTES, _NAME, _LABEL = 200, 8, 40

#: Numbers of the format are IBM's: outside these they are 0 or have no value.
_SMALLEST, _LARGEST = 1e-75, 1e74

_ABBREVIATIONS = {
    "participant": "SUBJ", "biomarker": "BIOM", "field": "FLD", "strength": "STR", "percent": "PCT", "variance": "VAR",
    "probability": "PROB", "coefficient": "COEF", "qualified": "QUAL", "quadratic": "QUAD", "intercept": "ICPT",
    "calibration": "CAL", "calibrated": "CAL", "component": "COMP", "lower": "LO", "upper": "UP", "low": "L",
    "high": "H", "lower95": "L95", "upper95": "U95", "estimate": "EST", "session": "SES", "subjects": "SUBJ",
    "median": "MED", "stderr": "SE", "weighted": "WT", "received": "RECV", "excluded": "EXCL", "dropped": "DROP",
    "planned": "PLAN", "usable": "USBL", "levels": "LEV", "effective": "EFF", "validation": "VALID",
    "sensitivity": "SENS", "effect": "EFF", "slope": "SLP", "context": "CTX", "source": "SRC", "value": "VAL",
    "measurement": "MEAS", "moment": "MOM", "error": "ERR", "fitted": "FIT", "groups": "GRP", "change": "CHG",
    "limit": "LIM", "spread": "SPR", "bound": "BND", "over": "O", "subject": "SUBJ", "ratio": "RAT", "total": "TOT",
}  # fmt: skip


def shorten_names(names: list[str]) -> dict[str, str]:
    """Column → a name of at most 8 characters, unique in the table; the same for the same columns."""
    found: dict[str, str] = {}
    for name in names:
        words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower().split("_")
        whole = "".join(words).upper()
        short = whole if len(whole) <= _NAME else "".join(_ABBREVIATIONS.get(w, w.upper()) for w in words)
        if len(short) > _NAME:
            # Vowels inside go first, then the ends of the longest words.
            parts = [_ABBREVIATIONS.get(w, w[0].upper() + re.sub("[aeiou]", "", w[1:]).upper()) for w in words]
            while len("".join(parts)) > _NAME:
                longest = max(range(len(parts)), key=lambda i: len(parts[i]))
                parts[longest] = parts[longest][:-1]
            short = "".join(parts)
        short = short if short[:1].isalpha() else f"_{short}"[:_NAME]
        candidate, number = short, 1
        while candidate in found.values():
            number += 1
            candidate = short[: _NAME - len(str(number))] + str(number)
        found[name] = candidate
    return found


def to_ascii(text: str) -> str:
    """Text in ASCII: × is x, ² is 2, accents go; what has no counterpart becomes a question mark."""
    plain = text.translate({0xD7: "x", 0xB7: ".", 0x2013: "-", 0x2014: "-", 0x2212: "-", 0x2264: "<=", 0x2265: ">=",
                            0xB5: "u", 0x3BC: "u", 0xB0: "deg", 0xB1: "+-", 0x201C: '"', 0x201D: '"', 0x2019: "'",
                            0x27E8: "<", 0x27E9: ">", 0xDF: "ss"})  # fmt: skip
    spread = unicodedata.normalize("NFKD", plain)
    return "".join(c if c.isascii() else "?" for c in spread if not unicodedata.combining(c))


def prepare_columns(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table in the format's terms, and (short name → column, with a number where text is continued)."""
    names = shorten_names([str(column) for column in table.columns])
    columns: dict[str, pd.Series] = {}
    meaning: dict[str, str] = {}
    for column in table.columns:
        short, values = names[str(column)], table[column]
        if pd.api.types.is_bool_dtype(values):
            values = values.astype(int)
        if pd.api.types.is_numeric_dtype(values):
            numbers = values.to_numpy(float, na_value=np.nan)
            numbers = np.where(np.abs(numbers) < _SMALLEST, 0.0, numbers)
            columns[short] = pd.Series(np.where(np.abs(numbers) > _LARGEST, np.nan, numbers), index=table.index)
            meaning[short] = str(column)
            continue
        codes, given = pd.factorize(values)
        known = [*(to_ascii(str(value)) for value in given), ""]
        text = [known[code] for code in codes]
        longest = max(map(len, text), default=0)
        for part in range(max(1, -(-longest // _TEXT_BYTES))):
            name = short if part == 0 else _continue_name(short, part + 1, {*names.values(), *columns})
            start = part * _TEXT_BYTES
            columns[name] = pd.Series([t[start : start + _TEXT_BYTES] for t in text], index=table.index, dtype=object)
            meaning[name] = str(column) if part == 0 else f"{column} ({part + 1})"
    return pd.DataFrame(columns, index=table.index), meaning


def _continue_name(short: str, number: int, taken: set[str]) -> str:
    ending = str(number)
    candidate = short[: _NAME - len(ending)] + ending
    while candidate in taken:
        ending = "_" + ending
        candidate = short[: _NAME - len(ending)] + ending
    return candidate


def write_transport(folder: Path, tables: dict[str, pd.DataFrame]) -> list[Path]:
    """Write each table as `<member>.xpt` into a folder, and `names.tsv` with the meaning of every column.

    Raises
    ------
    TableError
        For a table that has no short name here.
    """
    import pyreadstat

    folder.mkdir(parents=True, exist_ok=True)
    written, rows = [], []
    for name, table in tables.items():
        if name not in MEMBERS:
            raise TableError(explain("A table has no name of 8 characters", found=name, expected=", ".join(MEMBERS)))
        prepared, meaning = prepare_columns(table)
        path = folder / f"{MEMBERS[name].lower()}.xpt"
        pyreadstat.write_xport(
            prepared,
            str(path),
            file_label=to_ascii(name.replace("_", " "))[:_LABEL],
            column_labels=[to_ascii(meaning[short])[:_LABEL] for short in prepared.columns],
            table_name=MEMBERS[name],
            file_format_version=5,
        )
        _fix_dates(path)
        written.append(path)
        rows += [
            {"table": name, "member": MEMBERS[name], "variable": short, "column": column}
            for short, column in meaning.items()
        ]
    names = folder / "names.tsv"
    write_table(names, pd.DataFrame(rows, columns=["table", "member", "variable", "column"]))
    return [*written, names]


#: A time of writing stands in the headers; the same tables shall give the same bytes.
_STAMP = re.compile(rb"\d{2}[A-Z]{3}\d{2}:\d{2}:\d{2}:\d{2}")


def _fix_dates(path: Path) -> None:
    content = path.read_bytes()
    head = content[:1000]
    path.write_bytes(_STAMP.sub(b"01JAN00:00:00:00", head) + content[1000:])
