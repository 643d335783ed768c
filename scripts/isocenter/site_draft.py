"""``isocenter add-site``: a site's files drafted from its DICOM headers, and where its scans differ from the protocol.

What headers tell is written; what only a person knows is marked FILL-IN and never made up.
Nothing that stands there already is written over. The table of participants holds Patient IDs, as it must: it is what
tells whose scan is whose. No other drafted file holds anything that names a person.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isocenter import layout
from isocenter.dataset.names import find_datasets
from isocenter.dicom.deidentify import FORMULA_STARTS
from isocenter.dicom.survey import Person, Survey, Surveyed, survey_folders
from isocenter.documents import read_document, read_rows
from isocenter.entities import LABEL, Kind
from isocenter.errors import ConfigError, DicomError, explain
from isocenter.io.nifti import write_bytes
from isocenter.quality.acquisition import Acquisition, Grid
from isocenter.quality.differences import propose_differences

#: Stands where only a person knows.
FILL_IN = "FILL-IN"
#: What stands between the words of a path or name.
_WORDS = re.compile(r"[^0-9a-zà-ɏ]+")
#: No site's name is longer: it becomes a folder and a part of file names.
LONGEST_NAME = 32


@dataclass
class Draft:
    """What was drafted. files : written; series, differences : rows for the reader; todo : what is to be filled in"""

    files: list[Path] = field(default_factory=list)
    scanners: list[tuple[str, ...]] = field(default_factory=list)
    people: list[tuple[str, ...]] = field(default_factory=list)
    series: list[tuple[str, ...]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)


def draft_site(
    root: Path,
    name: str,
    sources: Sequence[Path],
    *,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Draft:
    """Draft ``sites/<name>/`` of the trial in `root` from the DICOM below `sources`.

    Raises
    ------
    ConfigError
        The name is none, the site has files already, or a folder of DICOM is missing.
    DicomError
        The folders hold no MR image, or none whose header tells the field strength.
    """
    targets = check_name(root, name)
    for source in sources:
        if not source.is_dir():
            raise ConfigError(explain("The folder of DICOM is missing", where=str(source), remedy="check the path"))
    config = read_document(root / layout.CONFIG, "config", name=layout.CONFIG)
    files = config["files"]
    protocol = read_document(root / files["protocol"], "protocol", name=files["protocol"])
    has_consoles = (root / files["consoles"]).is_file()
    consoles = read_document(root / files["consoles"], "consoles")["consoles"] if has_consoles else []
    survey = survey_folders(sources, on_progress=on_progress)
    if not survey.people:
        raise DicomError(
            explain(
                "The folder holds no MR images",
                where=", ".join(map(str, sources)),
                expected="DICOM as the scanner or the picture archive exported it",
                found=f"{survey.n_files} files, {survey.n_no_dicom} of them no DICOM",
                remedy="for a BIDS dataset copy sites/_template, and fill it in by hand: source_id is sub-<label>"
                if any(map(find_datasets, sources))
                else "name another folder",
            )
        )
    draft = Draft()
    scanners = _name_scanners(survey, draft)
    labels = _name_people(root, name, survey, draft)
    texts = {
        layout.SITE_YAML: _format_site(root, name, sources, protocol, survey, scanners, labels, draft),
        layout.PARTICIPANTS: _format_participants(labels),
    }
    acquisitions = [_as_acquisition(one, labels) for one in survey.acquisitions]
    draft.differences = propose_differences(acquisitions, protocol, consoles)
    draft.series = _summarize_series(survey, protocol, labels)
    allowable = [one for one in draft.differences if one["bounds"]]
    if allowable:
        texts[layout.DIFFERENCES] = _format_differences(allowable)
    for pattern, text in texts.items():
        write_bytes(targets[pattern], text.encode())
        draft.files.append(targets[pattern])
    # What was drafted is read as any run reads it: a draft that no run could read would be a fault of this program.
    read_document(targets[layout.SITE_YAML], "site")
    read_rows(targets[layout.PARTICIPANTS], "participants")
    if allowable:
        read_document(targets[layout.DIFFERENCES], "differences")
    return draft


def check_name(root: Path, name: str) -> dict[str, Path]:
    """Where the site's files go, by pattern; ConfigError when the name is none or files stand there."""
    if not LABEL.fullmatch(name) or len(name) > LONGEST_NAME or not name.isascii():
        raise ConfigError(
            explain(
                "This is no name for a site",
                expected=f"1 to {LONGEST_NAME} letters and digits, for instance siteE or Leiden2",
                found=repr(name)[: 2 * LONGEST_NAME],
                remedy="choose another; title in site.yaml takes the hospital's full name",
            )
        )
    folder = root / layout.SITES
    others = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    for other in others:
        if other != name and other.casefold() == name.casefold():
            raise ConfigError(
                explain(
                    "Another site is called the same but for capitals",
                    where=layout.SITES,
                    found=other,
                    remedy="choose another name: not every disk tells the two apart",
                )
            )
    patterns = (layout.SITE_YAML, layout.PARTICIPANTS, layout.DIFFERENCES)
    targets = {pattern: root / layout.fill(pattern, site=name) for pattern in patterns}
    present = [path for path in targets.values() if path.exists() or path.is_symlink()]
    if present:
        raise ConfigError(
            explain(
                "The site has files already, and nothing is written over",
                where=", ".join(path.relative_to(root).as_posix() for path in present),
                remedy="choose another name, or move them away first",
            )
        )
    return targets


