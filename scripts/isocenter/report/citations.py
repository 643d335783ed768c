"""The works that a methods text cites, by the DOI or address that a model or the statistics name."""

import csv
import re
from functools import cache
from pathlib import Path

#: DOI, authors and year, title, journal; one line a work
_LIST = Path(__file__).parent / "citations.tsv"

#: what every report with statistics rests on
STATISTICS = (
    "10.1177/0962280214537344",
    "10.1177/0962280217752622",
    "10.1177/096228029900800204",
    "10.1097/OPX.0000000000000513",
    "10.1037/1082-989X.1.1.30",
    "10.1080/01621459.1980.10477565",
    "10.1016/j.jcm.2016.02.012",
    "10.1016/j.jclinepi.2010.03.002",
)

_DOI = re.compile(r"10\.\d{4,9}/[^\s,;\"'<>]+")


def find_dois(text: str) -> list[str]:
    """The DOIs that stand in a text, in their order."""
    return list(dict.fromkeys(_trim(doi) for doi in _DOI.findall(text)))


def _trim(doi: str) -> str:
    """A DOI without the point or the parenthesis of the sentence that it stands in."""
    doi = doi.rstrip(".")
    return doi.rstrip(")") if doi.count(")") > doi.count("(") else doi


def cite(dois: list[str]) -> list[tuple[str, str]]:
    """(reference, DOI) for each DOI once; one that is not in the list stands as its DOI alone."""
    known = _read_references()
    return [(known.get(doi, "As cited by the model."), doi) for doi in dict.fromkeys(dois)]


@cache
def _read_references() -> dict[str, str]:
    with _LIST.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["doi"]: f"{row['authors']}. {row['title']}. {row['appeared']}." for row in rows}
