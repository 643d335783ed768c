"""Tables for pages: what a cell shows, sorts by, links to and is colored as."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import escape

from isocenter.figures.palette import VERDICTS, state_of
from isocenter.report.wording import ABSENT, VERDICT_WORDS, format_cell, is_missing, keep_together, shorten

#: a page holds at most this many rows of one table; the TSV beside it holds all
MAX_ROWS = 5000


#: longer texts get a column that wraps; shorter ones than a word's beside a symbol do not break
_LONG, _WORD = 60, 18
#: a text that may be kept on one line has at most so many letters: text from outside may have any number
_KEPT = 32
#: columns that say why, and what to do, which nobody guesses the middle of; how long they may be
SENTENCES, LONGEST_SENTENCE = ("reason", "action"), 600


@dataclass
class Cell:
    """One cell. `sort` is what it sorts by; `href` leads inside the report; `state` colors it, with a symbol.

    is_kept : whether it stays on one line, as a date or the name of a scan does
    """

    text: str
    sort: str = ""
    href: str = ""
    state: str = ""
    title: str = ""
    is_number: bool = False
    is_kept: bool = False

    @property
    def symbol(self) -> str:
        """The symbol that stands beside the color."""
        return VERDICTS[self.state][1] if self.state else ""

    def __html__(self) -> str:
        """The cell as a page has it, everything in it escaped. Pages have 100,000 of them: no template is as fast."""
        text = str(self.text)
        kind = "num" if self.is_number else "" if len(text) <= _LONG else "long" if " " in text else "hash"
        if self.is_kept and len(text) <= _KEPT:
            kind += " keep"
        if self.state:
            kind += f" s-{self.state} word" if len(text) < _WORD else f" s-{self.state}"
        sort = f' data-sort="{escape(self.sort)}"' if self.sort else ""
        title = f' title="{escape(self.title)}"' if self.title else ""
        symbol = f'<span class="sym" aria-hidden="true">{escape(self.symbol)}</span> ' if self.state else ""
        # A number, its uncertainty and its interval each stay on one line.
        shown = escape(keep_together(text.replace(", ", ",\u00a0") if self.is_number else text))
        if self.href:
            shown = f'<a href="{escape(self.href)}">{shown}</a>'
        return f'<td class="{kind}"{sort}{title}>{symbol}{shown}</td>'


@dataclass
class Table:
    """A table of a page. `source` is the TSV inside the report that it was made from."""

    name: str
    columns: list[str]
    rows: list[list[Cell]]
    anchors: list[str] = field(default_factory=list)
    source: str = ""
    empty: str = ""
    n_total: int = 0
    is_simple: bool = False

    def __post_init__(self):
        if not self.empty:
            # A table that nothing was computed for and one that could not be read look alike from here.
            place = f" of {self.source}" if self.source else ""
            self.empty = f"Nothing to show: no row{place} is about this; what could not be read stands under Errors."

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which stand to the right."""
        return any(row[column].is_number for row in self.rows)


def _tell(column: str, value: Any) -> Cell:
    """A cell of a file: verdicts colored, sentences whole."""
    if column in ("verdict", "disposition") and not is_missing(value):
        return verdict_cell(value, text=str(value))
    if column in SENTENCES and isinstance(value, str) and value:
        return Cell(shorten(value, LONGEST_SENTENCE), title=value if len(value) > LONGEST_SENTENCE else "")
    return as_cell(_python(value))


def as_cell(value: Any, href: str = "") -> Cell:
    """A cell from a value of a table or from text that a page has formatted."""
    if isinstance(value, Cell):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = format_cell(value)
    full = "" if is_missing(value) or text == str(value) else str(value)
    sort = "" if is_missing(value) else repr(float(value)) if is_number else ""
    return Cell(text, sort, href, title="" if is_number else full, is_number=is_number)


def number_cell(text: str, value: Any, href: str = "") -> Cell:
    """A formatted number (or interval) that sorts by its value and links to where it comes from."""
    return Cell(text, "" if is_missing(value) else repr(float(value)), href, is_number=True)


def verdict_cell(word: Any, href: str = "", text: str = "") -> Cell:
    """A verdict in words, with the color and symbol of its state."""
    word = "" if is_missing(word) else str(word)
    return Cell(text or VERDICT_WORDS.get(word, word or ABSENT), word, href, state_of(word))


def table_of(name: str, columns: list[str], rows: list[list[Any]], **options: Any) -> Table:
    """A table from rows of values or cells."""
    return Table(name, columns, [[as_cell(value) for value in row] for row in rows], n_total=len(rows), **options)


def whole_table(name: str, table: pd.DataFrame, links: Mapping[str, Callable[[Any, str], str]] | None = None) -> Table:
    """A whole file as a table: every row with its anchor, verdict columns colored.

    links : column to what gives the link of its cells, from the row and the way to the report's root
    """
    columns = [str(column) for column in table.columns]
    shown = table.head(MAX_ROWS)
    rows = []
    for record in shown.itertuples(index=False, name=None):
        rows.append([_tell(column, value) for column, value in zip(columns, record, strict=True)])
    for column, link_of in (links or {}).items():
        if column in columns:
            for cells, (_, record) in zip(rows, shown.iterrows(), strict=True):
                cells[columns.index(column)].href = link_of(record, "../")
    anchors = [f"r{number}" for number in range(len(shown))]
    return Table(
        name, columns, rows, anchors, f"{name}.tsv", "The file holds its header and no row.", n_total=len(table)
    )


def row_link(name: str, index: Any, root: str = "") -> str:
    """Where a row of a table stands in the report; beyond the rows that a page holds, its TSV."""
    return f"{root}tables/{name}.html#r{index}" if int(index) < MAX_ROWS else f"{root}tables/{name}.tsv"


def _python(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