# Who and where ----------------------------------------------------------------------------------------
def _name_scanners(survey: Survey, draft: Draft) -> dict[str, tuple[str, Any]]:
    """By serial number the scanner's id and what is known of it; those without a field strength cannot be written."""
    found: dict[str, tuple[str, Any]] = {}
    for scanner in survey.scanners:
        if scanner.field_strength is None:
            draft.todo.append(f"add the scanner with serial number {scanner.serial or '(none)'}: no header of it tells "
                              "Magnetic Field Strength (0018,0087)")  # fmt: skip
            continue
        stem = re.sub(r"[^a-z]", "", scanner.manufacturer.lower()) or "scanner"
        taken = {label for label, _ in found.values()}
        label = next(f"{stem}{n}" for n in range(1, len(survey.scanners) + 2) if f"{stem}{n}" not in taken)
        found[scanner.serial] = (label, scanner)
        words = " ".join(filter(None, (scanner.manufacturer, scanner.model))) or "make unknown"
        draft.scanners.append((label, words, f"{scanner.field_strength:g} T", scanner.serial or "(none)"))
        if not scanner.serial:
            draft.todo.append(f"the serial number of {label} (Device Serial Number (0018,1000) is missing)")
    if not found:
        raise DicomError(
            explain(
                "No header tells the field strength of a scanner",
                expected="Magnetic Field Strength (0018,0087)",
                remedy="send the images as the scanner made them, or copy sites/_template and fill it in by hand",
            )
        )
    return found


def _name_people(root: Path, name: str, survey: Survey, draft: Draft) -> dict[str, tuple[str, str]]:
    """By Patient ID the participant's label and kind: as another site calls the same person, else a new number."""
    known = _people_of_other_sites(root, name)
    taken = {label for label, _ in known.values()}
    labels: dict[str, tuple[str, str]] = {}
    for person in survey.people:
        source = person.patient_id.strip()
        if not source or not source.isprintable() or source.startswith(tuple(FORMULA_STARTS)):
            draft.todo.append(
                f"a row of participants.tsv for {_count_sessions(person)} whose Patient ID (0010,0020) is empty, not "
                "printable or begins like a formula: it was left out"
            )
            continue
        label, kind = known.get(source, ("", Kind.PHANTOM if person.is_phantom else Kind.PATIENT))
        if not label or label in {other for other, _ in labels.values()}:
            stem = "phantom" if person.is_phantom else "P"
            own = {other for other, _ in labels.values()} | (set() if person.is_phantom else taken)
            numbers = (str(n) if person.is_phantom else f"{n:02d}" for n in range(1, 10_000))
            label = next(f"{stem}{n}" for n in numbers if f"{stem}{n}" not in own)
        labels[source] = (label, str(kind))
        if source in known and kind != Kind.TRAVELER:
            draft.todo.append(
                f"{label} has the Patient ID of {label}, {kind} at another site: say traveler at both where that is "
                "one person, else give this one a label of its own (participants.tsv)"
            )
        said = "as at another site" if source in known else "FILL IN: patient, volunteer, traveler or phantom?"
        draft.people.append((label, str(kind), _count_sessions(person), said))
    if not labels:
        raise DicomError(
            explain("No image has a Patient ID (0010,0020)", remedy="send the images with one ID a person")
        )
    draft.todo.append("the kind of every participant, and labels of your own where you have them (participants.tsv)")
    return labels


