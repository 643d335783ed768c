"""Where a value comes from, as a page shows it: map, series, regions, calibration, and the hashes of all of them."""

from dataclasses import dataclass, field
from typing import Any

from isocenter.report.wording import format_cell, is_missing, shorten

#: facts of a node that a line of the way says, with the words for them
_TOLD = {
    "Model": "model", "Options": "options", "Alignment": "aligned", "AlignmentNote": "", "step": "step",
    "version": "version", "code": "code", "form": "form", "coefficients": "coefficients", "dates": "dates",
    "valid_range": "valid for", "n_vials": "vials", "refused": "refused", "reason": "", "date": "date",
    "scanner": "scanner", "suffix": "series", "files": "files", "disposition": "", "LentMaps": "lent maps",
}  # fmt: skip

#: what is told at once; raw files, templates and the phantom's series are folded
_FIRST = ("map", "aligned series", "undistorted series", "labels", "calibration", "phantom session")


@dataclass
class Line:
    """One thing on the way: what it is, its path or UID, its hash, its facts, and how deep it stands."""

    what: str
    name: str
    sha256: str
    facts: str
    depth: int
    state: str = ""
    href: str = ""
    digests: list[str] = field(default_factory=list)
    phantom: tuple[str, ...] = ()


@dataclass
class Origin:
    """The way back of the values of one map.

    lines : the way in its order, a line a thing; a series is told once · short : what a reader asks for first ·
    n_series, n_files : of the person's scan
    command : what `isocenter trace` says it by
    """

    lines: list[Line]
    short: list[Line]
    n_series: int
    n_files: int
    command: str


def show_origin(
    root: Any,
    pages: dict[tuple[str, str, str, str], str],
    way: str = "",
    series: dict[tuple[str, str], str] | None = None,
) -> Origin:
    """The tree of `isocenter.lineage` as lines.

    pages : from a phantom's run to its page · way : to the report's root · series : from a site and a series UID to
    the row that says what arrived
    """
    lines: list[Line] = []
    seen: set[str] = set()
    for source in root.sources:
        _walk(source, 0, lines, seen, is_regions=source.what == "labels")
    for line in lines:
        site = str(root.facts["site"])
        page = pages.get((site, *line.phantom)) if line.phantom else (series or {}).get((site, line.name))
        if line.what == "calibration":
            page = f"sites/{site}.html#calibration"
        line.href = way + page if page else ""
    own = [line for line in lines if line.what == "series" and line.state != "phantom"]
    row = root.facts
    command = (
        f"isocenter trace {row['site']} {row['participant_id']} {row['session']} {row['run']} "
        f"--biomarker {row['biomarker']} --roi {row['roi']}"
    )
    short = [line for line in lines if line in own or (line.what in _FIRST and not _is_behind(line))]
    return Origin(lines, short, len(own), sum(len(line.digests) for line in own), command)


def _is_behind(line: Line) -> bool:
    """Whether a map stands behind a phantom session or the regions, not behind the value itself."""
    return line.what == "map" and line.depth > 0


def _walk(node: Any, depth: int, lines: list[Line], seen: set[str], *, is_regions=False, of="") -> None:
    """One node and what it was made from; of regions only the files: their maps have a way of their own."""
    if node.what == "DICOM file":
        return
    name = str(node.facts.get("series_uid", "")) if node.what == "series" else node.path
    if name in seen:
        return
    seen.add(name)
    of = "phantom" if node.what in ("calibration", "phantom session") else of
    line = Line(node.what, name, node.sha256, _tell(node.facts), depth, of if node.state != "missing" else "missing")
    line.digests = [source.sha256 for source in node.sources if source.what == "DICOM file"]
    if node.what == "series":
        if line.digests:  # their number stands beside them; what the sidecar lists are the files of one volume
            line.facts = _tell({key: value for key, value in node.facts.items() if key != "files"})
        line.sha256 = str(node.facts.get("files_sha256") or "")
    if node.what == "phantom session":
        line.phantom = tuple(str(node.facts.get(k, "")) for k in ("participant_id", "session", "run"))
    lines.append(line)
    if is_regions and depth > 0:
        return
    for source in node.sources:
        _walk(source, depth + 1, lines, seen, is_regions=is_regions, of=of)


def _tell(facts: dict[str, Any]) -> str:
    told = []
    for key, word in _TOLD.items():
        value = facts.get(key)
        if is_missing(value) or value in ([], {}, False):
            continue
        told.append(f"{word} {_plain(value)}".strip())
    return shorten("; ".join(told), 300)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(v) for v in value)
    return format_cell(value) if isinstance(value, float) else str(value)
