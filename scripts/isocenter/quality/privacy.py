"""What the site's headers told of people when they arrived. None of it is in the results; the site is to stop it."""

from typing import Any

from isocenter.entities import Disposition, Kind
from isocenter.quality.check import Check, make_check
from isocenter.quality.values import as_number, as_text, count_words

Row = dict[str, Any]
#: Elements that a page has room for.
MOST_SHOWN = 5


def check_privacy(scans: list[Row]) -> list[Check]:
    """How many files of people came with names, and how many series with text in the pixels or a face.

    Phantoms are nobody. Files in which nothing was found are counted too: the share says whether an export forgets
    to remove names, or somebody did once.
    """
    people = [row for row in scans if as_text(row.get("kind")) != Kind.PHANTOM]
    # Of images that were replaced nobody knows any more what they held.
    rows = [row for row in people if _count(row.get("n_files")) and as_number(row.get("n_named")) >= 0]
    if not rows:
        return []
    n_files = sum(_count(row["n_files"]) for row in rows)
    n_named = sum(_count(row.get("n_named")) for row in rows)
    elements = list(dict.fromkeys(word for row in rows for word in as_text(row.get("named")).split()))
    shown = ", ".join(elements[:MOST_SHOWN]) + (f", … ({len(elements)} elements)" if len(elements) > MOST_SHOWN else "")
    checks = [
        make_check(
            n_named == 0,
            severity="warn",
            id="names_at_arrival",
            group="headers",
            scope="all files of people",
            parameter="names and birth dates",
            expected="in no file",
            found=f"in {n_named} of {count_words(n_files, 'file')}{': ' if shown else ''}{shown}",
            remedy="Turn on de-identification where the images are exported, and tell the trial's data protection "
            "officer; what arrived was left out of all results",
        )
    ]
    seen = [(row, as_text(row.get("warnings")).split()) for row in rows]
    burned = sum("burned_in" in warnings for _, warnings in seen)
    faces = sum("face" in warnings and row.get("disposition") == Disposition.USED for row, warnings in seen)
    for count, name, parameter, expected, found, remedy in (
        (
            burned, "annotation_in_pixels", "Burned In Annotation (0028,0301)", "NO", "YES",
            "Export the images without annotations; these were not used",
        ),
        (
            faces, "face_in_images", "Recognizable Visual Features (0028,0302)", "no image that shows a face",
            "images from which a face may be recognized",
            "Remove the face from images before they leave the trial, results/sites/*/bids included",
        ),
    ):  # fmt: skip
        if count:
            checks.append(
                make_check(
                    False,
                    severity="warn",
                    id=name,
                    group="headers",
                    scope=count_words(count, "series"),
                    parameter=parameter,
                    expected=expected,
                    found=found,
                    remedy=remedy,
                )
            )
    return checks


def _count(value: Any) -> int:
    number = as_number(value)
    return int(number) if 0 <= number < 1e9 else 0