def _people_of_other_sites(root: Path, name: str) -> dict[str, tuple[str, str]]:
    """Travelers are scanned at several sites: their labels must be the same at all of them."""
    known: dict[str, tuple[str, str]] = {}
    for path in sorted((root / layout.SITES).glob("*/participants.tsv")):
        if path.parent.name != name and not path.parent.name.startswith("_"):
            for row in read_rows(path, "participants", name=path.relative_to(root).as_posix()):
                if row["kind"] != Kind.PHANTOM:
                    known.setdefault(row.get("source_id", ""), (row["participant_id"], row["kind"]))
    known.pop("", None)
    return known


def _count_sessions(person: Person) -> str:
    return "1 session" if len(person.dates) == 1 else f"{len(person.dates)} sessions"


# The files --------------------------------------------------------------------------------------------
def _format_site(
    root: Path, name: str, sources: Sequence[Path], protocol: dict[str, Any], survey: Survey,
    scanners: dict[str, tuple[str, Any]], labels: dict[str, tuple[str, str]], draft: Draft,
) -> str:  # fmt: skip
    source = _choose_source(root, name, sources, survey, draft)
    lines = [
        "# Drafted by isocenter add-site from the headers. Every key is described in config/README.md.",
        f"# What stands at {FILL_IN} only you know. A phantom that is not described stops every run.",
        f"site: {_quote(name)}",
        f'title: "" # {FILL_IN}: hospital and city, as the report shall show them',
        f"source: {_quote(source)} # folder beside this file, or an absolute path, that holds the DICOM as it came",
        f"protocol: {protocol['protocol']}",
        "scanners:",
    ]
    for label, scanner in scanners.values():
        lines += [
            f"  - id: {label} # the scanner's name in the tables: letters and digits",
            f"    serial: {_quote(scanner.serial)}",
            f"    manufacturer: {_quote(scanner.manufacturer)}",
            f"    model: {_quote(scanner.model)}",
            f"    field_strength: {scanner.field_strength:.4g} # T, nominal",
        ]
    draft.todo.append("title of site.yaml")
    phantoms = [
        person for person in survey.people if labels.get(person.patient_id.strip(), ("", ""))[1] == Kind.PHANTOM
    ]
    if not phantoms:
        return "\n".join([*lines, "phantoms: [] # none was recognized; sites/_template shows an entry"]) + "\n"
    lines += [
        f"phantoms: [] # {FILL_IN}: take [] away, and the # before the lines below, when you know what they ask",
    ]
    for person in phantoms:
        label = labels[person.patient_id.strip()][0]
        lines += [
            f"#  - participant_id: {label} # as in participants.tsv, kind phantom",
            "#    type: nist_system # which phantom? a file of config/phantoms without its ending",
            f'#    serial: "{FILL_IN}" # the number on the phantom; it tells the batch and so the reference values',
            "#    temperatures: # degC inside the phantom, by the date of its scan: what was read, never a guess",
            *(f'#      "{date}": {FILL_IN}' for date in person.dates),
            "#    temperature_stderr: 0.5 # degC, of one reading",
        ]
        draft.todo.append(f"phantoms of site.yaml: type, serial number and temperatures of {label}")
    return "\n".join(lines) + "\n"


