"""A protocol's remedies against the words of the consoles: what a remedy names, some console must be able to say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isocenter.complaint_list import Complaints
from isocenter.documents import read_document
from isocenter.quality.consoles import list_unknown


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
