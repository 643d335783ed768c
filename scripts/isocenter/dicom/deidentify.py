"""Keep people out of what is written: names of files, texts and UIDs of headers may carry them.

What a site calls its folders and files may name anyone, in words that no header repeats. So a path is told only in
words that say nothing of a person (image, series, short numbers); the rest is withheld, and a code finds it again in
a table that stays with the site's DICOM.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Shorter pieces of a name would blot out half of every text.
SHORTEST_PIECE = 3
#: From here on characters are ideographs, kana and hangul, of which one or two make a name.
FIRST_IDEOGRAPH = 0x2E80
#: How letters with marks are spelled where there are none.
SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "œ": "oe", "ß": "ss",
                         "ł": "l", "đ": "d", "ð": "d", "þ": "th"})  # fmt: skip
#: What a spreadsheet takes for the start of a formula.
FORMULA_STARTS = ("=", "+", "-", "@")
BLOT = "[withheld]"
#: Words of file names that scanners, archives and people use for images and never for a person.
PLAIN_WORDS = frozenset({
    "archive", "avi", "bids", "bmp", "bval", "bvec", "bz", "copy", "csv", "data", "dat", "dcm", "dicom", "dir",
    "doc", "docx", "exam", "export", "exports", "file", "files", "gif", "gz", "htm", "html", "im", "ima", "image",
    "images", "img", "jpeg", "jpg", "json", "log", "md", "mri", "nii", "old", "part", "pdf", "phantom", "phase",
    "png", "ps", "raw", "readme", "report", "rtf", "scan", "scans", "ser", "series", "session", "sessions", "slice",
    "slices", "study", "sub", "subject", "tar", "temp", "test", "tgz", "tif", "tiff", "tmp", "tsv", "txt", "upload",
    "uploads", "visit", "visits", "xls", "xlsx", "xml", "yaml", "yml", "zip",
})  # fmt: skip
#: A number with more digits may be a date, a telephone, a patient's.
MOST_DIGITS = 5
#: From how many characters on an identifying value is looked for in a UID: shorter ones stand there by chance.
SHORTEST_IN_UID = 5
#: The root under which anyone may make UIDs from 128 bits (DICOM PS3.5, B.2).
UUID_ROOT = "2.25"
_TOKEN = re.compile(r"[^\W\d_]+|\d+|_|[^\w]", re.UNICODE)
_TOKENS_OF_PATH = frozenset("/._- ()[]")


def digest_path(relative: str) -> str:
    """What stands for the path of a file wherever it is kept (24 digits); tables show the first 8."""
    return hashlib.sha256(relative.encode("utf-8", "surrogatepass")).hexdigest()[:24]


@dataclass
class PathTeller:
    """Tells paths without what may name a person, and keeps which path each code stands for."""

    paths: dict[str, str] = field(default_factory=dict)

    def tell(self, path: str) -> str:
        """A path as it stands in a table: plain words and a code; no formula to a spreadsheet."""
        told = re.sub(rf"(?:{re.escape(BLOT)})+", BLOT, "".join(map(_tell_token, _TOKEN.findall(path))))
        if told == path and path[:1] not in FORMULA_STARTS:
            return told
        code = digest_path(path)[:8]
        self.paths[code] = path
        start = "./" if told[:1] in FORMULA_STARTS else ""
        return f"{start}{told} (file {code})"


def _tell_token(token: str) -> str:
    if token.isdigit():
        return token if len(token) <= MOST_DIGITS and token.isascii() else BLOT
    if token in _TOKENS_OF_PATH:
        return token
    is_plain = token.isascii() and (len(token) == 1 or token.lower() in PLAIN_WORDS) and token.isalpha()
    return token if is_plain else BLOT


class Redactor:
    """Blots out known identifying values, whole and in their pieces, in any spelling of case and separators."""

    def __init__(self, values: Iterable[str], *, keep: Iterable[str] = ()):
        kept = {text.lower() for text in keep}
        pieces = {piece for value in values for piece in _list_pieces(value)}
        pieces = {piece for piece in pieces if len(piece) >= _shortest(piece) and piece not in kept}
        self._longest_first = sorted(pieces, key=lambda piece: (-len(piece), piece))

    def redact(self, text: str) -> str:
        """`text` with every identifying piece replaced."""
        composed = unicodedata.normalize("NFC", text)
        lower = composed.lower()
        # A comment may hold a book: only what stands in the text becomes part of the pattern.
        found = [piece for piece in self._longest_first if piece in lower]
        return re.sub("|".join(map(re.escape, found)), BLOT, composed, flags=re.IGNORECASE) if found else text


def _list_pieces(value: str) -> set[str]:
    """A value whole, in its words, and its words run together; each also as people write it without marks."""
    whole = unicodedata.normalize("NFC", value).lower()
    words = re.split(r"[\W_]+", whole)
    pieces = {whole, *words}
    for group in whole.split("="):  # of a person's name: in letters, in ideographs, by its sound
        pieces.add("".join(re.split(r"[\W_]+", group)))
    marked = [piece for piece in pieces if not piece.isascii()]
    return pieces | {_without_marks(form) for piece in marked for form in (piece, piece.translate(SPELLED))}


def _without_marks(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _shortest(piece: str) -> int:
    """How long a piece must be to be blotted out: one ideograph is a name, one letter is none."""
    return 1 if piece and ord(piece[0]) >= FIRST_IDEOGRAPH else SHORTEST_PIECE


def tell_uid(uid: str, identifying: Iterable[str]) -> str:
    """A UID as results hold it: itself, or one made of its digest where an identifying value is a part of it.

    Some scanners and archives build UIDs of the date, the time or the Patient ID. The same UID always gives the same
    answer: whoever holds the DICOM can find the series again (`uid_of_digest`).
    """
    plain = uid.lower()
    values = (re.sub(r"[^0-9a-z]", "", value.lower()) for value in identifying)
    return uid_of_digest(uid) if any(len(v) >= SHORTEST_IN_UID and v in plain for v in values) else uid


def uid_of_digest(uid: str) -> str:
    """The UID that stands for another: 2.25 and the first 128 bits of its SHA-256, as a UUID of version 8."""
    number = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:16])
    number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62  # version and variant, RFC 9562
    return f"{UUID_ROOT}.{number}"