def _choose_source(root: Path, name: str, sources: Sequence[Path], survey: Survey, draft: Draft) -> str:
    """The folder of the DICOM as site.yaml names it; one that names a person is not written down."""
    folder = (root / layout.fill(layout.SITE_FOLDER, site=name)).resolve()
    resolved = [source.resolve() for source in sources]
    if len(resolved) == 1:
        text = resolved[0].relative_to(folder).as_posix() if folder in resolved[0].parents else resolved[0].as_posix()
        if text.isprintable() and not names_somebody(text, survey.identifying):
            return text
    draft.todo.append(
        f"move the DICOM below {layout.fill(layout.SITE_FOLDER, site=name)}/dicom: "
        + ("one folder holds it all there" if len(resolved) > 1 else "the name of its folder names a person")
    )
    return "dicom"


def names_somebody(path: str, identifying: set[str]) -> bool:
    """Whether a word of a path is a word of what names a person; words of three letters or less are none."""
    words = {word for value in identifying for word in _WORDS.split(value.casefold()) if len(word) > 3}
    return bool(set(_WORDS.split(path.casefold())) & (words | {value.casefold() for value in identifying}))


def _format_participants(labels: dict[str, tuple[str, str]]) -> str:
    rows = [("participant_id", "kind", "source_id"), *((*label, source) for source, label in labels.items())]
    return "".join("\t".join(row) + "\n" for row in rows)


def _format_differences(differences: list[dict[str, Any]]) -> str:
    lines = [
        "# Where this site's scans differ from the protocol, drafted by isocenter add-site. Best is to change the",
        "# scanner as the remedy says and to delete the entry. To allow a difference: accepted: true, with a reason.",
        "# Until then the protocol's own check holds.",
        "differences:",
    ]
    for one in differences:
        lines += [
            f"  - series: {one['series']}",
            f"    check: {one['check']}",
            f"    expected: {_quote(one['expected'])}",
            f"    found: {_quote(one['found'])} # in {one['n']} of {one['of']} scans",
            f"    # remedy: {' '.join(one['remedy'].split())}",
            "    accepted: false",
            '    reason: ""',
            f"    bounds: {json.dumps(one['bounds'])} # what the check would ask of this site instead",
        ]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """Text as YAML reads it back, whatever it holds: JSON is YAML."""
    return json.dumps(str(text), ensure_ascii=True)


# For the reader ---------------------------------------------------------------------------------------
def _as_acquisition(one: Surveyed, labels: dict[str, tuple[str, str]]) -> Acquisition:
    label, kind = labels.get(one.patient_id.strip(), ("", str(Kind.PATIENT)))
    return Acquisition(label, kind, one.date, one.run, one.suffix, one.sidecars, Grid(one.shape, one.affine))


def _summarize_series(
    survey: Survey, protocol: dict[str, Any], labels: dict[str, tuple[str, str]]
) -> list[tuple[str, ...]]:
    """Rows of the table of series: kind, series, scans, what the protocol calls it, and what became of the rest."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for one in survey.acquisitions:
        kind = labels.get(one.patient_id.strip(), ("", str(Kind.PATIENT)))[1]
        block = protocol["series"].get(one.suffix)
        fits = f"{block['title']} of the protocol" if block and kind in block["kinds"] else "not in the protocol"
        key = (kind, one.suffix, fits, one.serial)
        counts[key] = counts.get(key, 0) + 1
    rows = [(kind, suffix, str(n), serial or "(none)", fits) for (kind, suffix, fits, serial), n in counts.items()]
    rest: dict[str, int] = {}
    used = {one.suffix for one in survey.acquisitions}
    for row in survey.rows:
        if row["disposition"] != "used" or row["suffix"] not in used:
            rest[f"{row['disposition']}: {row['what']}"] = rest.get(f"{row['disposition']}: {row['what']}", 0) + 1
    return sorted(rows) + [("", "", f"{n} series", "", what) for what, n in sorted(rest.items())]
