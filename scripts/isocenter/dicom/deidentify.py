"""Keep names out of what is written: paths and messages may carry them, as folders are often named after patients."""

import re
from collections.abc import Iterable

#: Shorter pieces of a name would blot out half of every path.
SHORTEST_PIECE = 3
#: What a spreadsheet takes for the start of a formula.
FORMULA_STARTS = ("=", "+", "-", "@")
BLOT = "[withheld]"


class Redactor:
    """Blots out known identifying values, whole and in their pieces, in any spelling of case and separators."""

    def __init__(self, values: Iterable[str], *, keep: Iterable[str] = ()):
        kept = {text.lower() for text in keep}
        pieces = set()
        for value in values:
            pieces.add(value.lower())
            pieces |= {piece.lower() for piece in re.split(r"[^0-9A-Za-zÀ-ɏ]+", value)}
        pieces = {piece for piece in pieces if len(piece) >= SHORTEST_PIECE and piece not in kept}
        longest_first = sorted(pieces, key=lambda piece: (-len(piece), piece))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None

    def redact_path(self, path: str) -> str:
        """A path as it stands in a table: redacted, one line of plain text, and no formula to a spreadsheet."""
        told = "".join(c if c.isprintable() else c.encode("ascii", "backslashreplace").decode() for c in path)
        return self.redact(f"./{told}" if told[:1] in FORMULA_STARTS else told)

    def redact(self, text: str) -> str:
        """`text` with every identifying piece replaced."""
        return self._pattern.sub(BLOT, text) if self._pattern else text
