"""A protocol against the files beside it: consoles must know what remedies name, checks what a site is allowed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.complaint_list import Complaints
from isocenter.documents import read_document
from isocenter.quality.consoles import list_unknown
from isocenter.quality.differences import find_unknown


def check_words(root: Path, files: dict[str, str], protocol: dict[str, Any] | None, complaints: Complaints) -> None:
    """Complain of every placeholder that ``config/consoles.yaml`` does not name; a trial may have no such file."""
    path = root / files["consoles"]
    if not path.is_file():
        return
    content = complaints.collect(read_document, path, "consoles", name=files["consoles"])
    if content is None:
        return
    if not any(not entry["manufacturer"] for entry in content["consoles"]):
        complaints.add(
            "No console stands for a scanner of another manufacturer",
            where=f"{files['consoles']}, key consoles",
            expected='an entry with manufacturer ""',
            found=", ".join(entry["manufacturer"] for entry in content["consoles"]),
            remedy="add one, with a name for every parameter that a remedy speaks of",
        )
        return
    for where, text in _list_remedies(protocol or {}, ""):
        for key in list_unknown(text, content["consoles"]):
            complaints.add(
                "A remedy names a parameter that no console knows",
                where=f"{files['protocol']}, key {where}",
                expected=f'a key of the entry with manufacturer "" in {files["consoles"]}',
                found=f"{{{key}}}",
                remedy="mend the name, or add the parameter there",
            )


def check_differences(root: Path, site: str, protocol: dict[str, Any] | None, complaints: Complaints) -> None:
    """Complain of a site's differences that no check of the protocol asks for; most sites have none."""
    path = layout.fill(layout.DIFFERENCES, site=site)
    if not (root / path).is_file():
        return
    content = complaints.collect(read_document, root / path, "differences", name=str(path))
    for one in find_unknown(protocol, content["differences"]) if content and protocol else []:
        complaints.add(
            "A difference is from a check that the protocol does not hold",
            where=str(path),
            expected=f"a series and a check of {protocol['protocol']}",
            found=f"{one['series']}, {one['check']}",
            remedy="mend the two names, or remove the entry",
        )


def _list_remedies(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every remedy of a protocol with its key path."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        path = f"{where}[{key}]" if isinstance(node, list) else f"{where}.{key}".lstrip(".")
        if key == "remedy" and isinstance(value, str):
            yield path, value
        elif key == "remedies" and isinstance(value, dict):
            yield from ((f"{path}.{maker}", str(text)) for maker, text in value.items())
        else:
            yield from _list_remedies(value, path)
